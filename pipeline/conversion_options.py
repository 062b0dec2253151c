"""How a song is converted: the options, and what follows from them for its pieces and its features."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from common.config import Config
from models import INFER_SEED
from modules.f0 import CONFIDENT, F0_MAX, F0_MIN, SEARCHING
from pipeline import pieces
from pipeline.features import FeatureSettings
from pipeline.pieces import Piece


@dataclass(frozen=True)
class ConversionOptions:
    """How a song is converted. The defaults are those of inference_main.py.

    Raises:
        ValueError: every value that is out of its range.
    """

    speaker: str | int = 0  # name, or id
    transpose: float = 0.0  # semitones
    auto_predict_f0: bool = False  # sing the melody that the model predicts: for speech, not for songs
    f0_predictor: str = "pm"
    f0_filter_threshold: float = 0.05  # confidence below which a tracker that gives one calls a frame unvoiced
    f0_min: float = F0_MIN  # range of the tracker, Hz
    f0_max: float = F0_MAX
    noise_scale: float = 0.4  # of the prior; more is livelier and rougher
    slice_db: float = -40.0  # level below which a pause may be cut, dB relative to full scale
    pad_seconds: float = 0.5  # context on both sides of a piece
    clip: float = 0.0  # length of forced cuts; 0 cuts in pauses
    linear_gradient: float = 0.0  # seconds by which forced cuts overlap
    linear_gradient_retain: float = 0.75  # share of the overlap that is faded over
    loudness_envelope_adjustment: float = 1.0  # 0: loudness of the source, 1: of the output
    seed: int = INFER_SEED

    def __post_init__(self) -> None:
        rules = {
            f"noise_scale (-ns) must not be negative, got {self.noise_scale}": self.noise_scale >= 0,
            f"slice_db (-sd) must be negative (dB below full scale), got {self.slice_db}": self.slice_db < 0,
            f"pad_seconds (-p) must not be negative, got {self.pad_seconds}": self.pad_seconds >= 0,
            f"clip (-cl) must be 0 or at least 0.1, got {self.clip}": self.clip == 0 or self.clip >= 0.1,
            f"linear_gradient (-lg) must lie between 0 and clip (-cl, {self.clip}), got {self.linear_gradient}": (
                0 <= self.linear_gradient < (self.clip or float("inf"))
            ),
            f"linear_gradient_retain (-lgr) must lie between 0 and 1, got {self.linear_gradient_retain}": (
                0 <= self.linear_gradient_retain <= 1
            ),
            f"loudness_envelope_adjustment (-lea) must lie between 0 and 1, got {self.loudness_envelope_adjustment}": (
                0 <= self.loudness_envelope_adjustment <= 1
            ),
        }
        broken = [text for text, holds in rules.items() if not holds]
        if broken:
            raise ValueError("; ".join(broken))

    def without_effect(self, *, f0_given: bool = False) -> Iterator[str]:
        """A line for each option that was set, and that nothing comes of because of the others.

        ``f0_given`` says that no song is tracked, because the melodies come from files.
        """
        default = ConversionOptions()
        if self.linear_gradient and not self.clip:
            yield "-lg has no effect without -cl: only forced cuts overlap"
        if self.linear_gradient_retain != default.linear_gradient_retain and not self.linear_gradient:
            yield "-lgr has no effect without -lg"
        if f0_given:
            names = {"-f0p": "f0_predictor", "-ft": "f0_filter_threshold", "--f0_min": "f0_min", "--f0_max": "f0_max"}
            if idle := [option for option, name in names.items() if getattr(self, name) != getattr(default, name)]:
                yield f"{', '.join(idle)} have no effect: --f0_import gives the melody, and nothing is tracked"
            return
        if (self.f0_min, self.f0_max) != (default.f0_min, default.f0_max) and self.f0_predictor not in SEARCHING:
            yield f"--f0_min and --f0_max have no effect on {self.f0_predictor}, which has a range of its own"
        if self.f0_filter_threshold != default.f0_filter_threshold and self.f0_predictor not in CONFIDENT:
            yield f"-ft has no effect on {self.f0_predictor}, which knows no confidence"


def plan_pieces(wav: np.ndarray, config: Config, options: ConversionOptions) -> list[Piece]:
    """The pieces in which (T,) is converted by a model of ``config``."""
    return pieces.plan(
        wav,
        config.data.sampling_rate,
        config.data.hop_length,
        slice_db=options.slice_db,
        pad_seconds=options.pad_seconds,
        clip_seconds=options.clip,
        overlap_seconds=options.linear_gradient if options.clip else 0.0,
        overlap_retain=options.linear_gradient_retain,
    )


def feature_settings(config: Config, options: ConversionOptions) -> FeatureSettings:
    """What the features are that a model of ``config`` is given."""
    return FeatureSettings.of(
        config,
        options.f0_predictor,
        f0_threshold=options.f0_filter_threshold,
        f0_min=options.f0_min,
        f0_max=options.f0_max,
    )

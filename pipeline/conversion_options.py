"""How a song is converted: the options, and what follows from them for its pieces and its features."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from common.diffusion_config import InferSection
from models import INFER_SEED
from modules.f0 import CONFIDENT, F0_MAX, F0_MIN, SEARCHING
from pipeline import pieces
from pipeline.features import FeatureSettings
from pipeline.pieces import Piece
from pipeline.speaker_mix import SpeakerMix
from pipeline.voice import Voice

K_STEP = 100
REFINER_OPTIONS = ("sampler", "speedup", "temperature", "articulation", "timbre_match", "keyshift")


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
    speaker_mix: SpeakerMix | None = None  # instead of ``speaker``
    cluster_infer_ratio: float = 0.0  # share of the target's own units
    feature_retrieval: bool = False  # from an index of them instead of their clusters
    retrieval_neighbours: int = 8  # of each frame in the index
    retrieval_probes: int | None = None  # lists of the index that are searched; None: as many as it says
    shallow_diffusion: bool = False  # refine what the synthesizer sings
    only_diffusion: bool = False  # sing without the synthesizer
    k_step: int = K_STEP  # of shallow diffusion
    second_encoding: bool = False  # make the units for shallow diffusion anew from what the synthesizer sings
    sampler: str | None = None  # None: the one that diffusion.yaml names, and its speedup
    speedup: int | None = None
    temperature: float | None = None  # of the noise; None: that of diffusion.yaml
    articulation: float | None = None  # share of the source's that refined mels take over; None: that of diffusion.yaml
    timbre_match: float | None = None  # how far, 0 to 1, envelopes go to those of the target; None: as diffusion.yaml
    keyshift: float = 0.0  # semitones by which the vocoder sings higher than its mel
    enhance: bool = False  # run the NSF-HiFiGAN vocoder over what the synthesizer sings
    enhancer_adaptive_key: int = 0  # semitones by which its range is widened upwards

    def __post_init__(self) -> None:
        if broken := list(self._problems()):
            raise ValueError("; ".join(broken))

    def _problems(self) -> Iterator[str]:
        """Every value that is out of its range."""
        for name, option, value in (
            ("linear_gradient_retain", "-lgr", self.linear_gradient_retain),
            ("loudness_envelope_adjustment", "-lea", self.loudness_envelope_adjustment),
            ("cluster_infer_ratio", "-cr", self.cluster_infer_ratio),
            ("articulation", "--articulation", self.articulation),
            ("timbre_match", "--timbre_match", self.timbre_match),
        ):
            if value is not None and not 0 <= value <= 1:
                yield f"{name} ({option}) must lie between 0 and 1, got {value}"
        for name, option, amount in (
            ("noise_scale", "-ns", self.noise_scale),
            ("pad_seconds", "-p", self.pad_seconds),
            ("temperature", "--temperature", self.temperature),
        ):
            if amount is not None and not amount >= 0:
                yield f"{name} ({option}) must not be negative, got {amount}"
        for name, option, count in (
            ("k_step", "-ks", self.k_step),
            ("speedup", "--speedup", self.speedup),
            ("retrieval_neighbours", "--retrieval_neighbours", self.retrieval_neighbours),
            ("retrieval_probes", "--retrieval_probes", self.retrieval_probes),
        ):
            if count is not None and count < 1:
                yield f"{name} ({option}) must be at least 1, got {count}"
        if not self.slice_db < 0:
            yield f"slice_db (-sd) must be negative (dB below full scale), got {self.slice_db}"
        if not (self.clip == 0 or self.clip >= 0.1):
            yield f"clip (-cl) must be 0 or at least 0.1, got {self.clip}"
        if not 0 <= self.linear_gradient < (self.clip or float("inf")):
            yield f"linear_gradient (-lg) must lie between 0 and clip (-cl, {self.clip}), got {self.linear_gradient}"
        if self.auto_predict_f0 and self.only_diffusion:
            yield "auto_predict_f0 (-a) needs the synthesizer, which only_diffusion (-od) does without: leave one out"

    @property
    def refines(self) -> bool:
        """Whether a diffusion model has the last word."""
        return self.shallow_diffusion or self.only_diffusion

    @property
    def encodes_again(self) -> bool:
        return self.second_encoding and not self.only_diffusion

    @property
    def enhances(self) -> bool:
        return self.enhance and not self.refines

    @property
    def mixes_units(self) -> bool:
        return self.cluster_infer_ratio > 0

    def over(self, infer: InferSection) -> InferSection:
        """Section infer of diffusion.yaml, with what is asked for here in its place."""
        asked: dict[str, Any] = {"method": self.sampler}
        asked |= {name: getattr(self, name) for name in ("speedup", "temperature", "articulation", "timbre_match")}
        return replace(infer, **{name: value for name, value in asked.items() if value is not None})

    def without_effect(self, *, f0_given: bool = False) -> Iterator[str]:
        """A line for each option that was set, and that nothing comes of because of the others.

        ``f0_given`` says that no song is tracked, because the melodies come from files.
        """
        default = ConversionOptions()
        if self.linear_gradient and not self.clip:
            yield "-lg has no effect without -cl: only forced cuts overlap"
        if self.linear_gradient_retain != default.linear_gradient_retain and not self.linear_gradient:
            yield "-lgr has no effect without -lg"
        yield from self._idle_tools(default)
        if f0_given:
            names = {"-f0p": "f0_predictor", "-ft": "f0_filter_threshold", "--f0_min": "f0_min", "--f0_max": "f0_max"}
            if idle := [option for option, name in names.items() if getattr(self, name) != getattr(default, name)]:
                yield f"{', '.join(idle)} have no effect: --f0_import gives the melody, and nothing is tracked"
            return
        if (self.f0_min, self.f0_max) != (default.f0_min, default.f0_max) and self.f0_predictor not in SEARCHING:
            yield f"--f0_min and --f0_max have no effect on {self.f0_predictor}, which has a range of its own"
        if self.f0_filter_threshold != default.f0_filter_threshold and self.f0_predictor not in CONFIDENT:
            yield f"-ft has no effect on {self.f0_predictor}, which knows no confidence"

    def _idle_tools(self, default: "ConversionOptions") -> Iterator[str]:
        if self.enhance and self.refines:
            yield "-eh is off: diffusion has the last word on the sound"
        if self.shallow_diffusion and self.only_diffusion:
            yield "-shd has no effect beside -od, which sings without the synthesizer"
        if self.only_diffusion:
            needs = {"k_step": "-od takes all the steps of its model", "second_encoding": "it needs -shd"}
        elif self.shallow_diffusion:
            needs = {}
        else:
            needs = dict.fromkeys(("k_step", "second_encoding"), "it needs -shd")
            needs |= dict.fromkeys(REFINER_OPTIONS, "it needs -shd or -od")
        if not self.mixes_units:
            retrieval = ("feature_retrieval", "retrieval_neighbours", "retrieval_probes")
            needs |= dict.fromkeys(retrieval, "it needs a -cr above 0")
        elif not self.feature_retrieval:
            needs |= dict.fromkeys(("retrieval_neighbours", "retrieval_probes"), "it needs -fr")
        if not self.enhance:
            needs["enhancer_adaptive_key"] = "it needs -eh"
        for name, reason in needs.items():
            if getattr(self, name) != getattr(default, name):
                yield f"--{name} has no effect: {reason}"


def plan_pieces(wav: np.ndarray, voice: Voice, options: ConversionOptions) -> list[Piece]:
    """The pieces in which (T,) is converted by a model of ``voice``."""
    return pieces.plan(
        wav,
        voice.sample_rate,
        voice.hop_length,
        slice_db=options.slice_db,
        pad_seconds=options.pad_seconds,
        clip_seconds=options.clip,
        overlap_seconds=options.linear_gradient if options.clip else 0.0,
        overlap_retain=options.linear_gradient_retain,
    )


def feature_settings(voice: Voice, options: ConversionOptions) -> FeatureSettings:
    """What the features are that a model of ``voice`` is given."""
    return FeatureSettings(
        voice.speech_encoder,
        options.f0_predictor,
        voice.sample_rate,
        voice.hop_length,
        f0_threshold=options.f0_filter_threshold,
        f0_min=options.f0_min,
        f0_max=options.f0_max,
    )

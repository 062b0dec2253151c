"""How well a conversion keeps the melody of its source.

Gross pitch error and voicing decision error are those of Nakatani et al. 2008 ("A method for fundamental frequency
estimation and voicing decision") and Chu and Alwan 2009 ("Reducing f0 frame error of f0 tracking algorithms"), whose
fine pitch error is a standard deviation where ours is a root mean square; what is off pitch by half a semitone is what
melody extraction counts as wrong (Poliner et al. 2007).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from modules import f0 as f0_predictors

if TYPE_CHECKING:
    from modules.f0.predictor import F0Predictor

OFF_PITCH_CENTS = 50.0  # half a semitone: the usual limit between a right and a wrong pitch
GROSS_SHARE = 0.2  # of the expected f0: beyond it a pitch is another one, such as the octave


@dataclass(frozen=True)
class PitchComparison:
    """Agreement of two f0 tracks of one melody; correlation and error are over frames that are voiced in both."""

    correlation: float  # Pearson's, of log f0; NaN where one of the two is a single note
    rmse_cents: float
    off_pitch: float  # share of frames more than OFF_PITCH_CENTS apart
    gross_pitch_error: float  # share of frames more than GROSS_SHARE apart
    fine_cents: float  # RMSE of the frames that are not; NaN where all are. A few octaves decide rmse_cents.
    voicing_error: float  # share of all frames where only one of the two is voiced
    voiced_frames: int

    def __str__(self) -> str:
        return (
            f"f0 correlation {self.correlation:.3f}, RMSE {self.rmse_cents:.0f} cents,"
            f" {self.off_pitch:.1%} of {self.voiced_frames} voiced frames off by more than 50 cents,"
            f" voicing differs in {self.voicing_error:.1%}"
        )


@dataclass(frozen=True)
class PitchTrack:
    """f0 (F,) in Hz, unvoiced stretches interpolated, and uv (F,), 1 = voiced."""

    f0: np.ndarray
    uv: np.ndarray


def track_pitch(wav: np.ndarray, sample_rate: int, *, hop_length: int = 512, predictor: str = "pm") -> PitchTrack:
    """wav (T,) -> its pitch by ``predictor``.

    Praat's is independent of the networks that conversion uses; on the demo's song it agrees with fcpe to 0.995, where
    WORLD's harvest, which calls breath voiced, agrees to 0.970.
    """
    return PitchTrack(*_tracker(predictor, sample_rate, hop_length).compute_f0_uv(wav))


@lru_cache(maxsize=2)
def _tracker(predictor: str, sample_rate: int, hop_length: int) -> "F0Predictor":
    return f0_predictors.build(predictor, sample_rate=sample_rate, hop_length=hop_length, device="cpu")


def compare_pitch(source: PitchTrack, result: PitchTrack, *, transpose: float = 0.0) -> PitchComparison:
    """Compare ``result`` with ``source`` moved by ``transpose`` semitones; the longer track is cut.

    Raises:
        ValueError: fewer than two frames are voiced in both, so that nothing can be said.
    """
    n_frames = min(len(source.f0), len(result.f0))
    uv_source, uv_result = source.uv[:n_frames] > 0, result.uv[:n_frames] > 0
    both = uv_source & uv_result
    if both.sum() < 2:
        raise ValueError("fewer than two frames are voiced in both the source and the result: nothing to compare")
    expected = np.log2(source.f0[:n_frames][both]) + transpose / 12
    got = np.log2(result.f0[:n_frames][both])
    cents = 1200 * (got - expected)
    gross = np.abs(2 ** (cents / 1200) - 1) > GROSS_SHARE
    moves = min(np.ptp(expected), np.ptp(got)) > 1e-6  # octaves
    return PitchComparison(
        correlation=float(np.corrcoef(expected, got)[0, 1]) if moves else float("nan"),
        rmse_cents=float(np.sqrt(np.mean(cents**2))),
        off_pitch=float(np.mean(np.abs(cents) > OFF_PITCH_CENTS)),
        gross_pitch_error=float(np.mean(gross)),
        fine_cents=float("nan") if gross.all() else float(np.sqrt(np.mean(cents[~gross] ** 2))),
        voicing_error=float(np.mean(uv_source != uv_result)),
        voiced_frames=int(both.sum()),
    )

"""The range in which somebody sings, in numbers and in notes."""

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.failures import reason

if TYPE_CHECKING:
    from modules.f0.predictor import F0Predictor

logger = logging.getLogger(__name__)

NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
A4_HZ, A4_MIDI = 440.0, 69


@dataclass(frozen=True)
class PitchRange:
    """5th percentile, median and 95th percentile of the f0 of voiced frames, in Hz."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, voiced_hz: np.ndarray) -> "PitchRange":
        """Range of f0 values (N,) in Hz of voiced frames, N at least 1."""
        return cls(*(float(p) for p in np.percentile(voiced_hz, (5, 50, 95))))

    def semitones_to(self, other: "PitchRange") -> float:
        """By how much this range must be transposed for its median to be that of ``other``."""
        return 12 * math.log2(other.median / self.median)

    def __str__(self) -> str:
        return " / ".join(f"{hz:.0f} Hz {note_name(hz)}" for hz in (self.low, self.median, self.high))


def note_name(hz: float) -> str:
    """The nearest note of the equal-tempered scale, A4 = 440 Hz: 440.0 -> "A4"."""
    midi = round(A4_MIDI + 12 * math.log2(hz / A4_HZ))
    return f"{NOTES[midi % 12]}{midi // 12 - 1}"


def pitch_range(pieces: Iterable[np.ndarray], sample_rate: int) -> PitchRange | None:
    """Range over some audio, each piece (T,) at ``sample_rate`` Hz.

    None when nothing in it is voiced, and when the tracker cannot be built, of which `tracker` warns: a range is
    something to know, never a reason to stop.
    """
    predictor = tracker(sample_rate)
    if predictor is None:
        return None
    voiced = [np.zeros(0, dtype=np.float32)]
    for piece in pieces:
        f0_hz, uv = predictor.compute_f0_uv(piece)
        voiced.append(f0_hz[uv > 0])
    hz = np.concatenate(voiced)
    return PitchRange.of(hz) if len(hz) else None


@lru_cache(maxsize=1)
def tracker(sample_rate: int) -> "F0Predictor | None":
    """The pitch tracker of the ranges, built once per process; None, after one warning, where that fails.

    It is fcpe: dio reads creaky speech octaves too low (5th percentile of a reader 57 Hz against 150 Hz) at the same
    cost. The weights are those inside torchfcpe, so that a range does not depend on what lies under pretrain/.
    """
    try:
        from modules import f0  # brings torch, which the workers of resample.py do without
        from modules.f0.fcpe import BUNDLED_WEIGHTS

        package = find_spec("torchfcpe")
        bundled = Path(str(package.origin)).parent / BUNDLED_WEIGHTS if package else None
        return f0.build("fcpe", sample_rate=sample_rate, device="cpu", weights=bundled)
    except (ValueError, OSError, ImportError) as error:
        logger.warning("no pitch ranges: %s", reason(error))
        return None

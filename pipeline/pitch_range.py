"""The range in which somebody sings, in numbers and in notes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

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
    """Range over some audio, each piece (T,) at ``sample_rate`` Hz; None when nothing in it is voiced.

    fcpe is used, with the weights of its package: dio reads creaky speech octaves too low (5th percentile of a reader
    57 Hz against 150 Hz) at the same cost.
    """
    from modules import f0  # brings torch, which the workers of resample.py do without

    predictor = f0.build("fcpe", sample_rate=sample_rate, device="cpu")
    voiced = [np.zeros(0, dtype=np.float32)]
    for piece in pieces:
        f0_hz, uv = predictor.compute_f0_uv(piece)
        voiced.append(f0_hz[uv > 0])
    hz = np.concatenate(voiced)
    return PitchRange.of(hz) if len(hz) else None

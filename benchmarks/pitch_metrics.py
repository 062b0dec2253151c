"""How right a pitch track is, measured against the f0 that a signal was made with.

The measures are those of melody extraction (Poliner et al. 2007, "Melody transcription from music audio: approaches and
evaluation"; Salamon, Gomez, Ellis and Richard 2014, "Melody extraction from polyphonic music signals", which mir_eval
implements): a frame's pitch counts whether or not the tracker calls the frame voiced, and voicing is judged apart. So
does a voice conversion: its decoder is given the interpolated f0 of frames that are called unvoiced.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np

from pipeline.pitch_comparison import OFF_PITCH_CENTS

OCTAVE = 1200.0  # cents


@dataclass(frozen=True)
class PitchScore:
    """Shares in 0..1, NaN where there is no frame to judge by."""

    accuracy: float  # raw pitch accuracy: truly voiced frames within 50 cents
    octave_errors: float  # truly voiced frames within 50 cents of the truth one or more octaves up or down
    median_cents: float  # median error, without sign, of the frames that accuracy counts: how fine the right ones are
    missed: float  # truly voiced frames called unvoiced (1 - voicing recall)
    false_alarms: float  # truly unvoiced frames called voiced
    overall: float  # overall accuracy: all frames, right when voicing is right and, if voiced, pitch is too


def score(truth: np.ndarray, f0: np.ndarray, uv: np.ndarray) -> PitchScore:
    """Judge a track by the truth.

    Args:
        truth: (F,) Hz, 0 where unvoiced.
        f0: (F,) Hz, also of frames called unvoiced; 0 is no pitch, which is wrong wherever there is one.
        uv: (F,), 1 where the track is voiced.

    Raises:
        ValueError: the three differ in length.
    """
    if not len(truth) == len(f0) == len(uv):
        raise ValueError(f"truth, f0 and uv differ in length: {len(truth)}, {len(f0)} and {len(uv)} frames")
    voiced, called = truth > 0, uv > 0
    cents = np.full(len(truth), np.inf)
    heard = voiced & (f0 > 0)
    cents[heard] = OCTAVE * np.log2(f0[heard] / truth[heard])
    right = np.abs(cents) <= OFF_PITCH_CENTS
    octaves = np.zeros(len(truth))
    octaves[heard] = np.rint(cents[heard] / OCTAVE)
    octave_off = heard & (octaves != 0) & (np.abs(np.where(heard, cents, 0.0) - OCTAVE * octaves) <= OFF_PITCH_CENTS)
    return PitchScore(
        accuracy=_share(right, voiced),
        octave_errors=_share(octave_off, voiced),
        median_cents=float(np.median(np.abs(cents[right]))) if right.any() else float("nan"),
        missed=_share(~called, voiced),
        false_alarms=_share(called, ~voiced),
        overall=_share(np.where(voiced, called & right, ~called), np.ones(len(truth), bool)),
    )


def average(scores: Sequence[PitchScore]) -> PitchScore:
    """Mean of each measure over the scores that have it."""
    columns = np.array([astuple(each) for each in scores]).reshape(-1, len(fields(PitchScore))).T
    present = [column[~np.isnan(column)] for column in columns]
    return PitchScore(*(float(column.mean()) if len(column) else float("nan") for column in present))


def _share(hits: np.ndarray, among: np.ndarray) -> float:
    return float(hits[among].mean()) if among.any() else float("nan")

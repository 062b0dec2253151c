"""Several trackers vote for pitches, the spectrum says which of them explain it: the best path through both.

An octave error of one tracker is seldom one of the others: fcpe, rmvpe when its weights are there, Praat's
autocorrelation, and SWIPE' (modules/f0/swipe.py), which gives every pitch a strength. fcpe is asked three times: as it
is, with all frequencies halved, for sopranos, and doubled, for basses (modules/f0/salience.py). Votes and strengths add
up on a grid of pitches; Viterbi's algorithm finds the path through it that gains most and pays for movement, jumps,
onsets and ends. Where exactly the pitch is, the trackers near the path say.

Paths through several candidates per frame: Boersma 1993, "Accurate short-term analysis of the fundamental frequency";
with an unvoiced state: Mauch and Dixon 2014, "pYIN". Gains and costs were chosen on `benchmarks.pitch_signals` with
the seeds 1, 2, 3, 6 and 7, without its recordings, on tones and vowels of that kind, and on four re-synthesised
recordings, one of which is among the benchmark's three of speech.

Letters: T samples, K = T // hop_length + 1 frames, P pitches of the grid, 48 per octave.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common import pretrained
from modules.f0 import F0_MAX, F0_MIN, fcpe
from modules.f0.fcpe import FcpePredictor
from modules.f0.pm import PraatPredictor
from modules.f0.predictor import Array, F0Predictor, middles, track_in_windows
from modules.f0.rmvpe import RmvpePredictor
from modules.f0.salience import (
    BELIEVED_ABOVE,
    DOUBLED,
    HALVED,
    HIGHEST_HZ,
    HOP_LENGTH,
    SAMPLE_RATE,
    SaliencePredictor,
)
from modules.f0.swipe import BINS_PER_OCTAVE, PitchStrength

logger = logging.getLogger(__name__)

OWN_RANGE = (35.0, 2000.0)  # Hz, of an end that is left at its default
LOWEST_HZ = 20.0
WINDOW_SECONDS, CONTEXT_SECONDS = 20.0, 2.0

# What a frame gains when the path goes through a pitch.
STRENGTH_GAIN = 8.0  # times the strength of the pitch, which is 0.3 to 0.9 for a voice
PRAAT_GAIN = 3.0
UNVOICED_GAIN = 4.0  # of an unvoiced frame
WHOLE_VOTE_CENTS, VOTE_CENTS = 25.0, 125.0  # a vote counts whole up to the first distance, and not at the second
# What a path pays.
SEMITONE_COST = 1.0
LARGEST_STEP = 12  # bins of the grid: what lies further away is reached by a jump
JUMP_COST = 4.0
ONSET_COST = 3.0  # also of an end
NEAR_CENTS = 50.0  # trackers this near to the path say where exactly it is


class _Pass(NamedTuple):
    """A network's reading of the audio with all frequencies times ``factor``: from lowest to highest Hz it votes."""

    factor: float
    gain: float  # at full confidence
    lowest: float
    highest: float


PLAIN = _Pass(1.0, 4.0, 60.0, 1050.0)  # networks share this gain
HIGH = _Pass(HALVED, 8.0, 100.0, HIGHEST_HZ)
LOW = _Pass(DOUBLED, 4.0, 20.0, 80.0)


class Vote(NamedTuple):
    """One tracker's pitch (K,) in Hz and what it adds to it (K,), 0 where it hears none."""

    f0: NDArray[np.floating]
    gain: NDArray[np.floating]


class AutoPredictor(F0Predictor):
    """``auto``; ``threshold`` is the confidence below which a network does not vote.

    It answers for the middle of a frame, the other predictors for its beginning, more or less, as in so-vits-svc. A
    frame is voiced when its beginning or its end is.

    Its own range is 35 to 2000 Hz; an end that is set may lie between 20 and 2100 Hz.

    Raises:
        ValueError: an end beyond that.
        FileNotFoundError: there is neither pretrain/fcpe.pt nor the package torchfcpe.
    """

    instant = 0.5

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.f0_min < LOWEST_HZ or self.f0_max > HIGHEST_HZ:
            bounds = f"{LOWEST_HZ:g} to {HIGHEST_HZ:g} Hz"
            raise ValueError(f"auto tracks {bounds}, f0_min is {self.f0_min:g} and f0_max {self.f0_max:g}")
        low = OWN_RANGE[0] if self.f0_min == F0_MIN else self.f0_min
        high = OWN_RANGE[1] if self.f0_max == F0_MAX else self.f0_max
        self.fcpe = FcpePredictor(*args, **kwargs)
        self.networks: list[SaliencePredictor] = [self.fcpe]
        if _has_rmvpe():
            self.networks.append(RmvpePredictor(*args, **kwargs))
            logger.info("auto: fcpe, rmvpe and pm vote")
        else:
            logger.info("auto: fcpe and pm vote; rmvpe joins them when %s is there", pretrained.FILES["rmvpe"].path)
        self.praat = PraatPredictor(*args, **{**kwargs, "f0_min": low, "f0_max": high})
        self.strength = PitchStrength(self.sample_rate, self.hop_length, lowest=low, highest=high, device=self.device)

    def raw_f0(self, wav: Array) -> NDArray[np.floating]:
        return track_in_windows(
            wav,
            self._track,
            hop_length=self.hop_length,
            window_frames=int(WINDOW_SECONDS * self.sample_rate / self.hop_length),
            context_frames=int(CONTEXT_SECONDS * self.sample_rate / self.hop_length),
        )

    def resize(self, track: NDArray[np.floating], n_frames: int) -> NDArray[np.floating]:
        """The frames are the caller's own but for their instant, the middle: mels lie there too, and a source that
        holds each f0 through its frame is there on average."""
        return middles(np.pad(track, (0, max(n_frames + 1 - len(track), 0)))[: n_frames + 1])

    def _track(self, wav: Array) -> NDArray[np.floating]:
        strength, pitches = self.strength(wav), self.strength.pitches
        votes = list(self.votes(wav))
        gain = STRENGTH_GAIN * strength
        for vote in votes:
            gain += ballot(vote, pitches)
        path = best_path(gain)
        return exact(path, votes, strength, pitches)

    def votes(self, wav: Array) -> Iterator[Vote]:
        """What each tracker says about wav (T,), at the caller's frames: networks, fcpe twice more, Praat."""
        seconds = np.arange(len(wav) // self.hop_length + 1) * self.hop_length / self.sample_rate
        plain = [self._heard(network, wav, PLAIN) for network in self.networks]
        high, low = (self._heard(self.fcpe, wav, other) for other in (HIGH, LOW))
        # Where both can hear, the reading with halved frequencies needs the plain one's support: notes around 1500 Hz,
        # of few harmonics, may sound an octave low to it, and the plain one then hears nothing.
        support = np.where(high.f0 > BELIEVED_ABOVE, 1.0, (1 + plain[0].gain / PLAIN.gain) / 2)
        shared = [Vote(vote.f0, vote.gain / len(plain)) for vote in plain]
        for vote in (*shared, Vote(high.f0, high.gain * support), low):
            yield at(seconds, vote, first=0.0, step=HOP_LENGTH / SAMPLE_RATE)
        f0, first = self.praat.track(wav)
        step = self.hop_length / self.sample_rate
        yield at(seconds, Vote(f0, np.full(len(f0), PRAAT_GAIN)), first=first, step=step)

    def _heard(self, network: SaliencePredictor, wav: Array, reading: _Pass) -> Vote:
        f0, confidence = network.read(wav, reading.factor)
        heard = (confidence > self.threshold) & (f0 >= reading.lowest) & (f0 <= reading.highest)
        return Vote(np.where(heard, f0, 0.0), np.where(heard, reading.gain * confidence, 0.0))


def _has_rmvpe() -> bool:
    return pretrained.FILES["rmvpe"].path.is_file()


def weight_files() -> list[Path]:
    """The files that ``auto`` reads now."""
    return [*fcpe.weight_files(), *([pretrained.FILES["rmvpe"].path] if _has_rmvpe() else [])]


def at(seconds: NDArray[np.floating], vote: Vote, *, first: float, step: float) -> Vote:
    """A vote whose frames lie ``step`` seconds apart from ``first`` on, at other times (K,).

    Pitch is interpolated, in cents, where the neighbours are less than a semitone apart; else the nearer one counts.
    """
    if not len(vote.f0):
        return Vote(np.zeros(len(seconds)), np.zeros(len(seconds)))
    last = len(vote.f0) - 1
    position = (seconds - first) / step
    nearest = np.rint(position).astype(int)
    inside = (nearest >= 0) & (nearest <= last)
    nearest = nearest.clip(0, last)
    position = position.clip(0, last)
    below = np.floor(position).astype(int)
    above = np.minimum(below + 1, last)
    log_f0 = np.log2(np.maximum(vote.f0, 1.0))
    steady = (vote.f0[below] > 0) & (vote.f0[above] > 0) & (np.abs(log_f0[above] - log_f0[below]) < 1 / 12)
    between = 2 ** (log_f0[below] + (position - below) * (log_f0[above] - log_f0[below]))
    f0 = np.where(steady, between, vote.f0[nearest])
    return Vote(f0, np.where(inside & (f0 > 0), vote.gain[nearest], 0.0))


def ballot(vote: Vote, pitches: NDArray[np.floating]) -> NDArray[np.floating]:
    """What a vote adds to every pitch of the grid: (K, P)."""
    cents = 1200 * np.abs(np.log2(np.maximum(vote.f0, 1.0))[:, None] - np.log2(pitches))  # (K, P)
    whole = ((VOTE_CENTS - cents) / (VOTE_CENTS - WHOLE_VOTE_CENTS)).clip(0, 1)
    return vote.gain[:, None] * whole


def best_path(gain: NDArray[np.floating]) -> NDArray[np.int64]:
    """The path through (K, P) that gains most: bins of the grid (K,), P where unvoiced."""
    n_frames, n_pitches = gain.shape
    pitch = np.arange(n_pitches)
    steps = np.arange(-LARGEST_STEP, LARGEST_STEP + 1)
    step_cost = SEMITONE_COST * 12 / BINS_PER_OCTAVE * np.abs(steps)
    came_from = np.full((n_frames, n_pitches + 1), n_pitches, np.int16)
    score, unvoiced = gain[0], UNVOICED_GAIN
    for k in range(1, n_frames):
        padded = np.pad(score, LARGEST_STEP, constant_values=-np.inf)
        moved = np.lib.stride_tricks.sliding_window_view(padded, len(steps)) - step_cost  # (P, steps)
        best = moved.argmax(axis=1)
        origin, value = pitch + steps[best], moved[pitch, best]
        leader = score.argmax()
        origin = np.where(score[leader] - JUMP_COST > value, leader, origin)
        value = np.maximum(value, score[leader] - JUMP_COST)
        came_from[k, :-1] = np.where(unvoiced - ONSET_COST > value, n_pitches, origin)
        ended = score[leader] - ONSET_COST
        came_from[k, -1] = leader if ended > unvoiced else n_pitches
        score = np.maximum(value, unvoiced - ONSET_COST) + gain[k]
        unvoiced = max(unvoiced, ended) + UNVOICED_GAIN
    path = np.empty(n_frames, np.int64)
    path[-1] = score.argmax() if score.max() > unvoiced else n_pitches
    for k in range(n_frames - 1, 0, -1):
        path[k - 1] = came_from[k, path[k]]
    return path


def exact(
    path: NDArray[np.int64], votes: list[Vote], strength: NDArray[np.floating], pitches: NDArray[np.floating]
) -> NDArray[np.floating]:
    """The path (K,) in Hz, 0 where unvoiced: the mean of the votes near it, where there is none the strongest pitch."""
    voiced = path < len(pitches)
    chosen = np.minimum(path, len(pitches) - 1)
    total, weight = np.zeros(len(path)), np.zeros(len(path))
    for vote in votes:
        near = 1200 * np.abs(np.log2(np.maximum(vote.f0, 1.0) / pitches[chosen])) < NEAR_CENTS
        total += np.where(near, vote.gain * np.log2(np.maximum(vote.f0, 1.0)), 0.0)
        weight += np.where(near, vote.gain, 0.0)
    strongest = _summit(strength, chosen, pitches)
    f0 = np.where(weight > 0, 2 ** (total / np.maximum(weight, 1e-9)), strongest)
    return np.where(voiced, f0, 0.0)


def _summit(
    strength: NDArray[np.floating], chosen: NDArray[np.int64], pitches: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Pitch (K,) in Hz at the top of the parabola through the strengths of a bin and its neighbours."""
    frames, middle = np.arange(len(chosen)), chosen.clip(1, len(pitches) - 2)
    left, centre, right = (strength[frames, middle + side] for side in (-1, 0, 1))
    bend = np.minimum(left - 2 * centre + right, -1e-9)
    return pitches[middle] * 2 ** (((left - right) / (2 * bend)).clip(-1, 1) / BINS_PER_OCTAVE)

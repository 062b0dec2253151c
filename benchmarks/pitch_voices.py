"""Voices whose f0 is known: formants and real recordings, made to sound by WORLD's synthesis along a given f0.

Letters: N control frames of 1 ms or 5 ms, K frequencies, T samples at 44.1 kHz.

WORLD interpolates f0 linearly towards 0 at the edge of a voiced stretch, so that its last period is too long. Here f0
goes on through unvoiced stretches, and they are made unvoiced by an aperiodicity of 1.

Papers: Morise, Yokomori and Ozawa 2016, "WORLD"; formants: Peterson and Barney 1952, "Control methods used in a study
of the vowels"; how fast pitch can change: Xu and Sun 2002, "Maximum speed of pitch change and how it may relate to
speech"; sopranos who tune the first formant to f0: Sundberg 1975, "Formant technique in a professional female
singer".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyworld

SAMPLE_RATE = 44100
FFT_SIZE = 2048
CONTROL_SECONDS = 0.001  # short against the periods of the low creaky voices
FREQUENCIES = np.linspace(0, SAMPLE_RATE / 2, FFT_SIZE // 2 + 1)  # (K,) Hz
BANDWIDTHS = (80.0, 110.0, 160.0, 250.0, 300.0)  # Hz
FORMANTS = {  # Hz
    "a": (730.0, 1090.0, 2440.0, 3400.0, 4500.0),
    "e": (530.0, 1840.0, 2480.0, 3500.0, 4500.0),
    "i": (270.0, 2290.0, 3010.0, 3600.0, 4500.0),
    "o": (570.0, 840.0, 2410.0, 3300.0, 4500.0),
    "u": (300.0, 870.0, 2240.0, 3300.0, 4500.0),
}
FRICATIVES = {"s": (7000.0, 3500.0), "sh": (3500.0, 2500.0), "h": (1500.0, 2500.0)}  # centre and width, Hz
BETWEEN_NOTES_SECONDS = 0.03  # timbre and level move this long from note to note
PORTAMENTO_SECONDS = 0.08
SHORTEST_SECONDS = 0.06  # of a voiced stretch in a recording
VOICED_DB = -35.0  # frames of a recording more than this below its loud ones are made unvoiced
ANALYSIS_MS, SMOOTHING_SECONDS = 5.0, 0.025
UNVOICED_SHARE = 0.99  # D4C gives unvoiced frames an aperiodicity of 1 at all frequencies
FASTEST_CENTS = 10000.0  # per second; people change pitch by up to about 100 semitones per second


class NothingVoicedError(ValueError):
    """A recording without a voice."""


@dataclass(frozen=True)
class Note:
    """A vowel at ``hz``, a fricative (hz 0), or a rest (sound "")."""

    hz: float
    seconds: float
    sound: str = "a"


@dataclass(frozen=True)
class Manner:
    """How a voice sings. f0 is what notes, vibrato and drift say: the number of pulses per second.

    ``jitter`` moves every pulse at random about its place, ``shimmer`` changes its level. A subharmonic makes every
    second period longer and the others shorter by ``subharmonic``, and every second pulse weaker by ``alternation``:
    strictly, only the pair of pulses repeats. Nothing of this changes the mean rate. Listeners hear the pair as the
    pitch when level or period are modulated by more than 10 to 30 % (Bergan and Titze 2001, "Perception of pitch and
    roughness in vocal signals with subharmonics"); an ``alternation`` of 0.15 modulates the level by 8 %.
    """

    vibrato_hz: float = 5.5
    vibrato_cents: float = 40.0  # to either side
    drift_cents: float = 8.0
    aperiodicity: tuple[float, float] = (0.05, 0.5)  # amplitude share of noise at 0 Hz and from 8 kHz on
    tilt_db: float = -6.0  # per octave above 300 Hz
    jitter: float = 0.0  # standard deviation, share of a period
    shimmer: float = 0.0  # standard deviation, share of the level
    subharmonic: float = 0.0  # share of a period
    alternation: float = 0.0  # share of the level


@dataclass(frozen=True)
class Track:
    """f0 (N,) in Hz that goes on through unvoiced frames, and voiced (N,) bool; frames ``period`` seconds apart."""

    f0: np.ndarray
    voiced: np.ndarray
    period: float

    def at(self, seconds: np.ndarray) -> np.ndarray:
        """f0 at the given times, 0 where unvoiced."""
        position = seconds / self.period
        log_f0 = np.interp(position, np.arange(len(self.f0)), np.log(self.f0))
        nearest = np.clip(np.rint(position).astype(int), 0, len(self.f0) - 1)
        return np.where(self.voiced[nearest], np.exp(log_f0), 0.0)


def sing(notes: Sequence[Note], manner: Manner, rng: np.random.Generator) -> tuple[np.ndarray, Track]:
    """Notes -> wav (T,) float32, peak 0.5, and its f0."""
    counts = [round(note.seconds / CONTROL_SECONDS) for note in notes]
    track = _melody(notes, counts, manner, rng)
    weights = np.repeat(np.eye(len(notes)), counts, axis=0)  # (N, notes)
    weights = smoothed(weights, BETWEEN_NOTES_SECONDS / CONTROL_SECONDS)
    amplitude = weights @ np.stack([_amplitude(note, manner) for note in notes])  # (N, K)
    noise = weights @ np.stack([_noise_share(note, manner) for note in notes])
    f0, level = _irregular(track, manner, rng)
    spectrum = (amplitude * level[:, None]) ** 2 + 1e-12
    wav = pyworld.synthesize(f0, spectrum, noise.clip(1e-3, 1.0), SAMPLE_RATE, 1000 * CONTROL_SECONDS)
    return _to_peak(wav), track


def resing(wav: np.ndarray, ratio: float = 1.0) -> tuple[np.ndarray, Track]:
    """Recording (T,) -> the same with f0 as harvest heard it, smoothed, times ``ratio``; the envelope stays.

    Harvest calls too much voiced, and there it glides to and fro. A frame stays voiced where WORLD's D4C finds it
    periodic too, it is not too quiet, and its pitch moves no faster than a person's can; all others are made unvoiced.

    Raises:
        NothingVoicedError: no frame is left.
    """
    samples = wav.astype(np.float64)
    f0, seconds = pyworld.harvest(samples, SAMPLE_RATE, frame_period=ANALYSIS_MS)
    f0 = pyworld.stonemask(samples, f0, seconds, SAMPLE_RATE)
    noise = pyworld.d4c(samples, f0, seconds, SAMPLE_RATE, fft_size=FFT_SIZE)
    voiced = (noise.min(axis=1) < UNVOICED_SHARE) & _audible(samples, len(f0)) & _singable(f0)
    for stretch in _stretches(voiced):
        if (stretch.stop - stretch.start) * ANALYSIS_MS < 1000 * SHORTEST_SECONDS:
            voiced[stretch] = False
        else:
            f0[stretch] = np.exp(smoothed(np.log(f0[stretch]), 1000 * SMOOTHING_SECONDS / ANALYSIS_MS))
    if not voiced.any():
        raise NothingVoicedError("nothing in it is voiced")
    spectrum = pyworld.cheaptrick(samples, f0 * voiced, seconds, SAMPLE_RATE, fft_size=FFT_SIZE)
    noise[~voiced] = 1.0
    where = np.flatnonzero(voiced)
    f0 = np.interp(np.arange(len(f0)), where, f0[where]) * ratio
    wav = pyworld.synthesize(f0, spectrum, noise, SAMPLE_RATE, ANALYSIS_MS)[: len(wav)]
    return _to_peak(wav), Track(f0, voiced, ANALYSIS_MS / 1000)


def smoothed(values: np.ndarray, width: float) -> np.ndarray:
    """(N,) or (N, M) averaged along the first axis over about ``width`` frames (Hann), the edges held."""
    half = max(int(round(width)), 1)
    kernel = np.hanning(2 * half + 1)[1:-1]
    kernel /= kernel.sum()
    padded = np.pad(values, [(half - 1, half - 1)] + [(0, 0)] * (values.ndim - 1), mode="edge")
    if values.ndim == 1:
        return np.convolve(padded, kernel, mode="valid")
    return np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], axis=1)


def _melody(notes: Sequence[Note], counts: Sequence[int], manner: Manner, rng: np.random.Generator) -> Track:
    hz = np.repeat([note.hz for note in notes], counts)
    voiced = hz > 0
    log_f0 = np.full(len(hz), np.log(hz[voiced.argmax()]))
    for stretch in _stretches(voiced):
        log_f0[stretch.start :] = np.log(hz[stretch.stop - 1])
        log_f0[stretch] = smoothed(np.log(hz[stretch]), PORTAMENTO_SECONDS / CONTROL_SECONDS)
    seconds = np.arange(len(hz)) * CONTROL_SECONDS
    cents = manner.vibrato_cents * np.sin(2 * np.pi * (manner.vibrato_hz * seconds + rng.random()))
    steps = rng.standard_normal(len(hz) // 100 + 2)  # one random value per 100 ms
    cents += manner.drift_cents * np.interp(np.arange(len(hz)) / 100, np.arange(len(steps)), steps)
    return Track(np.exp(log_f0) * 2 ** (cents / 1200), voiced, CONTROL_SECONDS)


def _irregular(track: Track, manner: Manner, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """f0 (N,) whose pulses are moved as ``manner`` says, and the level (N,) of those pulses."""
    cycles = np.cumsum(track.f0) * track.period
    n_cycles = int(cycles[-1]) + 3
    pulse = np.arange(n_cycles)
    alternating = np.where(pulse % 2, 0.5, -0.5)
    moved = manner.jitter * rng.standard_normal(n_cycles) + manner.subharmonic * alternating
    moved_cycles = cycles + np.interp(cycles, pulse, moved)
    f0 = np.maximum(np.gradient(moved_cycles, track.period), 20.0)
    level = 1 + manner.shimmer * rng.standard_normal(n_cycles) - manner.alternation * (pulse % 2)
    return f0, np.maximum(level, 0.1)[np.rint(cycles).astype(int)]


def _amplitude(note: Note, manner: Manner) -> np.ndarray:
    """(K,) relative amplitude of a note's harmonics or noise."""
    if note.sound in FRICATIVES:
        centre, width = FRICATIVES[note.sound]
        return 0.15 * np.exp(-(((FREQUENCIES - centre) / width) ** 2))
    if not note.sound:
        return np.full(len(FREQUENCIES), 1e-5)
    first, *others = FORMANTS[note.sound]
    formants = np.array([max(first, note.hz), *others])
    away = (FREQUENCIES[:, None] - formants) / (np.array(BANDWIDTHS) / 2)
    octaves = np.log2(np.maximum(FREQUENCIES, 300.0) / 300.0)
    return (0.05 + (1 / np.sqrt(1 + away**2)).sum(axis=1)) * 10 ** (manner.tilt_db * octaves / 20)


def _noise_share(note: Note, manner: Manner) -> np.ndarray:
    if not note.hz:
        return np.ones(len(FREQUENCIES))
    low, high = manner.aperiodicity
    return low + (high - low) * np.minimum(FREQUENCIES / 8000.0, 1.0)


def _audible(samples: np.ndarray, n_frames: int) -> np.ndarray:
    """(n_frames,) bool: within VOICED_DB of the recording's loud frames, over 20 ms."""
    power = smoothed(np.square(samples), 0.01 * SAMPLE_RATE)
    centres = np.minimum(np.arange(n_frames) * ANALYSIS_MS / 1000 * SAMPLE_RATE, len(samples) - 1).astype(int)
    level = 10 * np.log10(power[centres] + 1e-12)
    return level > np.quantile(level, 0.95) + VOICED_DB


def _singable(f0: np.ndarray) -> np.ndarray:
    """(N,) bool: f0 moves by at most FASTEST_CENTS per second on both sides; next to an unvoiced frame it does not."""
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.abs(np.diff(1200 * np.log2(f0), prepend=np.nan, append=np.nan))  # (N + 1,)
    slow = steps <= FASTEST_CENTS * ANALYSIS_MS / 1000
    return slow[:-1] & slow[1:]


def _stretches(voiced: np.ndarray) -> list[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], voiced.astype(int), [0]])))
    return [slice(start, stop) for start, stop in edges.reshape(-1, 2)]


def _to_peak(wav: np.ndarray) -> np.ndarray:
    return (0.5 * wav / np.abs(wav).max()).astype(np.float32)

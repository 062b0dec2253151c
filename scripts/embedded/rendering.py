"""Copies of an utterance that say the same at the same time in other voices: WORLD (Morise et al. 2016) with everything
but the phones drawn anew: melody, tract length, sharpness of the formants, breath.

Letters: V copies, N frames of 5 ms, T samples at 16 kHz, K bins.
"""

from dataclasses import dataclass

import numpy as np
import pyworld

from scripts.embedded import phones
from scripts.embedded.engines import Speech
from vencoder.encoder import SAMPLE_RATE

PERIOD_MS = 5.0
FRAME = 80  # samples
F0_RANGE = (60.0, 1000.0)  # Hz
F0_CENTRE, F0_SPREAD = 200.0, 0.55  # median of the copies' mean pitch, standard deviation of its logarithm
WARP = 1.38  # formants move by up to this ratio, up or down, log-uniformly
MAX_PAUSE = 0.25  # seconds
MAX_SUNG = 1.2  # seconds that a vowel is held
VOWELS = np.arange(phones.INDEX["i"], phones.INDEX["ɜ"] + 1)
UNWARPED, SUNG = 0.3, 0.4  # shares of the utterances: timing as spoken; vowels held


@dataclass(frozen=True)
class Copies:
    """wav (V, T) in [-1, 1], T = 80 N; f0 (V, N) in Hz, 0 where unvoiced; classes ``phone`` (N,)."""

    wav: np.ndarray
    f0: np.ndarray
    phone: np.ndarray


def render(speech: Speech, n_copies: int, rng: np.random.Generator) -> Copies:
    """``n_copies`` of ``speech`` with a timing of their own that they share."""
    wav = speech.wav.astype(np.float64)
    wav += 1e-5 * rng.standard_normal(len(wav))  # digital silence has no spectrum
    f0, times = pyworld.dio(wav, SAMPLE_RATE, f0_floor=55.0, f0_ceil=600.0, frame_period=PERIOD_MS)
    f0 = pyworld.stonemask(wav, f0, times, SAMPLE_RATE)
    envelope = np.log(pyworld.cheaptrick(wav, f0, times, SAMPLE_RATE))  # (N, K)
    breath = pyworld.d4c(wav, f0, times, SAMPLE_RATE)
    phone = speech.phone[np.minimum(np.searchsorted(speech.end, times), len(speech.phone) - 1)]
    style = rng.uniform()
    sung = UNWARPED <= style < UNWARPED + SUNG
    source = np.arange(len(times)) if style < UNWARPED else _timing(phone, rng, sung=sung)
    n_frames = len(source)
    voiced = (f0 > 0)[source]
    wavs, contours = [], []
    for i in range(n_copies):
        if i == 0 and style < UNWARPED:
            wavs.append(_fit(wav, n_frames))
            contours.append(f0)
            continue
        contour = melody(f0[source], voiced, rng, sung=sung)
        sp, ap = _voice(envelope[source], breath[source], rng, whisper=not contour.any())
        wavs.append(_fit(pyworld.synthesize(contour, sp, ap, SAMPLE_RATE, PERIOD_MS), n_frames))
        contours.append(contour)
    return Copies(np.stack(wavs), np.stack(contours), phone[source])


def _fit(wav: np.ndarray, n_frames: int) -> np.ndarray:
    """wav cut or padded to ``n_frames``, at a level of about -23 dB."""
    wav = np.pad(wav, (0, max(0, n_frames * FRAME - len(wav))))[: n_frames * FRAME]
    return np.clip(wav * 0.07 / max(float(np.sqrt(np.mean(np.square(wav)))), 1e-4), -0.99, 0.99)


def _timing(phone: np.ndarray, rng: np.random.Generator, *, sung: bool) -> np.ndarray:
    """Frames (N',) of the original to play, from a rate for the whole and one for each vowel; pauses are shortened."""
    seconds = PERIOD_MS / 1000.0
    factor = np.full(len(phone), np.exp(rng.uniform(-0.3, 0.3)))
    bounds = np.flatnonzero(np.diff(phone, prepend=-9, append=-9))
    for start, end in zip(bounds[:-1], bounds[1:], strict=True):
        length = (end - start) * seconds
        if phone[start] == phones.INDEX[phones.SILENCE]:
            factor[start:end] = min(1.0, MAX_PAUSE / length)
        elif sung and phone[start] in VOWELS:
            factor[start:end] *= min(np.exp(rng.normal(0.6, 0.6)), MAX_SUNG / length)
    reached = np.cumsum(factor)
    return np.interp(np.arange(int(reached[-1])), reached, np.arange(len(phone))).round().astype(int)


def melody(f0: np.ndarray, voiced: np.ndarray, rng: np.random.Generator, *, sung: bool) -> np.ndarray:
    """A new contour (N,) in Hz: the spoken one moved, notes with portamento and vibrato, one tone, or rarely none."""
    centre = float(np.exp(rng.normal(np.log(F0_CENTRE), F0_SPREAD)))
    kind = rng.uniform()
    if kind < 0.03 or not voiced.any():
        return np.zeros(len(f0))
    if kind < (0.2 if sung else 0.5):
        filled = np.interp(np.arange(len(f0)), np.flatnonzero(f0 > 0), f0[f0 > 0])
        contour = np.log(filled / np.median(filled)) * rng.uniform(0.3, 1.8)
    elif kind < (0.25 if sung else 0.6):
        contour = np.zeros(len(f0))
    else:
        contour = notes(len(f0), rng)
    hertz = np.clip(centre * np.exp(contour), *F0_RANGE)
    return np.where(voiced, hertz, 0.0)


def notes(n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Logarithm of a melody (N,): random steps of semitones, smoothed, with vibrato and drift."""
    semitones = np.zeros(n_frames)
    position, note = 0, 0.0
    while position < n_frames:
        length = int(rng.uniform(0.1, 0.9) * 1000.0 / PERIOD_MS)
        semitones[position : position + length] = note
        position, note = position + length, np.clip(note + rng.integers(-7, 8), -9, 9)
    width = int(rng.integers(4, 16))
    semitones = np.convolve(np.pad(semitones, width, mode="edge"), np.ones(width) / width, "same")[width:-width]
    times = np.arange(n_frames) * PERIOD_MS / 1000.0
    knots = np.arange(0.0, times[-1] + 0.4, 0.2)
    drift = np.interp(times, knots, rng.normal(0.0, 0.2, len(knots)))
    vibrato = rng.uniform(0.0, 1.0) * (rng.uniform() < 0.6) * np.sin(2.0 * np.pi * rng.uniform(4.5, 7.0) * times)
    return (semitones + vibrato + drift) * np.log(2.0) / 12.0


def _voice(envelope: np.ndarray, breath: np.ndarray, rng: np.random.Generator, *, whisper: bool):
    """Power envelope and aperiodicity (N, K) of another speaker."""
    n_bins = envelope.shape[1]
    axis = np.linspace(0.0, 1.0, n_bins)
    ratio = np.exp(rng.uniform(-1.0, 1.0) * np.log(WARP))
    bend = 1.0 + rng.uniform(0.0, 0.07) * np.sin(2.0 * np.pi * (rng.uniform(0.5, 2.0) * axis + rng.uniform()))
    source = np.clip(axis / ratio * bend, 0.0, 1.0) * (n_bins - 1)
    left = np.minimum(source.astype(int), n_bins - 2)
    weight = source - left
    warped = envelope[:, left] * (1.0 - weight) + envelope[:, left + 1] * weight
    warped *= rng.uniform(0.8, 1.15)  # of a logarithm: flatter or sharper formants
    if whisper:
        return np.ascontiguousarray(np.exp(warped)), np.full(breath.shape, 1.0 - 1e-6)
    breath = breath[:, left] ** rng.uniform(0.5, 1.6)
    if rng.uniform() < 0.3:
        breath = np.maximum(breath, rng.uniform(0.0, 0.6) * np.minimum(1.0, axis / rng.uniform(0.2, 1.0)))
    return np.ascontiguousarray(np.exp(warped)), np.ascontiguousarray(np.clip(breath, 1e-4, 1.0 - 1e-6))

"""Copies of a voice with another timbre and the same words, melody and timing.

Information perturbation (Choi et al. 2021, "Neural Analysis and Synthesis", arXiv:2110.14513, section 2.1): formants
are moved by a random ratio and a random equaliser is laid over them, so that content features taken from the copy
cannot tell the decoder whose timbre to make. Here both are zero-phase gains on one short-time spectrum: nothing moves
in time and f0 is untouched, so f0, voicing and volume frames of the original hold for the copy too. The pitch
randomisation of the paper is left out for that reason.
"""

from collections.abc import Callable

import numpy as np
from scipy import signal

FORMANT_RATIO = 1.25  # formants move by up to this ratio, up or down, log-uniformly
PEAKS = 8
PEAK_DB = 9.0
SHELF_DB = 9.0
PEAK_HERTZ = (60.0, 7500.0)  # what a 16 kHz encoder can hear
Q_RANGE = (0.7, 4.0)
WIDTH_HERTZ = (70.0, 800.0)  # f0 looked for, which is the width of the envelope's average
UNVOICED_HERTZ = 200.0
MAX_GAIN_DB = 24.0
WINDOW_SECONDS = 0.046
BLOCK_FRAMES = 256
SILENCE = 1e-5  # full scale 1; below this there is nothing to change


def perturb_timbre(wav: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """A copy of wav (T,) with random formants and equaliser, (T,) float32, same length, timing, f0 and RMS.

    The draw depends on `rng` only, never on the audio. Silence and clips shorter than one window come back unchanged.

    Raises:
        ValueError: wav is not one-dimensional or holds non-finite samples.
    """
    ratio = float(np.exp(rng.uniform(-1.0, 1.0) * np.log(FORMANT_RATIO)))
    bands = draw_equaliser(rng)
    return apply_timbre(wav, sample_rate, ratio, bands)


def draw_equaliser(rng: np.random.Generator) -> np.ndarray:
    """Random bands (PEAKS + 2, 3) of (Hz, gain dB, Q): a low shelf, log-spaced peaks, a high shelf (Q unused)."""
    low, high = PEAK_HERTZ
    hertz = np.geomspace(low, high, PEAKS + 2)
    q = Q_RANGE[0] * (Q_RANGE[1] / Q_RANGE[0]) ** rng.uniform(size=PEAKS + 2)
    gain = rng.uniform(-PEAK_DB, PEAK_DB, size=PEAKS + 2)
    gain[[0, -1]] = rng.uniform(-SHELF_DB, SHELF_DB, size=2)
    return np.stack([hertz, gain, q], axis=1)


def apply_timbre(wav: np.ndarray, sample_rate: int, ratio: float, bands: np.ndarray) -> np.ndarray:
    """Move the formants of wav (T,) by `ratio` (above 1: a shorter vocal tract) and apply `bands`; (T,) float32.

    Raises:
        ValueError: wav is not one-dimensional or holds non-finite samples.
    """
    wav = np.asarray(wav, dtype=np.float32)
    if wav.ndim != 1 or not np.all(np.isfinite(wav)):
        raise ValueError(f"expected finite mono audio (T,), got shape {wav.shape}")
    n_fft = 2 ** round(np.log2(WINDOW_SECONDS * sample_rate))
    rms = float(np.sqrt(np.mean(np.square(wav, dtype=np.float64)))) if wav.size else 0.0
    if wav.size < n_fft or rms < SILENCE:
        return wav.copy()
    out = _reshape(wav, n_fft, lambda block, peak: _gain(block, sample_rate, ratio, bands, peak=peak))
    scale = rms / max(float(np.sqrt(np.mean(np.square(out, dtype=np.float64)))), SILENCE)
    scale = min(scale, 1.0 / max(float(np.max(np.abs(out))), SILENCE)) if np.max(np.abs(wav)) <= 1.0 else scale
    return (out * scale).astype(np.float32)


def _reshape(wav: np.ndarray, n_fft: int, gain: Callable[[np.ndarray, float], np.ndarray]) -> np.ndarray:
    """wav (T,) with ``gain(magnitude (bins, frames), peak magnitude of the clip)`` applied to its short-time spectrum.

    A block of frames at a time: a ten-minute clip needs no more memory than a few copies of itself.
    """
    hop = n_fft // 4
    window = signal.get_window("hann", n_fft)
    n_frames = 1 + -(-wav.size // hop)
    padded = np.pad(wav, (n_fft // 2, n_frames * hop + n_fft - wav.size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop][:n_frames]  # a view
    starts = range(0, n_frames, BLOCK_FRAMES)
    spectra = (np.fft.rfft(frames[start : start + BLOCK_FRAMES] * window).T for start in starts)
    peak = max(float(np.abs(spec).max()) for spec in spectra)
    total, weight = np.zeros(padded.size), np.zeros(padded.size)
    for start in starts:
        spec = np.fft.rfft(frames[start : start + BLOCK_FRAMES] * window).T  # (bins, frames)
        pieces = np.fft.irfft(spec * gain(np.abs(spec), peak), n_fft, axis=0).T  # (frames, n_fft)
        for position, piece in enumerate(pieces, start):
            here = slice(position * hop, position * hop + n_fft)
            total[here] += piece * window
            weight[here] += window**2
    inside = slice(n_fft // 2, n_fft // 2 + wav.size)
    return total[inside] / weight[inside]


def _gain(magnitude: np.ndarray, sample_rate: int, ratio: float, bands: np.ndarray, *, peak: float) -> np.ndarray:
    hertz = np.linspace(0.0, sample_rate / 2, magnitude.shape[0])
    gain_db = formant_gain(magnitude, sample_rate, ratio, peak=peak) + equaliser_gain(hertz, bands)[:, None]
    return 10.0 ** (gain_db / 20.0)


def formant_gain(magnitude: np.ndarray, sample_rate: int, ratio: float, *, peak: float) -> np.ndarray:
    """Gain in dB (bins, frames) that turns each frame's envelope E(f) into E(f / ratio).

    ``peak`` is the largest magnitude of the whole clip.
    """
    n_bins = magnitude.shape[0]
    envelope = spectral_envelope(magnitude, sample_rate, peak=peak)
    source = np.clip(np.arange(n_bins) / ratio, 0, n_bins - 1)
    left = np.minimum(source.astype(int), n_bins - 2)
    weight = (source - left)[:, None]
    warped = envelope[left] * (1.0 - weight) + envelope[left + 1] * weight
    return np.clip(warped - envelope, -MAX_GAIN_DB, MAX_GAIN_DB)


def spectral_envelope(magnitude: np.ndarray, sample_rate: int, *, peak: float) -> np.ndarray:
    """Envelope in dB (bins, frames): the power spectrum averaged over one f0 around each bin.

    An average exactly one harmonic spacing wide holds no harmonics (as in CheapTrick, Morise 2015), where a fixed
    lifter either keeps those of a high voice or loses the formants of a low one. f0 is the highest peak of the
    autocorrelation; an error only makes the envelope rougher or smoother.
    """
    power = np.square(magnitude, dtype=np.float64)
    n_bins, n_frames = power.shape
    autocorrelation = np.fft.irfft(power, axis=0)  # (2 (bins - 1), frames)
    shortest, longest = (round(sample_rate / hertz) for hertz in (WIDTH_HERTZ[1], WIDTH_HERTZ[0]))
    lags = autocorrelation[shortest : longest + 1] / np.maximum(autocorrelation[:1], 1e-20)
    period = shortest + np.argmax(lags, axis=0)
    width = np.where(lags.max(axis=0) > 0.3, sample_rate / period, UNVOICED_HERTZ)  # (frames,) Hz
    half = width * (n_bins - 1) / sample_rate  # in bins
    mirrored = np.concatenate([power[:0:-1], power, power[-2::-1]])  # (3 bins - 2, frames)
    total = np.concatenate([np.zeros((1, n_frames)), np.cumsum(mirrored, axis=0)])
    centre = np.arange(n_bins)[:, None] + n_bins - 0.5
    mean = (_interpolate(total, centre + half) - _interpolate(total, centre - half)) / (2.0 * half)
    floor = max(peak**2, 1e-20) * 1e-8  # 80 dB: never lift the noise floor into the voice
    return 10.0 * np.log10(np.maximum(mean, 0.0) + floor)


def _interpolate(columns: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Values of columns (n, frames) at fractional rows `position` (m, frames)."""
    row = position.astype(int)
    low, high = (np.take_along_axis(columns, index, axis=0) for index in (row, row + 1))
    return low + (high - low) * (position - row)


def equaliser_gain(hertz: np.ndarray, bands: np.ndarray) -> np.ndarray:
    """Gain in dB (bins,) at `hertz` of `bands` (n, 3): first a low shelf, last a high shelf, peaks between.

    Analogue prototypes: a peak is (s² + s A/Q + 1) / (s² + s/(A Q) + 1), a shelf moves from 0 dB to its gain over about
    two octaves around its frequency.
    """
    total = np.zeros_like(hertz)
    octaves = np.log2(np.maximum(hertz, 1.0)[:, None] / bands[None, :, 0])
    total += bands[0, 1] / (1.0 + 4.0 ** octaves[:, 0])
    total += bands[-1, 1] / (1.0 + 4.0 ** -octaves[:, -1])
    for centre, gain, q in bands[1:-1]:
        ratio = hertz / centre
        amplitude = 10.0 ** (gain / 40.0)
        resonance = (1.0 - ratio**2) ** 2
        total += 10.0 * np.log10(
            (resonance + (ratio * amplitude / q) ** 2 + 1e-12) / (resonance + (ratio / (amplitude * q)) ** 2 + 1e-12)
        )
    return total

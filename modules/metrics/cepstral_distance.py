"""Mel-cepstral distortion between two recordings of the same performance.

Kubichek 1993, "Mel-cepstral distance measure for objective speech quality assessment"; the cepstra are those of SPTK's
mel-cepstral analysis (Tokuda et al. 1994) of WORLD's spectral envelope (Morise 2015, CheapTrick), 34 coefficients at
24 kHz, every 5 ms, warped by 0.466, as speech synthesis reports it. The 0th, loudness, does not count.

Letters: N, M frames of the two recordings, D coefficients, K frequency bins.
"""

from functools import lru_cache

import numpy as np

from common import audio
from modules import f0 as f0_predictors

SAMPLE_RATE, HOP_LENGTH, N_FFT = 24000, 120, 1024  # of the analysis; 5 ms
ORDER, WARP = 34, 0.466  # coefficients after the 0th; all-pass constant that imitates the mel scale at 24 kHz
DECIBELS = 10 / np.log(10) * np.sqrt(2)  # distance of cepstra -> root mean square dB between the envelopes
SILENT_DB = 50.0  # frames of the first recording that lie further below its loudest do not count
BAND_SECONDS = 5.0  # by which one recording may run ahead of the other


def mel_cepstra(wav: np.ndarray, sample_rate: int) -> np.ndarray:
    """wav (T,) -> (N, 1 + ORDER).

    Raises:
        ValueError: shorter than a tenth of a second, or silent.
    """
    import pyworld

    wav = audio.resample(wav, sample_rate, SAMPLE_RATE)
    if len(wav) < SAMPLE_RATE // 10 or audio.is_silent(wav):
        raise ValueError("silent, or too short for a spectral envelope")
    wav = wav / audio.peak(wav)  # so that a factor changes nothing
    tracker = f0_predictors.build("dio", SAMPLE_RATE, HOP_LENGTH, device="cpu")
    f0, uv = tracker.compute_f0_uv(wav)
    moments = np.arange(len(f0)) * (HOP_LENGTH / SAMPLE_RATE)
    voiced_hz = np.where(uv > 0, f0, 0.0).astype(np.float64)
    power = pyworld.cheaptrick(wav.astype(np.float64), voiced_hz, moments, SAMPLE_RATE, fft_size=N_FFT)  # (N, K)
    cepstra = np.fft.irfft(np.log(np.maximum(power, 1e-16)))[:, : power.shape[1]]
    cepstra[:, 0] /= 2
    return cepstra @ frequency_warp(power.shape[1], ORDER, WARP).T


@lru_cache(maxsize=4)
def frequency_warp(n_cepstra: int, order: int, alpha: float) -> np.ndarray:
    """(1 + order, n_cepstra): cepstra -> mel-cepstra, Oppenheim and Johnson 1972, "Discrete representation of signals".

    A first-order all-pass with constant ``alpha`` replaces the unit delay; 0 changes nothing.
    """
    warped = np.zeros((order + 1, n_cepstra))
    for unit in np.eye(n_cepstra)[::-1]:  # Horner's scheme, from the last cepstral coefficient to the first
        before = warped.copy()
        warped[0] = unit + alpha * before[0]
        if order:
            warped[1] = (1 - alpha**2) * before[0] + alpha * before[1]
        for k in range(2, order + 1):
            warped[k] = before[k - 1] + alpha * (before[k] - warped[k - 1])
    return warped


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mel-cepstral distortion of frame pairs, (N, D + 1) twice -> (N,) dB; the 0th coefficient does not count."""
    return DECIBELS * np.sqrt(np.square(a[:, 1:] - b[:, 1:]).sum(axis=1))


def mel_cepstral_distortion(reference: np.ndarray, result: np.ndarray, sample_rate: int, *, warp: bool = True) -> float:
    """Mean distortion in dB of ``result`` (T,) against ``reference`` (T',); 0 where they are the same.

    Args:
        warp: move frames onto one another by `align` first; else frame i is compared with frame i, over the common
            part.

    Raises:
        ValueError: one of the two is silent or shorter than a tenth of a second.
    """
    a, b = (mel_cepstra(wav, sample_rate) for wav in (reference, result))
    if warp:
        rows, columns = align(a[:, 1:], b[:, 1:], round(BAND_SECONDS * SAMPLE_RATE / HOP_LENGTH))
    else:
        rows = columns = np.arange(min(len(a), len(b)))
    level_db = 20 / np.log(10) * a[rows, 0]
    sounding = level_db > level_db.max() - SILENT_DB
    return float(distances(a[rows], b[columns])[sounding].mean())


def align(a: np.ndarray, b: np.ndarray, band: int) -> tuple[np.ndarray, np.ndarray]:
    """The cheapest way through both, from the first pair of frames to the last, as indices into (N, D) and (M, D).

    Dynamic time warping (Sakoe and Chiba 1978, "Dynamic programming algorithm optimization for spoken word
    recognition") of the Euclidean distance, with steps (1, 1), (1, 0), (0, 1) of equal weight and at most ``band``
    frames off the diagonal. Cells of one antidiagonal depend on the two before only, so each is a few array operations.
    """
    n, m = len(a), len(b)
    slope, band = m / n, max(band, int(np.ceil(m / n)) + 1)
    before, before_that = (np.full(n + 1, np.inf) for _ in range(2))  # costs of the antidiagonals, at i + 1
    steps: list[tuple[int, np.ndarray]] = []
    for total in range(n + m - 1):
        first = max(0, total - m + 1, int(np.ceil((total - band) / (1 + slope))))
        last = min(n - 1, total, int((total + band) // (1 + slope)))
        here = slice(first, last + 1)
        local = np.sqrt(np.square(a[here] - b[total - np.arange(first, last + 1)]).sum(axis=1))
        choices = np.stack([before_that[here], before[here], before[first + 1 : last + 2]])  # (1, 1), (1, 0), (0, 1)
        step = choices.argmin(axis=0)
        costs = np.full(n + 1, np.inf)
        costs[first + 1 : last + 2] = local + (0.0 if total == 0 else choices.min(axis=0))
        steps.append((first, step.astype(np.uint8)))
        before_that, before = before, costs
    i, j = n - 1, m - 1
    path = [(i, j)]
    while i or j:
        first, step = steps[i + j]
        chosen = step[i - first]
        i, j = i - (chosen != 2), j - (chosen != 1)
        path.append((i, j))
    rows, columns = np.array(path[::-1]).T
    return rows, columns

"""An f0 estimate that shares nothing with the pitch trackers: the normalised autocorrelation of a few periods."""

import numpy as np

SAMPLE_RATE, HOP_LENGTH = 44100, 512


def autocorrelation(wav: np.ndarray, centre: int, lag: int, window: int) -> float:
    """Correlation (-1 to 1) of ``window`` samples with those ``lag`` later, the two placed about ``centre``."""
    start = centre - (window + lag) // 2
    first, second = wav[start : start + window].astype(float), wav[start + lag : start + lag + window].astype(float)
    return float(first @ second / np.sqrt((first @ first) * (second @ second) + 1e-30))


def local_f0(wav: np.ndarray, centre: int, near_hz: float, *, periods: float = 3.0) -> float:
    """f0 (Hz) about sample ``centre``: the best lag between 0.4 and 1.6 periods of ``near_hz``, interpolated."""
    period = SAMPLE_RATE / near_hz
    window = int(periods * period)
    lags = np.arange(int(0.4 * period), int(1.6 * period) + 2)
    values = np.array([autocorrelation(wav, centre, int(lag), window) for lag in lags])
    best = int(values[1:-1].argmax()) + 1
    left, middle, right = values[best - 1 : best + 2]
    return SAMPLE_RATE / (lags[best] + 0.5 * (left - right) / (left - 2 * middle + right))


def cents(found: float, expected: float) -> float:
    return 1200 * float(np.log2(found / expected))


def inner_frames(f0: np.ndarray, margin: int) -> np.ndarray:
    """Frames that have ``margin`` voiced ones on both sides."""
    voiced = np.convolve(f0 > 0, np.ones(2 * margin + 1), mode="same") > 2 * margin + 0.5
    voiced[:margin] = voiced[len(f0) - margin :] = False
    return np.flatnonzero(voiced)

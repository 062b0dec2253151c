"""Made-up singing whose pitch is known."""

import numpy as np

SAMPLE_RATE, HOP_LENGTH = 44100, 512


def harmonic_tone(f0_hz: float | np.ndarray, seconds: float, n_harmonics: int = 8) -> np.ndarray:
    """(T,) float32: harmonics falling off as 1/k; ``f0_hz`` one number, or one per sample."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(f0_hz, int(seconds * SAMPLE_RATE)) / SAMPLE_RATE)
    return (0.1 * sum(np.sin(k * phase) / k for k in range(1, n_harmonics + 1))).astype(np.float32)


def cents(f0: np.ndarray, expected_hz: float | np.ndarray) -> np.ndarray:
    """Distance from the expected pitch in cents."""
    return 1200 * np.abs(np.log2(f0 / expected_hz))

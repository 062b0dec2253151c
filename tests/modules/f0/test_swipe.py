"""SWIPE' strengths: against closed forms, and on sounds whose pitch is known."""

import numpy as np
import pytest
import torch

from modules.f0 import swipe
from tests.modules.f0.tones import HOP_LENGTH, SAMPLE_RATE, cents, harmonic_tone


@pytest.fixture(scope="module")
def strength():
    return swipe.PitchStrength(SAMPLE_RATE, HOP_LENGTH, lowest=40, highest=2000, device=torch.device("cpu"))


def test_kernel_is_cosine_lobes_on_the_first_and_the_prime_harmonics():
    frequencies = np.linspace(10, 1000, 991)
    weights = swipe.kernel(100.0, frequencies) * np.sqrt(frequencies)
    weights /= weights[frequencies == 100]
    at = dict(zip(frequencies, weights, strict=True))
    assert [round(at[float(hz)], 6) for hz in (100, 200, 300, 400, 500, 600, 700)] == [1, 1, 1, 0, 1, 0, 1]
    assert [round(at[float(hz)], 6) for hz in (50, 150, 250, 350, 550)] == [-0.5, -1, -1, -0.5, -0.5]
    assert np.linalg.norm(np.maximum(swipe.kernel(100.0, frequencies), 0)) == pytest.approx(1)


def test_a_window_of_the_grid_serves_every_pitch_whole(strength):
    """The kernels of all windows are those of the grid, shared out between two neighbours."""
    shares = np.zeros(len(strength.pitches))
    for window in strength.windows:
        norms = window.kernels.clamp(min=0).norm(dim=0).numpy()
        shares[window.pitches] += norms
    np.testing.assert_allclose(shares, 1, rtol=1e-5)


@pytest.mark.parametrize("hz", [41.2, 65.4, 110.0, 440.0, 1046.5, 1900.0])
def test_a_sawtooth_is_heard_at_its_pitch(strength, hz):
    wav = harmonic_tone(hz, 0.5, n_harmonics=max(int(9000 / hz), 2))
    found = strength(wav)
    assert found.shape == (len(wav) // HOP_LENGTH + 1, len(strength.pitches))
    middle = found[10:-10]
    assert cents(strength.pitches[middle.argmax(axis=1)], hz).max() < 26  # bins are 25 cents wide
    assert middle.max(axis=1).min() > 0.6
    below = np.abs(1200 * np.log2(strength.pitches * 2 / hz)).argmin()
    if strength.pitches[0] < hz / 2:
        assert (middle.max(axis=1) > middle[:, below] + 0.2).all()


def test_noise_and_silence_are_weak(strength):
    noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE // 2).astype(np.float32)
    assert strength(noise).max() < 0.3
    for constant in (0.0, 1e-9, 0.1):
        assert strength(np.full(SAMPLE_RATE // 4, constant, np.float32))[5:-5].max() < 1e-3


def test_level_does_not_matter(strength):
    wav = harmonic_tone(220.0, 0.3)
    np.testing.assert_allclose(strength(0.01 * wav), strength(wav), atol=1e-4)


@pytest.mark.parametrize("length", [0, 1, 511, 512, 3000])
def test_short_audio(strength, length):
    found = strength(np.ones(length, np.float32))
    assert found.shape[0] == length // HOP_LENGTH + 1 and np.isfinite(found).all()


def test_a_range_of_a_hertz_still_has_a_grid():
    made = swipe.PitchStrength(16000, 160, lowest=200, highest=201, device=torch.device("cpu"))
    assert made(harmonic_tone(200.0, 0.2)).shape[1] == len(made.pitches) == 3

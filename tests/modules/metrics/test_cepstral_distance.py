"""Mel-cepstral distortion: the formula, the warping of the axis, the alignment."""

import math

import numpy as np
import pytest

from modules.metrics import cepstral_distance
from modules.metrics.cepstral_distance import align, distances, frequency_warp, mel_cepstral_distortion
from tests.synthetic import sing

RATE = 24000


def test_distance_of_known_cepstra():
    a, b = np.zeros((2, 4)), np.array([[9.0, 0.3, 0.0, 0.4], [0.0, 0.0, 0.0, 0.0]])
    assert distances(a, b) == pytest.approx([10 / math.log(10) * math.sqrt(2 * 0.25), 0.0])


def test_a_distance_is_the_root_mean_square_decibels_between_the_envelopes():
    """Parseval: 20 log10 of the two envelopes, whose logarithms are sums of cosines."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 1, 6))
    a[:, 0] = b[:, 0]
    omega = (np.arange(1000) + 0.5) * np.pi / 1000
    cosines = np.cos(np.arange(6)[:, None] * omega)
    decibels = 20 / np.log(10) * ((a - b) @ cosines)
    assert distances(a, b)[0] == pytest.approx(np.sqrt(np.mean(decibels**2)))


def test_no_warp_is_the_identity():
    assert np.allclose(frequency_warp(8, 7, 0.0), np.eye(8))


def test_the_warped_cepstrum_describes_the_same_envelope_on_the_warped_axis():
    alpha, n_mel = 0.3, 60
    cepstrum = np.array([0.5, 1.0, -0.4, 0.2, 0.1])
    omega = np.linspace(0, np.pi, 50)
    warped = omega + 2 * np.arctan(alpha * np.sin(omega) / (1 - alpha * np.cos(omega)))
    envelope = cepstrum @ np.cos(np.arange(5)[:, None] * omega)
    mel_cepstrum = frequency_warp(5, n_mel, alpha) @ cepstrum
    assert np.allclose(mel_cepstrum @ np.cos(np.arange(n_mel + 1)[:, None] * warped), envelope, atol=1e-6)


def test_no_other_constant_is_nearer_to_the_mel_scale():
    hz = np.linspace(0, RATE / 2, 200)
    omega = 2 * np.pi * hz / RATE
    mel = np.log1p(hz / 1000) / np.log1p(RATE / 2 / 1000)  # Fant's

    def error(alpha: float) -> float:
        warped = (omega + 2 * np.arctan(alpha * np.sin(omega) / (1 - alpha * np.cos(omega)))) / np.pi
        return float(np.mean((warped - mel) ** 2))

    assert error(cepstral_distance.WARP) < min(error(cepstral_distance.WARP + step) for step in (-0.02, 0.02))


def test_align_finds_a_stretch():
    a = np.random.default_rng(0).standard_normal((40, 3))
    rows, columns = align(a, np.repeat(a, 2, axis=0), band=10)
    assert (rows == columns // 2).all() and columns[-1] == 79


def test_align_is_the_cheapest_path():
    """Against the plain recurrence, cell by cell."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((13, 2)), rng.standard_normal((9, 2))
    local = np.linalg.norm(a[:, None] - b, axis=2)
    total = np.full((14, 10), np.inf)
    total[0, 0] = 0
    for i in range(13):
        for j in range(9):
            total[i + 1, j + 1] = local[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    rows, columns = align(a, b, band=100)
    assert local[rows, columns].sum() == pytest.approx(total[-1, -1])
    assert (rows[0], columns[0], rows[-1], columns[-1]) == (0, 0, 12, 8)
    steps = np.stack([np.diff(rows), np.diff(columns)])
    assert steps.min() >= 0 and steps.max() == 1 and (steps.sum(axis=0) > 0).all()


@pytest.mark.parametrize("lengths", [(1, 1), (1, 7), (200, 3), (3, 200)])
def test_align_of_any_two_lengths(lengths):
    a, b = (np.zeros((n, 2)) for n in lengths)
    rows, columns = align(a, b, band=1)
    assert (rows[0], columns[0], rows[-1], columns[-1]) == (0, 0, lengths[0] - 1, lengths[1] - 1)


def test_identical_is_zero_and_loudness_does_not_count():
    wav = sing(220, 1.0, rate=RATE)
    assert mel_cepstral_distortion(wav, wav, RATE) == 0
    assert mel_cepstral_distortion(wav, 0.1 * wav, RATE, warp=False) < 0.1


def test_a_delay_counts_only_without_warping():
    wav = np.pad(sing(220, 1.5, rate=RATE), (RATE // 10, 0))
    late = np.concatenate([np.zeros(RATE // 4, np.float32), wav])
    assert mel_cepstral_distortion(wav, late, RATE) < 1 < mel_cepstral_distortion(wav, late, RATE, warp=False)


@pytest.mark.parametrize("wav", [np.zeros(RATE, np.float32), sing(220, 0.05, rate=RATE)])
def test_nothing_to_analyse_is_an_error(wav):
    with pytest.raises(ValueError, match="silent, or too short"):
        mel_cepstral_distortion(sing(220, 1.0, rate=RATE), wav, RATE)

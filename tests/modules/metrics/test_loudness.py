"""Correlation of loudness envelopes whose relation is known."""

import numpy as np
import pytest

from modules.metrics.loudness import levels, loudness_correlation

RATE = 8000
T = np.arange(4 * RATE) / RATE
TONE = np.sin(2 * np.pi * 440 * T)
SWELL = 0.1 * 2 ** np.sin(2 * np.pi * 0.5 * T)


def made(envelope: np.ndarray) -> np.ndarray:
    return (envelope * TONE).astype(np.float32)


def test_a_factor_changes_nothing():
    assert loudness_correlation(made(SWELL), made(0.2 * SWELL), RATE) == pytest.approx(1.0, abs=1e-6)


def test_the_opposite_envelope_correlates_to_minus_one():
    assert loudness_correlation(made(SWELL), made(0.01 / SWELL), RATE) == pytest.approx(-1.0, abs=1e-3)


def test_independent_envelopes_do_not_correlate():
    other = 0.1 * 2 ** np.cos(2 * np.pi * 0.5 * T)
    assert abs(loudness_correlation(made(SWELL), made(other), RATE)) < 0.02


def test_noise_in_the_pauses_of_the_source_does_not_count():
    envelope = np.where(T < 2, SWELL, 0)
    noise = np.where(T < 2.1, 0, 0.3 * np.random.default_rng(0).standard_normal(len(T))).astype(np.float32)
    assert loudness_correlation(made(envelope), made(envelope) + noise, RATE) == pytest.approx(1.0, abs=1e-3)


def test_the_longer_one_is_cut():
    assert loudness_correlation(made(SWELL), made(SWELL)[: 3 * RATE], RATE) == pytest.approx(1.0, abs=1e-3)


def test_levels_are_decibels_below_the_loudest():
    assert levels(made(np.where(T < 2, 1.0, 0.1)), RATE)[[20, 60]] == pytest.approx([0, -20], abs=0.01)


@pytest.mark.parametrize(
    ("source", "result", "message"),
    [
        (made(SWELL), made(0 * SWELL), "silent"),
        (made(0 * SWELL), made(SWELL), "silent"),
        (made(SWELL), made(0 * SWELL + 0.1), "constant loudness"),
        (made(SWELL)[:10], made(SWELL)[:10], "less than one frame"),
    ],
)
def test_what_has_no_envelope_is_an_error(source, result, message):
    with pytest.raises(ValueError, match=message):
        loudness_correlation(source, result, RATE)

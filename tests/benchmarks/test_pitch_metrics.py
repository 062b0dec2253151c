"""Scores of tracks whose errors were put in by hand."""

import math
from dataclasses import astuple

import numpy as np
import pytest

from benchmarks.pitch_metrics import PitchScore, average, score

TRUTH = np.array([0.0, 0.0, 200.0, 200.0, 200.0, 200.0, 200.0, 200.0, 200.0, 200.0])
VOICED = (TRUTH > 0).astype(np.float32)


def moved(cents: float) -> float:
    return 200.0 * 2 ** (cents / 1200)


def test_a_perfect_track():
    got = score(TRUTH, np.full(10, 200.0), VOICED)  # f0 goes on through unvoiced frames, as the predictors give it
    assert got == PitchScore(1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(("cents", "accuracy"), [(49.0, 1.0), (-49.0, 1.0), (51.0, 0.0), (-51.0, 0.0)])
def test_fifty_cents_are_the_limit(cents, accuracy):
    got = score(TRUTH, np.full(10, moved(cents)), VOICED)
    assert got.accuracy == accuracy
    assert got.median_cents == pytest.approx(abs(cents) if accuracy else np.nan, nan_ok=True)
    assert got.octave_errors == 0.0


@pytest.mark.parametrize(
    ("cents", "octave_errors"),
    [(1200.0, 0.25), (-1160.0, 0.25), (2440.0, 0.25), (-3600.0, 0.25), (1260.0, 0.0), (700.0, 0.0), (40.0, 0.0)],
)
def test_octave_errors_are_those_near_a_whole_number_of_octaves(cents, octave_errors):
    f0 = np.full(10, 200.0)
    f0[4:6] = moved(cents)  # 2 of 8 voiced frames
    got = score(TRUTH, f0, VOICED)
    assert got.octave_errors == octave_errors
    assert got.accuracy == (1.0 if abs(cents) < 50 else 0.75)


def test_voicing_is_judged_apart_from_pitch():
    uv = np.array([1, 0, 1, 1, 1, 1, 1, 1, 0, 0])  # one of two unvoiced called voiced, two of eight voiced missed
    got = score(TRUTH, np.full(10, 200.0), uv)
    assert (got.accuracy, got.missed, got.false_alarms) == (1.0, 0.25, 0.5)
    assert got.overall == 0.7  # six voiced and one unvoiced frame


def test_overall_accuracy_wants_pitch_and_voicing():
    f0 = np.full(10, 200.0)
    f0[2:4] = 300.0
    uv = VOICED.copy()
    uv[3:5] = 0  # of the eight, two have a wrong pitch and two are missed, one of them both
    assert score(TRUTH, f0, uv).overall == 0.7


def test_the_median_error_is_that_of_the_right_frames():
    f0 = np.array([200.0, 200.0, *[moved(c) for c in (10, -20, 30, 500, 500, 500, 1200, 60)]])
    uv = np.array([0, 0, 1, 1, 0, 0, 0, 0, 1, 1])
    assert score(TRUTH, f0, uv).median_cents == pytest.approx(20.0)


def test_no_pitch_at_all_is_wrong_everywhere():
    got = score(TRUTH, np.zeros(10), np.zeros(10))
    assert (got.accuracy, got.octave_errors, got.missed, got.false_alarms, got.overall) == (0.0, 0.0, 1.0, 0.0, 0.2)
    assert math.isnan(got.median_cents)


def test_what_no_frame_can_tell_is_nan_and_left_out_of_the_mean():
    voiced_only = score(TRUTH[2:], np.full(8, 400.0), np.ones(8))
    assert math.isnan(voiced_only.false_alarms)
    mean = average([voiced_only, score(TRUTH, np.full(10, 200.0), np.ones(10))])
    assert (mean.accuracy, mean.octave_errors, mean.false_alarms) == (0.5, 0.5, 1.0)


def test_the_mean_of_nothing_is_nan():
    assert all(math.isnan(value) for value in astuple(average([])))


def test_tracks_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="truth, f0 and uv differ in length: 10, 9 and 10 frames"):
        score(TRUTH, np.zeros(9), np.zeros(10))

"""Measures of the melody on tracks whose distance is known."""

import math

import numpy as np
import pytest

from pipeline.pitch_comparison import PitchTrack, compare_pitch, track_pitch

RATE = 44100


def track(f0: np.ndarray, uv: np.ndarray | None = None) -> PitchTrack:
    return PitchTrack(f0, np.ones(len(f0), np.float32) if uv is None else uv)


def moved(f0: np.ndarray, cents: float) -> np.ndarray:
    return f0 * 2 ** (cents / 1200)


SCALE = 220 * 2 ** (np.arange(100) / 100)


@pytest.mark.parametrize("cents", [0.0, 7.0, -49.0, 51.0, 1200.0])
def test_tracks_that_are_so_many_cents_apart(cents):
    found = compare_pitch(track(SCALE), track(moved(SCALE, cents)))
    assert found.rmse_cents == pytest.approx(abs(cents), abs=1e-6)
    assert found.correlation == pytest.approx(1.0)
    assert found.off_pitch == (abs(cents) > 50)
    assert found.gross_pitch_error == (abs(cents) > 1200 * math.log2(1.2))
    assert (found.voicing_error, found.voiced_frames) == (0.0, 100)


def test_two_sines_are_as_many_cents_apart_as_they_were_made():
    t = np.arange(RATE) / RATE
    waves = [sum(np.sin(2 * np.pi * k * hz * t) / k for k in range(1, 6)) / 4 for hz in (220.0, moved(220.0, 30))]
    found = compare_pitch(*(track_pitch(wav.astype(np.float32), RATE) for wav in waves))
    assert found.rmse_cents == pytest.approx(30, abs=1)
    assert math.isnan(found.correlation), "a single note has no melody"


def test_the_transposition_is_expected():
    assert compare_pitch(track(SCALE), track(moved(SCALE, 500)), transpose=5).rmse_cents == pytest.approx(0, abs=1e-6)


def test_a_tenth_of_the_frames_an_octave_off():
    f0 = SCALE.copy()
    f0[::10] /= 2
    found = compare_pitch(track(SCALE), track(f0))
    assert found.off_pitch == found.gross_pitch_error == pytest.approx(0.1)
    assert found.rmse_cents == pytest.approx(1200 * math.sqrt(0.1))


def test_octaves_are_no_fine_errors():
    f0 = moved(SCALE, 7)
    f0[::10] /= 2
    assert compare_pitch(track(SCALE), track(f0)).fine_cents == pytest.approx(7)
    assert math.isnan(compare_pitch(track(SCALE), track(SCALE / 2)).fine_cents), "none are left"


def test_voicing_errors_are_counted_over_all_frames_and_pitch_over_common_ones():
    uv_source, uv_result = np.ones(100), np.ones(100)
    uv_source[:10], uv_result[5:20] = 0, 0  # 5 frames are unvoiced in both, 5 in the source alone, 10 in the result
    f0 = np.where(uv_result > 0, SCALE, 1000.0)
    found = compare_pitch(track(SCALE, uv_source), track(f0, uv_result))
    assert found.voicing_error == pytest.approx(15 / 100)
    assert found.voiced_frames == 80
    assert found.rmse_cents == pytest.approx(0, abs=1e-6)


def test_the_longer_track_is_cut():
    assert compare_pitch(track(SCALE), track(SCALE[:60])).voiced_frames == 60


def test_nothing_voiced_is_an_error():
    with pytest.raises(ValueError, match="fewer than two frames are voiced"):
        compare_pitch(track(SCALE), track(SCALE, np.zeros(100)))

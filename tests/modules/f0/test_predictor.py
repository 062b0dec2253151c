"""Frame grid, voicing, interpolation and windows, which every predictor shares."""

import numpy as np
import pytest

from modules.f0 import predictor
from modules.f0.predictor import F0Predictor
from tests.parity import Case, assert_close


class Stored(F0Predictor):
    """Answers with a stored track."""

    track = np.zeros(0)

    def raw_f0(self, wav):
        return self.track


def stored(track, **kwargs):
    made = Stored(44100, 512, device="cpu", **kwargs)
    made.track = np.asarray(track, dtype=np.float64)
    return made


NOISE = np.random.default_rng(0).standard_normal(512 * 6 + 100).astype(np.float32)


def test_gaps_are_linear_and_ends_are_held():
    f0, uv = predictor.fill_unvoiced(np.array([0.0, 100, 0, 0, 160, 0]))
    np.testing.assert_allclose(f0, [100, 100, 120, 140, 160, 160])
    np.testing.assert_array_equal(uv, [0, 1, 0, 0, 1, 0])
    assert f0.dtype == uv.dtype == np.float32


def test_exactly_one_voiced_frame_gives_its_value_everywhere():
    f0, uv = stored([0, 0, 0, 220, 0, 0]).compute_f0_uv(NOISE)
    np.testing.assert_array_equal(f0, 220.0)
    np.testing.assert_array_equal(uv, [0, 0, 0, 1, 0, 0])


def test_nothing_voiced_gives_zeros():
    f0, uv = stored([0] * 6).compute_f0_uv(NOISE)
    assert not f0.any() and not uv.any() and len(f0) == len(uv) == 6


@pytest.mark.parametrize("n_frames", [1, 5, 6, 9])
def test_n_frames_is_exact(n_frames):
    f0, uv = stored([100, 110, 120, 130, 140, 150]).compute_f0_uv(NOISE, n_frames)
    assert f0.shape == uv.shape == (n_frames,)


def test_nan_in_a_track_is_unvoiced():
    f0, uv = stored([100, np.nan, 120, np.inf, 140, 150]).compute_f0_uv(NOISE)
    assert np.isfinite(f0).all()
    np.testing.assert_array_equal(uv, [1, 0, 1, 0, 1, 1])


@pytest.mark.parametrize("length", [0, 1, 511])
def test_audio_shorter_than_a_frame_gives_no_frames(length):
    f0, uv = stored([100]).compute_f0_uv(NOISE[:length])
    assert f0.shape == uv.shape == (0,)


def test_digital_silence_is_not_shown_to_the_tracker():
    f0, uv = stored([100] * 6).compute_f0_uv(np.zeros_like(NOISE))
    assert not f0.any() and not uv.any() and len(f0) == 6


@pytest.mark.parametrize(
    ("wav", "message"),
    [
        (np.zeros((2, 600)), r"one channel of shape \(T,\)"),
        (np.array([0.0, np.nan]), "NaN or infinite"),
    ],
)
def test_wrong_audio_is_refused(wav, message):
    with pytest.raises(ValueError, match=message):
        stored([100]).compute_f0_uv(wav)


@pytest.mark.parametrize("kwargs", [{"f0_min": 0.0}, {"f0_min": 300.0, "f0_max": 200.0}, {"threshold": 1.5}])
def test_impossible_settings_are_refused(kwargs):
    with pytest.raises(ValueError, match="f0 (range|threshold)"):
        stored([], **kwargs)


def test_an_end_of_the_range_is_set_when_it_is_not_the_default():
    assert stored([]).set_range == (0.0, np.inf)
    assert stored([], f0_min=50.0, f0_max=1100.0).set_range == (0.0, np.inf)
    assert stored([], f0_min=60.0).set_range == (60.0, np.inf)
    assert stored([], f0_max=900.0).set_range == (0.0, 900.0)


@pytest.mark.parametrize("n_frames", [130, 171])
def test_nearest_grid_matches_the_reference(n_frames):
    expected = Case("rmvpe").arrays("decode.npz")
    f0, uv = predictor.fill_unvoiced(predictor.resize_nearest(expected["track"], n_frames))
    assert_close(f0, expected[f"grid{n_frames}"], max_abs=1e-4)
    np.testing.assert_array_equal(uv, expected[f"uv{n_frames}"])


def test_linear_grid_keeps_or_loses_edge_frames():
    track = np.array([0.0, 0, 100, 100, 100, 0, 0, 0])
    lost = predictor.resize_linear(track, 7, keep_edges=False)  # positions 0, 1.14, 2.29, 3.43, 4.57, 5.71, 6.86
    kept = predictor.resize_linear(track, 7)
    np.testing.assert_array_equal(lost > 0, [0, 0, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(kept > 0, [0, 0, 1, 1, 0, 0, 0])
    kept = predictor.resize_linear(track, 6)  # positions 0, 1.33, 2.67, 4, 5.33, 6.67
    np.testing.assert_array_equal(kept, [0, 0, 100, 100, 0, 0])
    assert predictor.resize_linear(np.array([0.0, 100, 0, 0]), 3, keep_edges=False).max() == 0
    np.testing.assert_array_equal(predictor.resize_linear(np.array([0.0, 100, 0, 0]), 3), [0, 100, 0])


@pytest.mark.parametrize("n_samples", [5000, 5040, 12345])
def test_windows_equal_the_whole(n_samples):
    wav = np.random.default_rng(1).standard_normal(n_samples).astype(np.float32)
    longest = []

    def track(piece):  # level of the 30 samples around every multiple of 10
        longest.append(len(piece))
        padded = np.pad(piece, 15)
        return np.array([np.abs(padded[i * 10 : i * 10 + 30]).sum() for i in range(len(piece) // 10 + 1)])

    whole = track(wav)
    pieces = predictor.track_in_windows(wav, track, hop_length=10, window_frames=100, context_frames=3)
    np.testing.assert_allclose(pieces, whole)
    assert max(longest[1:]) <= 106 * 10


def test_the_middle_of_a_frame_lies_between_its_ends_but_not_between_two_notes():
    track = np.array([0.0, 100, 110, 220, 0, 0])
    np.testing.assert_allclose(predictor.middles(track), [100, np.sqrt(11000), 110, 220, 0])

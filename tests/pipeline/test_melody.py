"""The melody of a song: the frames that were tracked come back as they were, whatever lies between is stated."""

import numpy as np
import pytest
import torch

from modules.f0.predictor import fill_unvoiced
from pipeline import pieces
from pipeline.features import FeatureExtractor, FeatureSettings
from pipeline.melody import Melody, frame_positions, track_song
from tests.pipeline.tiny_model import HOP, SAMPLE_RATE, silence, sung

# Two phrases with a pause that is cut in its quietest place, one without a pause, and silence at both ends.
SONG = np.concatenate([silence(0.7), sung(5.6), silence(0.5), sung(2.3, 300.0), silence(1.5)])[:-77]
PLANS = {
    "pauses": {},
    "no context": {"pad_seconds": 0.0},
    "forced cuts": {"clip_seconds": 1.3},
    "overlapping cuts": {"clip_seconds": 2.0, "overlap_seconds": 0.5},
}


class Listener(FeatureExtractor):
    """Hears a pitch that tells the sample it was heard at, where there is sound; keeps what it heard."""

    def __init__(self) -> None:
        self.settings = FeatureSettings("cepstral", "dio", SAMPLE_RATE, HOP)
        self.heard: list[tuple[np.ndarray, np.ndarray]] = []

    def track(self, wav):
        sound = np.array([abs(wav[max(i - 200, 0) : i + 200]).max() for i in range(0, len(wav) - HOP + 1, HOP)])
        f0 = np.where(sound > 1e-3, 200 + 100 * sound + len(self.heard), 0.0).astype(np.float32)
        self.heard.append(fill_unvoiced(f0))
        return self.heard[-1]


def melody(*f0: float, step: float = 0.1) -> Melody:
    return Melody(np.arange(len(f0)) * step, np.array(f0, np.float32))


def listen(plan: dict[str, float]) -> tuple[Melody, list[pieces.Piece], Listener]:
    planned, listener = pieces.plan(SONG, SAMPLE_RATE, HOP, **plan), Listener()
    return track_song(SONG, planned, listener), planned, listener


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_there_is_a_point_for_each_frame_of_the_song(plan):
    found, planned, _ = listen(plan)
    assert len(planned) >= 2 and len(found.seconds) == round((len(SONG) - 1) / HOP) + 1
    grid = np.arange(len(found.seconds)) * HOP / SAMPLE_RATE
    assert np.abs(found.seconds - grid).max() <= HOP / 2 / SAMPLE_RATE + 1e-6
    assert not found.f0[found.seconds < 0.69].any() and not found.f0[found.seconds > 9.12].any()
    found.check_covers(len(SONG) / SAMPLE_RATE)


def test_pieces_that_meet_in_a_pause_are_given_what_was_tracked():
    found, planned, listener = listen({})
    assert len(planned) == 2 and planned[0].left % HOP != planned[1].left % HOP
    for piece, (f0, uv) in zip(planned, listener.heard, strict=True):
        got = found.of_piece(piece, HOP, SAMPLE_RATE)
        np.testing.assert_array_equal(got[0], f0)
        np.testing.assert_array_equal(got[1], uv)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_every_piece_is_given_its_own_frames_up_to_the_middle_of_what_it_shares(plan):
    found, planned, listener = listen(plan)
    borders = [0, *((a.end + b.start) // 2 for a, b in zip(planned[:-1], planned[1:], strict=True)), len(SONG)]
    for piece, (f0, uv), begin, end in zip(planned, listener.heard, borders[:-1], borders[1:], strict=True):
        position = frame_positions(piece, HOP)
        own = (position >= max(begin, piece.first) + HOP) & (position < min(end, piece.last) - HOP) & (uv > 0)
        got = found.of_piece(piece, HOP, SAMPLE_RATE)
        assert own.sum() > 10
        np.testing.assert_array_equal(got[0][own], f0[own])
        assert not got[1][(position < piece.first) | (position >= piece.last)].any()


def test_a_song_shorter_than_a_frame_and_one_without_sound():
    for wav in (sung(1.0)[20000:20100], silence(1.0)):
        planned = pieces.plan(wav, SAMPLE_RATE, HOP)
        found = track_song(wav, planned, Listener())
        assert len(found.seconds) == round((len(wav) - 1) / HOP) + 1
        assert all(not uv.any() for _, uv in (found.of_piece(piece, HOP, SAMPLE_RATE) for piece in planned))


@pytest.mark.parametrize("cut", [1, 77, 255, 256, 257, 300, 511])
def test_the_last_frame_inside_the_song_is_kept(cut):
    wav = np.concatenate([silence(0.7), sung(2.0)])[: 100 * HOP + cut]
    (piece,), listener = pieces.plan(wav, SAMPLE_RATE, HOP), Listener()
    found = track_song(wav, [piece], listener)
    position, (f0, uv) = frame_positions(piece, HOP), listener.heard[0]
    inside = position < len(wav)
    assert uv[inside][-1] == 1 and len(wav) - position[inside][-1] <= HOP
    got_f0, got_uv = found.of_piece(piece, HOP, SAMPLE_RATE)
    np.testing.assert_array_equal(got_f0[inside], f0[inside])
    np.testing.assert_array_equal(got_uv[inside], uv[inside])
    found.check_covers(len(wav) / SAMPLE_RATE)


def test_progress_is_told_in_seconds_of_the_song():
    told: list[float] = []
    planned = pieces.plan(SONG, SAMPLE_RATE, HOP)
    track_song(SONG, planned, Listener(), tell=told.append)
    assert len(told) == len(planned) and sum(told) == pytest.approx(len(SONG) / SAMPLE_RATE, abs=1.6)


@pytest.mark.parametrize("predictor", ["dio", "pm", "fcpe"])
def test_trackers_keep_their_numbers_when_filled_again(predictor):
    settings = FeatureSettings("cepstral", predictor, SAMPLE_RATE, HOP)
    extractor = FeatureExtractor(settings, torch.device("cpu"), units=False)
    f0, uv = extractor.track(np.concatenate([sung(0.5), silence(0.2), sung(0.5, 331.0)]))
    assert 0 < uv.mean() < 1
    np.testing.assert_array_equal(fill_unvoiced(np.where(uv > 0, f0, 0))[0], f0)


def test_between_voiced_points_f0_is_straight_in_log_and_points_are_exact():
    found = melody(100.0, 400.0, 333.3)
    got = found.at(np.array([0.0, 0.05, 0.1, 0.2]))
    np.testing.assert_allclose(got, [100.0, 200.0, 400.0, 333.3], rtol=1e-6)
    np.testing.assert_array_equal(found.at(found.seconds + 1e-6), found.f0)


def test_voicing_is_that_of_the_nearest_point_and_f0_is_not_drawn_into_it():
    got = melody(200.0, 0.0, 0.0, 300.0).at(np.array([-1.0, 0.04, 0.06, 0.15, 0.24, 0.26, 5.0]))
    np.testing.assert_allclose(got, [200.0, 200.0, 0.0, 0.0, 0.0, 300.0, 300.0], rtol=1e-6)


def test_one_point_is_held():
    np.testing.assert_allclose(melody(250.0).at(np.array([0.0, 3.0])), 250.0)


@pytest.mark.parametrize(
    ("seconds", "f0", "message"),
    [
        ([0.0, 0.1], [100.0], r"as many moments as f0 values, at least one; got shapes \(2,\) and \(1,\)"),
        ([], [], "at least one"),
        ([0.0, np.nan], [100.0, 100.0], "melody, point 1: time is nan"),
        ([-0.1, 0.1], [100.0, 100.0], "point 0: time -0.1 is negative"),
        ([0.0, 0.2, 0.2], [100.0] * 3, "point 2: time 0.2 does not come after 0.2: times must increase"),
        ([0.0, 0.1], [100.0, np.nan], "point 1: f0 is nan; where nothing is sung it must be 0"),
        ([0.0, 0.1], [100.0, -5.0], "point 1: f0 -5 Hz is negative"),
        ([0.0, 0.1], [19.0, 5000.0], "point 0: f0 19 Hz lies outside 20 to 4000 Hz"),
    ],
)
def test_what_is_no_melody(seconds, f0, message):
    with pytest.raises(ValueError, match=message):
        Melody(np.array(seconds), np.array(f0))


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        (np.arange(1.0, 5.0, 0.01), r"point 0: the first 1.0 s of the song are missing"),
        (np.arange(0.0, 4.0, 0.01), r"it ends at 4.0 s, the song lasts 5.0 s: 1.0 s are missing"),
        (np.arange(0.0, 7.0, 0.01), r"it goes on to 7.0 s, the song lasts 5.0 s: is it of another song\?"),
        (
            np.append(np.arange(0.0, 2.0, 0.01), np.arange(3.5, 5.0, 0.01)),
            r"point 200: 1.5 s are missing between 1.990 s and 3.500 s; what is not sung needs rows too, with f0 0",
        ),
    ],
)
def test_a_melody_must_cover_its_song(seconds, message):
    with pytest.raises(ValueError, match=message):
        Melody(seconds, np.full(len(seconds), 200.0)).check_covers(5.0)


def test_coarse_and_uneven_points_are_no_holes():
    melody(*[200.0] * 11, step=0.5).check_covers(5.0)
    steps = np.random.default_rng(0).uniform(0.005, 0.09, 200)
    Melody(np.cumsum(steps), np.full(200, 200.0)).check_covers(float(steps.sum()) + 0.05)

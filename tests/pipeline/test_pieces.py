"""Pieces cover what sounds, and joining pieces that were not changed gives the song back."""

import itertools

import numpy as np
import pytest

from pipeline import pieces
from pipeline.pieces import Piece, cross_fade, heard, join, plan
from tests.parity import Case
from tests.pipeline.tiny_model import HOP, SAMPLE_RATE, silence, sung

SONG = np.concatenate([silence(0.4), sung(5.7), silence(1.0), sung(3.1, 330.0), silence(6.0), sung(1.0), silence(0.9)])


def rejoined(wav: np.ndarray, planned: list[Piece]) -> np.ndarray:
    """What comes out when conversion changes nothing."""
    converted = ((p, heard(wav, p)[None, p.start - p.left : p.end - p.left]) for p in planned)
    return np.concatenate([block[0] for block in join(converted, len(wav), n_conversions=1, fade=441)])


def golden_song() -> np.ndarray:
    """The song of the golden case, by the formula of its case.json."""
    wav = np.zeros(round(13.3 * SAMPLE_RATE))
    for start, end, hz, amplitude in ((0.4, 5.9, 220, 0.3), (6.9, 12.6, 330, 0.25)):
        t = np.arange(round((end - start) * SAMPLE_RATE)) / SAMPLE_RATE
        envelope = np.minimum(1, np.minimum(t / 0.05, (t[-1] - t) / 0.08))
        first = round(start * SAMPLE_RATE)
        wav[first : first + len(t)] += amplitude * envelope * np.sin(2 * np.pi * hz * t)
    return (np.round(wav * 32767) / 32768).astype(np.float32)


@pytest.mark.parametrize("run", ["44k_auto", "44k_clip3_lg0p4", "44k_clip3_lg0p4_r1", "44k_pad0p25"])
def test_golden_pieces(run):
    info = Case("slice_inference").info["info"][run]
    given = info["params"]
    planned = plan(
        golden_song(),
        SAMPLE_RATE,
        HOP,
        pad_seconds=given.get("pad_seconds", 0.5),
        clip_seconds=given.get("clip_seconds", 0),
        overlap_seconds=given.get("lg_num", 0),
        overlap_retain=given.get("lgr_num", 0.75),
    )
    assert [p.right - p.left for p in planned] == [call["in_len"] for call in info["calls"]]
    assert [(p.right - p.left) // HOP for p in planned] == [call["out_frames"] for call in info["calls"]]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pad_seconds": 0.0},
        {"clip_seconds": 1.0},
        {"clip_seconds": 1.0, "pad_seconds": 0.0},
        {"clip_seconds": 2.0, "overlap_seconds": 0.5},
        {"clip_seconds": 2.0, "overlap_seconds": 0.5, "overlap_retain": 0.0},
        {"clip_seconds": 2.0, "overlap_seconds": 1.9, "overlap_retain": 1.0},
        {"slice_db": -20.0},
    ],
    ids=str,
)
def test_unchanged_pieces_give_the_song_back(settings):
    planned = plan(SONG, SAMPLE_RATE, HOP, **settings)
    assert len(planned) > 1
    for piece in planned:
        assert piece.left <= piece.first <= piece.start < piece.end <= piece.last <= piece.right
        assert piece.left + (piece.right - piece.left) // HOP * HOP >= piece.end  # whole frames cover what is kept
    got = rejoined(SONG, planned)
    assert len(got) == len(SONG)
    edges = np.zeros(len(SONG), dtype=bool)  # beside silence a piece is faded
    for before, after in itertools.pairwise([Piece(*(0,) * 6), *planned, Piece(*(len(SONG),) * 6)]):
        if before.end < after.start:
            edges[max(before.end - 441, 0) : after.start + 441] = True
    np.testing.assert_allclose(got[~edges], SONG[~edges], atol=1e-6)
    assert np.abs(got[edges] - SONG[edges]).max() < 0.15 * (10 ** (settings.get("slice_db", -40) / 20)) / 0.01


def test_a_phrase_without_pause_is_split_where_it_is_quietest():
    wav = sung(70.0)
    dips = [20.0, 44.0]
    for seconds in dips:
        at = round(seconds * SAMPLE_RATE)
        wav[at - 2000 : at + 2000] *= 0.3
    planned = plan(wav, SAMPLE_RATE, HOP)
    assert [round(p.end / SAMPLE_RATE, 1) for p in planned[:-1]] == dips
    assert all(p.end - p.start < (pieces.MAX_SECONDS + 1) * SAMPLE_RATE for p in planned)
    assert planned[1].first < planned[1].start - 20000  # the voice is heard going on, not silence
    np.testing.assert_allclose(rejoined(wav, planned), wav, atol=1e-6)


def test_context_beyond_a_pause_is_silence():
    planned = plan(SONG, SAMPLE_RATE, HOP)
    source = heard(SONG, planned[1])
    assert not source[: planned[1].first - planned[1].left].any()
    assert planned[1].first == planned[1].start


def test_silence_gives_no_piece():
    assert plan(silence(3.0), SAMPLE_RATE, HOP) == []
    assert plan(silence(0.1), SAMPLE_RATE, HOP) == []
    out = list(join([], 100, n_conversions=2, fade=4))
    assert np.concatenate(out, axis=1).shape == (2, 100) and not np.concatenate(out, axis=1).any()


@pytest.mark.parametrize("n", [1, 100, 600, 5000])
def test_very_short_songs(n):
    wav = sung(1.0)[10000 : 10000 + n]
    for settings in ({}, {"pad_seconds": 0.0}, {"clip_seconds": 0.1}):
        planned = plan(wav, SAMPLE_RATE, HOP, **settings)
        np.testing.assert_allclose(rejoined(wav, planned), wav, atol=1e-6)
        assert planned[0].right - planned[0].left >= pieces.MIN_HEARD_SECONDS * SAMPLE_RATE


def test_cross_fade_keeps_the_power_of_unrelated_and_of_equal_signals():
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 1, 200_000)).astype(np.float32)
    assert abs(cross_fade(one, other).std() - 1) < 0.01
    np.testing.assert_allclose(cross_fade(one, one), one, atol=1e-5)
    assert np.isfinite(cross_fade(np.zeros((1, 8), np.float32), one[:, :8])).all()

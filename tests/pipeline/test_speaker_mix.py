"""Timelines of speakers: a function of the song's time, and every fault told with the speaker and the segment."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spkmix
from common.failures import shown
from common.sections import ConfigError
from pipeline.speaker_mix import SpeakerMix
from pipeline.speaker_mix_picture import draw_timeline
from tests.parity import Case, assert_close
from tests.pipeline.tiny_model import SAMPLE_RATE, silence, sung

SPK = {"anna": 0, "bob": 1}
FADE = {0: [[0, 0.5, 1, 0], [0.5, 1, 0, 0]], 1: [[0, 0.5, 0, 1], [0.5, 1, 1, 1]]}


def problems(spk_mix_map: Any, spk: dict[str, int] = SPK) -> list[str]:
    with pytest.raises(ConfigError, match="spk_mix_map of spkmix.py cannot be used") as caught:
        SpeakerMix.from_map(spk_mix_map, spk)
    return caught.value.problems


@pytest.mark.parametrize("run", ["44k_auto_mix", "44k_clip3_lg0p4_mix", "16k_auto_mix", "16k_clip3_lg0p4_mix"])
def test_golden_timeline(run: str) -> None:
    """The reference counts frames of padded pieces: with its own count as the song's length both are the same but for
    the rounding of a segment's first frame, which is seen where weights jump."""
    case = Case("slice_inference")
    info = case.info["info"]
    mix = SpeakerMix.from_map({int(key): rows for key, rows in info["mixes"].items()}, {"a": 0, "b": 1, "c": 2})
    expected = case.arrays("mixw.npz")[f"mixw_{run}"].T  # every third frame
    times = np.arange(info[run]["mix_frames_total"]) / info[run]["mix_frames_total"]
    got = mix.weights(times, 1.0)[::3]
    jumps = np.array([0.35, 0.75])
    smooth = (np.abs(times[::3, None] - jumps) > 1.5 / len(times)).all(axis=1)
    assert smooth.sum() >= len(smooth) - 3
    assert_close(got[smooth], expected[smooth], max_abs=1e-3)


def test_lines_between_the_ends_of_segments() -> None:
    mix = SpeakerMix.from_map(FADE, SPK)
    times = np.array([-1.0, 0, 1, 2.5, 5, 7, 10, 11])
    anna = np.array([1, 1, 0.8, 0.5, 0, 0, 0, 0])
    got = mix.weights(times, 10.0)
    assert got.dtype == np.float32 and mix.n_speakers == 2
    assert_close(got, np.stack([anna, 1 - anna], axis=1), max_abs=1e-6)
    assert mix.weights(np.zeros(0), 10.0).shape == (0, 2)
    with pytest.raises(ValueError, match="a song of 0 seconds has no timeline"):
        mix.weights(times, 0.0)


def test_weights_do_not_depend_on_how_a_song_is_cut() -> None:
    mix, times = SpeakerMix.from_map(FADE, SPK), np.arange(1000) * 512 / 44100
    whole = mix.weights(times, times[-1])
    pieces = [mix.weights(times[start : start + 77], times[-1]) for start in range(0, 1000, 77)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    np.testing.assert_array_equal(mix.weights(times[::-1], times[-1]), whole[::-1])


def test_rows_make_one_whatever_the_numbers_are() -> None:
    silent_end = {0: [[0, 0.5, 3e307, 3e307], [0.5, 1, 0, 0]], 2: [[0, 0.5, 1e308, 1.5e308], [0.5, 1, 0, 0]]}
    mix = SpeakerMix.from_map(silent_end, {"anna": 0, "carla": 2})
    got = mix.weights(np.array([0.0, 0.75]), 1.0)
    assert_close(got, [[3 / 13, 0, 10 / 13], [0.5, 0, 0.5]], max_abs=1e-6)  # id 1 is no speaker
    tiny = SpeakerMix.from_map({0: [[0, 1, 5e-324, 5e-324]], 1: [[0, 1, 0, 0]]}, SPK)
    assert_close(tiny.weights(np.array([0.5]), 1.0), [[1, 0]], max_abs=0)


def test_a_single_speaker_sings_alone() -> None:
    mix = SpeakerMix.from_map({0: [[0, 0.5, 1, 0], [0.5, 1, 0, 0]]}, {"anna": 0})
    assert mix.weights(np.linspace(0, 1, 9), 1.0).tolist() == [[1]] * 9


@pytest.mark.parametrize(
    ("anna", "bob", "heard"),
    [
        ([[0, 1, 1, 1]], [[0, 1, 0, 0]], [0]),
        ([[0, 1, 0, 0]], [[0, 1, 0.2, 0.2]], [1]),
        ([[0, 1, 1, 1]], [[0, 0.5, 0, 0], [0.5, 1, 0, 1]], [0, 1]),
        ([[0, 0.4, 1, 1], [0.4, 0.5, 0, 0], [0.5, 1, 1, 1]], [[0, 1, 0, 0]], [0, 1]),  # nobody for a while: all of them
        ([[0, 0.5, 1, 0], [0.5, 1, 0, 1]], [[0, 1, 0, 0]], [0, 1]),  # nobody for a moment
    ],
    ids=str,
)
def test_who_is_heard(anna: list, bob: list, heard: list[int]) -> None:
    mix = SpeakerMix.from_map({0: anna, 1: bob}, SPK)
    assert mix.singers == heard
    weights = mix.weights(np.linspace(0, 1, 1001), 1.0)
    assert np.flatnonzero(weights.any(axis=0)).tolist() == heard


def test_a_jump_begins_with_its_segment() -> None:
    mix = SpeakerMix.from_map({0: [[0, 0.25, 1, 1], [0.25, 1, 0, 0]], 1: [[0, 0.25, 0, 0], [0.25, 1, 1, 1]]}, SPK)
    assert mix.weights(np.array([0.9999, 1.0]), 4.0)[:, 0].tolist() == [1, 0]


def test_segments_written_with_few_digits_meet() -> None:
    rows = [[0, 0.333333, 1, 1], [0.3333333, 1, 0, 0]]
    SpeakerMix.from_map({0: rows, 1: [[0, 0.9999999, 1, 1]]}, SPK)


SONG = {0: [[0, 1, 1, 1]], 1: [[0, 1, 0, 0]]}
LONGEST = 10**400


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], " has no segments: expected [begin, end, from, to], ..."),
        ([[0, 0.4, 1, 1], [0.5, 1, 1, 1]], ", segment 2: it begins at 0.5, segment 1 ends at 0.4: there is a gap"),
        ([[0, 0.6, 1, 1], [0.5, 1, 1, 1]], ", segment 2: it begins at 0.5, segment 1 ends at 0.6: there is an overlap"),
        ([[0.1, 1, 1, 1]], ", segment 1: it begins at 0.1, the first must begin at 0"),
        ([[-0.1, 1, 1, 1]], ", segment 1: it begins at -0.1, the first must begin at 0"),
        ([[0, 0.9, 1, 1]], ", segment 1: it ends at 0.9, the last must end at 1, the end of the song"),
        ([[0, 1.5, 1, 1]], ", segment 1: it ends at 1.5, the last must end at 1, the end of the song"),
        ([[0, 0.5, 1, 1], [0.5, 0.4, 1, 1], [0.4, 1, 1, 1]], ", segment 2: it ends at 0.4, but begins at 0.5"),
        ([[0, 0, 1, 1], [0, 1, 1, 1]], ", segment 1: it ends at 0, but begins at 0"),
        ([[0, 1, -1, 1]], ", segment 1: from must not be negative, got -1"),
        ([[0, 1, 1, float("nan")]], ", segment 1: to is no number: nan"),
        ([[0, float("inf"), 1, 1]], ", segment 1: end is no number: inf"),
        ([[0, 1, True, 1]], ", segment 1: from is no number: True"),
        ([[0, 1, "1", 1]], ", segment 1: from is no number: '1'"),
        ([[0, 1, LONGEST, 1]], f", segment 1: from is no number: {shown(LONGEST)}"),
        ([[0, 1, 1]], ", segment 1: expected 4 numbers (begin, end, from, to), got [0, 1, 1]"),
        ([0, 1, 1, 1], ", segment 1: expected 4 numbers (begin, end, from, to), got 0"),
        ("no", ", segment 1: expected 4 numbers (begin, end, from, to), got 'no'"),
    ],
)
def test_faults_name_the_speaker_and_the_segment(rows: Any, expected: str) -> None:
    assert problems(SONG | {1: rows})[0] == f"speaker bob (id 1){expected}"


def test_all_faults_are_told_at_once() -> None:
    assert problems({0: [[0, 0.5, -1, 1], [0.6, 0.9, 1, 1]], 7: [[0, 1, 1, 1]]}) == [
        "speaker anna (id 0), segment 1: from must not be negative, got -1",
        "speaker anna (id 0), segment 2: it ends at 0.9, the last must end at 1, the end of the song",
        "unknown speaker '7': this model knows anna (id 0), bob (id 1)",
        "speaker bob (id 1) is missing: where it does not sing, its weight is 0",
    ]
    assert len(problems(spkmix.spk_mix_map)) == 2  # as it is delivered
    assert problems([1]) == ["expected {speaker id: segments}, got list"]


def test_ids_of_a_map_are_ids_even_where_a_speaker_is_called_like_one() -> None:
    mix = SpeakerMix.from_map(FADE, {"1": 0, "0": 1})
    assert mix.weights(np.zeros(1), 1.0).tolist() == [[1, 0]]
    assert SpeakerMix.from_map({float(i): rows for i, rows in FADE.items()}, SPK).weights(np.zeros(1), 1.0)[0, 0] == 1
    assert problems({"anna": [[0, 1, 1, 1]], 0: [[0, 1, 1, 1]]}, {"anna": 0}) == ["speaker anna (id 0) is there twice"]


# ---- files

JSON = {"unit": "seconds", "speakers": {"anna": [[0, 4, 1, 0]], "1": [[0, 2, 0, 0], [2, 4, 0, 1]]}}
CSV = """
speaker,begin_seconds,end_seconds,from,to
anna,0,4,1,0

1,0,2,0,0
1,2,4,0,1
"""


@pytest.fixture
def load(tmp_path: Path):
    def load(text: str | bytes, suffix: str = ".csv") -> SpeakerMix:
        path = tmp_path / f"zeitleiste 歌{suffix}"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return SpeakerMix.load(path, SPK)

    return load


def test_files_in_seconds(load) -> None:
    times = np.array([0, 2, 3, 4, 60])
    expected = [[1, 0], [1, 0], [1 / 3, 2 / 3], [0, 1], [0, 1]]
    semicolons = CSV.replace(",", ";").replace("4;", "4,0;")
    upper = "To,SPEAKER,end_seconds,from,begin_seconds\n0,anna,4,1,0\n0,bob,2,0,0\n1,bob,4,0,2\n"
    for mix in (load(json.dumps(JSON), ".JSON"), load(CSV), load("\ufeff" + semicolons), load(upper)):
        for duration in (4.0, 100.0):  # seconds stay where they are
            assert_close(mix.weights(times, duration), expected, max_abs=1e-6)


def test_files_in_shares(load) -> None:
    text = {"unit": "share", "speakers": {"anna": FADE[0], "bob": FADE[1]}}
    csv = "speaker,begin_share,end_share,from,to\n" + "".join(
        f"{name},{','.join(map(str, row))}\n" for name, i in SPK.items() for row in FADE[i]
    )
    times = np.linspace(0, 9, 50)
    for mix in (load(json.dumps(text), ".json"), load(csv)):
        np.testing.assert_array_equal(mix.weights(times, 9.0), SpeakerMix.from_map(FADE, SPK).weights(times, 9.0))
        assert mix.mismatch(123.0) is None


def test_a_timeline_of_another_length_than_the_song(load) -> None:
    mix = load(CSV)
    assert mix.mismatch(4.9) is None and mix.mismatch(3.1) is None
    assert mix.mismatch(60.0) == "the timeline of speakers ends at 4 s, the song at 60.0 s: its last weights stay"
    assert mix.mismatch(2.0) == "the timeline of speakers ends at 4 s, the song at 2.0 s: what lies behind is not heard"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON: Expecting property name"),
        (b"\xff{}", "not valid JSON: 'utf-8' codec"),
        ("[" * 100_000, "not valid JSON: maximum recursion depth"),
        ("[]", 'expected {"unit": ..., "speakers": '),
        ('{"unit": "share"}', 'expected {"unit": ..., "speakers": '),
        ('{"unit": "share", "speakers": []}', 'expected {"unit": ..., "speakers": '),
        ('{"unit": "frames", "speakers": {}}', 'unit: expected "seconds" or "share", got \'frames\''),
        ('{"unit": "share", "speakers": {"anna": [], "anna": []}}', "not valid JSON: 'anna' is there twice"),
        ('{"unit": "share", "speakers": {"anna": [], "0": []}}', "speaker anna (id 0) is there twice"),
        ('{"unit": "share", "speakers": {"anna": {"begin": 0}}}', "speaker anna (id 0), segment 1: expected 4 numbers"),
        ('{"unit": "share", "speakers": {"anna": [[0, 1, 1, NaN]]}}', "segment 1: to is no number: nan"),
        ('{"unit": "share", "speakers": {"dora": []}}', "unknown speaker 'dora': this model knows anna (id 0), bob"),
    ],
)
def test_json_that_is_no_timeline(load, text: str | bytes, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text, ".json")
    assert "zeitleiste" in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file holds no rows"),
        ("speaker,begin,end,from,to\nanna,0,1,1,1\n", "the first line must name the columns speaker, begin_seconds"),
        ("anna,0,1,1,1\n", "the first line must name the columns speaker, begin_seconds"),
        (CSV.replace("4,1,0", "4,1"), "line 3: 4 columns, the first line has 5"),
        (CSV.replace("anna,0,4,1", "anna,0,4,"), "speaker anna (id 0), line 3: from is no number: ''"),
        (CSV.replace("1,2,4", "1,3,4"), "speaker bob (id 1), line 6: it begins at 3, line 5 ends at 2: there is a gap"),
        (CSV.replace("\n1,", "\ndora,"), "unknown speaker 'dora'"),
        (CSV.splitlines()[1], "speaker anna (id 0) is missing"),
    ],
)
def test_tables_that_are_no_timeline(load, text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        load(text)
    assert "zeitleiste" in str(caught.value) and message in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="a.json: no such file"):
        SpeakerMix.load(tmp_path / "a.json", SPK)
    with pytest.raises(ValueError, match=r"a.txt: a timeline of speakers must end in .json or .csv"):
        SpeakerMix.load(tmp_path / "a.txt", SPK)


@pytest.mark.parametrize("seconds", [0.001, 1.5, 45.0])
def test_a_picture(tmp_path: Path, seconds: float) -> None:
    import matplotlib.image

    wav = np.concatenate([sung(seconds / 2), silence(seconds / 2)])
    path = tmp_path / "new/線.png"
    draw_timeline(path, SpeakerMix.from_map(FADE, SPK), wav, sample_rate=SAMPLE_RATE)
    picture = matplotlib.image.imread(path)
    assert picture.shape[1] == 14 * 80 and picture.shape[0] == pytest.approx(
        (0.6 + 1.6 * -(-seconds // 20)) * 80, abs=2
    )
    colours = {tuple(np.round(pixel * 255).astype(int)[:3]) for pixel in picture[::4, ::4].reshape(-1, 4)}
    assert {(31, 119, 180), (255, 127, 14)} <= colours  # both speakers

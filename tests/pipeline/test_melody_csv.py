"""Melodies as tables: what is written comes back as it was, kindly read where spreadsheets write otherwise."""

import logging

import numpy as np
import pytest

from pipeline.melody import Melody
from pipeline.melody_csv import read_csv, write_csv

DURATION = 0.4


def some_melody(n: int = 500, seed: int = 0) -> Melody:
    rng = np.random.default_rng(seed)
    f0 = rng.uniform(20, 4000, n).astype(np.float32)
    f0[rng.random(n) < 0.3] = 0
    return Melody(np.round(np.cumsum(rng.integers(1, 900, n)) / 44100, 6), f0)


@pytest.fixture
def read(tmp_path):
    """What a file with that content gives for a song of that many seconds."""

    def read(text: str | bytes, duration: float = DURATION) -> Melody:
        path = tmp_path / "mélodie 歌.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_csv(path, duration)

    return read


def test_what_is_written_is_read_back_to_the_bit(tmp_path):
    melody, path = some_melody(), tmp_path / "a.csv"
    assert write_csv(path, melody) is None
    got = read_csv(path, melody.seconds[-1])
    np.testing.assert_array_equal(got.seconds, melody.seconds)
    np.testing.assert_array_equal(got.f0, melody.f0)
    assert got.f0.dtype == np.float32


def test_the_layout(tmp_path):
    write_csv(tmp_path / "a.csv", Melody(np.array([0.0, 0.01161]), np.array([0.0, 220.1], np.float32)))
    assert (tmp_path / "a.csv").read_bytes() == b"time,f0,voiced\n0.000000,0,0\n0.011610,220.1,1\n"


def test_an_edited_file_is_kept_when_it_is_written_again(tmp_path):
    melody, path = some_melody(20), tmp_path / "a.csv"
    write_csv(path, melody)
    assert write_csv(path, melody) is None and len(list(tmp_path.iterdir())) == 1
    path.write_text("edited")
    kept = write_csv(path, melody)
    assert kept.name.startswith("a.csv.bak-") and kept.read_text() == "edited"
    np.testing.assert_array_equal(read_csv(path, melody.seconds[-1]).f0, melody.f0)


def test_a_file_is_there_at_every_moment_while_it_is_written_again(tmp_path, monkeypatch):
    def fail(path, text):
        raise OSError("disk full")

    (tmp_path / "a.csv").write_text("edited")
    monkeypatch.setattr("common.formats.write_text", fail)
    with pytest.raises(OSError, match="disk full"):
        write_csv(tmp_path / "a.csv", some_melody(20))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["edited", "edited"]


def test_edits_of_one_second_are_all_kept(tmp_path):
    path = tmp_path / "a.csv"
    for text in ("one", "two"):
        path.write_text(text)
        write_csv(path, some_melody(20))
    assert sorted(kept.read_text() for kept in tmp_path.glob("a.csv.bak-*")) == ["one", "two"]


@pytest.mark.parametrize(
    "text",
    [
        "time,f0,voiced\n0.1,220.5,1\n0.2,0,0\n0.3,330.25,1\n",
        "0.1,220.5,1\n0.2,0,0\n0.3,330.25,1",
        "0.1,220.5\n0.2,\n0.3,330.25\n",
        "0.1,220.5,1\n0.2,999,0\n0.3,330.25,1\n",
        "voiced,F0,note,Time\n1,220.5,A3,0.1\n0,0,,0.2\n1,330.25,E4,0.3\n",
        "\ufefftime;f0;voiced\r\n0,1;220,5;1\r\n0,2;0;0\r\n0,3;330,25;1\r\n;;\r\n",
        "time;f0;voiced\n0.1;220.5;1\n0.2;0;0\n0.3;330.25;1\n",
        "0,1\t220,5\t1\n0,2\t0\t0\n0,3\t330,25\t1\n",
        '"time" , "f0"\n\n"0.1" , "220.5"\n"0.2","0"\n\n"0.3","3.3025e2"\n',
    ],
    ids=["own", "no names", "two columns", "voiced 0", "other order", "Excel de", "semicolons", "tabs", "quoted"],
)
def test_spellings_that_are_understood(read, text):
    got = read(text)
    np.testing.assert_allclose(got.seconds, [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(got.f0, np.array([220.5, 0, 330.25], np.float32))


def test_rows_whose_f0_is_lost_are_told(read, caplog):
    with caplog.at_level(logging.WARNING):
        got = read("time,f0,voiced\n0.1,220.5,1\n0.2,0,0\n0.25,999,0\n0.3,330.25,0\n")
    assert got.f0.tolist() == [220.5, 0, 0, 0]
    said = "歌.csv: 2 rows have an f0, but voiced 0: they stay unvoiced (first: line 4)"
    assert [record.getMessage().endswith(said) for record in caplog.records] == [True]
    caplog.clear()
    read("time,f0,voiced\n0.1,220.5,1\n0.2,0,0\n0.3,-1,0\n")
    assert not caplog.records


def rows(f0: float = 200.0, step: float = 0.01, n: int = 41) -> str:
    return "".join(f"{step * i:.6g},{f0:g}\n" for i in range(n))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "歌.csv: the file holds no rows"),
        (" \n;;\n", "holds no rows"),
        ("time,f0\n", "holds no rows but the names of its columns"),
        ("caf\u00e9".encode("utf-16"), "no text in UTF-8: save it as CSV"),
        ("time,pitch\n0.1,200\n", r"line 1: columns must be called time and f0, .*; here they are: time, pitch"),
        ("time,f0,f0\n0.1,200,1\n", "line 1: columns must be called time and f0"),
        ("time,f0,voiced,voiced\n0.1,200,1,1\n", "and may be called voiced; here they are"),
        ("0.1\n0.2\n", "line 1: 1 columns; without names there must be time, f0, voiced"),
        ("0,1,200,5\n", "line 1: 4 columns; without names"),
        ("time,f0\n0.1,200\n0,2,200\n", "line 3: 3 columns, the first line has 2; decimal commas need semicolons"),
        ("time;f0\n0.1;200\n0.2\n", "line 3: 1 columns, the first line has 2$"),
        ("time,f0\n0.1,200\n\n0.2,A3\n", "line 4: f0 is no number: 'A3'"),
        ("time,f0\n,200\n", "line 2: time is no number: ''"),
        ("time,f0\n0.1,nan\n", "line 2: f0 is nan; where nothing is sung it must be 0"),
        ("time,f0,voiced\n0.1,nan,0\n", "line 2: f0 is nan"),
        ("time,f0\n0.1,inf\n", "line 2: f0 is inf"),
        ("time,f0\nnan,200\n", "line 2: time is nan"),
        ("time,f0\n0.1,-200\n", "line 2: f0 -200 Hz is negative"),
        ("time,f0\n-0.1,200\n", "line 2: time -0.1 is negative"),
        ("time,f0,voiced\n0.1,200,2\n", "line 2: voiced must be 0 or 1, got '2'"),
        ("time,f0,voiced\n0.1,200,\n", "line 2: voiced is no number: ''"),
        ("0.1,200\n0.3,200\n0.2,200\n", "line 3: time 0.2 does not come after 0.3: times must increase"),
        (rows(200) + "0.41,4001\n", "line 42: f0 4001 Hz lies outside 20 to 4000 Hz"),
        (rows(200) + "0.41,19.5\n", "line 42: f0 19.5 Hz lies outside"),
        (rows(57.3), r"f0 looks like MIDI note numbers \(57.3 to 57.3\): f0 must be in Hz"),
        (rows(81), "f0 looks like MIDI note numbers"),
        (rows(15), "f0 looks like MIDI note numbers"),
        (rows(200, step=10), r"time looks like milliseconds \(the last is 400, the song lasts 0.4 s\): .* in seconds"),
        (
            rows(200, step=1),
            r"time looks like numbers of frames \(the last is 40, the song lasts 0.4 s\): .* in seconds",
        ),
        (rows(200, step=1.5), "line 41: it goes on to 60.0 s, the song lasts 0.4 s"),
        ("0,200\n1,200\ninf,200\n", "line 3: time is inf"),
        ('0.1,"200\n' + rows(n=20000), r"line \d+: no CSV \(field larger than field limit"),
        (rows(200, n=21), "line 21: it ends at 0.2 s, the song lasts 0.4 s: 0.2 s are missing"),
        (rows(200, n=91), "line 91: it goes on to 0.9 s, the song lasts 0.4 s: is it of another song"),
        ("0.3,200\n0.31,200\n0.32,200\n0.4,200\n", "line 1: the first 0.3 s of the song are missing"),
        (
            "0.0,200\n0.01,200\n0.02,200\n0.3,200\n0.31,200\n0.4,200\n",
            "line 4: 0.3 s are missing between 0.020 s and 0.300 s; what is not sung needs rows too",
        ),
    ],
)
def test_files_that_hold_no_melody_of_the_song(read, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(text)
    assert "mélodie 歌.csv" in str(caught.value)


def test_low_voices_are_no_note_numbers(read):
    assert (read(rows(82.4)).f0 == np.float32(82.4)).all()
    assert (read(rows(110)).f0 == 110).all()

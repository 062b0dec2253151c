"""Whose melody comes from which file and goes to which, and the picture beside it."""

import logging
from pathlib import Path

import numpy as np
import pytest

from pipeline import melody_files
from pipeline.melody import Melody
from pipeline.melody_csv import read_csv, write_csv
from pipeline.melody_files import MelodyFiles, check_names
from pipeline.songs import Song
from tests.pipeline.midi_files import note, write
from tests.pipeline.tiny_model import SAMPLE_RATE, silence, sung

PNG = b"\x89PNG\r\n"
MELODY = Melody(np.arange(90) * 0.0116, np.where(np.arange(90) % 30 < 20, 220.0, 0.0).astype(np.float32))


def songs(*names: str) -> list[Song]:
    return [Song(Path(f"raw/{name}.wav"), name) for name in names]


@pytest.mark.parametrize(
    ("f0_export", "f0_import", "message"),
    [
        ("song.txt", None, "--f0_export song.txt: it must end in .csv, or be a folder"),
        ("song.mid", None, "--f0_export song.mid: it must end in .csv, or be a folder"),
        (None, "song.csv", "--f0_import song.csv: no such file"),
        (None, "melodies", "--f0_import melodies: no such file"),
        (None, "song.wav", "--f0_import song.wav: it must end in .csv, .mid, .midi, or be a folder"),
    ],
)
def test_names_that_cannot_be_meant(tmp_path, monkeypatch, f0_export, f0_import, message):
    monkeypatch.chdir(tmp_path)
    Path("song.wav").touch()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        check_names(f0_export and Path(f0_export), f0_import and Path(f0_import))


def test_names_that_can_be_meant(tmp_path):
    (tmp_path / "v1.2").mkdir()
    (tmp_path / "A.MID").touch()
    check_names(tmp_path / "v1.2", tmp_path / "A.MID")
    check_names(tmp_path / "new/a.CSV", tmp_path / "v1.2")
    check_names(None, None)


def test_each_song_has_a_file_of_its_own(tmp_path):
    files = MelodyFiles(songs("a", "a_2", "歌"), f0_export=tmp_path / "new/folder")
    assert [path.name for path in files.exports.values()] == ["a.csv", "a_2.csv", "歌.csv"]
    assert (tmp_path / "new/folder").is_dir() and files.wanted and files.needs_tracker


def test_what_is_asked_for():
    assert not MelodyFiles(songs("a")).wanted and MelodyFiles(songs("a")).needs_tracker


def test_one_file_is_for_one_song(tmp_path):
    (tmp_path / "a.csv").touch()
    with pytest.raises(ValueError, match=r"--f0_export .*new.csv: one file is for one song, and there are 2: name a f"):
        MelodyFiles(songs("a", "b"), f0_export=tmp_path / "new.csv")
    with pytest.raises(ValueError, match=r"--f0_import .*a.csv: one file is for one song, and there are 2"):
        MelodyFiles(songs("a", "b"), f0_import=tmp_path / "a.csv")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "taken").touch()
    for place in ("taken/new/a.csv", "taken/a.csv", "taken/new"):
        with pytest.raises(OSError, match=r"--f0_export: the folder .*taken.* cannot be made: "):
            MelodyFiles(songs("a"), f0_export=tmp_path / place)


def test_what_is_read_is_never_written_over(tmp_path):
    (tmp_path / "a.csv").touch()
    for f0_import in (tmp_path / "a.csv", tmp_path):
        for f0_export in (tmp_path / "a.csv", tmp_path):
            with pytest.raises(ValueError, match=r"--f0_export would write over .*a.csv, which --f0_import reads"):
                MelodyFiles(songs("a"), f0_export=f0_export, f0_import=f0_import)
    MelodyFiles(songs("b"), f0_export=tmp_path / "b.csv", f0_import=tmp_path / "a.csv")
    (tmp_path / "b.mid").touch()
    for f0_export in (tmp_path / "b.csv", tmp_path):
        with pytest.raises(
            ValueError, match=r"--f0_export would write b.csv into .*, which --f0_import reads: name an"
        ):
            MelodyFiles(songs("b"), f0_export=f0_export, f0_import=tmp_path)


def test_links_that_lead_nowhere_are_no_melodies(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").symlink_to(tmp_path / "gone.csv")
    (tmp_path / "a.csv").touch()
    files = MelodyFiles(songs("a"), f0_export=tmp_path / "a.csv", f0_import=tmp_path / "in")
    with pytest.raises(ValueError, match="holds no melody for it"):
        files.source(songs("a")[0])


def test_songs_find_their_melodies_in_a_folder(tmp_path):
    for name in ("a.csv", "歌.MID", "c.midi", "d.csv", "d.mid"):
        (tmp_path / name).touch()
    files = MelodyFiles(songs("a", "歌", "c", "d", "e"), f0_import=tmp_path)
    found = [files.source(song).name for song in songs("a", "歌", "c")]
    assert found == ["a.csv", "歌.MID", "c.midi"] and files.needs_tracker
    with pytest.raises(ValueError, match=r"holds several melodies for it: d.csv, d.mid: leave one there"):
        files.source(songs("d")[0])
    with pytest.raises(ValueError, match=r"holds no melody for it: none of e.csv, e.mid, e.midi"):
        files.source(songs("e")[0])


def test_a_table_needs_no_tracker_and_notes_do(tmp_path):
    def track(tell):
        tell(1.0)
        return MELODY

    write_csv(tmp_path / "a.csv", Melody(MELODY.seconds, MELODY.f0 * 2))
    files = MelodyFiles(songs("a"), f0_import=tmp_path / "a.csv")
    assert not files.needs_tracker
    np.testing.assert_array_equal(files.melody(songs("a")[0], 1.05, None).f0, MELODY.f0 * 2)
    write(tmp_path / "a.mid", note(69, 0, 2))
    files = MelodyFiles(songs("a"), f0_import=tmp_path / "a.mid")
    got = files.melody(songs("a")[0], 1.05, track)
    np.testing.assert_allclose(got.f0, MELODY.f0 * 2, rtol=1e-6)
    assert files.needs_tracker and MelodyFiles(songs("a")).melody(songs("a")[0], 1.05, track) is MELODY


def test_a_table_and_a_picture_are_written(tmp_path):
    song = songs("歌 é")[0]
    files = MelodyFiles([song], f0_export=tmp_path)
    written = files.export(song, MELODY, sung(1.05), sample_rate=SAMPLE_RATE)
    assert [path.name for path in written] == ["歌 é.csv", "歌 é.png"]
    np.testing.assert_array_equal(read_csv(written[0], 1.05).f0, MELODY.f0)
    assert written[1].read_bytes().startswith(PNG)
    assert MelodyFiles([song]).export(song, MELODY, sung(1.05), sample_rate=SAMPLE_RATE) == []


@pytest.mark.parametrize("wav", [sung(1.0)[:100], silence(0.4), sung(45.0)], ids=["short", "silent", "long"])
def test_pictures_of_any_song(tmp_path, wav, monkeypatch):
    monkeypatch.setattr("pipeline.song_picture.MOST_LINES", 2)
    n = max(len(wav) // 512, 1)
    melody = Melody(np.arange(n) * 512 / SAMPLE_RATE, np.full(n, 0.0 if n < 100 else 220.0, np.float32))
    files = MelodyFiles(songs("a"), f0_export=tmp_path / "a.csv")
    assert len(files.export(songs("a")[0], melody, wav, sample_rate=SAMPLE_RATE)) == 2


def test_a_kept_table_and_a_picture_that_fails_are_told(tmp_path, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("no fonts")

    monkeypatch.setattr(melody_files, "draw_melody", fail)
    (tmp_path / "a.csv").write_text("edited")
    files = MelodyFiles(songs("a"), f0_export=tmp_path / "a.csv")
    with caplog.at_level(logging.WARNING):
        assert files.export(songs("a")[0], MELODY, sung(1.05), sample_rate=SAMPLE_RATE) == [tmp_path / "a.csv"]
    assert "a.csv was there and differs: kept as a.csv.bak-" in caplog.text
    assert "a.png: RuntimeError: no fonts" in caplog.text

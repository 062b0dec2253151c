"""What the names on the command line mean."""

from pathlib import Path

import pytest

from pipeline.songs import find_songs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("raw/one.wav", "raw/one.flac", "raw/two.FLAC", "raw/v1.2.ogg", "raw/歌 の名.mp3", "raw/notes.txt"):
        touch(name)
    for name in ("raw/album/b.wav", "raw/album/cd2/a.wav", "raw/album/.hidden.wav", "else where/x[1].wav", "y.wav"):
        touch(name)
    return tmp_path


def touch(name):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).touch()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("one.wav", ["raw/one.wav"]),
        ("one.flac", ["raw/one.flac"]),
        ("one", ["raw/one.wav"]),  # the documented form comes first
        ("two", ["raw/two.FLAC"]),
        ("v1.2", ["raw/v1.2.ogg"]),
        ("歌 の名", ["raw/歌 の名.mp3"]),
        ("raw/one.flac", ["raw/one.flac"]),
        ("y", ["y.wav"]),
        ("else where/x[1].wav", ["else where/x[1].wav"]),
        ("album", ["raw/album/b.wav", "raw/album/cd2/a.wav"]),
        ("else where", ["else where/x[1].wav"]),
        ("*.flac", ["raw/one.flac"]),
        ("album/**/*.wav", ["raw/album/b.wav", "raw/album/cd2/a.wav"]),
        ("raw/o*", ["raw/one.flac", "raw/one.wav"]),
    ],
)
def test_names(folder, name, expected):
    songs, failed = find_songs([name], Path("raw"))
    assert [song.path.as_posix() for song in songs] == expected and not failed


def test_absolute_paths(folder):
    names = [str(folder / "y.wav"), str(folder / "raw/*.wav"), str(folder / "else where")]
    songs, failed = find_songs(names, Path("raw"))
    assert [song.path.name for song in songs] == ["y.wav", "one.wav", "x[1].wav"] and not failed


def test_results_are_called_by_the_stem_and_never_overwrite_each_other(folder):
    songs, _ = find_songs(["one.wav", "one.flac", "v1.2", "one", "raw/one.wav"], Path("raw"))
    assert [song.name for song in songs] == ["one", "one_2", "v1.2"]


def test_numbers_are_not_given_twice(tmp_path):
    for name in ("a.wav", "a.flac", "a_2.wav", "A_3.wav", "b/a.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    songs, _ = find_songs(["a_2.wav", "a.wav", "a.flac", "b/a.wav", "A_3.wav"], tmp_path)
    assert [song.name for song in songs] == ["a_2", "a", "a_3", "a_4", "A_3_2"]


def test_names_without_a_song_do_not_stop_the_rest(folder):
    songs, failed = find_songs(["three", "one", "*.aiff", "notes.txt"], Path("raw"))
    assert [song.path.name for song in songs] == ["one.wav", "notes.txt"]  # the latter is told when it is read
    assert [name for name, _ in failed] == ["three", "*.aiff"]
    assert failed[0][1] == "no such song: raw/ holds one.flac, one.wav, two.FLAC, v1.2.ogg, 歌 の名.mp3"
    (folder / "empty").mkdir()
    assert "holds no audio file" in find_songs(["empty"], Path("raw"))[1][0][1]
    assert find_songs(["x"], Path("nowhere"))[1][0][1] == "no such song: nowhere/ holds none"

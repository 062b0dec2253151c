"""Names beside a clip; files appear whole or not at all."""

import os
from pathlib import Path

import pytest

from common.formats import F0, beside, keep_copy, remove_parts, rewrite_text, write_atomically, write_json, write_text


def test_caches_stand_beside_the_clip():
    assert beside("a/b c.wav", F0) == Path("a/b c.wav.f0.npy")


def test_a_failing_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "deep" / "G_1.pth"
    write_atomically(path, lambda file: file.write(b"old"))

    def half(file):
        file.write(b"ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, half)
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["G_1.pth"]
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"


def test_what_killed_processes_left_is_removed(tmp_path):
    for name in (".G_8.pth.1234.part", "a/.x.wav.soft.pt.7.part", "keep.part", "a/x.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    remove_parts(tmp_path)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert left == ["a", "a/x.wav", "keep.part"]
    remove_parts(tmp_path / "absent")


def test_copies_of_one_second_have_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda _: "20260102-030405")
    path, kept = tmp_path / "a.csv", []
    for text in ("one", "two", "three"):
        path.write_text(text)
        kept.append(keep_copy(path))
    assert [copy.name for copy in kept] == [f"a.csv.bak-20260102-030405{end}" for end in ("", "-2", "-3")]
    assert [copy.read_text() for copy in kept] == ["one", "two", "three"] and path.read_text() == "three"


def test_what_was_edited_is_kept_when_it_is_written_anew(tmp_path):
    path = tmp_path / "a.json"
    assert rewrite_text(path, "歌") is None and rewrite_text(path, "歌") is None
    path.write_text("edited")
    kept = rewrite_text(path, "歌")
    assert kept and kept.read_text() == "edited" and path.read_text(encoding="utf-8") == "歌"
    assert set(tmp_path.iterdir()) == {path, kept}


def test_text_and_json_keep_every_letter(tmp_path):
    write_text(tmp_path / "a" / "list.txt", "歌/ü.wav\r\n")
    assert (tmp_path / "a" / "list.txt").read_bytes() == "歌/ü.wav\r\n".encode()
    write_json(tmp_path / "b.json", {"歌": [1]})
    assert (tmp_path / "b.json").read_text(encoding="utf-8") == '{\n "歌": [\n  1\n ]\n}'
    write_json(tmp_path / "b.json", {"a": 1}, indent=2)
    assert (tmp_path / "b.json").read_text(encoding="utf-8") == '{\n  "a": 1\n}'


def test_a_name_that_is_not_text_is_named_and_nothing_is_written(tmp_path):
    write_text(tmp_path / "list.txt", "old")
    with pytest.raises(ValueError, match=r"list.txt: not written, a name is not valid text.*'b/caf\\udce9.wav'"):
        write_text(tmp_path / "list.txt", "a/x.wav\nb/caf\udce9.wav\nc/y.wav\n")
    assert (tmp_path / "list.txt").read_text(encoding="utf-8") == "old"


def test_a_file_that_is_open_elsewhere_is_named(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(13, "Access is denied", str(source), None, str(target))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError, match=r"G_1.pth: cannot be replaced: it is open in another program.*run again"):
        write_atomically(tmp_path / "G_1.pth", lambda file: file.write(b"new"))
    assert os.listdir(tmp_path) == []

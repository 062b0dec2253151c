"""Names beside a clip; files appear whole or not at all."""

import os
from pathlib import Path

import pytest

from common.formats import F0, beside, remove_parts, write_atomically


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

"""Which files the names on the command line of inference_main.py mean."""

import glob
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common import audio


@dataclass(frozen=True)
class Song:
    """A file, and what its results are called."""

    path: Path
    name: str


def find_songs(names: list[str], in_dir: Path) -> tuple[list[Song], list[tuple[str, str]]]:
    """Songs in the order of ``names``, each once; and the names that mean none, with the reason.

    A name is a file in ``in_dir`` with or without its suffix, a path, a folder (all the songs in it), or a pattern
    such as ``*.flac``; what is not in ``in_dir`` is looked for from the current folder.
    """
    paths: dict[Path, None] = {}
    failed = []
    for name in names:
        found = _find(name, in_dir)
        if not found:
            failed.append((name, _why_not(name, in_dir)))
        paths.update((path, None) for path in found)
    songs: list[Song] = []
    taken: set[str] = set()
    for path in paths:
        stem = path.stem if audio.is_audio(path) else path.name
        number, name = 1, stem
        while name.casefold() in taken:  # some file systems take Song for song
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.casefold())
        songs.append(Song(path, name))
    return songs, failed


def _find(name: str, in_dir: Path) -> list[Path]:
    places = [in_dir / name, Path(name)]  # the first alone where the name is absolute
    for place in places:
        if place.is_file():
            return [place]
        for suffix in (".wav", ".flac", *audio.FORMATS):
            for spelled in (suffix, suffix.upper()):
                if (path := place.parent / f"{place.name}{spelled}").is_file():
                    return [path]
    for place in places:
        if place.is_dir():
            return _songs_among(place.rglob("*"))
        if glob.has_magic(name) and (found := _songs_among(map(Path, glob.glob(str(place), recursive=True)))):
            return found
    return []


def _songs_among(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if audio.is_audio(path) and path.is_file())


def _why_not(name: str, in_dir: Path) -> str:
    if (in_dir / name).is_dir() or Path(name).is_dir():
        return "this folder holds no audio file that libsndfile reads (wav, flac, ogg, mp3, ...)"
    here = [path.name for path in _songs_among(in_dir.glob("*"))]
    shown = ", ".join(here[:10]) + (", ..." if len(here) > 10 else "")
    return f"no such song: {in_dir}/ holds {shown or 'none'}"

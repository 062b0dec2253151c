"""Which files the melodies of some songs come from (--f0_import) and go to (--f0_export)."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common.failures import reason
from common.formats import is_same_file
from pipeline.melody import Melody
from pipeline.melody_csv import read_csv, write_csv
from pipeline.melody_midi import read_midi
from pipeline.melody_picture import draw_melody
from pipeline.songs import Song

logger = logging.getLogger(__name__)

TABLE, SCORES, PICTURE = ".csv", (".mid", ".midi"), ".png"
BAR = "{l_bar}{bar}| {n:.0f} of {total:.0f} s [{elapsed}<{remaining}]"

Track = Callable[..., Melody]  # tracks a song, and tells its argument ``tell`` of the seconds that are done


def check_names(f0_export: Path | None, f0_import: Path | None) -> None:
    """Raise ValueError, or FileNotFoundError, where the value of an option cannot be right whatever the songs are."""
    if f0_export and not _is_folder(f0_export) and f0_export.suffix.lower() != TABLE:
        raise ValueError(f"--f0_export {f0_export}: it must end in {TABLE}, or be a folder")
    if f0_import and not f0_import.exists():
        raise FileNotFoundError(f"--f0_import {f0_import}: no such file")
    if f0_import and not f0_import.is_dir() and f0_import.suffix.lower() not in (TABLE, *SCORES):
        raise ValueError(f"--f0_import {f0_import}: it must end in {TABLE}, {', '.join(SCORES)}, or be a folder")


class MelodyFiles:
    """The files of some songs; folders to be written to are made.

    Args:
        f0_export: a table for one song, or a folder that gets a table for each, no two of one name.
        f0_import: a table or a MIDI file for one song, or a folder that holds one for each, called like the song.

    Raises:
        ValueError: one file for several songs, or one file or folder to be read and written.
        OSError: a folder cannot be made.
    """

    def __init__(self, songs: Sequence[Song], *, f0_export: Path | None = None, f0_import: Path | None = None) -> None:
        self.f0_import = f0_import
        for option, path in (("--f0_export", f0_export), ("--f0_import", f0_import)):
            if path and not _is_folder(path) and len(songs) > 1:
                raise ValueError(
                    f"{option} {path}: one file is for one song, and there are {len(songs)}: name a folder"
                )
        self.exports = dict(zip(songs, _export_paths(f0_export, songs), strict=True)) if f0_export else {}
        for path in self.exports.values():
            if any(is_same_file(path, source) for source in self._sources()):
                raise ValueError(f"--f0_export would write over {path}, which --f0_import reads: name another place")
            if f0_import and is_same_file(path.parent, f0_import):
                raise ValueError(
                    f"--f0_export would write {path.name} into {f0_import}, which --f0_import reads: name another place"
                )
            _make_folder(path.parent)

    @property
    def wanted(self) -> bool:
        """Whether there is anything to read or to write."""
        return bool(self.exports or self.f0_import)

    @property
    def needs_tracker(self) -> bool:
        """Whether a song may have to be tracked."""
        return self.f0_import is None or any(map(_is_score, self._sources()))

    def source(self, song: Song) -> Path | None:
        """The file that ``song`` is sung from. Raises ValueError where a folder holds none or several for it."""
        if self.f0_import is None or not self.f0_import.is_dir():
            return self.f0_import
        names = [f"{song.name}{suffix}" for suffix in (TABLE, *SCORES)]
        found = sorted(
            entry.name
            for entry in self.f0_import.iterdir()
            if entry.stem == song.name and entry.suffix.lower() in (TABLE, *SCORES) and entry.is_file()
        )
        if not found:
            raise ValueError(f"{self.f0_import} holds no melody for it: none of {', '.join(names)}")
        if len(found) > 1:
            raise ValueError(f"{self.f0_import} holds several melodies for it: {', '.join(found)}: leave one there")
        return self.f0_import / found[0]

    def melody(self, song: Song, duration: float, track: Track) -> Melody:
        """What is sung in a song of ``duration`` seconds: read from its file, or tracked where it has none.

        Raises:
            ValueError: the file holds no melody of that song.
        """
        source = self.source(song)
        if source and not _is_score(source):
            logger.info("melody from %s", source)
            return read_csv(source, duration)
        with tqdm(total=duration, bar_format=BAR, desc="pitch") as bar:
            heard = track(tell=bar.update)
            bar.update(duration - bar.n)  # what follows the last piece
        if source is None:
            return heard
        logger.info("melody from %s", source)
        return read_midi(source, heard, duration)

    def export(self, song: Song, melody: Melody, wav: np.ndarray, *, sample_rate: int) -> list[Path]:
        """Write the table, and a picture of it over (T,), where asked for; a picture that fails stops nothing."""
        if song not in self.exports:
            return []
        path = self.exports[song]
        if kept := write_csv(path, melody):
            logger.warning("%s was there and differs: kept as %s", path, kept.name)
        picture = path.with_suffix(PICTURE)
        try:
            draw_melody(picture, wav, melody, sample_rate=sample_rate)
        except Exception as error:  # the table is what was asked for
            logger.warning("no picture %s: %s", picture, reason(error))
            return [path]
        return [path, picture]

    def _sources(self) -> list[Path]:
        """All the files that may be read."""
        if self.f0_import is None:
            return []
        return list(self.f0_import.iterdir()) if self.f0_import.is_dir() else [self.f0_import]


def _is_folder(path: Path) -> bool:
    return path.is_dir() or not path.suffix


def _is_score(path: Path) -> bool:
    return path.suffix.lower() in SCORES


def _export_paths(f0_export: Path, songs: Sequence[Song]) -> list[Path]:
    return [f0_export / f"{song.name}{TABLE}" if _is_folder(f0_export) else f0_export for song in songs]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"--f0_export: the folder {folder} cannot be made: {error.strerror}") from None

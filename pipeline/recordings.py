"""Which recordings a speaker's folder holds, what their clips are called, and which clips came from which.

A small record (`RECORD`) beside the clips remembers it, so that running resample.py again gives a recording the same
names as before, replaces its clips and removes those that are no longer made.
"""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

from common import audio, formats

RECORD = ".resample.json"  # {recording, relative to the speaker's folder: {"stem": ..., "clips": [names]}}
UNREADABLE = (".m4a", ".aac", ".mp4", ".wma", ".ape", ".amr", ".webm", ".mkv", ".mov", ".avi")


@dataclass(frozen=True)
class Recording:
    """One file of a speaker, and the name that its clips begin with."""

    speaker: str
    path: Path
    key: str  # path relative to the speaker's folder
    stem: str


@dataclass(frozen=True)
class Plan:
    """Recordings in the order of speaker and name, files that are none with the reason, and things to know."""

    recordings: list[Recording]
    rejected: list[tuple[Path, str]]
    notices: list[str]


def plan(in_dir: Path, out_dir: Path) -> Plan:
    """List the recordings of ``in_dir``/<speaker>/, folders within it included; hidden and other files are passed over.

    Raises:
        FileNotFoundError: ``in_dir`` is missing or holds no recording in a speaker's folder.
        ValueError: clips would be written among the recordings.
    """
    home = in_dir / "speaker_name"
    if not in_dir.is_dir():
        raise FileNotFoundError(f"{in_dir}: no such folder: put recordings into {home}/")
    if out_dir.resolve() == in_dir.resolve() or in_dir.resolve() in out_dir.resolve().parents:
        raise ValueError(f"--out_dir2 {out_dir} lies in --in_dir {in_dir}: clips would be taken for recordings")
    found = Plan([], [], [])
    for entry in sorted(in_dir.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            found.recordings.extend(_plan_speaker(entry, out_dir / entry.name, found))
        elif audio.is_audio(entry) or entry.suffix.lower() in UNREADABLE:
            found.rejected.append((entry, f"not in a speaker's folder: move it to {home}/"))
    if not found.recordings:
        listed = "".join(f"\n  {path}: {why}" for path, why in found.rejected)
        raise FileNotFoundError(f"no recordings in {in_dir}: put them into {home}/{listed}")
    return found


def _plan_speaker(folder: Path, out_folder: Path, found: Plan) -> list[Recording]:
    """Recordings of one speaker. One that an earlier run knew keeps its name; a new one gets a name that is free."""
    sources: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if any(part.startswith(".") for part in inner.parts) or not path.is_file():
            continue
        if path.suffix.lower() in UNREADABLE:
            found.rejected.append((path, f"libsndfile does not read {path.suffix}: convert it to wav or flac"))
        elif audio.is_audio(path):
            sources[inner.as_posix()] = path
    if not sources:
        found.notices.append(f"{folder}: no audio files in it")
    stems = {key: entry["stem"] for key, entry in read_record(out_folder).items()}
    taken = {stem.casefold() for stem in stems.values()}  # Windows and macOS do not tell A.wav from a.wav
    for key, path in sources.items():
        if key in stems:
            continue
        names = itertools.chain([path.stem], (f"{path.stem}_{i}" for i in itertools.count(2)))
        stems[key] = next(name for name in names if name.casefold() not in taken)
        taken.add(stems[key].casefold())
        if stems[key] != path.stem:
            found.notices.append(f"{path}: there is another {path.stem}, so its clips are called {stems[key]}")
    return [Recording(folder.name, path, key, stems[key]) for key, path in sources.items()]


def read_record(folder: Path) -> dict[str, dict]:
    """The record of one speaker's clips; empty when there is none.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / RECORD
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error}): delete it and run python resample.py again") from None


def settle(folder: Path, made: dict[Recording, list[str]]) -> None:
    """Record the clips that were ``made`` in ``folder``; those that a recording no longer gives go, with their caches.

    Clips of recordings that are not in ``made`` (deleted, or unreadable this time) stay.
    """
    record = read_record(folder)
    for recording, clips in made.items():
        former = record.get(recording.key, {"clips": []})["clips"]
        for stale in set(former) - set(clips):
            for path in folder.iterdir():
                if path.name == stale or path.name.startswith(f"{stale}."):
                    path.unlink()
        record[recording.key] = {"stem": recording.stem, "clips": clips}
    formats.write_json(folder / RECORD, record)


def clips_of(folder: Path) -> list[Path]:
    """The clips of ``folder`` that are on record and still there, sorted."""
    names = (name for entry in read_record(folder).values() for name in entry["clips"])
    return sorted(path for name in names if (path := folder / name).is_file())

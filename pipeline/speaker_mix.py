"""Voices that are mixed along a song: which speaker has how much weight at which moment (docs/mixing.md).

Letters: F moments, S speakers (the highest id and all below), N segments of a speaker.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.config import find_speaker
from common.failures import shown
from common.sections import ConfigError
from pipeline.csv_tables import read_table

SHARE, SECONDS = "share", "seconds"  # units of time: 0 is a song's start, 1 its end; or seconds from its start
FIELDS = ("begin", "end", "from", "to")
TOLERANCE = 1e-6  # in either unit, for numbers that were written with few digits
SUFFIXES = (".json", ".csv")
COLUMNS = {  # of a .csv, by unit
    SECONDS: ("speaker", "begin_seconds", "end_seconds", "from", "to"),
    SHARE: ("speaker", "begin_share", "end_share", "from", "to"),
}

Segments = list[tuple[str, Any]]  # what a segment is called in messages, and its four numbers, or whatever stands there


class Unchecked(NamedTuple):
    """A timeline as somebody wrote it: segments of speakers, which are given by name or id."""

    unit: str
    speakers: list[tuple[Any, Segments]]


@dataclass(frozen=True)
class SpeakerMix:
    """Weights of speakers as straight lines over segments of a song.

    Args:
        spk: ids of the speakers by name, as in config.json.
        segments: per id (N, 4) numbers: begin and end in ``unit``, weights there; without gap or overlap, from 0 on.
        unit: `SHARE` or `SECONDS`.
    """

    spk: Mapping[str, int]
    segments: Mapping[int, np.ndarray]
    unit: str

    @classmethod
    def from_map(
        cls, spk_mix_map: Any, spk: Mapping[str, int], *, where: Path | str = "spk_mix_map of spkmix.py"
    ) -> "SpeakerMix":
        """``{speaker id: [[begin, end, from, to], ...]}`` with times from 0 to 1; ``where`` is named in messages.

        Raises:
            ConfigError: every problem at once, with the speaker and the segment.
        """
        if not isinstance(spk_mix_map, Mapping):
            raise ConfigError(where, [f"expected {{speaker id: segments}}, got {type(spk_mix_map).__name__}"])
        return cls._checked(
            Unchecked(SHARE, [(key, _numbered(value)) for key, value in spk_mix_map.items()]), spk, where
        )

    @classmethod
    def load(cls, path: Path, spk: Mapping[str, int]) -> "SpeakerMix":
        """Read a timeline from a .json or .csv file.

        Raises:
            FileNotFoundError: no such file.
            ValueError: no such format, or a ConfigError with every problem at once.
        """
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{path}: a timeline of speakers must end in {' or '.join(SUFFIXES)}")
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        return cls._checked(_read_json(path) if path.suffix.lower() == ".json" else _read_csv(path), spk, path)

    @classmethod
    def _checked(cls, timeline: Unchecked, spk: Mapping[str, int], where: Path | str) -> "SpeakerMix":
        problems: list[str] = []
        segments: dict[int, np.ndarray] = {}
        for speaker, given in timeline.speakers:
            try:
                speaker_id = int(speaker) if speaker in spk.values() else find_speaker(spk, speaker)
            except ValueError as error:
                problems.append(str(error))
                continue
            name = _called(spk, speaker_id)
            found = [f"speaker {name}{text}" for text in _problems(given, timeline.unit)]
            if speaker_id in segments:
                found.append(f"speaker {name} is there twice")
            problems += found
            segments[speaker_id] = np.empty((0, 4)) if found else np.array([row for _, row in given], dtype=np.float64)
        for speaker_id in sorted(set(spk.values()) - segments.keys()):
            problems.append(f"speaker {_called(spk, speaker_id)} is missing: where it does not sing, its weight is 0")
        if problems:
            raise ConfigError(where, problems)
        return cls(dict(spk), segments, timeline.unit)

    @property
    def n_speakers(self) -> int:
        """S: what `SynthesizerTrn.EnableCharacterMix` is to be called with."""
        return max(self.spk.values()) + 1

    @property
    def singers(self) -> list[int]:
        """Ids of those who are heard somewhere: all of them, where at some moment nobody has any weight."""
        edges = np.unique(np.concatenate([rows[:, :2].ravel() for rows in self.segments.values()]))
        # Between two edges all weights run straight and are not negative: their sum is 0 in the middle or not at all.
        lines = self._lines(np.concatenate([edges, (edges[:-1] + edges[1:]) / 2]))
        if not lines.any(axis=1).all():
            return sorted(self.segments)
        return np.flatnonzero(lines.any(axis=0)).tolist()

    def weights(self, times: np.ndarray, duration: float) -> np.ndarray:
        """Weights (F, S) float32 at ``times`` (F,), seconds from the start of a song that lasts ``duration`` seconds.

        Each row makes 1; where nobody has any weight, all speakers have the same. Before the song the weights are those
        of its start, after a speaker's last segment those of that segment's end.

        Raises:
            ValueError: the song has no duration.
        """
        if not duration > 0:
            raise ValueError(f"a song of {duration:g} seconds has no timeline")
        result = self._lines(np.asarray(times, dtype=np.float64) / (duration if self.unit == SHARE else 1.0))
        result[~result.any(axis=1)] = np.isin(np.arange(self.n_speakers), list(self.segments))
        result /= result.max(axis=1, keepdims=True)  # the sum of numbers of any size stays finite
        return (result / result.sum(axis=1, keepdims=True)).astype(np.float32)

    def _lines(self, moments: np.ndarray) -> np.ndarray:
        """Weights as they are written (F, S) at ``moments`` (F,) in the timeline's own unit."""
        result = np.zeros((len(moments), self.n_speakers))
        for speaker_id, rows in self.segments.items():
            begin, end, first, last = rows[np.maximum(np.searchsorted(rows[:, 0], moments, side="right") - 1, 0)].T
            passed = np.clip((moments - begin) / (end - begin), 0, 1)
            result[:, speaker_id] = first + passed * (last - first)
        return result

    def mismatch(self, duration: float) -> str | None:
        """What to say where a timeline in seconds and a song of ``duration`` seconds end over a second apart."""
        last = max(float(rows[-1, 1]) for rows in self.segments.values())
        if self.unit == SHARE or abs(last - duration) <= 1:
            return None
        what = "its last weights stay" if last < duration else "what lies behind is not heard"
        return f"the timeline of speakers ends at {last:g} s, the song at {duration:.1f} s: {what}"


def _called(spk: Mapping[str, int], speaker_id: int) -> str:
    return next(f"{name} (id {i})" for name, i in spk.items() if i == speaker_id)


def _problems(given: Segments, unit: str) -> Iterator[str]:
    """What is wrong with the segments of a speaker, in words that follow its name."""
    if not given:
        yield f" has no segments: expected [{', '.join(FIELDS)}], ..."
    before: tuple[str, float] | None = ("", 0.0)  # name and end of the segment before, None where they are not known
    for i, (name, row) in enumerate(given):
        wrong = list(_wrong_numbers(row))
        for text in wrong:
            yield f", {name}: {text}"
        if wrong:
            before = None
            continue
        begin, end = row[:2]
        if end <= begin:
            yield f", {name}: it ends at {end:g}, but begins at {begin:g}"
        if before and abs(begin - before[1]) > TOLERANCE:
            gap = "a gap" if begin > before[1] else "an overlap"
            expected = (
                f"{before[0]} ends at {before[1]:g}: there is {gap}" if before[0] else "the first must begin at 0"
            )
            yield f", {name}: it begins at {begin:g}, {expected}"
        if i == len(given) - 1 and unit == SHARE and abs(end - 1) > TOLERANCE:
            yield f", {name}: it ends at {end:g}, the last must end at 1, the end of the song"
        before = name, end


def _wrong_numbers(row: Any) -> Iterator[str]:
    if not isinstance(row, (list, tuple)) or len(row) != len(FIELDS):
        yield f"expected {len(FIELDS)} numbers ({', '.join(FIELDS)}), got {shown(row)}"
        return
    for field, value in zip(FIELDS, row, strict=True):
        if not _is_number(value):
            yield f"{field} is no number: {shown(value)}"
        elif field in FIELDS[2:] and value < 0:
            yield f"{field} must not be negative, got {value:g}"


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _numbered(segments: Any) -> Segments:
    """With names to call them by; anything that is no list is one segment, and a wrong one."""
    rows = segments if isinstance(segments, (list, tuple)) else [segments]
    return [(f"segment {i}", row) for i, row in enumerate(rows, 1)]


def _read_json(path: Path) -> Unchecked:
    """``{"unit": "seconds", "speakers": {"alice": [[0, 12.5, 1, 0]], ...}}``."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ConfigError(path, [f"not valid JSON: {error}"]) from None
    problems = []
    if not isinstance(raw, dict) or raw.keys() != {"unit", "speakers"} or not isinstance(raw["speakers"], dict):
        problems.append('expected {"unit": ..., "speakers": {speaker: [[begin, end, from, to], ...], ...}}')
    elif raw["unit"] not in (SECONDS, SHARE):
        problems.append(f'unit: expected "{SECONDS}" or "{SHARE}", got {shown(raw["unit"])}')
    if problems:
        raise ConfigError(path, problems)
    return Unchecked(raw["unit"], [(speaker, _numbered(rows)) for speaker, rows in raw["speakers"].items()])


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"{key!r} is there twice")
        result[key] = value
    return result


def _read_csv(path: Path) -> Unchecked:
    """Rows of segments below the names of their columns."""
    table = read_table(path)
    header = [cell.lower() for cell in table.rows[0].cells]
    unit = next((unit for unit, names in COLUMNS.items() if sorted(header) == sorted(names)), None)
    if unit is None:
        wanted = " or ".join(", ".join(names) for names in COLUMNS.values())
        raise ConfigError(path, [f"the first line must name the columns {wanted}; here it is: {', '.join(header)}"])
    speakers: dict[str, Segments] = {}
    for line, cells in table.rows[1:]:
        speaker, *numbers = (cells[header.index(name)] for name in COLUMNS[unit])
        row: list[float | str] = []
        for cell in numbers:
            try:
                row.append(table.number(cell))
            except ValueError:
                row.append(cell)  # to be told with the other problems
        speakers.setdefault(speaker, []).append((f"line {line}", row))
    return Unchecked(unit, list(speakers.items()))

"""Melodies as tables: what --f0_export writes, and what comes back from an editor, a script or a spreadsheet."""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.formats import rewrite_text
from pipeline.csv_tables import Table, read_table
from pipeline.melody import SECONDS_DIGITS, Melody, find_hole, find_problem

logger = logging.getLogger(__name__)

COLUMNS = ("time", "f0", "voiced")  # seconds; Hz, 0 where unvoiced; 1 where voiced, else 0
NEEDED = 2  # of them

NOTE_NUMBERS = 128  # of MIDI
LOWEST_MEDIAN = 75.0, 100.0  # Hz: of a song of a bass; where all values are whole, as those of a tracker never are
MILLISECONDS = 1000
FASTEST = 20  # whole numbers that run so many times faster than the song are no seconds


class Rows(NamedTuple):
    """The points of a file, and the lines that they stand in."""

    lines: list[int]
    seconds: np.ndarray  # (N,) float64
    f0: np.ndarray  # (N,) float64, 0 where unvoiced


def write_csv(path: Path, melody: Melody) -> Path | None:
    """Write ``melody``; a file that holds anything else may have been edited, so it is copied: returns the copy."""
    hz = [str(value) if value > 0 else "0" for value in melody.f0.astype(np.float32)]  # as many digits as it takes
    rows = [
        f"{seconds:.{SECONDS_DIGITS}f},{text},{int(text != '0')}"
        for seconds, text in zip(melody.seconds.tolist(), hz, strict=True)
    ]
    text = "\n".join([",".join(COLUMNS), *rows, ""])
    return rewrite_text(path, text)


def read_csv(path: Path, duration: float) -> Melody:
    """Read the melody of a song of ``duration`` seconds.

    The first line may name the columns (time, f0, voiced, in any order, others besides); else there are two or three,
    in that order. A row is unvoiced where f0 is 0 or empty, or voiced is 0; a warning counts the f0 lost by that.
    Commas, semicolons or tabs between the columns, and decimal commas where that is not a comma, are understood.

    Raises:
        ValueError: anything that is no melody of that song; the message names file and line.
    """
    rows = _read_rows(path)
    if hint := _other_units(rows, duration):
        raise ValueError(f"{path}: {hint}")
    if problem := find_problem(rows.seconds, rows.f0) or find_hole(rows.seconds, duration):
        i, text = problem
        raise ValueError(f"{path}, line {rows.lines[i]}: {text}")
    return Melody(rows.seconds, rows.f0.astype(np.float32))


def _read_rows(path: Path) -> Rows:
    table = read_table(path)
    rows, (line, cells) = table.rows, table.rows[0]
    columns = _header(path, line, cells)
    if columns is None:
        columns = dict(zip(COLUMNS, range(len(cells)), strict=False))
    else:
        rows = rows[1:]
    points = []
    for line, cells in rows:
        try:
            points.append(_point({name: cells[i] for name, i in columns.items()}, table))
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
    if not points:
        raise ValueError(f"{path}: the file holds no rows but the names of its columns")
    found = Rows([row.line for row in rows], *np.array(points).T[:NEEDED])
    _silence(path, found, unvoiced=np.array(points)[:, NEEDED] == 0)
    return found


def _silence(path: Path, rows: Rows, *, unvoiced: np.ndarray) -> None:
    """Set f0 to 0 where (N,) says so, and tell it."""
    lost = np.flatnonzero(unvoiced & np.isfinite(rows.f0) & (rows.f0 > 0))
    if len(lost):
        text = "%s: %d rows have an f0, but voiced 0: they stay unvoiced (first: line %d)"
        logger.warning(text, path, len(lost), rows.lines[lost[0]])
    rows.f0[unvoiced & np.isfinite(rows.f0)] = 0


def _header(path: Path, line: int, cells: list[str]) -> dict[str, int] | None:
    """Which column is which by the first row; None where it holds numbers."""
    if all(_is_number(cell) or not cell for cell in cells):
        if not NEEDED <= len(cells) <= len(COLUMNS):
            raise ValueError(f"{path}, line {line}: {len(cells)} columns; without names there must be time, f0, voiced")
        return None
    names = [cell.lower() for cell in cells]
    if any(names.count(name) != 1 for name in COLUMNS[:NEEDED]) or names.count(COLUMNS[-1]) > 1:
        wanted = "columns must be called time and f0, and may be called voiced"
        raise ValueError(f"{path}, line {line}: {wanted}; here they are: {', '.join(cells)}")
    return {name: names.index(name) for name in COLUMNS if name in names}


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def _point(cells: dict[str, str], table: Table) -> tuple[float, float, float]:
    """Seconds, f0 and voiced of a row."""
    numbers = {}
    for name, cell in cells.items():
        try:
            numbers[name] = table.number(cell) if cell or name != "f0" else 0.0
        except ValueError:
            raise ValueError(f"{name} is no number: {cell!r}") from None
    voiced = numbers.get("voiced", 1.0)
    if voiced not in (0.0, 1.0):
        raise ValueError(f"voiced must be 0 or 1, got {cells['voiced']!r}")
    return numbers["time"], numbers["f0"], voiced


def _other_units(rows: Rows, duration: float) -> str | None:
    """What to say where the numbers are sound, but those of something else."""
    voiced, last = rows.f0[rows.f0 > 0], float(rows.seconds[-1])
    if len(voiced) and voiced.max() < NOTE_NUMBERS:
        whole = bool((voiced == np.round(voiced)).all())
        if np.median(voiced) < LOWEST_MEDIAN[whole]:
            return f"f0 looks like MIDI note numbers ({voiced.min():g} to {voiced.max():g}): f0 must be in Hz"
    song = f"the last is {last:g}, the song lasts {duration:.1f} s"
    if duration / 2 < last / MILLISECONDS < 2 * duration:
        return f"time looks like milliseconds ({song}): it must be in seconds"
    whole = bool((rows.seconds == np.round(rows.seconds)).all() and (np.diff(rows.seconds) > 0).all())
    if whole and FASTEST * duration < last < np.inf:
        return f"time looks like numbers of frames ({song}): it must be in seconds"
    return None

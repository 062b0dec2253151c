"""Which conversion was made of which song: by the names that inference_main.py gives its results, or in order."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.songs import find_songs

# What follows the song's name: <semitones>key or auto, the speaker, perhaps the share of -cr, the kind of model, f0.
RESULT = re.compile(r"_(?:(-?\d+(?:\.\d+)?)key|auto)_(.+?)(?:_(?:0|1)\.\d+)?_(?:sovits|sovdiff|diff)_[^_]+")


@dataclass(frozen=True)
class Pair:
    """A song, and what was made of it.

    ``transpose`` is in semitones, None where the model sang a melody of its own (-a).
    """

    source: Path
    conversion: Path
    speaker: str | None = None
    transpose: float | None = 0.0
    remarks: list[str] = field(default_factory=list)


def find_audio(names: list[str], folder: Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """Files, folders and patterns, looked for in ``folder`` first; and the names that mean nothing, with the reason."""
    songs, failed = find_songs(names, folder)
    return [song.path for song in songs], failed


def pair_up(
    sources: Sequence[Path], conversions: Sequence[Path], *, transpose: float | None = None, in_order: bool = False
) -> tuple[list[Pair], list[tuple[str, str]]]:
    """Each conversion with its song; and the conversions that have none, with the reason.

    Args:
        transpose: what holds in place of the name's, semitones.
        in_order: the first conversion is of the first song, and so on, whatever they are called.

    Raises:
        ValueError: ``in_order``, and the numbers differ.
    """
    if in_order and len(sources) != len(conversions):
        raise ValueError(f"--in_order needs one conversion per song, got {len(conversions)} for {len(sources)}")
    pairs, failed = [], []
    for i, conversion in enumerate(conversions):
        source = sources[i] if in_order else _source_of(conversion, sources)
        if source is None:
            names = ", ".join(path.stem for path in sources[:5])
            failed.append((str(conversion), f"its name begins with that of no source ({names}): use --in_order"))
            continue
        pairs.append(_pair(source, conversion, transpose))
    return sorted(pairs, key=lambda pair: sources.index(pair.source)), failed


def _source_of(conversion: Path, sources: Sequence[Path]) -> Path | None:
    """The song whose name the conversion's begins with, the longest such."""
    fitting = [path for path in sources if path.resolve() != conversion.resolve() and _fits(conversion.stem, path.stem)]
    return max(fitting, key=lambda path: len(path.stem), default=None)


def _fits(conversion: str, song: str) -> bool:
    """Whether ``conversion`` goes on after ``song``, and not in the middle of another song's name."""
    if conversion == song:
        return True
    rest = conversion.removeprefix(song)
    return rest != conversion and rest[0] == "_" and (bool(RESULT.fullmatch(rest)) or not RESULT.search(rest))


def _pair(source: Path, conversion: Path, transpose: float | None) -> Pair:
    found = RESULT.fullmatch(conversion.stem.removeprefix(source.stem))
    if found is None:
        known = [] if transpose is not None else ["no transposition in its name: taken as 0; -t says otherwise"]
        return Pair(source, conversion, None, transpose or 0.0, known)
    named = None if found[1] is None else float(found[1])
    return Pair(source, conversion, found[2], named if transpose is None else transpose)

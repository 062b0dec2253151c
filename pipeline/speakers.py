"""What is known of a model's speakers besides their names: the range in which each of them sang in the recordings."""

import json
import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from common.formats import write_atomically
from pipeline.caches import read_f0
from pipeline.pitch_range import PitchRange

logger = logging.getLogger(__name__)

FILE = "speakers.json"  # beside the config of a model: {"pitch": {speaker: [low, median, high] in Hz}}
SAME_RANGE = 3  # semitones between two medians that nobody would transpose


def dataset_pitch_ranges(clips: Iterable[Path]) -> dict[str, PitchRange]:
    """Range of each speaker over the cached f0 of the clips in his folder; without one where nothing is voiced."""
    voiced: dict[str, list[np.ndarray]] = defaultdict(list)
    for clip in clips:
        f0, uv = read_f0(clip)
        voiced[clip.parent.name].append(f0[uv > 0])
    joined = {name: np.concatenate(parts) for name, parts in sorted(voiced.items())}
    return {name: PitchRange.of(hz) for name, hz in joined.items() if len(hz)}


def write_pitch_ranges(folder: Path, ranges: dict[str, PitchRange]) -> None:
    """Write the ranges to the file that stands beside the config in ``folder``."""
    content = {"pitch": {name: [round(hz, 1) for hz in (r.low, r.median, r.high)] for name, r in ranges.items()}}
    text = json.dumps(content, indent=1, ensure_ascii=False).encode()
    write_atomically(folder / FILE, lambda file: file.write(text))


def read_pitch_ranges(folder: Path) -> dict[str, PitchRange]:
    """The ranges that stand in ``folder``; none where another tool trained the model."""
    try:
        pitch = json.loads((folder / FILE).read_text(encoding="utf-8"))["pitch"]
        return {name: PitchRange(*(float(hz) for hz in numbers)) for name, numbers in pitch.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("%s is damaged and not used: %s", folder / FILE, error)
        return {}


def advise(song: PitchRange, target: PitchRange, transpose: float) -> str | None:
    """Which transposition would bring ``song`` into the range of ``target``; None when ``transpose`` already does."""
    wanted = song.semitones_to(target)
    inside = target.low <= song.median * 2 ** (transpose / 12) <= target.high
    if abs(wanted - transpose) <= SAME_RANGE or (inside and abs(wanted - transpose) <= 2 * SAME_RANGE):
        return None
    octaves = 12 * round(wanted / 12)
    whole = f", or -t {octaves} to stay in the key of the accompaniment" if octaves not in (round(wanted), 0) else ""
    return f"the ranges do not meet: try -t {round(wanted)}{whole}"

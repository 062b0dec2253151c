"""A speaker's cached units as one table of frames in random order, on disk: 10 hours are 5.5 GB.

Letters: N frames of all the clips, D unit channels.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

from common.failures import reason
from common.formats import UNITS
from pipeline.caches import read_clean_units


@dataclass(frozen=True)
class FrameFile:
    """Frames (N, D) float32, of which only the rows that are asked for come into memory."""

    file: IO[bytes]
    shape: tuple[int, int]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, step = rows.indices(self.shape[0])
        assert step == 1
        frames = np.empty((max(0, stop - start), self.shape[1]), np.float32)
        self.file.seek(4 * start * self.shape[1])
        self.file.readinto(frames)  # type: ignore[attr-defined]
        return frames


@dataclass
class SpeakerUnits:
    """The clips of a speaker whose units can be read, how many frames each has, and why others cannot."""

    clips: list[Path] = field(default_factory=list)
    n_frames: list[int] = field(default_factory=list)
    width: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)


def speaker_folders(dataset: Path) -> list[Path]:
    """The folders of a dataset, one per speaker.

    Raises:
        FileNotFoundError: there is no such dataset, or no speaker in it.
    """
    found = sorted(path for path in dataset.glob("*") if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise FileNotFoundError(f"no folder of a speaker in {dataset}: run python resample.py first")
    return found


def scan_units(folder: Path) -> SpeakerUnits:
    """Look through the units beside the clips of a folder; the perturbed copies of training are not among them.

    Raises:
        FileNotFoundError: there are none.
    """
    stored = sorted(path for path in folder.glob(f"*{UNITS}") if not path.name.startswith("."))
    if not stored:
        raise FileNotFoundError(f"no units in {folder}: run python preprocess_hubert_f0.py")
    units = SpeakerUnits()
    for clip in tqdm([path.with_name(path.name.removesuffix(UNITS)) for path in stored], desc=folder.name, unit="clip"):
        try:
            width, n_frames = _frames(clip, units.width).shape[::-1]
        except (OSError, ValueError) as error:
            units.failed.append((clip, reason(error, clip)))
            continue
        units.clips.append(clip)
        units.n_frames.append(n_frames)
        units.width = width
    return units


def _frames(clip: Path, width: int) -> np.ndarray:
    """Clean units of a clip, (N, D)."""
    frames = read_clean_units(clip)[0].T.numpy()
    if width and frames.shape[1] != width:
        raise ValueError(f"units of {frames.shape[1]} channels among units of {width}: run preprocess_hubert_f0.py")
    if not np.isfinite(frames).all():
        raise ValueError("units that are not finite: delete them and run python preprocess_hubert_f0.py")
    return frames


@contextmanager
def shuffled_frames(units: SpeakerUnits, work_folder: Path, seed: int) -> Iterator[FrameFile]:
    """Write the frames of all the clips to a temporary file in ``work_folder``, each to a place drawn at random."""
    n_frames = sum(units.n_frames)
    places = iter(np.array_split(np.random.default_rng(seed).permutation(n_frames), np.cumsum(units.n_frames)[:-1]))
    work_folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=work_folder) as file:
        for clip in units.clips:
            for place, frame in zip(next(places).tolist(), _frames(clip, units.width), strict=True):
                file.seek(4 * place * units.width)
                file.write(frame.tobytes())
        file.flush()
        yield FrameFile(file, (n_frames, units.width))

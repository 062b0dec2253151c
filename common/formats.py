"""Names of the files that the stages hand to one another, and how the small ones are read and written."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

CLIP_SUFFIX = ".wav"
UNITS, UNITS_AUG = ".soft.pt", ".soft_aug.pt"
F0, VOLUME = ".f0.npy", ".vol.npy"
MEL, AUG_MEL, AUG_VOLUME = ".mel.npy", ".aug_mel.npy", ".aug_vol.npy"
FINGERPRINT = ".features.json"
PART = ".part"  # ends the name of a file that is being written


def beside(wav: str | Path, suffix: str) -> Path:
    """Cache file of a clip: ``a/b.wav`` and ``.f0.npy`` give ``a/b.wav.f0.npy``."""
    return Path(f"{wav}{suffix}")


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call ``write`` on a temporary file beside ``path``, flush it to the disk, then give it the name ``path``.

    Whatever happens on the way (full disk, kill -9, power cut), ``path`` holds the old content or the new.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    try:
        with open(part, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove what killed processes left half written in ``folder`` and below; nothing else may be writing there."""
    for part in folder.rglob(f".*{PART}"):
        part.unlink(missing_ok=True)

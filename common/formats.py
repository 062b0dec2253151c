"""Names of the files that the stages hand to one another, and how the small ones are read and written."""

import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

CLIP_SUFFIX = ".wav"
UNITS, UNITS_AUG = ".soft.pt", ".soft_aug.pt"
F0, VOLUME = ".f0.npy", ".vol.npy"
MEL, AUG_MEL, AUG_VOLUME = ".mel.npy", ".aug_mel.npy", ".aug_vol.npy"
FINGERPRINT, MEL_FINGERPRINT = ".features.json", ".mel.json"
PART = ".part"  # ends the name of a file that is being written


def beside(wav: str | Path, suffix: str) -> Path:
    """Cache file of a clip: ``a/b.wav`` and ``.f0.npy`` give ``a/b.wav.f0.npy``."""
    return Path(f"{wav}{suffix}")


def is_same_file(path: Path, other: Path) -> bool:
    """Whether two names lead to one file or folder that is there."""
    return path.exists() and other.exists() and path.samefile(other)  # a link may lead nowhere


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a temporary file beside ``path``; when the context ends, what was written there gets that name.

    Whatever happens on the way (full disk, kill -9, power cut), ``path`` holds the old content or the new.

    Raises:
        PermissionError: the file that is there cannot be replaced: on Windows, while another program has it open.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    try:
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        try:
            os.replace(part, path)
        except PermissionError as error:
            what = "cannot be replaced: it is open in another program, or protected: close it and run again"
            raise PermissionError(f"{path}: {what} ({error.strerror})") from None
    finally:
        part.unlink(missing_ok=True)


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call ``write`` on a file that becomes ``path``, as `replacing` does."""
    with replacing(path) as part, open(part, "wb") as file:
        write(file)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all.

    Raises:
        ValueError: a name in it is not valid text (a file name of another encoding).
    """
    try:
        content = text.encode("utf-8")
    except UnicodeEncodeError as error:
        line = text[text.rfind("\n", 0, error.start) + 1 :].partition("\n")[0].strip()
        raise ValueError(f"{path}: not written, a name is not valid text, rename it: {line!r}") from None
    write_atomically(path, lambda file: file.write(content))


def write_json(path: Path, content: object, *, indent: int = 1) -> None:
    """Write ``content`` as JSON, every letter as itself. Raises ValueError as `write_text` does."""
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False))


def keep_copy(path: Path) -> Path:
    """Copy a file that is to be written anew: returns the copy, ``<name>.bak-<time>``, with -2, -3 ... if need be."""
    first = path.with_name(f"{path.name}.bak-{time.strftime('%Y%m%d-%H%M%S')}")
    names = itertools.chain([first], (first.with_name(f"{first.name}-{i}") for i in itertools.count(2)))
    copy = next(name for name in names if not name.exists())
    shutil.copy2(path, copy)
    return copy


def rewrite_text(path: Path, text: str) -> Path | None:
    """`write_text`; a file that holds anything else may have been edited by hand, so it is copied: returns the copy."""
    kept = keep_copy(path) if path.exists() and path.read_bytes() != text.encode("utf-8", "replace") else None
    write_text(path, text)
    return kept


def remove_parts(folder: Path, *, below: bool = True) -> None:
    """Remove what killed processes left half written in ``folder``, and ``below``; nothing else may write there."""
    for part in folder.rglob(f".*{PART}") if below else folder.glob(f".*{PART}"):
        part.unlink(missing_ok=True)

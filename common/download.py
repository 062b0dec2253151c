"""Downloads that resume, are verified, and appear under their name only when they are whole."""

import hashlib
import http.client
import logging
import os
import shutil
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from common import formats

logger = logging.getLogger(__name__)

BLOCK = 1 << 20  # bytes
TIMEOUT_SECONDS = 30
TRIES = 5
PAUSE_SECONDS = 2.0  # before the second try; longer before each later one


class DownloadError(OSError):
    """A file that could not be fetched; the message says which, why, and whether running again helps."""


def fetch(url: str, target: Path, *, sha256: str | None = None, size: int | None = None) -> None:
    """Download ``url`` to ``target``. What an interrupted call left in ``target``.part is taken up again.

    Raises:
        DownloadError: refused by the server, interrupted too often, or ``size`` (bytes) or ``sha256`` do not match.
    """
    part = target.with_name(f"{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, TRIES + 1):
        try:
            _transfer(url, part)
            break
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise DownloadError(f"{url}: the server says {error.code} {error.reason}") from None
            reason: object = error
        except (OSError, http.client.HTTPException) as error:
            reason = error
        if attempt == TRIES:
            kept = part.stat().st_size if part.exists() else 0
            raise DownloadError(f"{url}: {reason}; {kept} bytes are kept: run the same command again to go on")
        logger.warning("%s: %s; trying again", url, reason)
        time.sleep(PAUSE_SECONDS * attempt)
    try:
        verify(part, sha256=sha256, size=size)
    except ValueError as error:
        part.unlink()
        raise DownloadError(f"{url}: what came is not the expected file ({error}); it was deleted") from None
    os.replace(part, target)


def _transfer(url: str, part: Path) -> None:
    """Append to ``part`` what it lacks of ``url``; start anew when the server does not continue.

    Raises:
        OSError: the connection failed or ended early.
    """
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "common.pretrained"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:  # 416: nothing lies behind what we have, so it is complete or wrong
            raise
        if error.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
            return
        part.unlink()
        return _transfer(url, part)
    with response:
        continues = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if continues else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem)
        with bar, open(part, "ab" if continues else "wb") as file:
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
    got = part.stat().st_size
    if total is not None and got < total:
        raise ConnectionError(f"the connection ended after {got} of {total} bytes")


def verify(path: Path, *, sha256: str | None, size: int | None) -> None:
    """Compare ``path`` with what is known of it. Raises ValueError that says what differs."""
    if size is not None and path.stat().st_size != size:
        raise ValueError(f"{path.stat().st_size} bytes instead of {size}")
    if sha256 is not None and (found := digest(path)) != sha256:
        raise ValueError(f"sha256 {found} instead of {sha256}")


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    result = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            result.update(block)
    return result.hexdigest()


def extract(archive: Path, members: Mapping[str, Path]) -> None:
    """Write files of the zip ``archive`` to the paths in ``members``, whose keys are their names in whatever folder.

    Raises:
        DownloadError: not a zip archive, or one of the files is not in it.
    """
    try:
        with zipfile.ZipFile(archive) as bundle:
            for name, target in members.items():
                found = [entry for entry in bundle.infolist() if PurePosixPath(entry.filename).name == name]
                if not found:
                    raise DownloadError(f"{archive}: no file {name} in it")
                entry = min(found, key=lambda item: len(item.filename))
                with bundle.open(entry) as source:
                    formats.write_atomically(target, partial(shutil.copyfileobj, source, length=BLOCK))
    except zipfile.BadZipFile as error:
        raise DownloadError(f"{archive}: not a zip archive ({error})") from None

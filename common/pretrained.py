"""Pretrained files: where they are, whether they are what they should be, and how to get them.

python -m common.pretrained list
python -m common.pretrained get contentvec rmvpe
python -m common.pretrained check
"""

import argparse
import logging
from pathlib import Path

from common import download
from common.logs import run_script, setup_logging
from common.pretrained_files import FILES, PretrainedFile

logger = logging.getLogger(__name__)


def require(name: str, override: Path | str | None = None) -> Path:
    """Path of the file called ``name`` in the table, or of ``override``, which the user named instead.

    Raises:
        FileNotFoundError: it is not there; the message says where it belongs and which command fetches it.
    """
    if override is not None:
        if not Path(override).is_file():
            raise FileNotFoundError(f"{override}: no such file")
        return Path(override)
    entry = FILES[name]
    for path in entry.paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; needed by: {entry.needed_by}. {_how_to_get(entry)}")
    return entry.path


def _how_to_get(entry: PretrainedFile) -> str:
    if entry.url is None:
        return f"Download it by hand from {entry.page} and put it there"
    return f"Fetch it: python -m common.pretrained get {entry.name}    or by hand: {entry.url}"


def get(entry: PretrainedFile) -> None:
    """Download ``entry`` to its place, unless a file that passes its checks is there already.

    Raises:
        DownloadError: it could not be fetched, or it has no direct address.
        FileExistsError: another file is in its place. It is left alone: it may be the user's own.
    """
    if entry.path.exists() and (problem := problem_of(entry)):
        raise FileExistsError(f"{entry.path} is there but is another file ({problem}): move it away first")
    if all(path.is_file() for path in entry.paths):
        logger.info("%s is there already", entry.path)
        return
    if entry.url is None:
        raise download.DownloadError(f"{entry.name} has no direct address. {_how_to_get(entry)}: {entry.path}")
    logger.info("%s: %s (licence: %s)", entry.name, entry.url, entry.licence)
    if not entry.members:
        download.fetch(entry.url, entry.path, sha256=entry.sha256, size=entry.size)
    else:
        archive = entry.path.with_name(f"{entry.name}.zip")
        if not archive.exists():
            download.fetch(entry.url, archive, sha256=entry.archive_sha256, size=entry.archive_size)
        try:
            download.extract(archive, {name: entry.root / place for name, place in entry.members.items()})
        finally:
            archive.unlink()
    logger.info("%s is in place", entry.path)


def problem_of(entry: PretrainedFile) -> str | None:
    """What is wrong with the file that lies in the place of ``entry``; None when nothing is known to be."""
    try:
        download.verify(entry.path, sha256=entry.sha256, size=entry.size)
    except ValueError as error:
        return str(error)
    return None


def state_of(entry: PretrainedFile) -> str:
    """One of "missing", "ok", "there, checksum unknown", "is NAME" (another entry for the same place), "WRONG: ..."."""
    if not all(path.is_file() for path in entry.paths):
        return "missing"
    problem = problem_of(entry)
    if problem is None:
        return "ok" if entry.sha256 else "there, checksum unknown"
    others = (other for other in FILES.values() if other.path == entry.path and other.sha256)
    return next((f"is {other.name}" for other in others if problem_of(other) is None), f"WRONG: {problem}")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m common.pretrained", description="Pretrained files")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every file, its licence, who needs it and where it belongs")
    fetch = commands.add_parser("get", help="download files; an interrupted download goes on where it stopped")
    fetch.add_argument("names", nargs="+", choices=FILES, metavar="NAME", help="as `list` shows them")
    check = commands.add_parser("check", help="compare the files that are there with their checksums")
    check.add_argument("names", nargs="*", metavar="NAME", help="only these, which must be there (default: all)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    if args.command == "list":
        for entry in FILES.values():
            print(_row(entry))  # noqa: T201
        return 0
    if args.command == "check":
        return _check(args.names)
    failed = 0
    for name in args.names:
        try:
            get(FILES[name])
        except OSError as error:
            logger.error("%s", error)
            failed += 1
    return 1 if failed else 0


def _row(entry: PretrainedFile) -> str:
    there = "present" if all(path.is_file() for path in entry.paths) else "missing"
    n_bytes = entry.archive_size or entry.size
    size = f"{n_bytes / 1e6:.0f} MB" if n_bytes else "size ?"
    return f"{entry.name:<26}{there:<9}{size:>8}  {entry.licence:<16}{entry.file}\n{'':<26}{entry.needed_by}"


def _check(names: list[str]) -> int:
    """Print the state of each file; 1 when one is wrong, or one of ``names`` is missing."""
    if unknown := [name for name in names if name not in FILES]:
        logger.error("unknown: %s; known are: %s", ", ".join(unknown), ", ".join(FILES))
        return 1
    states = {name: state_of(FILES[name]) for name in names or FILES}
    for name, state in states.items():
        print(f"{name:<26}{state}")  # noqa: T201
    bad = ("WRONG", "missing") if names else ("WRONG",)
    return 1 if any(state.startswith(bad) for state in states.values()) else 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))

"""Pretrained files: where they are, whether they are what they should be, and how to get them.

python -m common.pretrained list
python -m common.pretrained get contentvec rmvpe
python -m common.pretrained check
"""

import argparse
import logging
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from common import download, voicebank
from common.logs import run_script, setup_logging
from common.pretrained_files import FILES, READY, PretrainedFile
from common.registry import NotAvailableError

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
    """What is wrong with the file that lies in the place of ``entry``; None when nothing is known to be.

    Where no checksum is published, the file is at least read: one that was cut off shows.

    Raises:
        NotAvailableError: the package that reads it is missing.
    """
    try:
        download.verify(entry.path, sha256=entry.sha256, size=entry.size)
        if not entry.sha256:
            _read(entry.path)
    except NotAvailableError:
        raise
    except ValueError as error:
        return str(error)
    return None


def _read(path: Path) -> None:
    """Raise ValueError for a file that is damaged or cut off, of the kinds that the table has."""
    from common import devices, onnx_sessions, unpickle  # after --help: torch takes seconds to import

    if path.suffix == ".onnx":
        onnx_sessions.open_session(path, devices.resolve("cpu"))
    elif zipfile.is_zipfile(path):  # each record has a checksum, which costs less than building the tensors
        with zipfile.ZipFile(path) as archive:
            try:
                damaged = archive.testzip()
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise ValueError(f"{path} is damaged: {error}") from None
            if damaged:
                raise ValueError(f"{path} is damaged: its record {damaged} does not have the checksum written there")
            if not any(name.endswith("data.pkl") for name in archive.namelist()):
                raise ValueError(f"{path} is an archive, not a model: unpack it, and put what is in it here")
    else:
        unpickle.read_file(path)


def state_of(entry: PretrainedFile) -> str:
    """What is to be said of a file: one of

    "missing", "ok", "ok to read, checksum unknown", "is NAME" (another entry for this place), "WRONG: ...", or
    "not read: ..." where a package is missing that reads it.
    """
    if not all(path.is_file() for path in entry.paths):
        return "missing"
    try:
        problem = problem_of(entry)
    except NotAvailableError as error:
        return f"not read: {error}"
    if problem is None:
        return "ok" if entry.sha256 else "ok to read, checksum unknown"
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
        except (OSError, NotAvailableError) as error:
            logger.error("%s", error)
            failed += 1
    return 1 if failed else 0


def _row(entry: PretrainedFile) -> str:
    there = "present" if all(path.is_file() for path in entry.paths) else "missing"
    n_bytes = entry.archive_size or entry.size
    size = f"{n_bytes / 1e6:.0f} MB" if n_bytes else "size ?"
    return f"{entry.name:<26}{there:<9}{size:>8}  {entry.licence:<16}{entry.file}\n{'':<26}{entry.needed_by}"


def _check(names: list[str]) -> int:
    """Print the state of every encoder and predictor, then of the other files; or of ``names`` alone.

    Returns 1 when a file is wrong, or one of ``names`` is missing.
    """
    if unknown := [name for name in names if name not in FILES]:
        logger.error("unknown: %s; known are: %s", ", ".join(unknown), ", ".join(FILES))
        return 1
    states = {name: state_of(FILES[name]) for name in names or FILES}
    shown = list(states.values())
    others = [name for name in states if names or not FILES[name].serves]
    if not names:
        print("speech encoders and f0 predictors")  # noqa: T201
        members = dict.fromkeys([*(member for entry in FILES.values() for member in entry.serves), *READY])
        for member in members:
            for state, advice in member_states(member, states):
                print(f"  {member:<26}{state:<9}{advice}")  # noqa: T201
                shown.append(state)
        print("other files")  # noqa: T201
    for name in others:
        print(f"  {name:<26}{states[name]}")  # noqa: T201
    bad = ("WRONG", "missing") if names else ("WRONG",)
    return 1 if any(state.startswith(bad) for state in shown) else 0


def voicebank_state() -> tuple[str, str]:
    """State and advice for ``dspitch``, whose files are found in several layouts."""
    try:
        bank = voicebank.read()
        for model in (bank.transcriber, bank.linguistic, bank.pitch):
            _read(model)
    except FileNotFoundError as error:
        return "missing", " ".join(str(error).split())
    except NotAvailableError as error:
        return "missing", str(error)
    except ValueError as error:
        return "WRONG", str(error)
    return "ready", f"{bank.config}: ok to read"


def _advice(entry: PretrainedFile) -> str:
    return f"python -m common.pretrained get {entry.name}" if entry.url else f"{entry.page} -> {entry.file}"


def member_states(member: str, states: dict[str, str]) -> Iterator[tuple[str, str]]:
    """State and advice for each file that an encoder or predictor needs; one line when it needs none.

    Entries of the table for one place are alternatives: any of them will do.
    """
    if member == "dspitch":
        yield voicebank_state()
        return
    serving = [entry for entry in FILES.values() if member in entry.serves]
    by_place: dict[Path, list[PretrainedFile]] = {}
    for entry in serving:
        by_place.setdefault(entry.path, []).append(entry)
    for alternatives in by_place.values():
        first = alternatives[0]
        state = next(
            (states[one.name] for one in alternatives if states[one.name].startswith("ok")), states[first.name]
        )
        if state == "missing" and member in READY:
            yield "ready", READY[member]
        elif state == "missing":
            yield "missing", _advice(first)
        elif state.startswith("WRONG"):
            yield "WRONG", f"{state.removeprefix('WRONG: ')}; move {first.file} away, then: {_advice(first)}"
        elif state.startswith("not read"):
            yield "missing", state.removeprefix("not read: ")
        else:
            yield "ready", f"{first.file}: {state}"
    if not serving:
        yield "ready", READY[member]


if __name__ == "__main__":
    raise SystemExit(run_script(main))

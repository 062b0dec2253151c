"""Write the tables of README.md and README_zh_CN.md from the registries, between the markers that name them.

python -m scripts.tables
python -m scripts.tables --check
"""

import argparse
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from common.logs import run_script, setup_logging
from common.pretrained_files import FILES, PretrainedFile
from common.registry import Entry, Registry
from modules.f0 import F0_PREDICTORS
from scripts.tables_zh import CHINESE
from vdecoder import DECODERS, VOCODERS
from vencoder import SPEECH_ENCODERS

logger = logging.getLogger("tables")

ROOT = Path(__file__).resolve().parent.parent
MARKED = re.compile(r"(<!-- table:([\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)

Translate = Callable[[str], str]
Rows = Iterator[tuple[str, ...]]


def readmes() -> dict[Path, Translate]:
    """The files that hold tables, each with the function that puts English text into its language."""
    return {ROOT / "README.md": str, ROOT / "README_zh_CN.md": lambda text: CHINESE.get(text, text)}


def registries() -> list[Registry]:
    """All the registries that have a table."""
    return [SPEECH_ENCODERS, F0_PREDICTORS, DECODERS, VOCODERS]


def encoder_rows() -> Rows:
    yield "name", "units", "what it is", "needs"
    for name, entry in SPEECH_ENCODERS.items():
        yield f"`{name}`", str(entry.dim), entry.note, _needs(entry)


def predictor_rows() -> Rows:
    yield "name", "what it is", "needs"
    for name, entry in F0_PREDICTORS.items():
        yield f"`{name}`", entry.note, _needs(entry)


def decoder_rows() -> Rows:
    yield "name", "key of the configuration", "what it is", "needs"
    for name, entry in DECODERS.items():
        yield f"`{name}`", "`model.vocoder_name`", entry.note, _needs(entry)
    for name, entry in VOCODERS.items():
        yield f"`{name}`", "`vocoder.type`", entry.note, _needs(entry)


def pretrained_rows() -> Rows:
    yield "name", "file", "size", "SHA-256", "licence", "needed by"
    for name, entry in FILES.items():
        link = f"[{name}]({entry.url or entry.page})"
        yield link, f"`{entry.file}`", _size(entry), _digest(entry), entry.licence, entry.needed_by


TABLES: dict[str, Callable[[], Rows]] = {
    "encoders": encoder_rows,
    "f0-predictors": predictor_rows,
    "decoders": decoder_rows,
    "pretrained": pretrained_rows,
}


def _needs(entry: Entry) -> str:
    file = [f"`{FILES[entry.weights].file}`"] if entry.weights else []
    package = [f"`pip install {entry.package}`"] if entry.package else []
    return ", ".join(file + package) or "nothing"


def _size(entry: PretrainedFile) -> str:
    n_bytes = entry.archive_size or entry.size
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes else "?"


def _digest(entry: PretrainedFile) -> str:
    if entry.sha256:
        return f"`{entry.sha256[:12]}`"
    return f"zip `{entry.archive_sha256[:12]}`" if entry.archive_sha256 else "?"


def render(name: str, translate: Translate) -> str:
    """The table called ``name`` as Markdown; cells are translated one by one."""
    header, *rows = ([translate(cell) for cell in row] for row in TABLES[name]())
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def updated(text: str, translate: Translate) -> str:
    """``text`` with the contents of all its table markers written anew.

    Raises:
        KeyError: a marker names a table that does not exist.
    """
    return MARKED.sub(lambda match: f"{match[1]}{render(match[2], translate)}{match[3]}", text)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.tables", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a table is out of date")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    stale = []
    for path, translate in readmes().items():
        text = path.read_text(encoding="utf-8")
        if (new := updated(text, translate)) != text:
            stale.append(path.name)
            if not args.check:
                path.write_text(new, encoding="utf-8", newline="\n")
    logger.info("%s: %s", "out of date" if args.check else "written anew", ", ".join(stale) or "none")
    return 1 if args.check and stale else 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))

"""What scripts that hand a trained model on have in common: -m and -o, errors as one line, the sizes of files."""

import argparse
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from common.logs import setup_logging

logger = logging.getLogger("release")


def parse_args(argv: Sequence[str] | None, *, description: str | None, model: str, output: str) -> argparse.Namespace:
    """``model`` and ``output`` are the helps of -m and -o."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=Path, required=True, help=model)
    parser.add_argument("-o", "--output", type=Path, required=True, help=output)
    return parser.parse_args(argv)


def release(args: argparse.Namespace, make: Callable[[Path, Path], Iterable[Path]]) -> int:
    """Let ``make`` write files to the folder -o from the model -m, and tell their sizes; returns the exit status."""
    setup_logging()
    try:
        for path in make(args.model, args.output):
            logger.info("%s: %.1f MB", path, path.stat().st_size / 1e6)
    except (OSError, ValueError) as error:
        logger.error("%s", error)
        return 1
    return 0

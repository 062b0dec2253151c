"""What is said of scripts and options of 4.1 that do nothing yet; their names are already those that stay."""

import argparse
import logging
from collections.abc import Iterable

from common.logs import setup_logging

logger = logging.getLogger(__name__)


def refuse(*what: str, instead: str) -> int:
    """Log that all of ``what`` cannot be done yet and what can be done ``instead``; returns the exit code, 1."""
    setup_logging()
    logger.error("%s %s not available yet. %s", ", ".join(what), "is" if len(what) == 1 else "are", instead)
    return 1


def set_by_user(args: argparse.Namespace, defaults: argparse.Namespace, names: Iterable[str]) -> list[str]:
    """The options among ``names`` that were given another value than their default, as they are typed."""
    return [f"--{name}" for name in names if getattr(args, name) != getattr(defaults, name)]

"""Logging and console, set up once by each script."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

INTERRUPTED = 130  # exit code that shells expect of a command stopped by Ctrl-C


def run_script(main: Callable[[], int]) -> int:
    """Exit code of ``main``, with a console that cannot fail; Ctrl-C ends it with one line instead of a traceback."""
    make_streams_safe()
    # Read when torch is first imported. Threads of its Linux builds spin while they wait; when another program uses a
    # core, that makes a training step many times slower (two cores, one busy: 11 s spinning 100,000 times, 4 s so).
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        return main()
    except KeyboardInterrupt:
        logger.error("interrupted: what is done stays")
        return INTERRUPTED


def make_streams_safe() -> None:
    """Let stdout and stderr write ? for what their encoding lacks: a Windows console may not know a song's name."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def setup_logging(log_file: Path | None = None, level: int = logging.INFO) -> None:
    """Send log records to stderr and, where ``log_file`` is given, append them to it with the time."""
    make_streams_safe()
    console = logging.StreamHandler()
    console.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handlers: list[logging.Handler] = [console]
    if log_file is not None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        to_file = logging.FileHandler(log_file, encoding="utf-8")
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        handlers.append(to_file)
    logging.basicConfig(level=level, handlers=handlers, force=True)
    for noisy in ("numba", "matplotlib", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

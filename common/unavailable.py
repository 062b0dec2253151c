"""What the scripts of stages that are not written yet say; their names and options are already those that stay."""

import logging

from common.logs import setup_logging

logger = logging.getLogger(__name__)


def refuse(what: str, instead: str) -> int:
    """Log that ``what`` cannot be done yet and what can be done ``instead``; returns the exit code, 1."""
    setup_logging()
    logger.error("%s is not available yet. %s", what, instead)
    return 1

"""What to say of one item of a batch job that failed, wherever the rest goes on."""

import logging
import reprlib
from typing import Any

logger = logging.getLogger(__name__)


def reason(error: BaseException, item: object = "") -> str:
    """One line for a table or a report in which ``item`` (a path, say) already stands; the traceback goes to DEBUG.

    Messages written for users (ValueError, OSError) stand as they are, without the item's name in front; of anything
    else the type comes first, since its message alone rarely says what happened.
    """
    name = str(item)
    logger.debug("%s failed", name or "something", exc_info=error)
    text = str(error)
    if isinstance(error, OSError) and error.strerror:  # str() would give "[Errno 13] Permission denied: 'a.wav'"
        others = [str(path) for path in (error.filename, error.filename2) if path and str(path) != name]
        text = ": ".join([*others, error.strerror])
    if name:
        text = text.removeprefix(f"{name}: ")
    line = " ".join(text.split())
    if isinstance(error, (ValueError, OSError)) and not isinstance(error, UnicodeError) and line:
        return line
    return f"{type(error).__name__}: {line}".removesuffix(": ")


def shown(value: Any) -> str:
    """A value out of a file, cut to what a message can hold, whatever the file's author put there."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python writes out no number of more than 4300 digits
        return "a number that is too long to show"

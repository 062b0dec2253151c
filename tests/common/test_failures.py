"""One line per failed item: its name once, no traceback but in the debug log."""

import logging
from pathlib import Path

import pytest

from common.audio import AudioError
from common.failures import reason


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (AudioError("raw/a.flac: not readable as audio"), "not readable as audio"),
        (ValueError("two\n  lines"), "two lines"),
        (PermissionError(13, "Permission denied", "raw/a.flac"), "Permission denied"),
        (FileNotFoundError(2, "No such file or directory", "x.pt"), "x.pt: No such file or directory"),
        (OSError("disk full"), "disk full"),
        (KeyError("wav"), "KeyError: 'wav'"),
        (MemoryError(), "MemoryError"),
        (ValueError(), "ValueError"),
        (UnicodeEncodeError("utf-8", "\udce9", 0, 1, "surrogates not allowed"), "UnicodeEncodeError: 'utf-8' codec"),
    ],
)
def test_reason(error, expected, caplog):
    caplog.set_level(logging.DEBUG)
    said = reason(error, Path("raw/a.flac"))
    assert said == expected or (isinstance(error, UnicodeError) and said.startswith(expected))
    assert "raw/a.flac failed" in caplog.text and caplog.records[0].levelno == logging.DEBUG


def test_without_an_item():
    assert reason(AudioError("raw/a.flac: the file is empty")) == "raw/a.flac: the file is empty"

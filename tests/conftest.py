"""Fixtures shared by all the tests."""

import logging
from collections.abc import Iterator

import pytest
import torch

RANDOM_FUNCTIONS = ("randn", "rand", "randn_like", "rand_like")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Take back what a script's main() did to logging: its handlers write to streams that end with the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def zero_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every random draw of torch zero, as the golden cases say they were made."""
    for name in RANDOM_FUNCTIONS:
        like = torch.zeros_like if name.endswith("_like") else torch.zeros

        def zeros(*args, _like=like, generator=None, **kwargs):
            return _like(*args, **kwargs)

        monkeypatch.setattr(torch, name, zeros)

"""Lets packages be imported that name torchaudio at their top and need none of it for what is used here.

torchaudio is a build for one exact torch; beside another torch its library does not load, and torchfcpe and torchcrepe
could not be imported although the audio they are given is at their own rate already.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class Resample:
    """Takes the place of ``torchaudio.transforms.Resample`` where there is no torchaudio."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        raise RuntimeError(
            "this resampler needs torchaudio: give the model audio at its own rate (common.audio.resample)"
        )


@contextmanager
def torchaudio_or_standin() -> Iterator[None]:
    """Inside this context ``import torchaudio`` succeeds; a stand-in is removed again on leaving it."""
    try:
        import torchaudio.transforms  # noqa: F401
    except (ImportError, OSError, RuntimeError, AttributeError):  # absent, or built for another torch
        pass
    else:
        yield
        return
    package, transforms = ModuleType("torchaudio"), ModuleType("torchaudio.transforms")
    transforms.Resample, package.transforms = Resample, transforms  # type: ignore[attr-defined]
    sys.modules.update({"torchaudio": package, "torchaudio.transforms": transforms})
    try:
        yield
    finally:
        del sys.modules["torchaudio"], sys.modules["torchaudio.transforms"]

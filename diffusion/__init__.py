"""Shallow diffusion: refines the mel of a conversion, or makes one from nothing.

`Unit2Mel`, `load_unit2mel` and `read_diffusion_config` are imported when they are asked for: they need torch, which
the table of samplers, read by scripts for their --help, must not wait for.
"""

from importlib import import_module
from typing import Any

_EXPORTS = {
    "Unit2Mel": "diffusion.unit2mel",
    "load_unit2mel": "diffusion.loading",
    "read_diffusion_config": "diffusion.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'diffusion' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)

"""config.json, checked against the encoders that this version knows."""

from pathlib import Path

from common.config import Config, load_config
from vencoder import SPEECH_ENCODERS

UNIT_DIMS = {name: entry.dim for name, entry in SPEECH_ENCODERS.items()}  # channels of each encoder's units


def read_config(path: Path | str) -> Config:
    """Read and check config.json; raises FileNotFoundError, or ConfigError with every problem at once."""
    return load_config(path, unit_dims=UNIT_DIMS)

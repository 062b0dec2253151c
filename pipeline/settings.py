"""config.json, checked against the encoders that this version knows."""

from pathlib import Path

from common.config import Config, load_config
from vencoder import SPEECH_ENCODERS

UNIT_DIMS = {name: entry.dim for name, entry in SPEECH_ENCODERS.items()}  # channels of each encoder's units
STEP_TWO = "run python preprocess_flist_config.py, or name another file with -c"


def read_config(path: Path | str, *, advice: str = STEP_TWO) -> Config:
    """Read and check config.json; ``advice`` says what to do when there is none.

    Raises:
        FileNotFoundError: no such file.
        ConfigError: every problem of the file at once.
    """
    try:
        return load_config(path, unit_dims=UNIT_DIMS)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}: {advice}") from None

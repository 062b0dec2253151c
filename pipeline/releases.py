"""Models to be shared: what conversion needs of a checkpoint, and inside it what it is and what it was made from."""

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common import checkpoint, download
from common.checkpoint import CheckpointError
from common.config import Config
from common.formats import is_same_file
from common.safetensors_files import SUFFIX as SAFETENSORS
from models import SynthesizerTrn
from pipeline.settings import read_config

logger = logging.getLogger(__name__)

TRAINING_ONLY = "enc_q."  # the posterior encoder, which only training reads
LEARNING_RATE = 1e-4  # what the family's released models say, whatever they were trained with
ORIGIN = ("step", "iteration", "made_from")  # keys of a checkpoint that are handed down


def compress(
    source: Path, output: Path | None, config_path: Path, *, half: bool = False, safetensors: bool | None = None
) -> Path:
    """Write what conversion needs of the model ``source``; returns the file, ``<source>_release.*`` unless named.

    Args:
        half: half precision; otherwise numbers stay as they are.
        safetensors: the format; None goes by the name of ``output``.

    Raises:
        FileNotFoundError, ConfigError: of the config.
        CheckpointError: ``source`` cannot be read, does not fit the config, or holds numbers that cannot be kept.
        ValueError: ``output`` is ``source`` or the config, or is called like the other format.
    """
    if output is None:
        output = source.with_name(f"{source.stem}_release{SAFETENSORS if safetensors else '.pth'}")
    if safetensors is not None and safetensors != (output.suffix == SAFETENSORS):
        raise ValueError(f"-o {output}: a file of this format must{'' if safetensors else ' not'} end in {SAFETENSORS}")
    check_output(output, [source, config_path])
    config = read_config(config_path)
    state, extra = checkpoint.read_model(source, only=ORIGIN)
    model = SynthesizerTrn.from_config(config)
    check_fits(model, state, where=source, config_path=config_path)
    state = {key: tensor for key, tensor in state.items() if not key.startswith(TRAINING_ONLY)}
    if half:
        state = checkpoint.halved(state, where=source)
    else:
        checkpoint.check_finite(state, where=source)
    made_from = {"tool": "compress_model.py", "half": half, "files": [origin(source, extra)]}
    checkpoint.save(output, content(state, model, config, made_from))
    sizes = [path.stat().st_size / 1e6 for path in (source, output)]
    logger.info("%s: %.1f MB, of %.1f MB", output, sizes[1], sizes[0])
    return output


def check_output(output: Path, inputs: Iterable[Path]) -> None:
    """Raise ValueError where ``output`` would be written over one of ``inputs``, or be called what it is not."""
    if output.suffix == ".onnx":
        raise ValueError(f"-o {output}: what is written here is a checkpoint; python onnx_export.py makes .onnx files")
    for path in inputs:
        if is_same_file(output, path):
            raise ValueError(f"{output} would be written over what it is made from, {path}: name another file with -o")


def check_fits(model: SynthesizerTrn, state: Mapping[str, Tensor], *, where: Path, config_path: Path) -> None:
    """Raise CheckpointError where ``state``, complete or released, is not of the model of that config."""
    try:
        checkpoint.load_weights(model, state, where=where, optional=(TRAINING_ONLY,))
    except CheckpointError as error:
        raise CheckpointError(f"{error}\n  -c {config_path} must be the config that it was trained with") from None


def origin(path: Path, extra: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """What to record of a file that goes into another: name, SHA-256, what it says of itself, and ``more``."""
    own = {key: extra[key] for key in ORIGIN if extra.get(key) and _is_plain(extra[key])}
    return {"name": path.name, "sha256": download.digest(path), **more, **own}


def _is_plain(value: Any) -> bool:
    """Whether JSON can hold it; a foreign file may say anything."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def content(
    state: Mapping[str, Tensor], model: SynthesizerTrn, config: Config, made_from: Mapping[str, Any]
) -> dict[str, Any]:
    """The family's four keys, its optimizer one that has made no step yet, and two of our own."""
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=config.train.learning_rate,
        betas=(config.train.betas[0], config.train.betas[1]),
        eps=config.train.eps,
    )
    return {
        "model": dict(state),
        "iteration": 0,
        "optimizer": optimizer.state_dict(),
        "learning_rate": LEARNING_RATE,
        "config": config.as_dict(),
        "made_from": dict(made_from),
    }

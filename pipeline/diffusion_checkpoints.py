"""Which files a training of the diffusion model leaves: ``model_<step>.pt``, and what it goes on from.

The layout is that of so-vits-svc 4.1, DDSP-SVC and Diffusion-SVC, ``{"global_step", "model"[, "optimizer"]}``, with
keys of our own. Where `train.save_opt` is false the moments of the optimizer stand in ``optimizer_<step>.pt``, of which
there is one: models stay small, and a run that was stopped goes on exactly.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import checkpoint
from common.checkpoint import CheckpointError

MODEL, OPTIMIZER = "model_{}.pt", "optimizer_{}.pt"  # {} stands for the step
BASE = "model_0.pt"  # what training starts from: never written, never removed


def model_path(folder: Path, step: int) -> Path:
    return folder / MODEL.format(step)


def optimizer_path(folder: Path, step: int) -> Path:
    return folder / OPTIMIZER.format(step)


def newest_step(folder: Path) -> int | None:
    """The step that training goes on from; None where there is no checkpoint but the base model."""
    return max(checkpoint.steps_of(folder, MODEL), default=None)


def save(
    folder: Path, content: Mapping[str, Any], moments: Mapping[str, Any], *, inside: bool, force_interval: int
) -> None:
    """Write the checkpoint of ``content["global_step"]``, then remove the one before it, and no other.

    That one stays too where its step is a multiple of ``force_interval``. What stayed once is never removed later,
    whatever the interval is then. ``inside`` says that ``moments`` belong into the model's file.
    """
    step = content["global_step"]
    if inside:
        content = {**content, "optimizer": moments}
    else:  # before the model: where that is, they are
        checkpoint.save(optimizer_path(folder, step), {"global_step": step, "optimizer": moments})
    checkpoint.save(model_path(folder, step), content)
    before = max((old for old in checkpoint.steps_of(folder, MODEL) if old < step), default=0)
    if before % force_interval:
        model_path(folder, before).unlink(missing_ok=True)
    for old in checkpoint.steps_of(folder, OPTIMIZER):
        if old < step or inside:
            optimizer_path(folder, old).unlink(missing_ok=True)


def read_moments(folder: Path, step: int, extra: Mapping[str, Any]) -> Any:
    """The optimizer state that belongs to the model of ``step``, whose other keys are ``extra``; None without."""
    path = optimizer_path(folder, step)
    if extra.get("optimizer") or not path.is_file():
        return extra.get("optimizer")
    try:
        return checkpoint.read(path).get("optimizer")
    except CheckpointError as error:
        raise CheckpointError(f"{error}: delete it to go on with an optimizer that starts anew") from None

"""The one checkpoint door: every model file is read and written here.

The layout is that of so-vits-svc 4.x: ``{"model", "iteration" (the epoch), "optimizer", "learning_rate"}``; what this
project adds stands in keys of its own, so that older tools still read the files. Nothing that is read can run code.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.formats import write_atomically

logger = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, unsafe, or of another model; the message says which and why."""


@dataclass(frozen=True)
class Pair:
    """Generator and discriminator of one step: they are written, kept and removed together."""

    step: int
    generator: Path
    discriminator: Path


def read(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of any tool of this family onto the CPU, without running anything that is pickled in it.

    Raises:
        CheckpointError: missing, cut off, not a checkpoint, or holding a pickle that would call code.
    """
    from common import unpickle  # only foreign files need it

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path}")
    try:
        content = unpickle.read_file(path)
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} is no checkpoint: it holds a {type(content).__name__}, not a table")
    return dict(content)


def read_model(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a G_*.pth or D_*.pth: its state dict, and everything else that stands beside it."""
    content = read(path)
    state = content.pop("model", None)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(
            f"{path} is no model checkpoint: its key 'model' holds no tensors (keys: {list(content)[:6]})"
        )
    return dict(state), content


def load_weights(
    module: nn.Module, state: Mapping[str, Tensor], *, where: Path | str, optional: Iterable[str] = ()
) -> None:
    """Copy ``state`` into ``module``, strictly: every key must be there with its shape, and no other.

    Args:
        state: tensors by key, of any floating type; they are converted to the module's.
        where: the file, for messages.
        optional: prefixes of keys that may be absent (``enc_q.`` of a released model); said in one line when they are.

    Raises:
        CheckpointError: keys missing, left over, or of another shape; the first of each are listed.
    """
    own, optional = module.state_dict(), tuple(optional)
    missing = [key for key in own if key not in state]
    allowed = [key for key in missing if key.startswith(optional)] if optional else []
    missing = [key for key in missing if key not in allowed]
    surplus = [key for key in state if key not in own]
    shapes = [key for key in own if key in state and state[key].shape != own[key].shape]
    problems = []
    if missing:
        problems.append(f"{len(missing)} keys are missing: {_first(missing)}")
    if surplus:
        problems.append(f"{len(surplus)} keys are unknown: {_first(surplus)}")
    if shapes:
        pairs = [f"{key} is {tuple(state[key].shape)}, the config makes it {tuple(own[key].shape)}" for key in shapes]
        problems.append(f"{len(shapes)} shapes differ: {_first(pairs)}")
    if problems:
        raise CheckpointError("\n  ".join([f"{where} does not fit the model of this config:", *problems]))
    if allowed:
        logger.info("%s: %d keys under %s are absent, as in released models", where, len(allowed), ", ".join(optional))
    module.load_state_dict(dict(state), strict=False)


def adapt_speakers(state: dict[str, Tensor], module: nn.Module, *, where: Path | str) -> dict[str, Tensor]:
    """Give a base model the speakers of this config: new rows of ``emb_g`` start at the mean of the base's voices."""
    key, own = "emb_g.weight", module.state_dict()
    if (
        key in state
        and key in own
        and state[key].shape != own[key].shape
        and state[key].shape[1:] == own[key].shape[1:]
    ):
        logger.info("%s: %d speakers there, %d here: emb_g starts anew", where, len(state[key]), len(own[key]))
        state = {**state, key: state[key].float().mean(dim=0, keepdim=True).expand_as(own[key]).clone()}
    return state


def save(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint; it appears whole or not at all."""
    write_atomically(Path(path), lambda file: torch.save(dict(content), file))


def is_base(path: Path) -> bool:
    """Whether the name is that of a base model (G_0.pth, D_0.pth), which is read and never written or removed."""
    return re.fullmatch(r"[GD]_0\.pth", path.name) is not None


def pair_at(folder: Path, step: int) -> Pair:
    """Names of the pair of ``step`` in ``folder``, whether or not the files are there."""
    return Pair(step, folder / f"G_{step}.pth", folder / f"D_{step}.pth")


def find_pairs(folder: Path) -> list[Pair]:
    """Pairs in ``folder`` of which both files are there, oldest first, the base pair of step 0 left out."""
    steps = sorted(
        int(match[1]) for path in folder.glob("G_*.pth") if (match := re.fullmatch(r"G_(\d+)\.pth", path.name))
    )
    pairs = [pair_at(folder, step) for step in steps if step > 0]
    for pair in pairs:
        if not pair.discriminator.is_file():
            logger.warning("%s has no %s beside it and is passed over", pair.generator, pair.discriminator.name)
    return [pair for pair in pairs if pair.discriminator.is_file()]


def remove_old(folder: Path, keep: int) -> None:
    """Remove all but the newest ``keep`` pairs (0 keeps all); the base pair and the newest pair always stay."""
    if keep < 1:
        return
    for pair in find_pairs(folder)[:-keep]:
        # The generator first: a lone discriminator is never taken for a pair.
        pair.generator.unlink(missing_ok=True)
        pair.discriminator.unlink(missing_ok=True)


def _first(items: list[str], count: int = 4) -> str:
    return ", ".join(items[:count]) + (", ..." if len(items) > count else "")

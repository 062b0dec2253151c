"""The one checkpoint door: every model file is read and written here.

The layout is that of so-vits-svc 4.x: ``{"model", "iteration" (the epoch), "optimizer", "learning_rate"}``; what this
project adds stands in keys of its own, so that older tools still read the files. A name that ends in .safetensors
means that format: the tensors of "model", and beside them as metadata what is no tensor; it holds no optimizer.
Nothing that is read can run code.
"""

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from common import safetensors_files
from common.formats import write_atomically

logger = logging.getLogger(__name__)

# Names that newer torch gives to the two halves of a weight-normed tensor, and those of the family's files.
WEIGHT_NORM_NAMES = {
    ".parametrizations.weight.original0": ".weight_g",
    ".parametrizations.weight.original1": ".weight_v",
}
# What a model can be made of; torch knows more (float8, complex), most of which it cannot calculate with.
DTYPES = {
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool),
}


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, unsafe, or of another model; the message says which and why."""


class PairNames(NamedTuple):
    """Names of the two files of a step; {} stands for the step."""

    generator: str
    discriminator: str  # the file without which training cannot go on


SYNTHESIZER = PairNames("G_{}.pth", "D_{}.pth")


@dataclass(frozen=True)
class Pair:
    """Generator and discriminator of one step: they are written, kept and removed together."""

    step: int
    generator: Path
    discriminator: Path


def read(path: str | Path, *, only: Collection[str] | None = None) -> dict[str, Any]:
    """Read a checkpoint of any tool of this family onto the CPU, without running anything that is pickled in it.

    Args:
        only: the keys that are wanted; the tensors of others (the optimizer is twice the model) are not even read.

    Raises:
        CheckpointError: missing, cut off, not a checkpoint, or holding a pickle that would call code.
    """
    from common import unpickle  # only foreign files need it

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path}")
    try:
        content = unpickle.read_file(path, only=only)
    except unpickle.UnsafePickleError as error:
        raise CheckpointError(str(error)) from None
    except ValueError as error:
        raise CheckpointError(f"{error}: copy or fetch it again") from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} is no checkpoint: it holds a {type(content).__name__}, not a table")
    return dict(content)


def read_model(path: str | Path, *, only: Collection[str] | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a G_*.pth or D_*.pth, or a model in .safetensors: its state dict, and what else stands beside it.

    Args:
        only: of what stands beside it, the keys that are wanted.

    Raises:
        CheckpointError: as `read`, and where there is no model.
    """
    path = Path(path)
    if path.suffix == safetensors_files.SUFFIX:
        state, content = _read_safetensors(path)
        content = {key: value for key, value in content.items() if only is None or key in only}
    else:
        content = read(path, only=None if only is None else {"model", *only})
        state = content.pop("model", None)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(
            f"{path} is no model checkpoint: its key 'model' holds no tensors (keys: {list(content)[:6]})"
        )
    if odd := [f"{key} ({value.dtype})" for key, value in state.items() if value.dtype not in DTYPES]:
        raise CheckpointError(f"{path} holds numbers of kinds that are not supported: {_first(odd)}")
    return {_known_name(key): value for key, value in state.items()}, content


def read_embedded_config(path: str | Path) -> dict[str, Any] | None:
    """The content of the config.json that a model carries inside (those of train.py and compress_model.py do).

    None where it carries none; it is not checked (`common.config.from_dict` does that). Weights are not read.

    Raises:
        CheckpointError: as `read`.
    """
    path = Path(path)
    if path.suffix == safetensors_files.SUFFIX:
        config = _read_safetensors(path, weights=False)[1].get("config")
    else:
        config = read(path, only={"config"}).get("config")
    return dict(config) if isinstance(config, Mapping) else None  # files of other families have lists there


def halved(state: Mapping[str, Tensor], *, where: Path | str) -> dict[str, Tensor]:
    """The tensors in half precision; those that are not floating stay. What shared memory shares it afterwards.

    Raises:
        CheckpointError: a number is too large for half precision, or is none.
    """
    check_finite(state, where=where)
    halves: dict[tuple[Any, ...], Tensor] = {}
    result = {}
    for key, tensor in state.items():
        memory = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        result[key] = halves.setdefault(memory, tensor.half() if tensor.is_floating_point() else tensor)
        if tensor.numel() and not bool(torch.isfinite(result[key]).all()):
            largest, limit = float(tensor.abs().max()), torch.finfo(torch.float16).max
            raise CheckpointError(f"{where}: {key} reaches {largest:g}, half precision ends at {limit:g}")
    return result


def check_finite(state: Mapping[str, Tensor], *, where: Path | str) -> None:
    """Raise CheckpointError where a tensor holds NaN or infinity: training diverged, or the file is damaged."""
    bad = [key for key, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise CheckpointError(f"{where} holds numbers that are not finite, so it cannot sing: {_first(bad)}")


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
        released = all(key.startswith("enc_q.") for key in missing)
        hint = " (a released model, cut down for conversion: it cannot be trained further)" if released else ""
        problems.append(f"{len(missing)} keys are missing: {_first(missing)}{hint}")
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


def load_moments(optimizer: torch.optim.Optimizer, saved: Any, *, where: Path | str) -> None:
    """Copy the moments of a saved optimizer state; learning rate, betas and the like stay those of ``optimizer``.

    A file without moments (None, or a released model) is said in one line.

    Raises:
        CheckpointError: they are those of other parameters.
    """
    if not isinstance(saved, Mapping) or not saved.get("state"):
        logger.warning("%s holds no optimizer state: the optimizer starts anew", where)
        return
    try:
        groups = [
            {**own, "params": list(theirs["params"])}
            for own, theirs in zip(optimizer.state_dict()["param_groups"], saved["param_groups"], strict=True)
        ]
        keys = [key for group in groups for key in group["params"]]
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for key, parameter in zip(keys, parameters, strict=True):
            moments = saved["state"].get(key)  # None: this one never had a gradient
            if moments is not None and moments["exp_avg"].shape != parameter.shape:
                raise ValueError(f"parameter {key}: {tuple(moments['exp_avg'].shape)}, not {tuple(parameter.shape)}")
        optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{where}: the optimizer state does not fit this model ({error})") from None


def adapt_speakers(state: dict[str, Tensor], module: nn.Module, *, where: Path | str) -> dict[str, Tensor]:
    """Give a base model the speakers of this config: new rows of ``emb_g`` start at the mean of the base's voices."""
    key, own = "emb_g.weight", module.state_dict()
    if key not in state or key not in own:
        return state
    if len(state[key]) != len(own[key]) and state[key].shape[1:] == own[key].shape[1:]:
        logger.info("%s: %d speakers there, %d here: emb_g starts anew", where, len(state[key]), len(own[key]))
        state = {**state, key: state[key].float().mean(dim=0, keepdim=True).expand_as(own[key]).clone()}
    return state


def save(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint; it appears whole or not at all. In .safetensors there is no optimizer."""
    path = Path(path)
    if path.suffix == safetensors_files.SUFFIX:
        beside = {key: value for key, value in content.items() if key not in ("model", "optimizer")}
        safetensors_files.write(path, content["model"], beside)
    else:
        write_atomically(path, lambda file: torch.save(dict(content), file))


def pair_at(folder: Path, step: int, names: PairNames = SYNTHESIZER) -> Pair:
    """Names of the pair of ``step`` in ``folder``, whether or not the files are there."""
    return Pair(step, *(folder / name.format(step) for name in names))


def find_pairs(folder: Path, names: PairNames = SYNTHESIZER) -> list[Pair]:
    """Pairs in ``folder`` of which both files are there, oldest first, the base pair of step 0 left out."""
    both = steps_of(folder, names.generator) & steps_of(folder, names.discriminator)
    return [pair_at(folder, step, names) for step in sorted(both)]


def newest_pair(folder: Path, names: PairNames = SYNTHESIZER) -> Pair | None:
    """The pair that training goes on from; None where there is none.

    Raises:
        CheckpointError: a generator that is newer has no discriminator beside it. A killed run does not leave this.
    """
    pairs = find_pairs(folder, names)
    newest = max(steps_of(folder, names.generator), default=0)
    if newest > (pairs[-1].step if pairs else 0):
        lone, base = pair_at(folder, newest, names), names.generator.format(0)
        raise CheckpointError(
            f"{lone.generator} has no {lone.discriminator.name} beside it, so training cannot go on from it: put that"
            f" file there, move {lone.generator.name} away, or rename it to {base} in a new folder to start from it"
        )
    return pairs[-1] if pairs else None


def remove_old(folder: Path, keep: int, names: PairNames = SYNTHESIZER) -> None:
    """Remove all but the newest ``keep`` pairs (0 keeps all); the base pair and the newest pair always stay."""
    pairs = find_pairs(folder, names)
    if keep < 1 or not pairs:
        return
    for pair in pairs[:-keep]:
        # The generator first: a lone discriminator is never taken for a pair.
        pair.generator.unlink(missing_ok=True)
        pair.discriminator.unlink(missing_ok=True)
    # What a run that was killed on the line above left:
    for step in steps_of(folder, names.discriminator) - steps_of(folder, names.generator):
        if step < pairs[-1].step:
            pair_at(folder, step, names).discriminator.unlink(missing_ok=True)


def steps_of(folder: Path, name: str) -> set[int]:
    """Steps above 0 of which ``folder`` has a file called ``name``."""
    pattern = re.escape(name).replace(r"\{\}", r"([1-9]\d*)")
    matches = (re.fullmatch(pattern, path.name) for path in folder.glob(name.format("*")))
    return {int(match[1]) for match in matches if match}


def _read_safetensors(path: Path, *, weights: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path}")
    try:
        return safetensors_files.read(path) if weights else ({}, safetensors_files.read_metadata(path))
    except ValueError as error:
        raise CheckpointError(str(error)) from None


def _known_name(key: str) -> str:
    for theirs, ours in WEIGHT_NORM_NAMES.items():
        key = key.replace(theirs, ours)
    return key


def _first(items: list[str], count: int = 4) -> str:
    return ", ".join(items[:count]) + (", ..." if len(items) > count else "")

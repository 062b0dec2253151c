"""Several models of one configuration merged into one: the journey behind mix_models.py."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from common import checkpoint
from common.checkpoint import CheckpointError
from common.config import Config, from_dict, read_json
from models import SynthesizerTrn
from pipeline.releases import ORIGIN, check_fits, check_output, content, origin
from pipeline.settings import UNIT_DIMS, read_config

logger = logging.getLogger(__name__)

CONVEX, LINEAR = "convex", "linear"
MODES = (CONVEX, LINEAR)
AUDIO_KEYS = ("sampling_rate", "hop_length", "filter_length")  # of section data: what a model's tensors depend on


class Ingredient(NamedTuple):
    """A model, and how much of it goes into the mix."""

    path: Path
    rate: float  # percent


def parse_ingredient(text: str) -> Ingredient:
    """``G_a.pth:60`` as it stands on the command line.

    Raises:
        ValueError: no rate, or one that is no number from 0 up.
    """
    name, _, number = text.rpartition(":")
    try:
        rate = float(number)
    except ValueError:
        rate = math.nan
    if not name or not 0 <= rate < math.inf:
        raise ValueError(f"{text!r}: expected a model and its rate in percent, such as logs/44k/G_800.pth:60")
    return Ingredient(Path(name), rate)


def shares(rates: Sequence[float], mode: str) -> list[float]:
    """Weights of the models, from rates in percent.

    ``convex``: softmax of rate / 100, so that they make 1 whatever the rates are, and stay close to one another (60
    and 40 give 0.55 and 0.45). ``linear``: rate / 100 as it is.
    """
    rates = [rate / 100 for rate in rates]
    if mode == LINEAR:
        return rates
    return torch.tensor(rates, dtype=torch.float64).softmax(dim=0).tolist()


def mix(ingredients: Sequence[Ingredient], output: Path, config_path: Path, *, mode: str = CONVEX) -> None:
    """Write the weighted sum of the models to ``output``.

    Raises:
        FileNotFoundError, ConfigError: of the config, or of one that a model carries or has beside it.
        CheckpointError: a model cannot be read, does not fit the config, or belongs to another.
        ValueError: fewer than two models, rates that are all 0, or ``output`` is one of the models or the config.
    """
    rates = [item.rate for item in ingredients]
    if len(ingredients) < 2 or not any(rates):
        raise ValueError("a mix needs at least two models, and a rate above 0")
    check_output(output, [config_path, *(item.path for item in ingredients)])
    weights = shares(rates, mode)
    if not math.isclose(sum(weights), 1, abs_tol=1e-6):
        logger.warning("the rates make %g %%, not 100: the numbers of the mix grow or shrink with that", sum(rates))
    config = read_config(config_path)
    model = SynthesizerTrn.from_config(config)
    files: list[dict[str, Any]] = []

    def read() -> Iterator[tuple[Path, dict[str, Tensor]]]:
        for path, rate in ingredients:
            state, extra = checkpoint.read_model(path, only=ORIGIN)
            check_fits(model, state, where=path, config_path=config_path)
            checkpoint.check_finite(state, where=path)
            _check_config(path, config, config_path)
            files.append(origin(path, extra, rate=rate))
            yield path, state

    mixed = weighted_sum(read(), weights)
    check_fits(model, mixed, where=output, config_path=config_path)
    mixed = {key: x for key, x in model.state_dict().items() if key in mixed}  # shares memory as the model does
    made_from = {"tool": "mix_models.py", "mode": mode, "files": files}
    checkpoint.save(output, content(mixed, model, config, made_from))
    parts = ", ".join(f"{weight:.4f} {item.path}" for item, weight in zip(ingredients, weights, strict=True))
    logger.info("%s: %s", output, parts)


def weighted_sum(models: Iterable[tuple[Path, Mapping[str, Tensor]]], weights: Sequence[float]) -> dict[str, Tensor]:
    """Sum of weight times model over state dicts, in float32; the models are taken one at a time.

    Tensors that are not floating must be the same in all models. Keys that only some have are left out.

    Raises:
        CheckpointError: a tensor that is not floating differs.
    """
    total: dict[str, Tensor] = {}
    for i, ((path, state), weight) in enumerate(zip(models, weights, strict=True)):
        if i == 0:
            total = {key: weight * x.float() if x.is_floating_point() else x for key, x in state.items()}
            continue
        if total.keys() != state.keys():
            logger.warning(
                "%s and those before differ in enc_q: the mix is a released model, for conversion only", path
            )
        total = {key: _sum(total[key], weight, state[key], f"{path}: {key}") for key in total if key in state}
    return total


def _sum(total: Tensor, weight: float, x: Tensor, name: str) -> Tensor:
    if x.is_floating_point():
        return total + weight * x.float()
    if not torch.equal(total, x):
        raise CheckpointError(f"{name} is no floating tensor and differs from that of the first model")
    return total


def _check_config(path: Path, config: Config, config_path: Path) -> None:
    """Raise CheckpointError where the config that a model carries, or that lies beside it, is of another kind."""
    raw, where = checkpoint.read_embedded_config(path), f"the config inside {path}"
    if raw is None:
        beside = path.with_name("config.json")
        if not beside.is_file():
            logger.warning("%s has no config.json beside it: that its speakers are those of -c was not checked", path)
            return
        raw, where = read_json(beside), str(beside)
    theirs = from_dict(raw, unit_dims=UNIT_DIMS, where=where)
    if problems := list(_differences(theirs, config)):
        lines = "\n  ".join([f"{path} cannot be mixed: {where} differs from {config_path}:", *problems])
        raise CheckpointError(lines)


def _differences(theirs: Config, ours: Config) -> Iterator[str]:
    for section, keys in (("model", asdict(ours.model)), ("data", AUDIO_KEYS)):
        for key in keys:
            values = [getattr(getattr(config, section), key) for config in (theirs, ours)]
            if values[0] != values[1]:
                yield f"{section}.{key}: {values[0]}, not {values[1]}"
    if theirs.spk != ours.spk:
        yield f"spk: {_named(theirs.spk)}; not {_named(ours.spk)}"


def _named(spk: Mapping[str, int]) -> str:
    return ", ".join(f"{name} (id {i})" for name, i in sorted(spk.items(), key=lambda item: item[1]))

"""What the encoders of the HuBERT family share: their files, the checks on them, and the network built from one."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from common import unpickle
from common.checkpoint import load_weights
from common.failures import shown
from vencoder.encoder import SpeechEncoder
from vencoder.nets.hubert import Hubert
from vencoder.nets.hubert_sizes import HubertKind, HubertSizes, fold_weight_norm

TRAINING_ONLY = ("mask_emb", "label_embs_concat")


class HubertEncoder(SpeechEncoder):
    """Any encoder whose network is a HuBERT; ``state`` has fairseq's key names.

    Raises:
        ValueError: ``state`` is of another network; the message names the file, keys and shapes.
    """

    normalize = False  # bring each clip to zero mean and unit variance first

    def __init__(
        self, state: Mapping[str, Tensor], kind: HubertKind, device: torch.device, *, where: Path | str
    ) -> None:
        state = {key: value for key, value in state.items() if not is_unused(key, kind)}
        try:
            state = fold_weight_norm(state)
            self.sizes = HubertSizes.of(state, kind)
        except ValueError as error:
            first = ", ".join(f"{key} {tuple(value.shape)}" for key, value in list(state.items())[:4])
            raise ValueError(f"{where} is not the HuBERT that was expected: {error}; it has {first}") from None
        super().__init__(self.sizes.projected_dim or self.sizes.dim, device)
        with torch.device("meta"):  # no memory is reserved before the file's tensors are seen to fit
            self.net = Hubert(self.sizes).eval().requires_grad_(False)
        load_weights(self.net, {key: value.to("meta") for key, value in state.items()}, where=where)
        self.net.load_state_dict({key: value.float().contiguous() for key, value in state.items()}, assign=True)
        self.net.to(device)

    def encode_batch(self, wavs16k: Sequence[Tensor | np.ndarray]) -> list[Tensor]:
        if self.normalize:  # over the whole clip, before it is cut into windows
            wavs16k = [F.layer_norm(wav, wav.shape) for wav in (torch.as_tensor(wav).float() for wav in wavs16k)]
        return super().encode_batch(wavs16k)

    def encode_padded(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        return self.net(wavs, lengths).transpose(1, 2)  # (B, D, N)


def is_unused(key: str, kind: HubertKind) -> bool:
    """Whether ``key`` serves training only, or a layer above those of ``kind``, or a projection not asked for."""
    if key in TRAINING_ONLY or (key.startswith("final_proj.") and not kind.project):
        return True
    match = re.match(r"encoder\.layers\.([0-9]{1,4})\.", key)
    return match is not None and kind.n_layers is not None and int(match[1]) >= kind.n_layers


def rename(key: str, table: Iterable[tuple[str, str]]) -> str:
    """``key`` with its beginning changed as the first fitting pair (pattern, replacement) says; or as it is."""
    changed = (re.sub(f"^{old}", new, key) for old, new in table if re.match(old, key))
    return next(changed, key)


def is_state_dict(content: Any) -> bool:
    return isinstance(content, dict) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    )


def read_checkpoint(path: Path, *, model: str, config: str | None = None, origin: str) -> tuple[dict, dict]:
    """Read the tensors under the key ``model`` of a file and, where asked for, the settings under ``config``.

    Raises:
        ValueError: it has no such tables; the message says that it is not a checkpoint of ``origin``.
    """
    content = unpickle.read_file(path, only=(model, *([config] if config else [])))
    content = content if isinstance(content, dict) else {}
    if not is_state_dict(content.get(model)):
        raise ValueError(f"{path} is not a checkpoint of {origin}: it has no table of tensors called {model!r}")
    if config and not isinstance(content.get(config), dict):
        raise ValueError(f"{path} is not a checkpoint of {origin}: it has no table of settings called {config!r}")
    return content[model], content.get(config, {})


def check_settings(settings: Mapping[str, Any], expected: Mapping[str, Any], *, where: Path | str) -> None:
    """Compare what a file says of its network with what is expected, by name.

    An expected value is a range of whole numbers or a tuple of choices (such a setting must be there), a list (of as
    many values), None (anything will do), or the value itself (where the setting is there at all).

    Raises:
        ValueError: they differ; the message names the file and the setting.
    """
    for name, wanted in expected.items():
        if name in settings:
            _check(settings[name], wanted, f"{where}: setting {name}")
        elif isinstance(wanted, (range, tuple)):
            raise ValueError(f"{where}: setting {name} is missing in its config")


def _check(value: Any, wanted: Any, name: str) -> None:
    if wanted is None:
        return
    if isinstance(wanted, list):
        if not isinstance(value, (list, tuple)) or len(value) != len(wanted):
            raise ValueError(f"{name} must be a list of {len(wanted)} values, got {shown(value)}")
        for i, (item, wanted_item) in enumerate(zip(value, wanted, strict=True)):
            _check(item, wanted_item, f"{name}[{i}]")
    elif isinstance(wanted, range):
        if type(value) is not int or value not in wanted:
            raise ValueError(f"{name} must be a whole number from {wanted[0]} to {wanted[-1]}, got {shown(value)}")
    else:
        choices = wanted if isinstance(wanted, tuple) else (wanted,)
        if not any(type(value) is type(choice) and value == choice for choice in choices):  # 1 is not True here
            raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, got {shown(value)}")

"""ContentVec (Qian et al. 2022, arXiv:2204.09224): HuBERT trained to forget the speaker. Encoder of most models.

Reads fairseq's checkpoints (``checkpoint_best_legacy_500.pt``, or the smaller ``hubert_base.pt`` of the same weights).
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from common import unpickle
from common.checkpoint import load_weights
from vencoder.encoder import SpeechEncoder
from vencoder.nets.hubert import Hubert, HubertSizes, fold_weight_norm

TRAINING_ONLY = ("mask_emb", "label_embs_concat")


class HubertEncoder(SpeechEncoder):
    """Any encoder whose network is a HuBERT; ``state`` has fairseq's key names.

    Raises:
        ValueError: ``state`` is of another network; the message names the file, the first keys and the shapes.
    """

    def __init__(
        self, state: Mapping[str, Tensor], device: torch.device, *, layer: int, project: bool, where: Path
    ) -> None:
        state = fold_weight_norm(
            {key: value for key, value in state.items() if not self.is_unused(key, layer, project)}
        )
        try:
            sizes = HubertSizes.of(state, n_layers=layer, project=project)
        except KeyError as missing:
            first = ", ".join(f"{key} {tuple(value.shape)}" for key, value in list(state.items())[:4])
            raise ValueError(f"{where} is not the HuBERT that was expected: no key {missing}; it has {first}") from None
        super().__init__(sizes.projected_dim or sizes.dim, device)
        with torch.device("meta"):  # the first values would be thrown away
            net = Hubert(sizes)
        self.net = net.to_empty(device="cpu").eval().requires_grad_(False)
        load_weights(self.net, state, where=where)
        self.net.to(device)

    @staticmethod
    def is_unused(key: str, layer: int, project: bool) -> bool:
        """Whether ``key`` serves training only, or a layer above ``layer``, or a projection not asked for."""
        if key in TRAINING_ONLY or (key.startswith("final_proj.") and not project):
            return True
        match = re.match(r"encoder\.layers\.(\d+)\.", key)
        return match is not None and int(match[1]) >= layer

    def encode_padded(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        return self.net(wavs, lengths).transpose(1, 2)  # (B, D, N)


class ContentVec(HubertEncoder):
    """Units of one layer of ContentVec; ``project`` applies the projection of its training on top (768 -> 256)."""

    def __init__(self, weights: Path, device: torch.device, *, layer: int, project: bool = False) -> None:
        content = unpickle.read_file(weights, only=("model",))
        state = content.get("model") if isinstance(content, dict) else None
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            raise ValueError(f"{weights} is not a checkpoint of fairseq: it has no table of tensors called 'model'")
        super().__init__(state, device, layer=layer, project=project, where=weights)

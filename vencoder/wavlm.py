"""WavLM (Chen et al. 2022, arXiv:2110.13900): HuBERT with relative positions, trained to denoise as well.

Reads Microsoft's checkpoints (``WavLM-Base+.pt``, and ``WavLM-Base.pt`` and ``WavLM-Large.pt`` of the same layout).
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from vencoder.hubert import HubertEncoder, check_settings, read_checkpoint
from vencoder.nets.hubert_sizes import CONV_KERNELS, CONV_STRIDES, HubertKind, HubertSizes

# what the network here does; a file that says otherwise is refused
SUPPORTED = {
    "relative_position_embedding": True,
    "gru_rel_pos": True,
    "activation_fn": "gelu",
}
# what cannot be seen in the tensors
NEEDED = {
    "extractor_mode": ("default", "layer_norm"),
    "layer_norm_first": (True, False),
    "normalize": (True, False),
    "max_distance": range(1, 2**31),
}


class WavLM(HubertEncoder):
    """Units of the last layer of a WavLM of any size."""

    def __init__(self, weights: Path, device: torch.device) -> None:
        state, settings = read_checkpoint(weights, model="model", config="cfg", origin="WavLM")
        check_settings(settings, SUPPORTED | NEEDED, where=weights)
        kind = HubertKind(
            norm_each_conv=settings["extractor_mode"] == "layer_norm",
            norm_first=settings["layer_norm_first"],
            max_distance=settings["max_distance"],
        )
        super().__init__(state, kind, device, where=weights)
        check_settings(settings, described(self.sizes), where=f"{weights}, compared with its tensors")
        self.normalize = settings["normalize"]


def described(sizes: HubertSizes) -> dict[str, Any]:
    """The settings of a WavLM that has these sizes, under their names in its files."""
    return {
        "encoder_layers": len(sizes.layers),
        "encoder_embed_dim": sizes.dim,
        "encoder_ffn_embed_dim": sizes.layers[0].ffn_dim,
        "encoder_attention_heads": sizes.layers[0].n_heads,
        "conv_feature_layers": described_convolutions(sizes.conv_dims),
        "conv_bias": sizes.conv_bias,
        "conv_pos": sizes.position_kernel,
        "conv_pos_groups": sizes.position_groups,
        "num_buckets": sizes.n_buckets,
    }


def described_convolutions(dims: Sequence[int]) -> str:
    """The way of fairseq to write channels, kernel and stride of each: ``[(512,10,5)] + [(512,3,2)] * 4 + ...``."""
    runs = groupby(zip(dims, CONV_KERNELS, CONV_STRIDES, strict=True))
    terms = [(f"[({','.join(map(str, step))})]", len(list(run))) for step, run in runs]
    return " + ".join(term if count == 1 else f"{term} * {count}" for term, count in terms)

"""HuBERT-soft (van Niekerk et al. 2022, arXiv:2111.02392): HuBERT with a projection trained to predict soft units."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from common import unpickle
from vencoder.hubert import HubertEncoder, is_state_dict, rename
from vencoder.nets.hubert_sizes import HubertKind

TRAINING_ONLY = ("masked_spec_embed", "label_embedding.weight")
N_LAYERS = 12
# its own key names -> those of fairseq, which nets.hubert has
RENAMED = (
    (r"feature_extractor\.conv(\d)\.", r"feature_extractor.conv_layers.\1.0."),
    (r"feature_extractor\.norm0\.", "feature_extractor.conv_layers.0.2."),
    (r"feature_projection\.norm\.", "layer_norm."),
    (r"feature_projection\.projection\.", "post_extract_proj."),
    (r"positional_embedding\.conv\.", "encoder.pos_conv.0."),
    (r"norm\.", "encoder.layer_norm."),
    (r"proj\.", "final_proj."),
    (r"(encoder\.layers\.\d+)\.linear([12])\.", r"\1.fc\2."),
    (r"(encoder\.layers\.\d+)\.norm1\.", r"\1.self_attn_layer_norm."),
    (r"(encoder\.layers\.\d+)\.norm2\.", r"\1.final_layer_norm."),
)


def to_fairseq_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys and split the joint query/key/value projections; unknown keys stay, to be reported."""
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        key = key.removeprefix("module.")
        if key in TRAINING_ONLY:
            continue
        joint = re.fullmatch(r"(encoder\.layers\.\d+\.self_attn)\.in_proj_(weight|bias)", key)
        if joint and value.ndim and value.shape[0] % 3 == 0:
            for name, part in zip("qkv", value.chunk(3), strict=True):
                renamed[f"{joint[1]}.{name}_proj.{joint[2]}"] = part
            continue
        renamed[rename(key, RENAMED)] = value
    return renamed


class HubertSoft(HubertEncoder):
    """Soft units (256, N); the clip is padded by 40 zeros on both sides, so that N = T // 320."""

    padding = 40

    def __init__(self, weights: Path, device: torch.device) -> None:
        state = unpickle.read_file(weights)
        if not is_state_dict(state):
            raise ValueError(f"{weights} is not the file of HuBERT-soft: that is a bare table of tensors")
        kind = HubertKind(n_layers=N_LAYERS, project=True)
        super().__init__(to_fairseq_keys(state), kind, device, where=f"{weights} (keys as fairseq names them)")

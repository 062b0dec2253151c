"""DPHuBERT (Peng et al. 2023, arXiv:2305.17651): HuBERT base, distilled and pruned; each layer has its own sizes.

Reads its authors' files (``DPHuBERT-sp0.75.pth``).
"""

from pathlib import Path
from typing import Any

import torch

from common.registry import NotAvailableError
from vencoder.hubert import HubertEncoder, check_settings, read_checkpoint, rename
from vencoder.nets.hubert_sizes import CONV_KERNELS, CONV_STRIDES, HubertKind, HubertSizes

# its own key names -> those of fairseq, which nets.hubert has
RENAMED = (
    (r"(feature_extractor\.conv_layers\.\d+)\.conv\.", r"\1.0."),
    (r"feature_extractor\.conv_layers\.0\.layer_norm\.", "feature_extractor.conv_layers.0.2."),
    (r"encoder\.feature_projection\.layer_norm\.", "layer_norm."),
    (r"encoder\.feature_projection\.projection\.", "post_extract_proj."),
    (r"encoder\.transformer\.pos_conv_embed\.conv\.", "encoder.pos_conv.0."),
    (r"encoder\.transformer\.layer_norm\.", "encoder.layer_norm."),
    (r"encoder\.transformer\.(layers\.\d+)\.attention\.", r"encoder.\1.self_attn."),
    (r"encoder\.transformer\.(layers\.\d+)\.layer_norm\.", r"encoder.\1.self_attn_layer_norm."),
    (r"encoder\.transformer\.(layers\.\d+)\.feed_forward\.intermediate_dense\.", r"encoder.\1.fc1."),
    (r"encoder\.transformer\.(layers\.\d+)\.feed_forward\.output_dense\.", r"encoder.\1.fc2."),
    (r"encoder\.transformer\.(layers\.\d+)\.final_layer_norm\.", r"encoder.\1.final_layer_norm."),
)
# what cannot be seen in the tensors
NEEDED = {
    "extractor_mode": ("group_norm",),
    "encoder_head_dim": range(1, 2**31),
    "encoder_layer_norm_first": (True, False),
    "normalize_waveform": (True, False),
}


class DPHubert(HubertEncoder):
    """Units of the last layer; without the dropout that the encoder of 4.1 leaves on."""

    def __init__(self, weights: Path, device: torch.device) -> None:
        state, settings = read_checkpoint(weights, model="state_dict", config="config", origin="DPHuBERT")
        if "encoder_remaining_heads" in settings:
            raise NotAvailableError(
                f"{weights} is DPWavLM, the pruned WavLM, which cannot be read yet: "
                "the pruned HuBERT is fetched by python -m common.pretrained get dphubert"
            )
        check_settings(settings, NEEDED, where=weights)
        kind = HubertKind(
            pruned=True,
            norm_first=settings["encoder_layer_norm_first"],
            head_dim=settings["encoder_head_dim"],
        )
        state = {rename(key, RENAMED): value for key, value in state.items()}
        super().__init__(state, kind, device, where=f"{weights} (keys as fairseq names them)")
        check_settings(settings, described(self.sizes), where=f"{weights}, compared with its tensors")
        self.normalize = settings["normalize_waveform"]


def described(sizes: HubertSizes) -> dict[str, Any]:
    """The settings of a DPHuBERT that has these sizes, under their names in its files; None where any will do."""
    return {
        "extractor_conv_layer_config": [
            list(step) for step in zip(sizes.conv_dims, CONV_KERNELS, CONV_STRIDES, strict=True)
        ],
        "extractor_conv_bias": sizes.conv_bias,
        "encoder_embed_dim": sizes.dim,
        "encoder_pos_conv_kernel": sizes.position_kernel,
        "encoder_pos_conv_groups": sizes.position_groups,
        "encoder_num_layers": len(sizes.layers),
        "encoder_use_attention": [layer.n_heads > 0 for layer in sizes.layers],
        "encoder_use_feed_forward": [layer.ffn_dim > 0 for layer in sizes.layers],
        "encoder_num_heads": [layer.n_heads or None for layer in sizes.layers],
        "encoder_ff_interm_features": [layer.ffn_dim or None for layer in sizes.layers],
    }

"""A small model whose network gives more than zero, and inputs for it."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffusion import Unit2Mel

SIZES = {"input_channel": 6, "n_spk": 3, "use_pitch_aug": True, "out_dims": 8}
NETWORK = {"n_layers": 4, "n_chans": 16, "n_hidden": 12}


class Inputs(NamedTuple):
    """Of one clip, or of a batch; the mel that shallow runs start from is apart."""

    units: Tensor
    f0: Tensor
    volume: Tensor


def model(**changes: Any) -> Unit2Mel:
    torch.manual_seed(7)
    net = Unit2Mel(**{**SIZES, **NETWORK, **changes}).eval()
    torch.nn.init.normal_(net.decoder.denoise_fn.output_projection.weight, std=0.1)
    return net


def inputs(batch: int = 1, n_frames: int = 20) -> tuple[Inputs, Tensor]:
    """Conditions and a mel (B, F, M)."""
    torch.manual_seed(8)
    f0 = 100 + 300 * torch.rand(batch, n_frames, 1)
    units = torch.randn(batch, n_frames, SIZES["input_channel"])
    mel = -6 + 2 * torch.randn(batch, n_frames, SIZES["out_dims"])
    return Inputs(units, f0, torch.rand(batch, n_frames, 1)), mel

"""ContentVec (Qian et al. 2022, arXiv:2204.09224): HuBERT trained to forget the speaker. Encoder of most models.

Reads fairseq's checkpoints (``checkpoint_best_legacy_500.pt``, or the smaller ``hubert_base.pt`` of the same weights).
"""

from pathlib import Path

import torch

from vencoder.hubert import HubertEncoder, read_checkpoint
from vencoder.nets.hubert_sizes import HubertKind


class ContentVec(HubertEncoder):
    """Units of one layer of ContentVec; ``project`` applies the projection of its training on top (768 -> 256)."""

    def __init__(self, weights: Path, device: torch.device, *, layer: int, project: bool = False) -> None:
        state, _ = read_checkpoint(weights, model="model", origin="fairseq")
        super().__init__(state, HubertKind(n_layers=layer, project=project), device, where=weights)

"""Chinese HuBERT large (TencentGameMate, https://github.com/TencentGameMate/chinese_speech_pretrain).

Reads fairseq's checkpoint (``chinese-hubert-large-fairseq-ckpt.pt``).
"""

from pathlib import Path

import torch

from vencoder.hubert import HubertEncoder, read_checkpoint
from vencoder.nets.hubert_sizes import HubertKind


class ChineseHubertLarge(HubertEncoder):
    """Units of the last layer, after the final norm.

    The network was trained on normalised clips. The encoder of 4.1 does not normalise them, so that the models trained
    on its units do not expect it either.
    """

    def __init__(self, weights: Path, device: torch.device) -> None:
        state, _ = read_checkpoint(weights, model="model", origin="fairseq")
        super().__init__(state, HubertKind(norm_each_conv=True, norm_first=True), device, where=weights)

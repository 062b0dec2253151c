"""RMVPE (Wei et al. 2023, arXiv:2306.15412): the default of preprocessing, robust to noise and accompaniment."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common import checkpoint, pretrained
from modules.f0.nets.rmvpe import N_MELS, Rmvpe
from modules.f0.salience import (
    CENTS_PER_BIN,
    FIRST_BIN_CENTS,
    HOP_LENGTH,
    N_BINS,
    SAMPLE_RATE,
    SaliencePredictor,
)
from modules.mel_processing import log_mel, mel_filterbank, stft_power

N_FFT = 1024


class RmvpePredictor(SaliencePredictor):
    """``rmvpe``.

    Args:
        weights: the file; pretrain/rmvpe.pt when absent.

    Raises:
        FileNotFoundError: the file is missing; the message says how to get it.
        checkpoint.CheckpointError: the file is damaged or holds another network.
    """

    def __init__(self, *args: Any, weights: Path | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.network = load_network(pretrained.require("rmvpe", weights)).to(self.device).eval()
        self.filters = mel_filterbank(SAMPLE_RATE, N_FFT, N_MELS, fmin=30, fmax=8000, htk=True).to(self.device)

    def mel(self, wav: Tensor, hop_length: int = HOP_LENGTH) -> Tensor:
        return log_mel(self.filters @ stft_power(wav, N_FFT, hop_length, center=True).sqrt())

    def salience(self, mel: Tensor) -> Tensor:
        return self.network(mel)

    def cents(self) -> Tensor:
        return FIRST_BIN_CENTS + CENTS_PER_BIN * torch.arange(N_BINS)


def load_network(path: Path) -> Rmvpe:
    """Read ``{"model": state dict}`` (so-vits-svc, the authors) or a bare state dict (RVC)."""
    content = checkpoint.read(path)
    state = content.get("model", content)
    network = Rmvpe(unused_filters=any(key.startswith("unet.tf.") for key in state))
    checkpoint.load_weights(network, state, where=path)
    return network

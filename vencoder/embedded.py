"""The content encoder that we trained ourselves, whose weights come with the repository: docs/embedded.md."""

from pathlib import Path

import torch
from torch import Tensor

from common import checkpoint
from vencoder.encoder import SpeechEncoder
from vencoder.nets.embedded import ContentNet


class EmbeddedEncoder(SpeechEncoder):
    """Units (256, N) of about unit variance, float32.

    Raises:
        CheckpointError: ``weights`` is no safetensors file, or holds another network.
    """

    max_frames = 6000  # two minutes: convolutions cost no more per frame, and the clip's mean is taken over more
    batch_frames = {"cpu": 6000, "cuda": 60000}

    def __init__(self, weights: Path, device: torch.device) -> None:
        state, _ = checkpoint.read_model(weights, only=())
        net = ContentNet()
        super().__init__(net.frame.shape[0], device)
        checkpoint.load_weights(net, state, where=weights)
        self.net = net.to(device).eval()

    def encode_padded(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """wavs (B, T) on ``device``, zero after each item's ``lengths`` (B,) samples -> (B, 256, N)."""
        return self.net(wavs, lengths).transpose(1, 2)

"""The encoder half of Whisper (Radford et al. 2022, arXiv:2212.04356), under the key names of OpenAI's files.

A log mel spectrogram of always the same length, two convolutions, positions, then transformer layers that normalise
before attention and before the two linear layers. The decoder, which writes the words, is not built.

Checked against its output: tests/golden/whisper-ppg, tests/golden/whisper-ppg-large.

Letters: B batch, T samples at 16 kHz, M mels, N frames of 20 ms, D channels, H heads, E channels of one head.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modules.mel_processing import apply_mel, stft_power

SAMPLE_RATE, N_FFT, MEL_HOP = 16000, 400, 160
MEL_FLOOR = 1e-10  # of the power, before the logarithm
DYNAMIC_RANGE = 8.0  # decades below an item's loudest value at which its mel is floored


@dataclass(frozen=True)
class WhisperSizes:
    """Everything that differs between two Whispers, under the names of ``dims`` in their files."""

    n_mels: int
    n_audio_ctx: int  # frames N, of every input
    n_audio_state: int  # channels D
    n_audio_head: int
    n_audio_layer: int

    @classmethod
    def of(cls, state: Mapping[str, Tensor], n_audio_head: int) -> "WhisperSizes":
        """Read all but the heads, which leave no trace in it, off a state dict.

        Raises:
            ValueError: tensors that a Whisper has are missing or of another rank.
        """
        for key, rank in (("positional_embedding", 2), ("conv1.weight", 3)):
            if key not in state or state[key].ndim != rank:
                raise ValueError(f"no tensor {key} of {rank} dimensions")
        n_audio_ctx, n_audio_state = state["positional_embedding"].shape
        layers = {key.split(".")[1] for key in state if key.startswith("blocks.")}
        return cls(state["conv1.weight"].shape[1], n_audio_ctx, n_audio_state, n_audio_head, len(layers))


def log_mel(wavs: Tensor, n_mels: int) -> Tensor:
    """wavs (B, T) -> (B, M, T / 160): logarithms of the power in mel bands, about -1 to 1 in speech.

    The floor depends on the loudest value of the item, not of the batch.
    """
    power = stft_power(wavs, N_FFT, MEL_HOP, center=True)[:, :, :-1]
    mel = apply_mel(power, SAMPLE_RATE, N_FFT, n_mels, fmin=0.0, fmax=None).clamp(min=MEL_FLOOR).log10()
    return (mel.maximum(mel.amax(dim=(1, 2), keepdim=True) - DYNAMIC_RANGE) + 4.0) / 4.0


class SelfAttention(nn.Module):
    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query, self.value, self.out = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) -> (B, N, D)"""
        q, k, v = (
            proj(x).unflatten(2, (self.n_heads, -1)).transpose(1, 2)  # (B, H, N, E)
            for proj in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.attn_ln, self.attn = nn.LayerNorm(dim), SelfAttention(dim, n_heads)
        self.mlp_ln = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.attn_ln(x))
        return x + self.mlp(self.mlp_ln(x))


class WhisperEncoder(nn.Module):
    """Log mels of ``n_audio_ctx`` frames -> as many frames of ``n_audio_state`` channels."""

    def __init__(self, sizes: WhisperSizes) -> None:
        super().__init__()
        dim = sizes.n_audio_state
        self.conv1 = nn.Conv1d(sizes.n_mels, dim, 3, padding=1)
        self.conv2 = nn.Conv1d(dim, dim, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", torch.empty(sizes.n_audio_ctx, dim))  # the file's own
        self.blocks = nn.ModuleList(Block(dim, sizes.n_audio_head) for _ in range(sizes.n_audio_layer))
        self.ln_post = nn.LayerNorm(dim)

    def forward(self, mel: Tensor) -> Tensor:
        """mel (B, M, 2 N) -> (B, N, D)"""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel))))  # (B, D, N)
        x = x.transpose(1, 2) + self.positional_embedding
        for block in self.blocks:
            x = block(x)
        return self.ln_post(x)

"""FCPE: convolutions over a log-mel, then layers of linear attention and convolution, or of convolution alone.

The file pretrain/fcpe.pt of so-vits-svc has the attention; the one inside the package torchfcpe has not.
Letters: B batch, F frames, M mels, C channels, H heads, D channels of a head, R random features, P pitch bins.
Linear attention: Choromanski et al. 2021, "Rethinking Attention with Performers", arXiv:2009.14794 (FAVOR+).
Convolution module: Gulati et al. 2020, "Conformer", arXiv:2005.08100, section 2.2. Attribute names are checkpoint keys.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD_CHANNELS = 64
N_HEADS = 8
N_RANDOM_FEATURES = int(HEAD_CHANNELS * math.log(HEAD_CHANNELS))  # 266
KERNEL_SIZE = 31  # frames seen by the depthwise convolution
EPSILON = 1e-4


class Fcpe(nn.Module):
    """Log-mel to the salience of every pitch bin.

    Args:
        n_mels: M.
        n_bins: P.
        n_layers: pairs of attention and convolution.
        channels: C.
        f0_min, f0_max: Hz of the first and the last bin.
        attention: whether the layers have it.
    """

    def __init__(  # noqa: PLR0913
        self,
        n_mels: int,
        *,
        n_bins: int,
        n_layers: int,
        channels: int,
        f0_min: float,
        f0_max: float,
        attention: bool = True,
    ) -> None:
        super().__init__()
        lowest, highest = (1200 * math.log2(hz / 10) for hz in (f0_min, f0_max))
        self.register_buffer("cent_table", torch.linspace(lowest, highest, n_bins))
        self.stack = nn.Sequential(
            nn.Conv1d(n_mels, channels, 3, padding=1),
            nn.GroupNorm(4, channels),
            nn.LeakyReLU(),
            nn.Conv1d(channels, channels, 3, padding=1),
        )
        self.decoder = _Layers(channels, n_layers, attention=attention)
        self.norm = nn.LayerNorm(channels)
        self.dense_out = _NormedLinear(channels, n_bins)

    def forward(self, mel: Tensor) -> Tensor:
        """mel (B, F, M), natural logarithm -> (B, F, P) in 0..1."""
        x = self.stack(mel.transpose(1, 2)).transpose(1, 2)  # (B, F, C)
        return torch.sigmoid(self.dense_out(self.norm(self.decoder(x))))


class _NormedLinear(nn.Module):
    """Linear layer whose weight is a direction ``weight_v`` and a length ``weight_g`` per output."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_outputs))
        self.weight_g = nn.Parameter(torch.ones(n_outputs, 1))
        self.weight_v = nn.Parameter(torch.randn(n_outputs, n_inputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_v * (self.weight_g / self.weight_v.norm(dim=1, keepdim=True)), self.bias)


class _Layers(nn.Module):
    def __init__(self, channels: int, n_layers: int, *, attention: bool) -> None:
        super().__init__()
        self._layers = nn.ModuleList(_Layer(channels, attention=attention) for _ in range(n_layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self._layers:
            x = layer(x)
        return x


class _Layer(nn.Module):
    """Attention, then convolution; both add to what they were given, and both see it normalised."""

    def __init__(self, channels: int, *, attention: bool) -> None:
        super().__init__()
        self.conformer = _Convolution(channels)
        self.norm = nn.LayerNorm(channels)  # in the file, even where there is no attention to use it
        self.attn = _LinearAttention(channels) if attention else None

    def forward(self, x: Tensor) -> Tensor:
        if self.attn is not None:
            x = x + self.attn(self.norm(x))
        return x + self.conformer(x)


class _Convolution(nn.Module):
    def __init__(self, channels: int, expansion: int = 2) -> None:
        super().__init__()
        inner = channels * expansion
        self.net = nn.Sequential(
            nn.LayerNorm(channels),
            _SwapTimeAndChannels(),  # (B, F, C) -> (B, C, F)
            nn.Conv1d(channels, 2 * inner, 1),
            nn.GLU(dim=1),
            _Depthwise(inner),
            nn.SiLU(),
            nn.Conv1d(inner, channels, 1),
            _SwapTimeAndChannels(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class _SwapTimeAndChannels(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class _Depthwise(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, KERNEL_SIZE, padding=KERNEL_SIZE // 2, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class _RandomFeatures(nn.Module):
    """Positive random features whose dot products approximate exp(q . k / sqrt(D))."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("projection_matrix", torch.randn(N_RANDOM_FEATURES, HEAD_CHANNELS))

    def forward(self, x: Tensor, *, query: bool) -> Tensor:
        """x (B, H, F, D) -> (B, H, F, R)."""
        x = x * HEAD_CHANNELS**-0.25
        exponent = x @ self.projection_matrix.T
        half_norm = x.square().sum(-1, keepdim=True) / 2
        if query:  # a factor per query cancels in the quotient, so it may keep the exponential small
            features = torch.exp(exponent - half_norm - exponent.amax(-1, keepdim=True)) + EPSILON
        else:
            features = torch.exp(exponent - half_norm + EPSILON)
        return features * N_RANDOM_FEATURES**-0.5


class _LinearAttention(nn.Module):
    """Attention over all frames at a cost linear in their number."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = N_HEADS * HEAD_CHANNELS
        self.fast_attention = _RandomFeatures()
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, inner) for _ in range(3))
        self.to_out = nn.Linear(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (N_HEADS, HEAD_CHANNELS)).transpose(1, 2)  # (B, F, HD) -> (B, H, F, D)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        q, k = self.fast_attention(q, query=True), self.fast_attention(k, query=False)
        total = (q * k.sum(dim=-2, keepdim=True)).sum(-1, keepdim=True)  # (B, H, F, 1)
        out = q @ (k.transpose(-1, -2) @ v) / (total + 1e-8)
        return self.to_out(out.transpose(1, 2).flatten(-2))  # (B, H, F, D) -> (B, F, HD)

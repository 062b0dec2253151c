"""The denoiser: gated convolutions over the frames of a noisy mel, told the noise level and what shall be sung.

B batch, M mels, H conditioning channels, C channels, F frames. Attribute names are keys of checkpoints.
Papers: Kong et al. 2021, "DiffWave", arXiv:2009.09761 (network); Liu et al. 2022, "DiffSinger", arXiv:2105.02446.
Checked against: golden case diffusion.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class StepEmbedding(nn.Module):
    """Sines and cosines of a step number, at frequencies from 1 down to 1/10000."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.half = channels // 2

    def forward(self, step: Tensor) -> Tensor:
        """step (B,), not necessarily whole -> (B, channels)."""
        exponents = torch.arange(self.half, device=step.device) * (-math.log(10000) / (self.half - 1))
        angles = step.float()[:, None] * exponents.exp()
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class ResidualBlock(nn.Module):
    """One gated convolution; half of what it gives goes on to the next block, half to the output."""

    def __init__(self, channels: int, condition_channels: int) -> None:
        super().__init__()
        self.dilated_conv = nn.Conv1d(channels, 2 * channels, 3, padding=1)  # of dilation 1, despite its name
        self.diffusion_projection = nn.Linear(channels, channels)
        self.conditioner_projection = nn.Conv1d(condition_channels, 2 * channels, 1)
        self.output_projection = nn.Conv1d(channels, 2 * channels, 1)

    def forward(self, x: Tensor, step: Tensor, condition: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """x (B, C, F), step (B, C), condition (B, 2C, F) already projected, mask (B, 1, F) -> two of (B, C, F)."""
        y = x + self.diffusion_projection(step).unsqueeze(2)
        if mask is not None:
            y = y * mask  # the only layer that sees neighbouring frames must find zeros there, as behind the last one
        gate, signal = (self.dilated_conv(y) + condition).chunk(2, dim=1)
        residual, skip = self.output_projection(torch.sigmoid(gate) * torch.tanh(signal)).chunk(2, dim=1)
        return (x + residual) / math.sqrt(2), skip


class WaveNet(nn.Module):
    """Predicts the noise in a mel (or, for rectified flow, the velocity) from the mel, its noise level and conditions.

    Raises:
        ValueError: fewer than 4 channels, or an odd number of them.
    """

    def __init__(self, n_mels: int, *, n_layers: int, n_chans: int, n_hidden: int) -> None:
        super().__init__()
        if n_chans < 4 or n_chans % 2:
            raise ValueError(f"n_chans must be even and at least 4, got {n_chans}")
        self.n_mels = n_mels
        self.input_projection = nn.Conv1d(n_mels, n_chans, 1)
        self.diffusion_embedding = StepEmbedding(n_chans)
        self.mlp = nn.Sequential(nn.Linear(n_chans, 4 * n_chans), nn.Mish(), nn.Linear(4 * n_chans, n_chans))
        self.residual_layers = nn.ModuleList(ResidualBlock(n_chans, n_hidden) for _ in range(n_layers))
        self.skip_projection = nn.Conv1d(n_chans, n_chans, 1)
        self.output_projection = nn.Conv1d(n_chans, n_mels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.output_projection.weight)  # an untrained network predicts zero: the mean of what it learns

    def project(self, cond: Tensor) -> list[Tensor]:
        """cond (B, H, F) as each layer takes it, (B, 2C, F): the same at every noise level, so once per mel will do."""
        return list(self._projections(cond))

    def _projections(self, cond: Tensor) -> Iterator[Tensor]:
        return (layer.conditioner_projection(cond) for layer in self.residual_layers)

    def forward(self, x: Tensor, step: Tensor, cond: Tensor | list[Tensor], mask: Tensor | None = None) -> Tensor:
        """x (B, 1, M, F), step (B,), cond (B, H, F) or what `project` made of it -> (B, 1, M, F).

        With ``mask`` (B, 1, F), 1 where a frame is real, real frames come out as if the others were not there.
        """
        # one after the other when not given: training need not hold them all at once
        conditions = self._projections(cond) if isinstance(cond, Tensor) else cond
        x = torch.relu(self.input_projection(x.squeeze(1)))  # (B, C, F)
        embedded = self.mlp(self.diffusion_embedding(step).to(x.dtype))
        skips = torch.zeros_like(x)
        for layer, condition in zip(self.residual_layers, conditions, strict=True):
            x, skip = layer(x, embedded, condition, mask)
            skips = skips + skip
        x = torch.relu(self.skip_projection(skips / math.sqrt(len(self.residual_layers))))
        return self.output_projection(x).unsqueeze(1)  # (B, 1, M, F)

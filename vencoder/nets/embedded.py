"""The network of the embedded content encoder: log mel bands in, content units out; convolutions over time only.

Blocks after ConvNeXt (Liu et al. 2022, arXiv:2201.03545) along time; some of them also hear the mean and the spread of
the whole clip (squeeze and excitation, Hu et al. 2018, arXiv:1709.01507), from which they can tell the channel and the
speaker that are to be taken out. All goes through a bottleneck of R channels that are pressed towards -1 and 1, and had
to be read through noise in training. A fixed tight frame spreads them over the D channels of the units and keeps
distances.

Letters: B batch, T samples at 16 kHz, N frames of 20 ms, M mels, R channels of the bottleneck, D unit channels. Within
this file tensors are (B, N, channels); ``mask`` (B, N, 1) is 1 inside an item and 0 past its end.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modules.mel_processing import mel_filterbank

SAMPLE_RATE, N_FFT, WIN_LENGTH = 16000, 512, 400
MEL_HOP = 160  # two mel frames for each unit frame
N_MELS, FMIN, FMAX = 80, 50.0, 7600.0
FLOOR = 1e-5  # of a mel band, relative to the clip's mean over bands and time: -50 dB
SILENCE = 1e-8  # mean power of a band below which a clip is digital silence
UNIT_SCALE = 4.0 / 3.0  # gives the units about variance 1: the tanh leaves 0.56
MEAN, SCALE = -3.0, 3.0  # what log mel bands are about


@dataclass(frozen=True)
class Architecture:
    """Sizes of a ContentNet; the values are those of the published weights."""

    dim: int = 256
    rank: int = 64
    sharpness: float = 1.5  # of the bottleneck's tanh in use; training ends with a sharper one
    hidden: int = 256
    expansion: int = 3
    dilations: tuple[int, ...] = (1,) * 8
    kernel: int = 7
    global_at: tuple[int, ...] = (1, 3, 5)  # blocks that hear the whole clip
    global_dim: int = 64


def log_mel(wavs: Tensor, lengths: Tensor) -> Tensor:
    """wavs (B, T), zero after ``lengths`` (B,) samples -> log mel bands (B, N, 2 M), without the clip's level."""
    n_frames = (wavs.shape[1] - WIN_LENGTH) // (2 * MEL_HOP) + 1
    needed = (2 * n_frames - 1) * MEL_HOP + WIN_LENGTH
    padded = F.pad(wavs, (0, max(0, needed - wavs.shape[1])))[:, :needed]
    frames = padded.unfold(1, WIN_LENGTH, MEL_HOP)  # (B, 2 N, 400), a view
    window = torch.hann_window(WIN_LENGTH, device=wavs.device)
    power = torch.fft.rfft(frames * window, N_FFT).abs().square()
    bands = mel_filterbank(SAMPLE_RATE, N_FFT, N_MELS, FMIN, FMAX).to(wavs.device)
    mel = power @ bands.T * (1000.0 / WIN_LENGTH)
    mel = mel.reshape(len(wavs), n_frames, 2, N_MELS)
    mask = frame_mask(lengths, n_frames)  # (B, N, 1)
    total = (mel.mean(dim=(2, 3)) * mask[..., 0]).sum(dim=1) / mask.sum(dim=(1, 2)).clamp(min=1.0)
    level = total.clamp(min=SILENCE)[:, None, None, None]
    return ((torch.log(mel / level + FLOOR) - MEAN) / SCALE).flatten(2)


def frame_mask(lengths: Tensor, n_frames: int) -> Tensor:
    """1.0 for the unit frames (B, n_frames, 1) that lie within ``lengths`` (B,) samples."""
    own = (lengths - WIN_LENGTH) // (2 * MEL_HOP) + 1
    return (torch.arange(n_frames, device=lengths.device) < own[:, None]).float()[..., None]


def moments(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B, 1, C) of x (B, N, C) over the frames in ``mask``."""
    n_frames = mask.sum(dim=1, keepdim=True).clamp(min=1.0)
    mean = (x * mask).sum(dim=1, keepdim=True) / n_frames
    variance = ((x - mean).square() * mask).sum(dim=1, keepdim=True) / n_frames
    return mean, (variance + 1e-4).sqrt()


class GlobalContext(nn.Module):
    """Adds to every frame what a small network makes of the clip's mean and spread."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(2 * channels, hidden)
        self.excite = nn.Linear(hidden, channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x + self.excite(F.gelu(self.squeeze(torch.cat(moments(x, mask), dim=2))))


class Block(nn.Module):
    """Depth-wise convolution over time, then a network on each frame; residual."""

    def __init__(self, channels: int, expansion: int, kernel: int, dilation: int) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.depthwise = nn.Conv1d(channels, channels, kernel, padding=padding, dilation=dilation, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, expansion * channels)
        self.narrow = nn.Linear(expansion * channels, channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        near = self.depthwise((x * mask).transpose(1, 2)).transpose(1, 2)  # (B, C, N) and back
        return x + self.narrow(F.gelu(self.widen(self.norm(near))))


def tight_frame(rows: int, columns: int) -> Tensor:
    """Orthogonal columns (rows, columns), scaled so that uncorrelated inputs of variance 1 give outputs of about 1."""
    random = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (torch.linalg.qr(random).Q * (rows / columns) ** 0.5).float().contiguous()


class ContentNet(nn.Module):
    """(B, T) samples -> units (B, N, D) of about unit variance."""

    def __init__(self, architecture: Architecture | None = None) -> None:
        super().__init__()
        sizes = architecture or Architecture()
        self.stem = nn.Conv1d(2 * N_MELS, sizes.hidden, 3, padding=1)
        self.blocks = nn.ModuleList(
            Block(sizes.hidden, sizes.expansion, sizes.kernel, dilation) for dilation in sizes.dilations
        )
        self.contexts = nn.ModuleDict({str(i): GlobalContext(sizes.hidden, sizes.global_dim) for i in sizes.global_at})
        self.norm = nn.LayerNorm(sizes.hidden)
        self.bottleneck = nn.Linear(sizes.hidden, sizes.rank)
        # statistics of the training, so that every channel of the bottleneck has mean 0 and variance 1
        self.unit_norm = nn.BatchNorm1d(sizes.rank, affine=False, momentum=0.01)
        self.sharpness = sizes.sharpness
        self.register_buffer("frame", tight_frame(sizes.dim, sizes.rank))  # (D, R)

    def content(self, wavs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """wavs (B, T), zero after ``lengths`` (B,) samples -> bottleneck before its norm (B, N, R), mask (B, N, 1)."""
        features = log_mel(wavs, lengths)
        mask = frame_mask(lengths, features.shape[1])
        x = self.stem((features * mask).transpose(1, 2)).transpose(1, 2)
        for i, block in enumerate(self.blocks):
            x = block(x, mask)
            if str(i) in self.contexts:
                x = self.contexts[str(i)](x, mask)
        return self.bottleneck(self.norm(x)), mask

    def forward(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """wavs (B, T), zero after ``lengths`` (B,) samples -> (B, N, D); frames past an item's end may be anything."""
        content, _ = self.content(wavs, lengths)
        normal = self.unit_norm(content.transpose(1, 2)).transpose(1, 2)
        return UNIT_SCALE * self.squash(normal) @ self.frame.T

    def squash(self, content: Tensor) -> Tensor:
        """Values pressed towards -1 and 1, where what little a voice adds to them no longer shows."""
        return torch.tanh(self.sharpness * content)

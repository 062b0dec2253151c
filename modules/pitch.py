"""Fundamental frequency as the networks see it: a logarithmic scale, 256 classes, a speaker-free contour.

f0 in Hz, uv 1 where voiced. B batch, F frames.
"""

import math

import torch
from torch import Tensor

N_BINS = 256  # class 0 is never used: 1..255 stand for F0_MIN..F0_MAX
F0_MIN, F0_MAX = 50.0, 1100.0  # Hz
_MEL_MIN = 1127 * math.log(1 + F0_MIN / 700)
_MEL_MAX = 1127 * math.log(1 + F0_MAX / 700)
_BINS_PER_MEL = (N_BINS - 2) / (_MEL_MAX - _MEL_MIN)


def f0_to_coarse(f0: Tensor) -> Tensor:
    """Class 1..255 of f0 (Hz, any shape), equally wide in mel; all outside 50..1100 Hz falls to the nearest class."""
    mel = 1127 * torch.log(1 + f0.float().clamp(min=0) / 700)
    return torch.round(mel * _BINS_PER_MEL - (_MEL_MIN * _BINS_PER_MEL - 1)).clamp(1, N_BINS - 1).long()


def lf0_from_hz(f0: Tensor) -> Tensor:
    """Mel scale divided by 500, so that singing lies between 0.1 and 2."""
    return 2595 * torch.log10(1 + f0 / 700) / 500


def hz_from_lf0(lf0: Tensor) -> Tensor:
    return 700 * (torch.pow(10, lf0 * 500 / 2595) - 1)


def normalize_f0(lf0: Tensor, mask: Tensor, uv: Tensor, *, factor: Tensor | None = None) -> Tensor:
    """Subtract each clip's mean over its voiced frames from all of its frames: lf0, mask (B, 1, F), uv (B, F).

    `factor` (B, 1) then scales the contour: in training the range of the melody must not tell the speaker.
    A clip without a voiced frame keeps its values.
    """
    n_voiced = uv.sum(dim=1, keepdim=True)  # (B, 1)
    n_voiced = torch.where(n_voiced == 0, torch.full_like(n_voiced, 9999.0), n_voiced)
    contour = lf0 - ((lf0[:, 0] * uv).sum(dim=1, keepdim=True) / n_voiced).unsqueeze(-1)
    if factor is not None:
        contour = contour * factor.unsqueeze(-1)
    return contour * mask


def random_factor(lf0: Tensor) -> Tensor:
    """One uniform factor in [0.8, 1.2) per clip of `lf0` (B, 1, F): (B, 1)."""
    return 0.8 + 0.4 * torch.rand(lf0.size(0), 1, device=lf0.device)

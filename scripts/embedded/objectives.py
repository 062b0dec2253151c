"""What the units of two copies of an utterance are trained for.

- phones: each frame's class is read from its unit by one linear layer;
- agreement: the units of both copies are the same, in squares;
- spread: the channels are not correlated (Bardes et al. 2022, arXiv:2105.04906). Else what both copies share fills few
  directions, and voice and pitch the many others, where they cost little;
- contrast: among all frames of the utterance that are another phone, a unit finds its own time in the other copy
  (InfoNCE, van den Oord et al. 2018, arXiv:1807.03748). The others are of the same voice: knowing the voice is no help;
- adversaries: small networks read voice and pitch from the units, whose gradient is turned round (Ganin and Lempitsky
  2015, arXiv:1409.7495).

The readers get the units with noise. Units are the R channels of the network's bottleneck here.

Letters: B pairs, N frames, R unit channels, n frames of the batch that count.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scripts.embedded import phones
from scripts.embedded.batches import Batch

TEMPERATURE = 0.1
MIN_DISTANCE = 3  # frames; nearer ones are no strangers


@dataclass(frozen=True)
class Weights:
    phones: float = 1.5
    agreement: float = 1.0
    spread: float = 0.3
    contrast: float = 0.5
    voice: float = 0.3
    pitch: float = 0.3


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(context, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        return -gradient


class Heads(nn.Module):
    """The readers of the units; needed in training only."""

    def __init__(self, dim: int, n_voices: int) -> None:
        super().__init__()
        self.phones = nn.Linear(dim, len(phones.CLASSES))
        self.contrast = nn.Linear(dim, 128)
        self.voice = nn.Sequential(nn.Linear(dim, 256), nn.GELU(), nn.Linear(256, n_voices))
        self.pitch = nn.Sequential(nn.Linear(dim, 256), nn.GELU(), nn.Linear(256, 1))


def losses(
    units: Tensor, noisy: Tensor, mask: Tensor, batch: Batch, *, heads: Heads, class_weights: Tensor
) -> dict[str, Tensor]:
    """units and noisy (2, B, N, R) and mask (B, N) bool -> terms by the names of Weights; the share of right phones."""
    clean = units[:, mask].float()  # (2, n, R)
    inside = noisy[:, mask]
    phone = batch.phone[mask]  # (n,)
    logits = heads.phones(inside)
    n_classes = logits.shape[-1]
    target = phone.expand(2, -1)
    known = target != phones.UNKNOWN
    log_f0 = batch.log_f0[:, mask]
    voiced = torch.isfinite(log_f0)
    turned = _Reverse.apply(inside)
    wrong_pitch = heads.pitch(turned[voiced])[:, 0] - (log_f0[voiced] - 5.3) / 0.5  # 200 Hz is 0
    voices = batch.voice[:, None].expand_as(mask)[mask].expand(2, -1)
    voice_logits = heads.voice(turned)
    return {
        "phones": F.cross_entropy(
            logits.reshape(-1, n_classes), target.reshape(-1), class_weights, ignore_index=phones.UNKNOWN,
            label_smoothing=0.05,
        ),
        "agreement": (clean[0] - clean[1]).square().mean() / 2.0,
        "spread": correlation(clean.flatten(0, 1)),
        "contrast": contrast(heads.contrast(noisy), mask, batch.phone),
        "voice": F.cross_entropy(voice_logits.flatten(0, 1), voices.reshape(-1)),
        "pitch": F.smooth_l1_loss(wrong_pitch, torch.zeros_like(wrong_pitch)),
        "right": (logits.argmax(dim=-1) == target)[known].float().mean().detach(),
    }  # fmt: skip


def correlation(units: Tensor) -> Tensor:
    """Sum of the squared correlations between different channels of units (n, R), for each channel."""
    normed = (units - units.mean(dim=0)) / (units.std(dim=0) + 1e-3)
    covariance = normed.T @ normed / len(units)
    return (covariance - torch.diag(covariance.diagonal())).square().sum() / units.shape[1]


def contrast(keys: Tensor, mask: Tensor, phone: Tensor) -> Tensor:
    """InfoNCE between the copies of keys (2, B, N, K) over the frames in mask (B, N)."""
    first, second = F.normalize(keys, dim=-1)
    scores = first @ second.transpose(1, 2) / TEMPERATURE  # (B, N, N)
    n_frames = mask.shape[1]
    time = torch.arange(n_frames, device=mask.device)
    apart = (time[:, None] - time).abs()
    stranger = (phone[:, :, None] != phone[:, None, :]) & (apart >= MIN_DISTANCE) & mask[:, None, :]
    allowed = stranger | (apart == 0)
    own = time.expand(len(keys[0]), -1)[mask]
    both = []
    for view in (scores, scores.transpose(1, 2)):
        both.append(F.cross_entropy(view.masked_fill(~allowed, -1e4)[mask], own))
    return torch.stack(both).mean()

"""Losses of the adversarial training of the synthesizer.

Symbols: B batch, C channels, F frames; p prior, q posterior.
Papers: Mao et al. 2017, "Least squares GAN", arXiv:1611.04076; Larsen et al. 2016, arXiv:1512.09300 (feature matching);
Kim, Kong and Son 2021, "VITS", arXiv:2106.06103, equations 3-4 (KL). Checked against: golden case synth_train.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

FEATURE_WEIGHT = 2.0  # of feature_loss, in HiFi-GAN's generator objective


def discriminator_loss(
    real_scores: Sequence[Tensor], fake_scores: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Least squares towards 1 for real and 0 for generated -> sum, the real and the generated part per discriminator.

    The parts are detached scalars, for logging.
    """
    real = [(1 - score.float()).square().mean() for score in real_scores]
    fake = [score.float().square().mean() for score in fake_scores]
    return sum(real) + sum(fake), [x.detach() for x in real], [x.detach() for x in fake]


def generator_loss(fake_scores: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Least squares of the generated scores towards 1 -> sum, detached part per discriminator."""
    parts = [(1 - score.float()).square().mean() for score in fake_scores]
    return sum(parts), [x.detach() for x in parts]


def feature_loss(real_maps: Sequence[Sequence[Tensor]], fake_maps: Sequence[Sequence[Tensor]]) -> Tensor:
    """Mean absolute difference of every feature map, real side fixed, summed over maps and discriminators, times 2."""
    pairs = (
        (real, fake)
        for reals, fakes in zip(real_maps, fake_maps, strict=True)
        for real, fake in zip(reals, fakes, strict=True)
    )
    return FEATURE_WEIGHT * sum((real.detach().float() - fake.float()).abs().mean() for real, fake in pairs)


def kl_loss(z_p: Tensor, logs_q: Tensor, m_p: Tensor, logs_p: Tensor, z_mask: Tensor) -> Tensor:
    """Divergence of the posterior from the prior, estimated at the sample z_p; all (B, C, F), z_mask (B, 1, F).

    Summed over the channels and averaged over the valid frames.
    """
    z_p, logs_q, m_p, logs_p, z_mask = (x.float() for x in (z_p, logs_q, m_p, logs_p, z_mask))
    divergence = logs_p - logs_q - 0.5 + 0.5 * (z_p - m_p).square() * torch.exp(-2 * logs_p)
    return (divergence * z_mask).sum() / z_mask.sum()

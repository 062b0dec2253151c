"""Losses of the adversarial training of the synthesizer.

Symbols: B batch, C channels, F frames; p prior, q posterior.
Papers: Mao et al. 2017, "Least squares GAN", arXiv:1611.04076; Larsen et al. 2016, arXiv:1512.09300 (feature matching);
Kim, Kong and Son 2021, "VITS", arXiv:2106.06103, equations 3-4 (KL); Yamamoto, Song and Kim 2020, "Parallel WaveGAN",
arXiv:1910.11480, section 2.2 (STFT). Checked against: golden case synth_train.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from modules.mel_processing import stft_power

FEATURE_WEIGHT = 2.0  # of feature_loss, in HiFi-GAN's generator objective
STFT_SIZES = (512, 1024, 4096)  # samples; the longest tells partials apart that lie 43 Hz from one another at 44.1 kHz
STFT_FLOOR = 3e-4  # of a magnitude relative to a full-scale sine: what is quieter is the same silence


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


def stft_loss(wav: Tensor, generated: Tensor) -> Tensor:
    """Mean absolute difference of log magnitudes at several window lengths; both (B, T) in [-1, 1] -> scalar, nepers.

    Windows longer than T are left out.

    Unlike mel bands, its bins are as narrow at high frequencies as at low ones: harmonics of a wrong pitch count.
    """
    distances = []
    for size in (size for size in STFT_SIZES if size <= wav.shape[-1]):
        floor = STFT_FLOOR * size / 4  # a full-scale sine has magnitude size / 4 under a Hann window
        logs = [stft_power(x, size, size // 4, center=True).add(floor**2).log() / 2 for x in (wav, generated)]
        distances.append((logs[0] - logs[1]).abs().mean())
    return torch.stack(distances).mean()

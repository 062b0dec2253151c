"""How much noise there is at each of the steps 0 .. timesteps - 1 of diffusion.

A mel at step t is x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise, a being `alphas_cumprod`.
Paper: Ho et al. 2020, "Denoising Diffusion Probabilistic Models", arXiv:2006.11239, section 2.
Checked against: golden case diffusion.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

FIRST_BETA, LAST_BETA = 1e-4, 0.02
MIN_VARIANCE = 1e-20  # keeps the logarithm of the first posterior variance, which is 0, finite


class Level(NamedTuple):
    """x = alpha x_0 + sigma noise."""

    step: float
    alpha: float
    sigma: float
    log_snr: float  # log(alpha / sigma), the lambda of the solvers' papers


def follow_noise(x: Tensor, noise: Tensor, now: Level, then: Level) -> Tensor:
    """Bring x from one level to another as if ``noise`` were what is in it."""
    return then.alpha * (x - now.sigma * noise) / now.alpha + then.sigma * noise


def follow_mel(x: Tensor, mel: Tensor, now: Level, then: Level) -> Tensor:
    """Bring x from one level to another as if ``mel`` were what is under the noise."""
    return then.alpha * mel + then.sigma * (x - now.alpha * mel) / now.sigma


def mel_of(x: Tensor, noise: Tensor, now: Level) -> Tensor:
    """What is left of x without ``noise``."""
    return (x - now.sigma * noise) / now.alpha


class Schedule:
    """The tables of ``timesteps`` steps, float64 on the CPU: samplers read single numbers of them.

    Raises:
        ValueError: fewer than 2 steps.
    """

    def __init__(self, timesteps: int) -> None:
        if timesteps < 2:
            raise ValueError(f"timesteps: must be at least 2, got {timesteps}")
        self.timesteps = timesteps
        self.betas = torch.linspace(FIRST_BETA, LAST_BETA, timesteps, dtype=torch.float64)
        self.alphas_cumprod = torch.cumprod(1 - self.betas, dim=0)
        self.alphas_cumprod_prev = torch.cat([torch.ones(1, dtype=torch.float64), self.alphas_cumprod[:-1]])
        noise_before = 1 - self.alphas_cumprod_prev
        noise = 1 - self.alphas_cumprod
        # q(x_{t-1} | x_t, x_0) of the paper's equations 6 and 7
        self.posterior_variance = self.betas * noise_before / noise
        self.posterior_mean_coef1 = self.betas * self.alphas_cumprod_prev.sqrt() / noise
        self.posterior_mean_coef2 = noise_before * (1 - self.betas).sqrt() / noise

    def tables(self) -> dict[str, Tensor]:
        """The tables that checkpoints hold, by their keys and in their order, float32."""
        tables = {
            "betas": self.betas,
            "alphas_cumprod": self.alphas_cumprod,
            "alphas_cumprod_prev": self.alphas_cumprod_prev,
            "sqrt_alphas_cumprod": self.alphas_cumprod.sqrt(),
            "sqrt_one_minus_alphas_cumprod": (1 - self.alphas_cumprod).sqrt(),
            "log_one_minus_alphas_cumprod": (1 - self.alphas_cumprod).log(),
            "sqrt_recip_alphas_cumprod": (1 / self.alphas_cumprod).sqrt(),
            "sqrt_recipm1_alphas_cumprod": (1 / self.alphas_cumprod - 1).sqrt(),
            "posterior_variance": self.posterior_variance,
            "posterior_log_variance_clipped": self.posterior_variance.clamp(min=MIN_VARIANCE).log(),
            "posterior_mean_coef1": self.posterior_mean_coef1,
            "posterior_mean_coef2": self.posterior_mean_coef2,
        }
        return {name: table.float() for name, table in tables.items()}

    def level(self, step: float) -> Level:
        """Signal and noise at a step between whole ones: the logarithm of alpha is linear there."""
        below = min(int(step), self.timesteps - 2)
        log_alphas = self.alphas_cumprod[below : below + 2].log() / 2
        log_alpha = (log_alphas[0] + (step - below) * (log_alphas[1] - log_alphas[0])).item()
        sigma = math.sqrt(-math.expm1(2 * log_alpha))
        return Level(step, math.exp(log_alpha), sigma, log_alpha - math.log(sigma))

    def levels(self, k_step: int, n_steps: int) -> list[Level]:
        """n_steps + 1 levels at equal distances, from step k_step - 1 down to step 0."""
        return [self.level((k_step - 1) * (n_steps - i) / n_steps) for i in range(n_steps + 1)]

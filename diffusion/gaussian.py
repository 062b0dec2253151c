"""Diffusion: the network predicts the noise in a mel.

Paper: Ho et al. 2020, "Denoising Diffusion Probabilistic Models", arXiv:2006.11239, equations 4 and 14.
Checked against: golden case diffusion.
"""

import torch
from torch import Tensor

from diffusion.decoder import MelDecoder
from diffusion.samplers import SAMPLERS
from diffusion.schedule import Schedule
from diffusion.wavenet import WaveNet


class GaussianDiffusion(MelDecoder):
    """Steps are those of the schedule, 0 .. timesteps - 1; of them the first ``k_step_max`` are trained."""

    samplers = SAMPLERS
    plain_sampler = "naive"

    def __init__(self, denoise_fn: WaveNet, *, timesteps: int, k_step_max: int) -> None:
        schedule = Schedule(timesteps)
        super().__init__(denoise_fn, schedule, k_step_max=k_step_max, tables=schedule.tables())

    def noisy(self, x: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        signal, sigma = self.sqrt_alphas_cumprod[step], self.sqrt_one_minus_alphas_cumprod[step]
        return signal[:, None, None, None] * x + sigma[:, None, None, None] * noise

    def target(self, x: Tensor, noise: Tensor) -> Tensor:
        return noise

    def random_steps(self, n: int) -> Tensor:
        return torch.randint(0, self.k_step_max, (n,), device=self.betas.device)

    def first_step(self, k_step: int) -> int:
        return k_step - 1

    def scale(self, step: Tensor) -> Tensor:
        return step

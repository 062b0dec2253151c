"""Rectified flow: the network predicts the velocity at which noise becomes a mel along a straight line.

At time t from 0, noise, to 1, mel: x_t = (1 - t) noise + t mel, so the velocity is mel - noise. Step k stands for time
1 - k / timesteps; the network is told of t * timesteps.
Paper: Liu, Gong and Liu 2022, "Flow Straight and Fast", arXiv:2209.03003, section 2.1.
"""

import torch
from torch import Tensor

from diffusion.decoder import MelDecoder
from diffusion.samplers import FLOW_SAMPLERS
from diffusion.schedule import Schedule
from diffusion.wavenet import WaveNet


class RectifiedFlow(MelDecoder):
    """Trained at times from 1 - k_step_max / timesteps (``model.t_start`` of diffusion.yaml) to 1."""

    samplers = FLOW_SAMPLERS

    def __init__(self, denoise_fn: WaveNet, *, timesteps: int, k_step_max: int) -> None:
        super().__init__(denoise_fn, Schedule(timesteps), k_step_max=k_step_max, tables={})

    def noisy(self, x: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        share = (step / self.schedule.timesteps)[:, None, None, None]
        return (1 - share) * x + share * noise

    def target(self, x: Tensor, noise: Tensor) -> Tensor:
        return x - noise

    def random_steps(self, n: int) -> Tensor:
        return torch.rand([n], device=self.spec_min.device) * self.k_step_max

    def first_step(self, k_step: int) -> int:
        return k_step

    def scale(self, step: Tensor) -> Tensor:
        return self.schedule.timesteps - step

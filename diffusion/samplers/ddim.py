"""The deterministic sampler.

Paper: Song, Meng and Ermon 2021, "Denoising Diffusion Implicit Models", arXiv:2010.02502, equation 12 with sigma 0.
Checked against: golden case diffusion.
"""

from torch import Tensor

from diffusion.samplers.sampler import Draw, Network, Sampler, draw_noise
from diffusion.schedule import Schedule, follow_noise


class DDIM(Sampler):
    """Every ``speedup``-th step from 0 upwards, the highest first, although x has the noise of step k_step - 1.

    The reference also evaluates the network at step 0, of which x comes out unchanged. That is left out.
    """

    name = "ddim"

    @property
    def n_steps(self) -> int:
        return (self.k_step - 1) // self.speedup

    def sample(self, network: Network, x: Tensor, schedule: Schedule, draw: Draw = draw_noise) -> Tensor:
        for i in reversed(range(self.n_steps)):
            now, then = schedule.level((i + 1) * self.speedup), schedule.level(i * self.speedup)
            x = follow_noise(x, network(x, now.step), now, then)
        return x

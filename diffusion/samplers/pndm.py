"""Pseudo linear multi-step sampler.

Paper: Liu, Ren, Lin and Zhao 2022, "Pseudo Numerical Methods for Diffusion Models on Manifolds", arXiv:2202.09778,
the pseudo linear multi-step method; its transfer part is DDIM's step in other words.
Checked against: golden case diffusion.
"""

import torch
from torch import Tensor

from diffusion.samplers.ddim import DDIM
from diffusion.samplers.sampler import Draw, Network, draw_noise
from diffusion.schedule import Schedule, follow_noise

# Adams-Bashforth: weights of the newest prediction and of those before it, by how many there are.
WEIGHTS = {
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


class PNDM(DDIM):
    """The steps of DDIM, each along a combination of the last four predictions; the first step looks ahead instead."""

    name = "pndm"

    @property
    def evaluations(self) -> int:
        return self.n_steps + 1

    def sample(self, network: Network, x: Tensor, schedule: Schedule, draw: Draw = draw_noise) -> Tensor:
        history: list[Tensor] = []  # newest first
        for i in reversed(range(self.n_steps)):
            now, then = schedule.level((i + 1) * self.speedup), schedule.level(i * self.speedup)
            history = [network(x, now.step), *history[:3]]
            if len(history) > 1:
                weighted = (weight * noise for weight, noise in zip(WEIGHTS[len(history)], history, strict=True))
                noise = torch.stack(list(weighted)).sum(dim=0)
            else:
                ahead = network(follow_noise(x, history[0], now, then), then.step)
                noise = (history[0] + ahead) / 2
            x = follow_noise(x, noise, now, then)
        return x

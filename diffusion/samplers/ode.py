"""Solvers for rectified flow, whose network gives the velocity at which a mel leaves its noise.

Time runs from 0, noise, to 1, mel; step k of `Sampler` is time 1 - k / timesteps.
Paper: Liu, Gong and Liu 2022, "Flow Straight and Fast", arXiv:2209.03003, section 2.
"""

from torch import Tensor

from diffusion.samplers.sampler import Draw, Network, Sampler, draw_noise
from diffusion.schedule import Schedule


class Euler(Sampler):
    """k_step // speedup steps of equal length, from time 1 - k_step / timesteps to time 1."""

    name = "euler"

    def sample(self, network: Network, x: Tensor, schedule: Schedule, draw: Draw = draw_noise) -> Tensor:
        length = self.k_step / self.n_steps
        for i in reversed(range(self.n_steps)):
            velocity = self._velocity(network, x, length * (i + 1), length, schedule.timesteps)
            x = x + velocity * (length / schedule.timesteps)
        return x

    def _velocity(self, network: Network, x: Tensor, step: float, length: float, timesteps: int) -> Tensor:
        """Mean velocity between ``step`` and ``step - length``."""
        return network(x, step)


class RungeKutta4(Euler):
    """The classical method of fourth order: four evaluations in each step."""

    name = "rk4"

    @property
    def evaluations(self) -> int:
        return 4 * self.n_steps

    def _velocity(self, network: Network, x: Tensor, step: float, length: float, timesteps: int) -> Tensor:
        half = length / 2
        first = network(x, step)
        second = network(x + first * (half / timesteps), step - half)
        third = network(x + second * (half / timesteps), step - half)
        fourth = network(x + third * (length / timesteps), step - length)
        return (first + 2 * second + 2 * third + fourth) / 6

"""What all samplers have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from diffusion.schedule import Schedule

Network = Callable[[Tensor, float], Tensor]  # x and its step -> the noise in x; for rectified flow the velocity
Draw = Callable[[Tensor], Tensor]  # standard normal noise of the shape of its argument


def draw_noise(like: Tensor) -> Tensor:
    """Noise of torch's global generator."""
    return torch.randn_like(like)


class Sampler(ABC):
    """Takes the noise of the first ``k_step`` steps of training out of a mel, in fewer steps of its own.

    Args:
        k_step: steps of training from the mel up to where sampling begins.
        speedup: steps of training for each of the sampler's.

    Raises:
        ValueError: numbers below 1, or fewer steps than this sampler can do with.
    """

    name: str
    min_steps = 1

    def __init__(self, *, k_step: int, speedup: int) -> None:
        for what, value in (("k_step", k_step), ("speedup", speedup)):
            if value < 1:
                raise ValueError(f"{what} must be at least 1, got {value}")
        self.k_step, self.speedup = k_step, speedup
        if self.n_steps < self.min_steps:
            raise ValueError(
                f"k_step {k_step} at speedup {speedup} leaves {self.n_steps} steps, and sampler {self.name} needs at"
                f" least {self.min_steps}: lower the speedup or raise k_step"
            )

    @property
    def n_steps(self) -> int:
        """How many steps the sampler takes."""
        return self.k_step // self.speedup

    @property
    def evaluations(self) -> int:
        """How many times it evaluates the network."""
        return self.n_steps

    @abstractmethod
    def sample(self, network: Network, x: Tensor, schedule: Schedule, draw: Draw = draw_noise) -> Tensor:
        """x of any shape, with the noise of the last of the ``k_step`` steps -> x at step 0.

        ``draw`` makes the noise that is added on the way; most samplers add none.
        """

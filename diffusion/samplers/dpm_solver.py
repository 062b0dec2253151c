"""Multistep solvers of second order, which extrapolate the last two predictions over log(alpha / sigma).

Papers: Lu et al. 2022, "DPM-Solver", arXiv:2206.00927 (predicts the noise); Lu et al. 2022, "DPM-Solver++",
arXiv:2211.01095, algorithm 2 (predicts the mel).
Checked against: golden case diffusion.
"""

from itertools import pairwise

from torch import Tensor

from diffusion.samplers.sampler import Draw, Network, Sampler, draw_noise
from diffusion.schedule import Level, Schedule, follow_mel, follow_noise, mel_of

FEW_STEPS = 10  # below so many the last step is of first order, as in the reference


class DPMSolver(Sampler):
    """k_step // speedup steps at equal distances. With ``of_mel`` DPM-Solver++."""

    def __init__(self, *, of_mel: bool, k_step: int, speedup: int) -> None:
        self.name = "dpm-solver++" if of_mel else "dpm-solver"
        self.of_mel = of_mel
        super().__init__(k_step=k_step, speedup=speedup)

    def sample(self, network: Network, x: Tensor, schedule: Schedule, draw: Draw = draw_noise) -> Tensor:
        few = self.n_steps < FEW_STEPS
        before: tuple[Tensor, Level] | None = None  # prediction of the step before, and where it was made
        for i, (now, then) in enumerate(pairwise(schedule.levels(self.k_step, self.n_steps))):
            noise = network(x, now.step)
            prediction = mel_of(x, noise, now) if self.of_mel else noise
            ahead = prediction
            if before is not None and not (few and i == self.n_steps - 1):
                ahead = prediction + slope(prediction, *before, now, then) / 2
            x = (follow_mel if self.of_mel else follow_noise)(x, ahead, now, then)
            before = prediction, now
        return x


def slope(prediction: Tensor, earlier: Tensor, before: Level, now: Level, then: Level) -> Tensor:
    """How much the prediction will change from ``now`` to ``then`` if it goes on as from ``before`` to ``now``."""
    ratio = (now.log_snr - before.log_snr) / (then.log_snr - now.log_snr)
    return (prediction - earlier) / ratio

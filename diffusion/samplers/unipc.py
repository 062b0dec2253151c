"""Predictor and corrector of second order that share their network evaluations.

Paper: Zhao et al. 2023, "UniPC", arXiv:2302.04867, data prediction with B(h) = exp(-h) - 1 ("bh2").
Checked against: golden case diffusion.
"""

import math
from itertools import pairwise

from torch import Tensor

from diffusion.samplers.dpm_solver import slope
from diffusion.samplers.sampler import Draw, Network, Sampler, draw_noise
from diffusion.schedule import Level, Schedule, follow_mel, mel_of


class UniPC(Sampler):
    """k_step // speedup equal steps; the first and the last are of first order, and the last is not corrected."""

    name = "unipc"
    min_steps = 2

    def sample(self, network: Network, x: Tensor, schedule: Schedule, draw: Draw = draw_noise) -> Tensor:
        levels = schedule.levels(self.k_step, self.n_steps)
        mel = mel_of(x, network(x, levels[0].step), levels[0])
        before: tuple[Tensor, Level] | None = None
        for i, (now, then) in enumerate(pairwise(levels)):
            last = i == self.n_steps - 1
            trend = None if before is None or last else slope(mel, *before, now, then)
            predicted = follow_mel(x, mel if trend is None else mel + trend / 2, now, then)
            if last:
                return predicted
            mel_then = mel_of(predicted, network(predicted, then.step), then)
            change = mel_then - mel
            if trend is None or before is None:
                corrected = mel + change / 2
            else:
                of_trend, of_change = corrector_weights(before[1], now, then)
                corrected = mel + of_trend * trend + of_change * change
            x = follow_mel(x, corrected, now, then)
            before, mel = (mel, now), mel_then
        return x


def corrector_weights(before: Level, now: Level, then: Level) -> tuple[float, float]:
    """Weights of the trend before the step and of the change over it: the paper's linear system, solved by hand."""
    h = then.log_snr - now.log_snr
    ratio = (before.log_snr - now.log_snr) / h
    b = -math.expm1(-h)
    first = (b / h - 1) / -b  # phi_2
    second = 2 * ((b / h - 1) / -h - 1 / 2) / -b  # 2 phi_3
    of_trend = (first - second) / (1 - ratio)
    return of_trend, first - of_trend

"""The plain sampler: every step of training backwards, with fresh noise after each.

Paper: Ho et al. 2020, "Denoising Diffusion Probabilistic Models", arXiv:2006.11239, algorithm 2.
Checked against: golden case diffusion.
"""

from torch import Tensor

from diffusion.samplers.sampler import Draw, Network, Sampler, draw_noise
from diffusion.schedule import Schedule, mel_of


class DDPM(Sampler):
    """Keeps its idea of the mel within [-1, 1], the range of normalised mels; no other sampler does."""

    name = "naive"

    def __init__(self, *, k_step: int, speedup: int) -> None:
        if speedup != 1:
            raise ValueError(f"sampler naive takes every step: set the speedup to 1, not {speedup}, or choose another")
        super().__init__(k_step=k_step, speedup=speedup)

    def sample(self, network: Network, x: Tensor, schedule: Schedule, draw: Draw = draw_noise) -> Tensor:
        for step in reversed(range(self.k_step)):
            mel = mel_of(x, network(x, step), schedule.level(step)).clamp(-1, 1)
            of_mel, of_x = schedule.posterior_mean_coef1[step].item(), schedule.posterior_mean_coef2[step].item()
            x = of_mel * mel + of_x * x
            if step > 0:
                x = x + schedule.posterior_variance[step].sqrt().item() * draw(x)
        return x

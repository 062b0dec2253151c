"""What diffusion and rectified flow share: mels to and from the network's range, the way back from noise, the loss.

B batch, M mels, F frames, H conditioning channels. Inside, a mel is x (B, 1, M, F) in [-1, 1]. A step says how much
noise there is: 0 is the mel.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.registry import Registry
from diffusion.samplers.sampler import Draw, Sampler, draw_noise
from diffusion.schedule import Schedule
from diffusion.wavenet import WaveNet

MEL_RANGE = (-12.0, 2.0)  # natural-log mel; what lies outside is kept, nothing is clamped


@dataclass(frozen=True)
class Plan:
    """How a mel will be sampled."""

    sampler: Sampler
    shallow: bool  # from a mel, not from noise alone


class MelDecoder(nn.Module, ABC):
    """A network that sees noise in mels, and the way from noise to a mel that it is evaluated along.

    Attributes:
        k_step_max: the most noise that the network was trained with, in steps.
        samplers: those that can use what this network predicts.
        plain_sampler: the one that takes every step, for a speedup of 1; None where any can.
    """

    samplers: Registry
    plain_sampler: str | None = None

    def __init__(
        self, denoise_fn: WaveNet, schedule: Schedule, *, k_step_max: int, tables: Mapping[str, Tensor]
    ) -> None:
        super().__init__()
        self.schedule, self.k_step_max, self.table_names = schedule, k_step_max, tuple(tables)
        for name, table in tables.items():  # keys of checkpoints, in their order
            self.register_buffer(name, table)
        self.register_buffer("spec_min", torch.full((1, 1, 1), MEL_RANGE[0]))
        self.register_buffer("spec_max", torch.full((1, 1, 1), MEL_RANGE[1]))
        self.denoise_fn = denoise_fn

    @abstractmethod
    def noisy(self, x: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        """x (B, 1, M, F) with as much noise as there is at the steps (B,)."""

    @abstractmethod
    def target(self, x: Tensor, noise: Tensor) -> Tensor:
        """What the network is to predict."""

    @abstractmethod
    def random_steps(self, n: int) -> Tensor:
        """Steps (n,) to train at."""

    @abstractmethod
    def first_step(self, k_step: int) -> int:
        """The step of a mel that is to be walked back over ``k_step`` steps."""

    @abstractmethod
    def scale(self, step: Tensor) -> Tensor:
        """Steps (B,) as the network is told of them."""

    def loss(
        self,
        cond: Tensor,
        spec: Tensor,
        *,
        mask: Tensor | None = None,
        step: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Mean squared error of what the network predicts of noisy mels.

        cond (B, H, F), spec (B, F, M) natural-log mel, mask (B, 1, F), 1 where a frame is real. ``step`` (B,) and
        ``noise`` (B, 1, M, F) are drawn when they are not given.
        """
        x = self._normalised(spec)
        step = self.random_steps(len(x)) if step is None else step
        noise = torch.randn_like(x) if noise is None else noise
        predicted = self.denoise_fn(self.noisy(x, step, noise), self.scale(step), cond, mask)
        error = (predicted.float() - self.target(x, noise)) ** 2
        if mask is None:
            return error.mean()
        return (error * mask.unsqueeze(1)).sum() / (mask.sum() * x.size(2))

    def plan(self, *, method: str | None, speedup: int, k_step: int | None, shallow: bool) -> Plan:
        """Check what is asked of the network; ``shallow`` says that there is a mel to start from.

        Without ``method`` or with a speedup of 1 diffusion takes every step by its plain sampler, whatever its name.
        Without a mel all steps are walked, whatever ``k_step``; with one, None stands for as many as were trained.

        Raises:
            ValueError: an unknown sampler, one that cannot do these steps, or steps that were not trained.
        """
        if not shallow and self.k_step_max < self.schedule.timesteps:
            raise ValueError(
                f"this model was trained for shallow diffusion of at most {self.k_step_max} of"
                f" {self.schedule.timesteps} steps (model.k_step_max or t_start): it refines a mel and cannot make one"
                " from nothing: convert with -shd, not with -od"
            )
        k_step = self.k_step_max if k_step is None or not shallow else k_step
        if k_step > self.k_step_max:
            raise ValueError(
                f"k_step {k_step} is more than the {self.k_step_max} steps that this model was trained for"
                f" (model.k_step_max or t_start): use -ks {self.k_step_max} or less"
            )
        if self.plain_sampler is not None and (method is None or speedup == 1):
            method, speedup = self.plain_sampler, 1
        return Plan(self.samplers.build(str(method), k_step=k_step, speedup=speedup), shallow)

    def infer(
        self,
        cond: Tensor,
        plan: Plan,
        *,
        spec: Tensor | None = None,
        mask: Tensor | None = None,
        draw: Draw = draw_noise,
        progress: Callable[[], object] | None = None,
    ) -> Tensor:
        """cond (B, H, F) -> natural-log mel (B, F, M).

        Args:
            spec: mel (B, F, M) that is given noise and then walked back from; without one the start is noise alone.
            mask: (B, 1, F), 1 where a frame is real.
            draw: makes noise of the shape of its argument, standard normal at a temperature of 1.
            progress: called after each evaluation of the network.

        Raises:
            ValueError: a shallow plan without ``spec``, or ``spec`` with another plan.
        """
        if plan.shallow != (spec is not None):
            raise ValueError("a mel to start from belongs to a shallow plan, and to no other")
        conditions = self.denoise_fn.project(cond)
        if spec is None:
            # float32 under autocast too: the sampler's sums are long
            x = draw(cond.new_empty(len(cond), 1, self.denoise_fn.n_mels, cond.size(2), dtype=torch.float32))
        else:
            x = self._normalised(spec)
            first = self.first_step(plan.sampler.k_step)
            x = self.noisy(x, torch.full((len(x),), first, device=x.device), draw(x))

        def network(x: Tensor, step: float) -> Tensor:
            steps = self.scale(torch.full((len(x),), float(step), device=x.device))
            predicted = self.denoise_fn(x, steps, conditions, mask).to(x.dtype)
            if progress is not None:
                progress()
            return predicted

        x = plan.sampler.sample(network, x, self.schedule, draw)
        return self.denormalised(x)

    def denormalised(self, x: Tensor) -> Tensor:
        """x (B, 1, M, F) -> natural-log mel (B, F, M)."""
        x = x.squeeze(1).transpose(1, 2)  # (B, F, M)
        return (x + 1) / 2 * (self.spec_max - self.spec_min) + self.spec_min

    def _normalised(self, spec: Tensor) -> Tensor:
        x = (spec - self.spec_min) / (self.spec_max - self.spec_min) * 2 - 1
        return x.transpose(1, 2).unsqueeze(1)  # (B, 1, M, F)

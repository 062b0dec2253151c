"""One update of a network: precision, loss scaling, gradients, and what must not go into the weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from common import processes

HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}


class NonFiniteLossError(ArithmeticError):
    """A loss or a gradient is NaN or infinite; raised before any weight is changed by it."""


class Updater:
    """Steps optimizers down losses.

    Args:
        precision: fp16, bf16 or fp32, in which networks run under `autocast`.
        advice: what to set instead of fp16 where there is no CUDA.

    Raises:
        ValueError: fp16 on another device than CUDA.
    """

    def __init__(self, device: torch.device, precision: str, *, advice: str) -> None:
        if precision == "fp16" and device.type != "cuda":
            raise ValueError(f"fp16 works on CUDA only, this run is on {device}: {advice}")
        self.device = device
        half = HALF.get(precision)
        self.autocast = partial(torch.autocast, device.type, half or torch.bfloat16, enabled=half is not None)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    @contextmanager
    def step(self) -> Iterator[None]:
        """All the updates of one training step belong into this context: it adapts the scale of the losses."""
        try:
            yield
        except NonFiniteLossError:
            self.scaler.update(self.scaler.get_scale())  # closes the update; the scale stays
            raise
        self.scaler.update()

    def update(
        self, optimizer: torch.optim.Optimizer, net: nn.Module, losses: Mapping[str, Tensor], *, limit: float = 0.0
    ) -> Tensor:
        """Step ``optimizer`` down the sum of ``losses``; returns the gradient norm, which 0 < ``limit`` then bounds.

        Raises:
            NonFiniteLossError: a loss or a gradient is not finite; ``net`` was not changed.
        """
        total = torch.stack(list(losses.values())).sum()
        if processes.in_any(not bool(torch.isfinite(total)), self.device):
            bad = [name for name, value in losses.items() if not torch.isfinite(value)]
            raise NonFiniteLossError(f"loss {', '.join(bad) or 'of another process'} is not finite")
        optimizer.zero_grad()
        self.scaler.scale(total).backward()
        self.scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(net.parameters(), limit or float("inf"))
        # The scaler looks for these itself: it skips the step and lowers its scale.
        if not self.scaler.is_enabled() and not torch.isfinite(norm):
            raise NonFiniteLossError(f"gradient of {', '.join(losses)} is not finite")
        self.scaler.step(optimizer)
        return norm

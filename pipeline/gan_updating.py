"""The updates of a generator and its discriminators; the losses that a generator has besides are its trainer's.

Symbols: B batch, T samples, y waveform.
Paper: Kong, Kim and Bae 2020, "HiFi-GAN", arXiv:2010.05646, section 2.4.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from common.config import GanTraining
from modules.discriminators import MultiPeriodDiscriminator
from modules.losses import discriminator_loss, feature_loss, generator_loss
from pipeline.training import TrainState
from pipeline.updating import Updater

ADVICE = "lower train.learning_rate, set train.clip_grad_norm to 1000, or use half_type bf16"


class GanUpdater(Updater):
    """An `Updater` with the two optimizers of an adversarial training.

    ``net_d`` is what the steps call: the discriminators, or their data-parallel wrapper.
    """

    def __init__(
        self, generator: nn.Module, discriminator: MultiPeriodDiscriminator, train: GanTraining, device: torch.device
    ) -> None:
        super().__init__(
            device,
            train.half_type if train.fp16_run else "fp32",
            advice="set train.half_type to bf16, or fp16_run to false",
        )
        self.generator, self.discriminator, self.train = generator, discriminator, train
        self.net_d: nn.Module = discriminator
        optimizer = partial(
            torch.optim.AdamW,
            lr=train.learning_rate,
            betas=(train.betas[0], train.betas[1]),
            eps=train.eps,
            fused=device.type != "mps",
        )
        self.optim_g = optimizer(generator.parameters())
        self.optim_d = optimizer(discriminator.parameters())
        self.learning_rate = train.learning_rate

    def set_rate(self, state: TrainState) -> float:
        """Exponential decay per epoch after a linear warm-up: a function of the epoch alone."""
        train = self.train
        if state.epoch <= train.warmup_epochs:
            self.learning_rate = train.learning_rate * state.epoch / train.warmup_epochs
        else:
            self.learning_rate = train.learning_rate * train.lr_decay ** (state.epoch - 1)
        for optimizer in (self.optim_g, self.optim_d):
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate
        return self.learning_rate

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around both updates of a training step."""
        try:
            with super().step():
                yield
        finally:
            self.discriminator.requires_grad_(True)

    def update_discriminator(self, y: Tensor, y_hat: Tensor) -> dict[str, Tensor | float]:
        """Teach the discriminators to tell y from y_hat (B, 1, T), which gets no gradient; returns what to log."""
        with self.autocast():
            real_scores, fake_scores, _, _ = self.net_d(y, y_hat.detach())
        loss, _, _ = discriminator_loss(real_scores, fake_scores)
        norm = self.update(self.optim_d, self.discriminator, {"disc": loss}, limit=self.train.clip_grad_norm)
        return {"disc": loss.detach(), "grad_norm_d": norm}

    def adversarial(self, y: Tensor, y_hat: Tensor) -> dict[str, Tensor]:
        """Losses of the generator before its judges: scores and feature matching; both (B, 1, T)."""
        self.discriminator.requires_grad_(False)  # a quarter to half of the work of the generator's update
        with self.autocast():
            _, fake_scores, real_maps, fake_maps = self.discriminator(y, y_hat)
        return {"gen": generator_loss(fake_scores)[0], "fm": feature_loss(real_maps, fake_maps)}

    def update_generator(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Step the generator down the sum of ``losses``; returns the gradient norm before any clipping."""
        return self.update(self.optim_g, self.generator, losses, limit=self.train.clip_grad_norm)

    def is_finite(self) -> bool:
        """Whether all the weights are finite."""
        return all(
            bool(torch.isfinite(p).all()) for net in (self.generator, self.discriminator) for p in net.parameters()
        )

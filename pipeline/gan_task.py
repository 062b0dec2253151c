"""The synthesizer and its discriminators as a `Task`: losses, updates, validation, what a checkpoint holds.

Letters as in VITS (Kim, Kong and Son 2021, arXiv:2106.06103): z latent, _q posterior, _p prior, y waveform.
"""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from common import checkpoint
from common.checkpoint import CheckpointError
from common.config import Config
from models import MultiPeriodDiscriminator, SynthesizerTrn
from modules.losses import discriminator_loss, feature_loss, generator_loss, kl_loss, stft_loss
from modules.masking import take_segments
from modules.mel_processing import spec_to_mel, spectrogram
from pipeline.dataset import Batch, ClipDataset, collate
from pipeline.reporting import Reporter
from pipeline.sampling import ClipKey
from pipeline.training import TrainState
from pipeline.updating import Updater

logger = logging.getLogger(__name__)

VALIDATION_CLIPS = 8  # at most: they are synthesised whole, one after the other


class GanTask:
    """Generator, discriminators, their optimizers, and where they are stored."""

    advice = "lower train.learning_rate, set train.clip_grad_norm to 1000, or use half_type bf16"

    def __init__(self, config: Config, folder: Path, device: torch.device, validation: ClipDataset) -> None:
        self.config, self.folder, self.device, self.validation = config, folder, device, validation
        train, data = config.train, config.data
        self.updater = Updater(
            device,
            train.half_type if train.fp16_run else "fp32",
            advice="set train.half_type to bf16, or fp16_run to false",
        )
        torch.manual_seed(train.seed)
        self.hop, self.segment_frames = data.hop_length, train.segment_size // data.hop_length
        self.generator = SynthesizerTrn.from_config(config).to(device)
        self.discriminator = MultiPeriodDiscriminator(base_channels=train.discriminator_channels).to(device)
        optimizer = partial(
            torch.optim.AdamW,
            lr=train.learning_rate,
            betas=(train.betas[0], train.betas[1]),
            eps=train.eps,
            fused=device.type != "mps",
        )
        self.optim_g = optimizer(self.generator.parameters())
        self.optim_d = optimizer(self.discriminator.parameters())
        self.learning_rate = train.learning_rate
        # What the steps call: the networks themselves, or their data-parallel wrappers.
        self.net_g: nn.Module = self.generator
        self.net_d: nn.Module = self.discriminator
        self.mel = partial(
            spec_to_mel,
            n_fft=data.filter_length,
            n_mels=data.n_mel_channels,
            sample_rate=data.sampling_rate,
            fmin=data.mel_fmin,
            fmax=data.mel_fmax,
        )

    def spec(self, wav: Tensor) -> Tensor:
        """wav (B, T) -> linear magnitude spectrogram (B, bins, F)."""
        data = self.config.data
        return spectrogram(wav, n_fft=data.filter_length, hop_length=data.hop_length, win_length=data.win_length)

    def distribute(self) -> None:
        """Average the gradients over the processes of a group."""
        parallel = partial(
            nn.parallel.DistributedDataParallel, device_ids=[self.device] if self.device.type == "cuda" else None
        )
        # Without automatic f0 prediction some parameters of the generator get no gradient.
        self.net_g = parallel(self.generator, find_unused_parameters=True)
        self.net_d = parallel(self.discriminator)

    # ---- one update

    def set_rate(self, state: TrainState) -> float:
        """Exponential decay per epoch after a linear warm-up: a function of the epoch alone."""
        train = self.config.train
        if state.epoch <= train.warmup_epochs:
            self.learning_rate = train.learning_rate * state.epoch / train.warmup_epochs
        else:
            self.learning_rate = train.learning_rate * train.lr_decay ** (state.epoch - 1)
        for optimizer in (self.optim_g, self.optim_d):
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate
        return self.learning_rate

    def step(self, batch: Batch, step: int) -> dict[str, Tensor | float]:
        """Update the discriminators (from ``discriminator_start`` on), then the generator.

        Raises:
            NonFiniteLossError: a loss or a gradient is not finite; the network that it belongs to was not changed.
        """
        try:
            with self.updater.step():
                return self._step(batch, step)
        finally:
            self.discriminator.requires_grad_(True)

    def _step(self, batch: Batch, step: int) -> dict[str, Tensor | float]:
        adversarial = step >= self.config.train.discriminator_start
        spec = self.spec(batch.wav.squeeze(1))  # (B, bins, F)
        with self.updater.autocast():
            y_hat, starts, z_mask, latents, pred_lf0, _, lf0 = self.net_g(
                batch.units,
                batch.f0,
                batch.uv,
                spec,
                g=batch.speaker,
                c_lengths=batch.lengths,
                spec_lengths=batch.lengths,
                vol=batch.volume,
            )
        y = take_segments(batch.wav, starts * self.hop, self.config.train.segment_size)  # (B, 1, segment)
        y_mel = take_segments(self.mel(spec), starts, self.segment_frames)
        y_hat_mel = self.mel(self.spec(y_hat.squeeze(1).float()))
        losses: dict[str, Tensor | float] = {}
        if adversarial:
            losses |= self._step_discriminator(y, y_hat.detach())
        _, z_p, m_p, logs_p, _, logs_q = latents
        mel_l1 = l1_loss(y_mel, y_hat_mel)
        parts = {
            "mel": self.config.train.c_mel * mel_l1,
            "kl": self.config.train.c_kl * kl_loss(z_p, logs_q, m_p, logs_p, z_mask),
        }
        if self.config.train.c_stft:
            parts["stft"] = self.config.train.c_stft * stft_loss(y.squeeze(1), y_hat.squeeze(1))
        if self.config.model.use_automatic_f0_prediction:
            parts["lf0"] = mse_loss(pred_lf0.float(), lf0.float())
        self.discriminator.requires_grad_(False)  # a quarter to half of the work of the generator's update
        if adversarial:
            with self.updater.autocast():
                _, fake_scores, real_maps, fake_maps = self.discriminator(y, y_hat)
            parts["gen"] = generator_loss(fake_scores)[0]
            parts["fm"] = feature_loss(real_maps, fake_maps)
        losses["grad_norm_g"] = self._update(self.optim_g, self.generator, parts)
        if self.config.train.smooth_upsampling:
            self.generator.dec.smooth_upsampling()
        losses |= {name: value.detach() for name, value in parts.items()}
        losses["mel_l1"] = mel_l1.detach()
        return losses

    def _step_discriminator(self, y: Tensor, y_hat: Tensor) -> dict[str, Tensor | float]:
        with self.updater.autocast():
            real_scores, fake_scores, _, _ = self.net_d(y, y_hat)
        loss, _, _ = discriminator_loss(real_scores, fake_scores)
        norm = self._update(self.optim_d, self.discriminator, {"disc": loss})
        return {"disc": loss.detach(), "grad_norm_d": norm}

    def _update(self, optimizer: torch.optim.Optimizer, net: nn.Module, losses: Mapping[str, Tensor]) -> Tensor:
        """Step ``optimizer`` down the sum of ``losses``; returns the gradient norm before any clipping."""
        return self.updater.update(optimizer, net, losses, limit=self.config.train.clip_grad_norm)

    # ---- validation

    @torch.no_grad()
    def validate(self, step: int, reporter: Reporter) -> dict[str, float]:
        """Synthesise validation clips from the prior, as conversion does; returns the mean L1 of their log-mels."""
        self.generator.eval()
        distances = []
        for index in range(min(len(self.validation), VALIDATION_CLIPS)):
            batch = collate([self.validation[ClipKey(0, index)]]).to(self.device)
            y_hat, _ = self.generator.infer(batch.units, batch.f0, batch.uv, g=batch.speaker, vol=batch.volume)
            recorded, made = (self.mel(self.spec(wav.squeeze(1).float())) for wav in (batch.wav, y_hat))
            distances.append(l1_loss(recorded, made).item())
            name = f"{index}_{Path(batch.names[0]).stem}"
            reporter.audio(f"{name}/synthesised", y_hat[0, 0].float().cpu().numpy(), step)
            reporter.audio(f"{name}/recorded", batch.wav[0, 0].cpu().numpy(), step)
            shown = {"recorded": recorded[0].cpu().numpy(), "synthesised": made[0].cpu().numpy()}
            reporter.compare(name, shown, batch.f0[0].cpu().numpy(), step)
        self.generator.train()
        return {"mel_l1": sum(distances) / max(len(distances), 1)}

    def is_finite(self) -> bool:
        return all(
            bool(torch.isfinite(p).all()) for net in (self.generator, self.discriminator) for p in net.parameters()
        )

    # ---- checkpoints

    def save(self, state: TrainState) -> None:
        """Write D and then G of ``state`` (a G with a D beside it is a whole pair), then remove the old ones."""
        pair = checkpoint.pair_at(self.folder, state.step)
        shared = {
            "iteration": state.epoch,
            "learning_rate": self.learning_rate,
            "step": state.step,
            "batch": state.batch,
            "scaler": self.updater.scaler.state_dict(),
            "config": self.config.as_dict(),
        }
        checkpoint.save(
            pair.discriminator,
            {"model": self.discriminator.state_dict(), "optimizer": self.optim_d.state_dict(), **shared},
        )
        checkpoint.save(
            pair.generator, {"model": self.generator.state_dict(), "optimizer": self.optim_g.state_dict(), **shared}
        )
        logger.info("saved %s and %s", pair.generator, pair.discriminator.name)
        checkpoint.remove_old(self.folder, self.config.train.keep_ckpts)

    def restore(self) -> TrainState | None:
        """Load the newest pair; raises CheckpointError when it is there and cannot be used."""
        pair = checkpoint.newest_pair(self.folder)
        if pair is None:
            return None
        other = self._load(self.discriminator, self.optim_d, pair.discriminator)
        extra = self._load(self.generator, self.optim_g, pair.generator)
        if other.get("step") != extra.get("step"):
            raise CheckpointError(f"{pair.generator} and {pair.discriminator.name} are of different steps")
        if extra.get("scaler"):
            self.updater.scaler.load_state_dict(extra["scaler"])
        # Files of other tools tell the epoch, and the step only in their name.
        state = TrainState(
            step=int(extra.get("step", pair.step)),
            epoch=max(1, int(extra.get("iteration") or 1)),
            batch=int(extra.get("batch", 0)),
        )
        logger.info("resuming from %s: step %d, epoch %d", pair.generator, state.step, state.epoch)
        return state

    def _load(self, net: nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> dict[str, Any]:
        try:
            state, extra = checkpoint.read_model(path)
            checkpoint.load_weights(net, state, where=path)
            checkpoint.load_moments(optimizer, extra.get("optimizer"), where=path)
        except CheckpointError as error:
            raise CheckpointError(
                f"cannot resume from {path}: {error}\n  No file was changed. To go on, put back a good file, or the"
                " config it was trained with (model section, train.discriminator_channels); to start anew, use another"
                " name (-m)."
            ) from None
        return extra

    def load_base(self, folder: Path) -> None:
        """Start from G_0.pth and D_0.pth of ``folder`` where they are there, else from nothing."""
        pair = checkpoint.pair_at(folder, 0)
        for net, path in ((self.generator, pair.generator), (self.discriminator, pair.discriminator)):
            if path.is_file():
                state, _ = checkpoint.read_model(path, only=())
                checkpoint.load_weights(net, checkpoint.adapt_speakers(state, net, where=path), where=path)
                logger.info("starting from base model %s", path)
            else:
                logger.warning("no base model %s: training from nothing needs far more recordings and time", path)
        if not pair.generator.is_file():
            logger.warning("to start from a base model: stop, %s", _how_to_get_base(self.config))
            self.generator.dec.init_gains()


def _how_to_get_base(config: Config) -> str:
    """What to do, in words that follow "stop,": which base model fits a configuration, and where it comes from."""
    encoder = config.model.speech_encoder
    if encoder == "vec768l12":
        names = "base-vol-g base-vol-d" if config.model.vol_embedding else "base-g base-d"
        return f"run python -m common.pretrained get {names} and train with --base logs/44k, where it puts them"
    if encoder == "cepstral":
        return "and train with --base pretrain/embedded/small, which fits --preset small"
    return f"and look for one of {encoder} in the README's table of pretrained files"

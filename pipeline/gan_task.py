"""The synthesizer and its discriminators as a `Task`: losses, updates, validation, what a checkpoint holds.

Letters as in VITS (Kim, Kong and Son 2021, arXiv:2106.06103): z latent, _q posterior, _p prior, y waveform.
"""

import logging
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
from modules.losses import kl_loss, stft_loss
from modules.masking import take_segments
from modules.mel_processing import spec_to_mel, spectrogram
from pipeline.dataset import VALIDATION_CLIPS, Batch, ClipDataset, collate
from pipeline.gan_updating import ADVICE, GanUpdater
from pipeline.reporting import Reporter
from pipeline.sampling import ClipKey
from pipeline.training import TrainState

logger = logging.getLogger(__name__)


class GanTask:
    """Generator and discriminators, their updates, and where they are stored."""

    advice = ADVICE

    def __init__(self, config: Config, folder: Path, device: torch.device, validation: ClipDataset) -> None:
        self.config, self.folder, self.device, self.validation = config, folder, device, validation
        train, data = config.train, config.data
        torch.manual_seed(train.seed)
        self.hop, self.segment_frames = data.hop_length, train.segment_size // data.hop_length
        self.generator = SynthesizerTrn.from_config(config).to(device)
        self.discriminator = MultiPeriodDiscriminator(base_channels=train.discriminator_channels).to(device)
        self.updater = GanUpdater(self.generator, self.discriminator, train, device)
        self.net_g: nn.Module = self.generator  # what the steps call: the network itself, or its data-parallel wrapper
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
        self.updater.net_d = parallel(self.discriminator)

    # ---- one update

    def set_rate(self, state: TrainState) -> float:
        """Set the learning rate of the update that comes after ``state`` and return it."""
        return self.updater.set_rate(state)

    def step(self, batch: Batch, step: int) -> dict[str, Tensor | float]:
        """Update the discriminators (from ``discriminator_start`` on), then the generator.

        Raises:
            NonFiniteLossError: a loss or a gradient is not finite; the network that it belongs to was not changed.
        """
        with self.updater.step():
            return self._step(batch, step)

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
            losses |= self.updater.update_discriminator(y, y_hat)
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
        if adversarial:
            parts |= self.updater.adversarial(y, y_hat)
        losses["grad_norm_g"] = self.updater.update_generator(parts)
        if self.config.train.smooth_upsampling:
            self.generator.dec.smooth_upsampling()
        losses |= {name: value.detach() for name, value in parts.items()}
        losses["mel_l1"] = mel_l1.detach()
        return losses

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
            wavs = {"recorded": batch.wav[0, 0], "synthesised": y_hat[0, 0]}
            reporter.clip(name, wavs, {"recorded": recorded[0], "synthesised": made[0]}, f0=batch.f0[0], step=step)
        self.generator.train()
        return {"mel_l1": sum(distances) / max(len(distances), 1)}

    def is_finite(self) -> bool:
        return self.updater.is_finite()

    # ---- checkpoints

    def save(self, state: TrainState) -> None:
        """Write D and then G of ``state`` (a G with a D beside it is a whole pair), then remove the old ones."""
        pair = checkpoint.pair_at(self.folder, state.step)
        shared = {
            "iteration": state.epoch,
            "learning_rate": self.updater.learning_rate,
            "step": state.step,
            "batch": state.batch,
            "scaler": self.updater.scaler.state_dict(),
            "config": self.config.as_dict(),
        }
        for path, net, optimizer in (
            (pair.discriminator, self.discriminator, self.updater.optim_d),
            (pair.generator, self.generator, self.updater.optim_g),
        ):
            checkpoint.save(path, {"model": net.state_dict(), "optimizer": optimizer.state_dict(), **shared})
        logger.info("saved %s and %s", pair.generator, pair.discriminator.name)
        checkpoint.remove_old(self.folder, self.config.train.keep_ckpts)

    def restore(self) -> TrainState | None:
        """Load the newest pair; raises CheckpointError when it is there and cannot be used."""
        pair = checkpoint.newest_pair(self.folder)
        if pair is None:
            return None
        other = self._load(self.discriminator, self.updater.optim_d, pair.discriminator)
        extra = self._load(self.generator, self.updater.optim_g, pair.generator)
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
    if encoder == "embedded":
        return "and train with --base pretrain/embedded/base, which fits --preset embedded"
    if encoder == "cepstral":
        return "and train with --base pretrain/embedded/small, which fits --preset small"
    return f"and look for one of {encoder} in the README's table of pretrained files"

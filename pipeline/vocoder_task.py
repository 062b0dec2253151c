"""The mel vocoder and its discriminators as a `Task`: losses, updates, validation, what a checkpoint holds.

Symbols: B batch, M mels, F frames, T samples, y waveform.
Paper: Kong, Kim and Bae 2020, "HiFi-GAN", arXiv:2010.05646, section 2.4.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from common import checkpoint
from common.checkpoint import CheckpointError, PairNames
from common.vocoder_config import VocoderConfig
from models import MultiPeriodDiscriminator
from modules.losses import stft_loss
from pipeline.dataset import VALIDATION_CLIPS
from pipeline.gan_updating import ADVICE, GanUpdater
from pipeline.reporting import Reporter
from pipeline.sampling import ClipKey
from pipeline.training import TrainState
from pipeline.vocoder_dataset import MARGIN, VocoderBatch, VocoderDataset, collate
from vdecoder.mel_format import DEVIATION, MEAN, MelFormat
from vdecoder.nsf_hifigan import NSFHiFiGAN
from vdecoder.vocoder import build_generator, load_generator, required_keys

logger = logging.getLogger(__name__)

NAMES = PairNames("model_{}.ckpt", "training_{}.pth")


class VocoderTask:
    """Generator and discriminators, their updates, and where they are stored."""

    advice = ADVICE

    def __init__(self, config: VocoderConfig, folder: Path, device: torch.device, validation: VocoderDataset) -> None:
        self.config, self.folder, self.device, self.validation = config, folder, device, validation
        torch.manual_seed(config.train.seed)
        self.generator = build_generator(config.model).to(device)
        # The layer that sees the mels as they are.
        self.first: Any = self.generator.conv_pre if isinstance(self.generator, NSFHiFiGAN) else None
        self.discriminator = MultiPeriodDiscriminator(base_channels=config.train.discriminator_channels).to(device)
        self.updater = GanUpdater(self.generator, self.discriminator, config.train, device)
        self.mel, self.hop = MelFormat.of(config.model, "section model").extract, config.model["hop_size"]

    # ---- one update

    def set_rate(self, state: TrainState) -> float:
        """Set the learning rate of the update that comes after ``state`` and return it."""
        return self.updater.set_rate(state)

    def step(self, batch: VocoderBatch, step: int) -> dict[str, Tensor | float]:
        """Update the discriminators (from ``discriminator_start`` on), then the generator.

        Raises:
            NonFiniteLossError: a loss or a gradient is not finite; the network that it belongs to was not changed.
        """
        with self.updater.step():
            return self._step(batch, step)

    def _step(self, batch: VocoderBatch, step: int) -> dict[str, Tensor | float]:
        train = self.config.train
        inner, edge = slice(MARGIN, -MARGIN), MARGIN * self.hop
        mel = self.mel(batch.wav)
        if torch.rand(()) < train.pc_aug:
            mel = self._at_another_pitch(mel, batch.f0)
        with self.updater.autocast():
            y_hat = self.generator(mel[..., inner], batch.f0[:, inner])
        y = batch.wav[:, None, edge:-edge]  # (B, 1, segment)
        losses: dict[str, Tensor | float] = {}
        adversarial = step >= train.discriminator_start
        if adversarial:
            losses |= self.updater.update_discriminator(y, y_hat)
        mel_l1 = l1_loss(self.mel(y_hat.squeeze(1).float()), self.mel(y.squeeze(1)))
        parts = {"mel": train.c_mel * mel_l1}
        if train.c_stft:
            parts["stft"] = train.c_stft * stft_loss(y.squeeze(1), y_hat.squeeze(1))
        if adversarial:
            parts |= self.updater.adversarial(y, y_hat)
        with self._held_at(mel):
            losses["grad_norm_g"] = self.updater.update_generator(parts)
        if train.smooth_upsampling and isinstance(self.generator, NSFHiFiGAN):
            self.generator.smooth_upsampling()
        losses |= {name: value.detach() for name, value in parts.items()}
        losses["mel_l1"] = mel_l1.detach()
        return losses

    @contextmanager
    def _held_at(self, mel: Tensor) -> Iterator[None]:
        """Let an update of the first layer's weights change nothing of what it makes of the mean of mel (B, M, F).

        Log mels lie about -6. Uncentred, one step of Adam adds rate * 6 * bands * taps to all that the layer gives,
        5 at a rate of 1e-3, and the network loses what it knew: with it, training was seen to fall silent.
        """
        if self.first is None:
            yield
            return
        centre = mel.mean(dim=(0, 2))
        before = self._at(centre)
        yield
        with torch.no_grad():
            self.first.bias += before - self._at(centre)

    @torch.no_grad()
    def _at(self, mel: Tensor) -> Tensor:
        """What the weights of the first layer make of the mel (M,) in every frame: (C,)."""
        made: Tensor = self.first.weight.sum(dim=2) @ mel
        return made

    @torch.no_grad()
    def begin_from_nothing(self) -> None:
        """Scale the untrained generator's weights to its signals: latents, source, and mels at its input."""
        if not isinstance(self.generator, NSFHiFiGAN):
            return  # it begins with the mel as it is
        self.generator.init_gains()
        self._fit_first_layer()

    def _fit_first_layer(self) -> None:
        """Let the untrained first layer make of mels what it would of numbers of mean 0 and variance 1."""
        self.first.weight_g.div_(DEVIATION)
        mean = torch.full((self.first.in_channels,), MEAN, device=self.device)
        self.first.bias.copy_(-self._at(mean))

    @torch.no_grad()
    def _at_another_pitch(self, mel: Tensor, f0: Tensor) -> Tensor:
        """The mel (B, M, F) of what the network itself sings when f0 (B, F) is moved and the mel stays.

        From it the network has to make the recording at its own f0. So it learns to take the pitch from f0 alone and
        the formants from the mel.
        """
        semitones = (2 * torch.rand(len(f0), 1) - 1) * self.config.train.aug_semitones
        moved = f0 * 2 ** (semitones.to(f0.device) / 12)
        with self.updater.autocast():
            wav = self.generator(mel, moved)
        return self.mel(wav.squeeze(1).float())

    # ---- validation

    @torch.no_grad()
    def validate(self, step: int, reporter: Reporter) -> dict[str, float]:
        """Resynthesise validation clips; returns the mean L1 of their log-mels and the mean of `stft_loss`."""
        self.generator.eval()
        mels, stfts = [], []
        for index in range(min(len(self.validation), VALIDATION_CLIPS)):
            batch = collate([self.validation[ClipKey(0, index)]]).to(self.device)
            recorded = self.mel(batch.wav)
            wav = self.generator(recorded, batch.f0).squeeze(1)
            made = self.mel(wav)
            mels.append(l1_loss(recorded, made).item())
            stfts.append(stft_loss(batch.wav, wav).item())
            name = f"{index}_{Path(batch.names[0]).stem}"
            wavs = {"recorded": batch.wav[0], "synthesised": wav[0]}
            reporter.clip(name, wavs, {"recorded": recorded[0], "synthesised": made[0]}, f0=batch.f0[0], step=step)
        self.generator.train()
        return {"mel_l1": sum(mels) / len(mels), "stft": sum(stfts) / len(stfts)}

    def is_finite(self) -> bool:
        return self.updater.is_finite()

    # ---- checkpoints

    def save(self, state: TrainState) -> None:
        """Write what the vocoder is, last, after what training needs besides; then remove the old ones."""
        pair = checkpoint.pair_at(self.folder, state.step, NAMES)
        training = {
            "discriminator": self.discriminator.state_dict(),
            "optimizer_g": self.updater.optim_g.state_dict(),
            "optimizer_d": self.updater.optim_d.state_dict(),
            "scaler": self.updater.scaler.state_dict(),
            "step": state.step,
            "epoch": state.epoch,
            "batch": state.batch,
            "config": self.config.as_dict(),
        }
        checkpoint.save(pair.discriminator, training)
        checkpoint.save(pair.generator, {"generator": self.generator.state_dict()})
        logger.info("saved %s and %s", pair.generator, pair.discriminator.name)
        checkpoint.remove_old(self.folder, self.config.train.keep_ckpts, NAMES)

    def restore(self) -> TrainState | None:
        """Load the newest pair; raises CheckpointError when it is there and cannot be used."""
        pair = checkpoint.newest_pair(self.folder, NAMES)
        if pair is None:
            return None
        try:
            training = checkpoint.read(pair.discriminator)
            self._check_network(training["config"]["model"])
            load_generator(self.generator, pair.generator)
            checkpoint.load_weights(self.discriminator, training["discriminator"], where=pair.discriminator)
            for name, optimizer in (("optimizer_g", self.updater.optim_g), ("optimizer_d", self.updater.optim_d)):
                if training[name]["state"]:  # there is none before its first update
                    checkpoint.load_moments(optimizer, training[name], where=pair.discriminator)
            state = TrainState(step=training["step"], epoch=training["epoch"], batch=training["batch"])
        except (CheckpointError, KeyError) as error:
            what = f"it has no key {error}" if isinstance(error, KeyError) else str(error)
            raise CheckpointError(
                f"cannot resume from {pair.discriminator}: {what}\n  No file was changed. To go on, put back a good"
                " file, or the config or the --base it was trained with; to start anew, use another name (-m)."
            ) from None
        if training.get("scaler"):
            self.updater.scaler.load_state_dict(training["scaler"])
        logger.info("resuming from %s: step %d, epoch %d", pair.generator, state.step, state.epoch)
        return state

    def _check_network(self, theirs: Mapping[str, Any]) -> None:
        """Mels of another format have the same shape: compare what a checkpoint's network was trained on."""
        ours = self.config.model
        keys = (*required_keys(ours), "network", "mini_nsf", "noise_sigma")
        if wrong := [key for key in keys if (theirs.get(key) or None) != (ours.get(key) or None)]:
            lines = (f"model.{key}: {ours.get(key)} in the configuration, {theirs.get(key)} there" for key in wrong)
            raise CheckpointError("\n  ".join(["it is of another network or other mels:", *lines]))

    def load_decoder(self, path: Path) -> None:
        """Start from the decoder of a synthesizer, G_<step>.pth, which has the same layers behind ``conv_pre``.

        Raises:
            CheckpointError: it has no decoder, or one of other sizes.
        """
        state, _ = checkpoint.read_model(path, only=())
        other = ("dec.conv_pre.", "dec.cond.")  # from latents and a speaker, not from mels
        taken = {
            key.removeprefix("dec."): value
            for key, value in state.items()
            if key.startswith("dec.") and not key.startswith(other)
        }
        if not taken:
            raise CheckpointError(f"{path} has no decoder (no keys dec.*): name a synthesizer's G_<step>.pth")
        with torch.no_grad():
            self._fit_first_layer()
        new = {key: value for key, value in self.generator.state_dict().items() if key.startswith("conv_pre.")}
        checkpoint.load_weights(self.generator, taken | new, where=path)
        logger.info("starting from the decoder of %s; only conv_pre is new", path)

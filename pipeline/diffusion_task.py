"""The diffusion model as a `Task`: its loss, its update, its validation, what a checkpoint holds.

Both kinds, diffusion and rectified flow, are trained here: they differ in what `diffusion.decoder` asks of the network.
"""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from common import checkpoint
from common.checkpoint import CheckpointError
from common.diffusion_config import DIFFUSION, ENCODER_ALIASES, RECTIFIED_FLOW, DiffusionConfig, read_yaml
from diffusion.loading import TIMBRES_KEY, base_voices, build_unit2mel, fit_base, load_state, read_timbres
from diffusion.unit2mel import seeded_noise
from modules.timbre import Timbres
from pipeline.base_voices import choose_voices
from pipeline.dataset import VALIDATION_CLIPS
from pipeline.diffusion_checkpoints import BASE, model_path, newest_step, read_moments, save
from pipeline.diffusion_dataset import MelBatch, MelDataset, collate_mels
from pipeline.reporting import Reporter
from pipeline.sampling import ClipKey
from pipeline.training import TrainState
from pipeline.updating import Updater
from vdecoder.vocoder import Vocoder

logger = logging.getLogger(__name__)

VALIDATION_DRAWS = 8  # of steps and noise, for the loss on each validation clip


class DiffusionTask:
    """The network, its optimizer, and where they are stored."""

    advice = "lower train.lr, or set train.amp_dtype to bf16 or fp32"

    def __init__(
        self,
        config: DiffusionConfig,
        folder: Path,
        device: torch.device,
        validation: MelDataset,
        *,
        n_mels: int,
        vocoder: Vocoder | None = None,
    ) -> None:
        self.config, self.folder, self.device = config, folder, device
        self.validation, self.vocoder, self.n_mels = validation, vocoder, n_mels
        train = config.train
        self.updater = Updater(device, train.amp_dtype, advice="set train.amp_dtype to bf16 or fp32")
        torch.manual_seed(train.seed)
        self.model = build_unit2mel(config, n_mels=n_mels).to(device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=train.lr, weight_decay=train.weight_decay, fused=device.type != "mps"
        )
        self.learning_rate = train.lr
        self.net: nn.Module = self.model  # what the steps call: the model, or its data-parallel wrapper

    def distribute(self) -> None:
        """Average the gradients over the processes of a group."""
        self.net = nn.parallel.DistributedDataParallel(
            self.model, device_ids=[self.device] if self.device.type == "cuda" else None
        )

    # ---- one update

    def set_rate(self, state: TrainState) -> float:
        """``lr`` times ``gamma`` for every ``decay_step`` steps that are done."""
        train = self.config.train
        self.learning_rate = train.lr * train.gamma ** (state.step // train.decay_step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        return self.learning_rate

    def step(self, batch: MelBatch, step: int) -> dict[str, Tensor | float]:
        """One update at random amounts of noise.

        Raises:
            NonFiniteLossError: the loss or a gradient is not finite; the network was not changed.
        """
        with self.updater.step():
            with self.updater.autocast():
                loss = self.net(
                    batch.units,
                    batch.f0,
                    batch.volume,
                    batch.speaker,
                    aug_shift=self._shift(batch),
                    gt_spec=batch.mel,
                    infer=False,
                    lengths=batch.lengths,
                )
            norm = self.updater.update(self.optimizer, self.model, {"loss": loss})
        return {"loss": loss.detach(), "grad_norm": norm}

    def _shift(self, batch: MelBatch) -> Tensor | None:
        return batch.shift if self.config.model.use_pitch_aug else None

    # ---- validation

    @torch.no_grad()
    def validate(self, step: int, reporter: Reporter) -> dict[str, float]:
        """Loss on validation clips, always at the same noise, and L1 distance of mels that are made of them.

        A model of shallow diffusion makes them out of the clips' own mels. ``rtf`` is the real-time factor of making
        them: seconds of work per second of audio.
        """
        self.model.eval()
        clips = range(min(len(self.validation), VALIDATION_CLIPS))
        figures = [self._validate_clip(index, step, reporter) for index in clips]
        self.model.train()
        return {name: sum(one[name] for one in figures) / len(figures) for name in (figures[0] if figures else ())}

    def _validate_clip(self, index: int, step: int, reporter: Reporter) -> dict[str, float]:
        batch = collate_mels([self.validation[ClipKey(0, index)]]).to(self.device)
        cond = self.model.condition(
            batch.units, batch.f0, batch.volume, spk_id=batch.speaker, aug_shift=self._shift(batch)
        )
        torch.manual_seed(self.config.train.seed + index)  # every step of training begins by seeding anew
        copies = (x.expand(VALIDATION_DRAWS, -1, -1) for x in (cond, batch.mel))
        loss = self.model.loss(*copies).item()
        started = time.monotonic()
        made = self._sample(cond, batch.mel)
        seconds = time.monotonic() - started
        self._show(f"{index}_{Path(batch.names[0]).stem}", made, batch, step, reporter)
        audio_seconds = made.shape[1] * self.config.data.block_size / self.config.data.sampling_rate
        return {"loss": loss, "mel_l1": l1_loss(made, batch.mel).item(), "rtf": seconds / audio_seconds}

    def _sample(self, cond: Tensor, mel: Tensor) -> Tensor:
        """cond (1, F, H) -> mel (1, F, M), as section infer says."""
        infer, decoder = self.config.infer, self.model.decoder
        shallow = decoder.k_step_max < decoder.schedule.timesteps
        plan = self.model.plan(method=infer.method, speedup=infer.speedup, k_step=None, shallow=shallow)
        draw = seeded_noise(self.config.train.seed, [cond.shape[1]], temperature=infer.temperature)
        made = self.model.infer(cond, plan, gt_spec=mel if shallow else None, draw=draw)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # what is measured is the work, not the queueing of it
        return made

    def _show(self, name: str, made: Tensor, batch: MelBatch, step: int, reporter: Reporter) -> None:
        mels = {"recorded": batch.mel, "made": made}
        pictures = {title: mel[0].T.float().cpu().numpy() for title, mel in mels.items()}
        reporter.compare(name, pictures, batch.f0[0, :, 0].cpu().numpy(), step)
        if self.vocoder is None:
            return
        for title, mel in mels.items():
            wav = self.vocoder.infer(mel.transpose(1, 2), batch.f0[..., 0])
            reporter.audio(f"{name}/{title}", wav[0].float().cpu().numpy(), step)

    def is_finite(self) -> bool:
        return all(bool(torch.isfinite(parameter).all()) for parameter in self.model.parameters())

    # ---- checkpoints

    def save(self, state: TrainState) -> None:
        """Write the checkpoint of ``state``, and remove the one before it if its step need not be kept."""
        content = {
            "global_step": state.step,
            "model": self.model.state_dict(),
            "epoch": state.epoch,
            "batch": state.batch,
            "learning_rate": self.learning_rate,
            "scaler": self.updater.scaler.state_dict(),
            "config": self.config.as_dict(),
        }
        if self.model.timbres is not None:
            content[TIMBRES_KEY] = self.model.timbres._asdict()
        train = self.config.train
        moments = self.optimizer.state_dict()
        save(self.folder, content, moments, inside=train.save_opt, force_interval=train.interval_force_save)
        logger.info("saved %s", model_path(self.folder, state.step))

    def restore(self) -> TrainState | None:
        """Load the newest checkpoint; raises CheckpointError when it is there and cannot be used."""
        step = newest_step(self.folder)
        if step is None:
            return None
        path = model_path(self.folder, step)
        try:
            state, extra = checkpoint.read_model(path)
            self._check_encoder(path, self._config_of(path, extra))
            load_state(self.model, state, where=path)
            checkpoint.load_moments(self.optimizer, read_moments(self.folder, step, extra), where=path)
        except CheckpointError as error:
            raise CheckpointError(
                f"cannot resume from {path}: {error}\n  No file was changed. To go on, put back a good file, or the"
                " configuration it was trained with; to start anew, set env.expdir to another folder."
            ) from None
        if self.model.timbres is None:  # what was fitted since is not lost where training goes back to a checkpoint
            self.model.timbres = self._timbres_of(path, extra)
        if extra.get("scaler"):
            self.updater.scaler.load_state_dict(extra["scaler"])
        # Files of other tools tell the step alone.
        at = TrainState(
            step=int(extra.get("global_step", step)),
            epoch=max(1, int(extra.get("epoch", 1))),
            batch=int(extra.get("batch", 0)),
        )
        logger.info("resuming from %s: step %d, epoch %d", path, at.step, at.epoch)
        return at

    def _timbres_of(self, path: Path, extra: Mapping[str, Any]) -> Timbres | None:
        """Those of a checkpoint, where it was trained with the same speakers."""
        timbres = read_timbres(extra, self.config, where=path, n_mels=self.n_mels)
        if timbres is not None and self._config_of(path, extra).get("spk") != self.config.spk:
            logger.warning(
                "%s is of other speakers: its timbres are left out; with the vocoder they are fitted anew", path
            )
            return None
        return timbres

    def load_base(self, path: Path, recordings: MelDataset) -> None:
        """Start from the base model at ``path`` where it is there, else from nothing.

        Of the voices that a base with others knows, each speaker of ``recordings`` begins as the most alike.

        Raises:
            CheckpointError: it is damaged, of another network, or trained on the units of another encoder.
        """
        if not path.is_file():
            logger.warning("no base model %s: training from nothing needs far more recordings and time", path)
            if advice := how_to_get_base(self.config):
                logger.warning("to start from a base model: stop, and %s", advice)
            return
        try:
            state, extra = checkpoint.read_model(path, only=("config",))
            config = self._config_of(path, extra)
            self._check_encoder(path, config)
            load_state(self.model, fit_base(state, self.model, where=path), where=path)
            voices = base_voices(state, self.model)
        except CheckpointError as error:
            raise CheckpointError(
                f"cannot start from the base model {path}: {error}\n  Give section model of the configuration the sizes"
                f" of the base model, name another one with --base, or move {path.name} away to start from nothing."
            ) from None
        logger.info("starting from base model %s", path)
        if voices is not None:
            seed, names = self.config.train.seed, _speaker_names(config)
            choose_voices(self.model, voices.to(self.device), recordings, seed=seed, names=names)

    def _config_of(self, path: Path, extra: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a checkpoint was trained with, as it, or the config.yaml beside it, says; empty where nobody does."""
        config = extra.get("config")
        if config is None and path.parent != self.folder and path.with_name("config.yaml").is_file():
            config = read_yaml(path.with_name("config.yaml"))
        return config if isinstance(config, Mapping) else {}

    def _check_encoder(self, path: Path, config: Mapping[str, Any]) -> None:
        """Units of equal width are not equal: compare the encoder that a checkpoint's ``config`` names."""
        ours, data = self.config.data.encoder, config.get("data")
        theirs = data.get("encoder") if isinstance(data, Mapping) else None
        theirs = ENCODER_ALIASES.get(str(theirs), theirs)
        if theirs not in (None, ours):
            raise CheckpointError(f"{path} was trained on units of {theirs}, the configuration has {ours}")


def _speaker_names(config: Mapping[str, Any]) -> dict[int, str]:
    spk = config.get("spk")
    return {int(i): str(name) for name, i in spk.items() if str(i).isdecimal()} if isinstance(spk, Mapping) else {}


def how_to_get_base(config: DiffusionConfig) -> str:
    """Which base model fits a configuration, and how to get it; "" where none does."""
    model, encoder = config.model, config.data.encoder
    sizes = model.type, model.n_chans, model.n_layers
    if encoder == "embedded" and sizes == (RECTIFIED_FLOW, 160, 8):
        return "train with --base pretrain/embedded/refiner, which fits --preset embedded"
    names = {"vec768l12": "base-diffusion", "hubertsoft": "base-diffusion-hubertsoft"}
    if encoder not in names or sizes != (DIFFUSION, 512, 20):
        return ""
    return f"run python -m common.pretrained get {names[encoder]} and train with --base logs/44k/diffusion/{BASE}"

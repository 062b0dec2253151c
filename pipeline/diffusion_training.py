"""Training of the diffusion model from its filelists to its checkpoints: the journey behind train_diff.py."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from common import devices, processes
from common.diffusion_config import DiffusionConfig
from common.formats import remove_parts, write_text
from diffusion.loading import N_MELS
from pipeline.diffusion_checkpoints import BASE
from pipeline.diffusion_dataset import collate_mels, load_mel_datasets
from pipeline.diffusion_settings import vocoder_format
from pipeline.diffusion_task import DiffusionTask
from pipeline.timbre_fitting import fit_timbres
from pipeline.training import RunOptions, TrainState
from pipeline.training_run import Batches, run_task
from vdecoder import build_vocoder
from vdecoder.mel_format import MelFormat, vocoder_path
from vdecoder.vocoder import Vocoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DiffusionOptions:
    """What is asked of train_diff.py besides the config."""

    base: Path | None = None  # base model, or its folder; None: model_0.pt in env.expdir
    device: str | None = None  # None: device and env.gpu_id of the config
    max_steps: int | None = None
    max_minutes: float | None = None


def train(config: DiffusionConfig, options: DiffusionOptions) -> TrainState:
    """Train until the config's epochs, the limits of ``options``, or Ctrl-C; resumes where the last run stopped.

    Raises:
        FileNotFoundError, DatasetError: base model, filelists, clips, features or mels that cannot be used.
        CheckpointError: a checkpoint or base model that is there and cannot be loaded.
        ValueError: a vocoder that does not fit the data, an absent device.
        TrainingError: training diverged.
    """
    folder, rank, world_size = Path(config.env.expdir), processes.rank(), processes.world_size()
    device, base = _device(config, options), _base(folder, options)
    if world_size > 1:
        device = processes.join_group(device)
    mel_format = _mel_format(config)
    n_mels = mel_format.n_mels if mel_format else N_MELS
    training, validation = load_mel_datasets(config, n_mels=n_mels, mel_format=mel_format)
    vocoder = _vocoder(config, device) if rank == 0 else None
    task = DiffusionTask(config, folder, device, validation, n_mels=n_mels, vocoder=vocoder)
    if rank == 0:
        remove_parts(folder)
    state = task.restore()
    if state is None:
        task.load_base(base, training)
        state = TrainState()
    if rank == 0 and mel_format is not None:
        task.model.timbres = fit_timbres(training, mel_format)
    if world_size > 1:
        task.distribute()
    if rank == 0:
        write_text(folder / "config.yaml", yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True))
    batches = Batches(
        training,
        training.window_lengths,
        config.train.batch_size,
        collate_mels,
        num_workers=0 if training.in_memory else config.train.num_workers,
        in_memory=training.in_memory,
        pin_memory=training.device.type == "cpu",
    )
    limits = _run_options(config, options)
    return run_task(*(task, batches, state), options=limits, folder=folder, sample_rate=config.data.sampling_rate)


def _device(config: DiffusionConfig, options: DiffusionOptions) -> torch.device:
    device = devices.resolve(options.device or config.training_device)
    if options.device is None and device == torch.device("cuda"):  # chosen automatically
        device = devices.resolve(f"cuda:{config.env.gpu_id}")
    return device


def _base(folder: Path, options: DiffusionOptions) -> Path:
    """Place of the base model; raises FileNotFoundError where --base names one that is not there."""
    if options.base is None:
        return folder / BASE
    path = options.base / BASE if options.base.is_dir() else options.base
    if not path.is_file():
        raise FileNotFoundError(f"no base model {path}, which --base names")
    return path


def _mel_format(config: DiffusionConfig) -> MelFormat | None:
    """That of the vocoder; None where it is not there: a machine that only trains can do without."""
    try:
        return vocoder_format(config)
    except FileNotFoundError as error:
        logger.warning("mels are taken as they are, of %d bands, and timbres are not fitted: %s", N_MELS, error)
        return None


def _vocoder(config: DiffusionConfig, device: torch.device) -> Vocoder | None:
    try:
        return build_vocoder(config.vocoder.type, vocoder_path(config.vocoder.ckpt), device)
    except FileNotFoundError as error:
        logger.warning("TensorBoard gets mels but no audio: %s", error)
        return None


def _run_options(config: DiffusionConfig, options: DiffusionOptions) -> RunOptions:
    return RunOptions(
        epochs=config.train.epochs,
        log_interval=config.train.interval_log,
        eval_interval=config.train.interval_val,
        seed=config.train.seed,
        max_steps=options.max_steps,
        max_minutes=options.max_minutes,
        rank=processes.rank(),
    )

"""Training of the synthesizer from its filelists to its checkpoints: the journey behind train.py."""

import logging
from dataclasses import dataclass
from pathlib import Path

from common import checkpoint, devices, processes
from common.config import Config
from common.formats import remove_parts, write_json
from pipeline.dataset import collate, load_datasets
from pipeline.gan_task import GanTask
from pipeline.speakers import dataset_pitch_ranges, write_pitch_ranges
from pipeline.training import RunOptions, TrainState
from pipeline.training_run import Batches, run_task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainOptions:
    """What is asked of train.py besides the config."""

    folder: Path  # logs/44k
    base: Path | None = None  # folder of G_0.pth and D_0.pth; None: ``folder``
    device: str | None = None
    max_steps: int | None = None
    max_minutes: float | None = None


def train(config: Config, options: TrainOptions) -> TrainState:
    """Train until the config's epochs, the limits of ``options``, or Ctrl-C; resumes where the last run stopped.

    Raises:
        FileNotFoundError, DatasetError: base model, filelists, clips or features that cannot be used.
        CheckpointError: a checkpoint or base model that is there and cannot be loaded.
        TrainingError: training diverged.
    """
    rank, world_size = processes.rank(), processes.world_size()
    device = devices.resolve(options.device)
    if options.base is not None and not checkpoint.pair_at(options.base, 0).generator.is_file():
        raise FileNotFoundError(f"no base model G_0.pth in {options.base}, which --base names")
    if world_size > 1:
        device = processes.join_group(device)
    training, validation = load_datasets(config)
    if rank == 0:
        remove_parts(options.folder, below=False)  # the diffusion model may be in training there
    if config.train.vol_aug and not config.model.vol_embedding:
        logger.warning("train.vol_aug has no effect without model.vol_embedding")
    task = GanTask(config, options.folder, device, validation)
    state = _start(task, options)
    if world_size > 1:
        task.distribute()
    if rank == 0:
        write_json(options.folder / "config.json", config.as_dict(), indent=2)
        write_pitch_ranges(options.folder, dataset_pitch_ranges(training.clips))
    batches = Batches(
        training,
        training.window_lengths,
        config.train.batch_size,
        collate,
        num_workers=config.train.num_workers,
        in_memory=config.train.all_in_mem,
    )
    limits = RunOptions.of(config.train, max_steps=options.max_steps, max_minutes=options.max_minutes)
    return run_task(
        *(task, batches, state), options=limits, folder=options.folder, sample_rate=config.data.sampling_rate
    )


def _start(task: GanTask, options: TrainOptions) -> TrainState:
    """The newest checkpoint, or step 0 of the base model."""
    state = task.restore()
    if state is None:
        task.load_base(options.base or options.folder)
    return state or TrainState()

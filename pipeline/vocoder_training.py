"""Training of the mel vocoder from the filelists to its checkpoints: the journey behind train_vocoder.py."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from common import devices, processes
from common.config import read_json
from common.formats import remove_parts, write_json
from common.vocoder_config import VocoderConfig
from pipeline.training import RunOptions, TrainState
from pipeline.training_run import Batches, run_task
from pipeline.vocoder_dataset import collate, load_vocoder_datasets
from pipeline.vocoder_task import VocoderTask
from vdecoder.vocoder import SUBTRACTIVE, check_vocoder, load_generator, read_vocoder_config

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VocoderOptions:
    """What is asked of train_vocoder.py besides the config."""

    folder: Path  # logs/44k/vocoder
    base: Path | None = None  # weights of a vocoder, with its config.json beside them
    init_from: Path | None = None  # G_<step>.pth of a synthesizer
    device: str | None = None
    max_steps: int | None = None
    max_minutes: float | None = None


def train_vocoder(config: VocoderConfig, options: VocoderOptions) -> TrainState:
    """Train until the config's epochs, the limits of ``options``, or Ctrl-C; resumes where the last run stopped.

    Raises:
        FileNotFoundError, DatasetError: base model, filelists, clips or f0 that cannot be used.
        CheckpointError: a checkpoint or base model that is there and cannot be loaded.
        ValueError: settings that exclude one another, or a network that cannot be built.
        TrainingError: training diverged.
    """
    config = _with_network(config, options)
    device = devices.resolve(options.device)
    training, validation = load_vocoder_datasets(config)
    remove_parts(options.folder)
    task = VocoderTask(config, options.folder, device, validation)
    state = _start(task, options)
    # build_vocoder reads this one. It says that the network has learnt to follow an f0 that is not the mel's.
    network = options.folder / "config.json"
    learnt = state.step > 0 and network.is_file() and read_json(network).get("pc_aug")
    pc_aug = bool(config.model.get("pc_aug") or config.train.pc_aug or learnt)
    write_json(network, {**config.model, "pc_aug": pc_aug}, indent=2)
    write_json(options.folder / "vocoder.json", config.as_dict(), indent=2)
    batches = Batches(
        training,
        [training.window] * len(training),
        config.train.batch_size,
        collate,
        num_workers=config.train.num_workers,
        in_memory=config.train.all_in_mem,
    )
    limits = RunOptions.of(config.train, max_steps=options.max_steps, max_minutes=options.max_minutes)
    return run_task(
        *(task, batches, state), options=limits, folder=options.folder, sample_rate=config.model["sampling_rate"]
    )


def _with_network(config: VocoderConfig, options: VocoderOptions) -> VocoderConfig:
    """``config`` with the network of the base model, checked."""
    if processes.world_size() > 1:
        raise ValueError("train_vocoder.py trains on one device: start it without torchrun")
    if options.base is not None and options.init_from is not None:
        raise ValueError("--base and --init_from exclude one another: a vocoder is a better start than a decoder")
    if options.base is not None:
        config = replace(config, model=read_vocoder_config(options.base))
    check_vocoder(config.model, "section model")
    segment, hop = config.train.segment_size, config.model["hop_size"]
    if segment % hop:
        raise ValueError(f"train.segment_size: must be a multiple of hop_size ({hop}), got {segment}")
    if options.init_from is not None and config.model.get("network") == SUBTRACTIVE:
        raise ValueError("--init_from gives the decoder of a synthesizer, which a subtractive vocoder has not")
    return config


def _start(task: VocoderTask, options: VocoderOptions) -> TrainState:
    """The newest checkpoint, or step 0 of what the options name, or of nothing."""
    state = task.restore()
    if state is not None:
        return state
    if options.base is not None:
        load_generator(task.generator, options.base)
        logger.info("starting from %s", options.base)
    elif options.init_from is not None:
        task.load_decoder(options.init_from)
    else:
        task.begin_from_nothing()
        if task.config.model.get("network") != SUBTRACTIVE:
            logger.warning(
                "training from nothing takes days: name a vocoder with --base, or a decoder with --init_from"
            )
    return TrainState()

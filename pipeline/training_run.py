"""A task with its clips and its reports, from the first batch to the last: what every trainer ends with."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from common import processes
from pipeline.reporting import Reporter
from pipeline.sampling import BatchSampler, make_loader
from pipeline.training import RunOptions, Task, TrainState, run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batches:
    """How the clips of ``dataset`` come in batches; the fields below ``batch_size`` are those of `make_loader`."""

    dataset: "Dataset[Any]"
    lengths: list[int]  # frames of each clip, as a batch holds it
    batch_size: int
    collate: Callable[[list[Any]], Any]
    num_workers: int
    in_memory: bool
    pin_memory: bool = True


def run_task(
    task: Task, batches: Batches, state: TrainState, *, options: RunOptions, folder: Path, sample_rate: int
) -> TrainState:
    """Train from ``state`` on, with TensorBoard in ``folder``; what `run` says of its end and its errors holds here."""
    sampler = BatchSampler(
        batches.lengths,
        batch_size=batches.batch_size,
        seed=options.seed,
        rank=options.rank,
        world_size=processes.world_size(),
    )
    reporter = Reporter(folder if options.rank == 0 else None, sample_rate, state.step)
    logger.info("%d clips on %s, %d steps per epoch", len(batches.lengths), task.device, len(sampler))
    try:
        loader = make_loader(
            *(batches.dataset, sampler, task.device),
            collate=batches.collate,
            num_workers=batches.num_workers,
            in_memory=batches.in_memory,
            pin_memory=batches.pin_memory,
        )
        return run(task, loader, sampler, state, options=options, reporter=reporter)
    finally:
        reporter.close()

"""Which clips come in which batch, and the loader that fetches them; every trainer uses these."""

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

BUCKET_BATCHES = 8  # clips of this many batches are sorted by length together


class ClipKey(NamedTuple):
    """What the sampler asks for: clip number ``clip`` of the list, as it is drawn in ``epoch``."""

    epoch: int
    clip: int


def moved(fields: Iterable[Any], device: torch.device) -> list[Any]:
    """The fields of a batch, those that are tensors on ``device``."""
    return [x.to(device, non_blocking=True) if isinstance(x, Tensor) else x for x in fields]


class BatchSampler(Sampler[list[ClipKey]]):
    """Batches of clips of similar length, reshuffled in every epoch by (seed, epoch), shared out among processes.

    ``start(epoch, batch)`` sets where the next iteration begins, so that a resumed run goes on inside an epoch.
    """

    def __init__(self, lengths: list[int], *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.lengths, self.batch_size, self.seed = lengths, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch, self.first_batch = 1, 0

    def __len__(self) -> int:
        """Batches that each process gets in a whole epoch."""
        return math.ceil(math.ceil(len(self.lengths) / self.batch_size) / self.world_size)

    def start(self, epoch: int, batch: int = 0) -> None:
        self.epoch, self.first_batch = epoch, batch

    def __iter__(self) -> Iterator[list[ClipKey]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(len(self.lengths)).tolist()
        bucket = self.batch_size * BUCKET_BATCHES
        batches = []
        for first in range(0, len(order), bucket):
            indices = sorted(order[first : first + bucket], key=lambda i: self.lengths[i])
            batches += [indices[i : i + self.batch_size] for i in range(0, len(indices), self.batch_size)]
        rng.shuffle(batches)
        # Every process takes as many steps: the first batches come a second time where they do not divide evenly.
        shared = list(itertools.islice(itertools.cycle(batches), len(self) * self.world_size))
        for batch in shared[self.rank :: self.world_size][self.first_batch :]:
            yield [ClipKey(self.epoch, index) for index in batch]


def make_loader(
    dataset: "Dataset[Any]",
    sampler: BatchSampler,
    device: torch.device,
    *,
    collate: Callable[[list[Any]], Any],
    num_workers: int,
    in_memory: bool,
    pin_memory: bool = True,
) -> "DataLoader[Any]":
    """A loader whose batches are those of ``sampler``, joined by ``collate``.

    ``num_workers`` below 0 chooses; ``in_memory`` says that the dataset keeps its clips, which each worker would hold.
    ``pin_memory`` false is for datasets whose tensors do not lie in the memory of the CPU.
    """
    if num_workers < 0:  # on a CPU the networks want the cores themselves
        alone = device.type != "cuda" or in_memory
        num_workers = 0 if alone else min(4, max(0, (os.cpu_count() or 1) - 1))
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=pin_memory and device.type == "cuda",
    )

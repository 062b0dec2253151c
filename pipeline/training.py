"""The training loop: resume, step, validate, checkpoint, log. It knows no loss: each trainer brings a `Task`.

Every step begins by seeding torch from (seed, step, rank), and the sampler and the dataset draw from (seed, epoch): the
random state of a run is its position, so a run that was killed and resumed computes what it would have computed.
"""

import logging
import math
import signal
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from common import processes
from common.config import GanTraining
from pipeline.reporting import Reporter
from pipeline.sampling import BatchSampler
from pipeline.updating import NonFiniteLossError

logger = logging.getLogger(__name__)

STRIKES = 5  # updates in a row that may be discarded before the run goes back to its last checkpoint
ROLLBACKS = 3  # times that it may do so without a checkpoint in between


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to change."""


@dataclass
class TrainState:
    """Where a run is."""

    step: int = 0  # updates done
    epoch: int = 1
    batch: int = 0  # batches done in this epoch


Self_ = TypeVar("Self_", bound="Batch")


class Batch(Protocol):
    """What the loop must know of a batch."""

    @property
    def names(self) -> list[str]:
        """The clips in it."""

    def to(self: Self_, device: torch.device) -> Self_:
        """The same on another device."""


class Task(Protocol):
    """What is trained: networks, losses, and how they are stored."""

    device: torch.device
    advice: str  # what to change when losses stay non-finite

    def set_rate(self, state: TrainState) -> float:
        """Set the learning rate of the update that comes after ``state`` and return it."""

    def step(self, batch: Any, step: int) -> Mapping[str, Tensor | float]:
        """Update the networks once; returns named losses. Raises NonFiniteLossError."""

    def validate(self, step: int, reporter: Reporter) -> Mapping[str, float]:
        """Named figures on the validation clips; audio and pictures go to ``reporter``."""

    def is_finite(self) -> bool:
        """Whether all the weights are finite."""

    def save(self, state: TrainState) -> None:
        """Write the checkpoint of ``state``."""

    def restore(self) -> TrainState | None:
        """Load the newest checkpoint and return its state; None when there is none."""


@dataclass(frozen=True)
class RunOptions:
    """How long a run lasts and how often it speaks."""

    epochs: int
    log_interval: int  # steps
    eval_interval: int  # steps
    seed: int
    max_steps: int | None = None
    max_minutes: float | None = None
    rank: int = 0

    @classmethod
    def of(cls, train: GanTraining, *, max_steps: int | None, max_minutes: float | None) -> "RunOptions":
        """Those of a "train" section, with the limits of the command line."""
        return cls(
            epochs=train.epochs,
            log_interval=train.log_interval,
            eval_interval=train.eval_interval,
            seed=train.seed,
            max_steps=max_steps,
            max_minutes=max_minutes,
            rank=processes.rank(),
        )


def run(
    task: Task,
    loader: "DataLoader[Any]",
    sampler: BatchSampler,
    state: TrainState,
    *,
    options: RunOptions,
    reporter: Reporter,
) -> TrainState:
    """Train from ``state`` until the epochs, steps or minutes of ``options`` are reached, or the user stops the run.

    A checkpoint is written at every validation, at the end, and on Ctrl-C or SIGTERM.

    Raises:
        TrainingError: losses stay non-finite after going back to the last checkpoint.
    """
    guard = _Guard(task)
    deadline = math.inf if options.max_minutes is None else time.monotonic() + 60 * options.max_minutes
    clock = _Clock()
    saved_step = state.step
    with _StopSignals() as stop:
        over = _is_over(stop, state, options, deadline=deadline, device=task.device)
        while state.epoch <= options.epochs and not over:
            sampler.start(state.epoch, state.batch)
            for batch in clock.timed(loader):
                torch.manual_seed(zlib.crc32(f"{options.seed} {state.step} {options.rank}".encode()))
                learning_rate = task.set_rate(state)
                losses = guard.step(batch.to(task.device), state)
                state.step, state.batch = state.step + 1, state.batch + 1
                if losses and state.step % options.log_interval == 0:
                    _log(losses, learning_rate, state, clock, reporter)
                if state.step % options.eval_interval == 0:
                    _validate_and_save(task, state, guard, options, reporter)
                    saved_step = state.step
                    clock.lap()
                over = _is_over(stop, state, options, deadline=deadline, device=task.device)
                if over:
                    break
            else:
                state.epoch, state.batch = state.epoch + 1, 0
        if state.step > saved_step:
            _validate_and_save(task, state, guard, options, reporter, validate=not stop.requested)
        if state.epoch > options.epochs:
            logger.info("all %d epochs (train.epochs) are done", options.epochs)
    return state


def _is_over(
    stop: "_StopSignals", state: TrainState, options: RunOptions, *, deadline: float, device: torch.device
) -> bool:
    """Whether the run ends here; all the processes of a run come to the same answer."""
    if options.max_steps is not None and state.step >= options.max_steps:
        logger.info("step %d reached", state.step)
        return True
    if processes.in_any(stop.requested or time.monotonic() > deadline, device):
        logger.info("stopping at step %d, as asked", state.step)
        return True
    return False


def _log(
    losses: Mapping[str, Tensor | float], learning_rate: float, state: TrainState, clock: "_Clock", reporter: Reporter
) -> None:
    figures = {name: float(value) for name, value in losses.items()}
    seconds, waiting = clock.lap()
    reporter.scalars("train", {**figures, "learning_rate": learning_rate, "loader_wait_share": waiting}, state.step)
    text = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
    logger.info(
        "epoch %d  step %d  %s  lr %.2e  %.2f s/step  loader wait %.0f %%",
        *(state.epoch, state.step, text, learning_rate, seconds, 100 * waiting),
    )


def _validate_and_save(
    task: Task, state: TrainState, guard: "_Guard", options: RunOptions, reporter: Reporter, *, validate: bool = True
) -> None:
    """Only the first of several processes writes; weights that are not finite are never written."""
    if not task.is_finite():
        guard.roll_back(f"weights are not finite at step {state.step}")
        return
    if not guard.trusts_weights:
        logger.warning("step %d is not saved: the last updates were all discarded", state.step)
        return
    guard.rollbacks = 0
    if options.rank == 0:
        task.save(state)
        if validate:
            figures = task.validate(state.step, reporter)
            reporter.scalars("validation", figures, state.step)
            shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
            logger.info("validation at step %d  %s", state.step, shown)


class _Guard:
    """Discards updates whose losses are not finite, and goes back to the last checkpoint when they keep coming."""

    def __init__(self, task: Task) -> None:
        self.task, self.strikes, self.rollbacks = task, 0, 0
        self.recovering = False  # no good update yet since the last rollback

    def step(self, batch: Batch, state: TrainState) -> Mapping[str, Tensor | float]:
        try:
            losses = self.task.step(batch, state.step)
        except NonFiniteLossError as error:
            self.strikes += 1
            logger.warning("step %d: %s; update discarded. Clips: %s", state.step, error, ", ".join(batch.names))
            if self.strikes >= STRIKES:
                self.roll_back(f"{self.strikes} updates in a row had losses that are not finite")
            return {}
        self.strikes, self.recovering = 0, False
        return losses

    @property
    def trusts_weights(self) -> bool:
        """Whether the weights are worth saving: those that give one bad loss after the other are not."""
        return self.strikes < 2 and not self.recovering

    def roll_back(self, reason: str) -> None:
        self.rollbacks += 1
        if self.rollbacks > ROLLBACKS:
            raise TrainingError(f"{reason}, and going back to the last checkpoint does not help: {self.task.advice}")
        restored = self.task.restore()
        if restored is None:
            raise TrainingError(f"{reason}, and there is no checkpoint yet to go back to: {self.task.advice}")
        logger.warning("%s: back to the weights of step %d", reason, restored.step)
        self.strikes, self.recovering = 0, True


class _Clock:
    """Seconds per step, and the share of them spent waiting for the loader."""

    def __init__(self) -> None:
        self.started, self.waited, self.step = time.monotonic(), 0.0, 0

    def timed(self, loader: "DataLoader[Any]") -> Iterator[Batch]:
        batches = iter(loader)
        while True:
            before = time.monotonic()
            batch = next(batches, None)
            self.waited += time.monotonic() - before
            if batch is None:
                return
            self.step += 1
            yield batch

    def lap(self) -> tuple[float, float]:
        """Seconds per step and waiting share since the last lap."""
        elapsed = time.monotonic() - self.started
        seconds, share = elapsed / max(self.step, 1), self.waited / max(elapsed, 1e-9)
        self.started, self.waited, self.step = time.monotonic(), 0.0, 0
        return seconds, share


class _StopSignals:
    """Turns the first Ctrl-C or SIGTERM into a request; a second one interrupts at once."""

    def __init__(self) -> None:
        self.requested = False
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> "_StopSignals":
        for number in (signal.SIGINT, signal.SIGTERM):
            self.previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, _: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        logger.info("%s: saving after this step (again: stop at once)", signal.Signals(number).name)

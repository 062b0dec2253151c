"""The loop: where it stops, what it saves, how it goes back; with a task that only counts."""

import logging
import os
import signal

import pytest
import torch

from pipeline.sampling import BatchSampler
from pipeline.training import (
    ROLLBACKS,
    STRIKES,
    RunOptions,
    TrainingError,
    TrainState,
    run,
)
from pipeline.updating import NonFiniteLossError

N_CLIPS, BATCH = 10, 2  # five steps per epoch


class Names(list):
    """A batch that only knows which clips it holds."""

    def to(self, device):
        return self

    @property
    def names(self):
        return [f"clip{key.clip}" for key in self]


class Counter:
    """A task whose weight is the sum of its draws; ``bad`` are the steps whose loss is not finite."""

    device = torch.device("cpu")
    advice = "lower the rate"

    def __init__(self, *, bad=(), broken=()) -> None:
        self.weight, self.bad, self.broken = 0.0, set(bad), set(broken)
        self.seen, self.saved, self.validated, self.restored = [], [], [], 0
        self.during = lambda step: None

    def set_rate(self, state):
        self.epoch = state.epoch
        return 0.1 * state.epoch

    def step(self, batch, step):
        self.during(step)
        if step in self.bad:
            raise NonFiniteLossError("loss mel is not finite")
        self.weight += torch.rand(()).item() * (1 + sum(key.clip for key in batch))
        if step in self.broken:
            self.weight = float("nan")
        self.seen.append((self.epoch, step, batch.names, self.weight))
        return {"mel": torch.tensor(self.weight), "gen": 1.0}

    def validate(self, step, reporter):
        self.validated.append(step)
        return {"mel_l1": 0.5}

    def is_finite(self):
        return self.weight == self.weight

    def save(self, state):
        self.saved.append((TrainState(**vars(state)), self.weight))

    def restore(self):
        if not self.saved:
            return None
        self.restored += 1
        state, self.weight = self.saved[-1]
        return TrainState(**vars(state))


class Notes:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.figures = []

    def scalars(self, group, figures, step):
        self.figures.append((group, step, {name: float(value) for name, value in figures.items()}))


def go(task, state=None, *, rank=0, **options):
    sampler = BatchSampler([20] * N_CLIPS, batch_size=BATCH, seed=3)
    loader = map_loader(sampler)
    settings = {"epochs": 4, "log_interval": 2, "eval_interval": 4, "seed": 3} | options
    reporter = Notes()
    state = run(
        *(task, loader, sampler, state or TrainState()), options=RunOptions(**settings, rank=rank), reporter=reporter
    )
    return state, reporter


class map_loader:  # noqa: N801
    def __init__(self, sampler) -> None:
        self.sampler = sampler

    def __iter__(self):
        return (Names(batch) for batch in self.sampler)


def test_a_whole_run(caplog):
    caplog.set_level(logging.INFO)
    task = Counter()
    state, notes = go(task)
    assert (state.step, state.epoch, state.batch) == (20, 5, 0)
    assert [saved.step for saved, _ in task.saved] == [4, 8, 12, 16, 20] == task.validated
    assert "all 4 epochs (train.epochs) are done" in caplog.text
    assert "epoch 1  step 2  mel" in caplog.text and "loader wait" in caplog.text
    trained = [(step, figures) for group, step, figures in notes.figures if group == "train"]
    assert [step for step, _ in trained] == list(range(2, 21, 2))
    assert trained[0][1].keys() == {"mel", "gen", "learning_rate", "loader_wait_share"}
    assert [trained[i][1]["learning_rate"] for i in (0, -1)] == pytest.approx([0.1, 0.4])
    go(task, state)
    assert len(task.seen) == 20  # nothing is left to do


@pytest.mark.parametrize("stop_at", [1, 4, 5, 13])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(stop_at):
    whole = Counter()
    go(whole)
    first = Counter()
    state, _ = go(first, max_steps=stop_at)
    assert state.step == stop_at == first.saved[-1][0].step
    torch.manual_seed(999)
    second = Counter()
    second.saved = first.saved[-1:]
    go(second, second.restore())
    assert first.seen + second.seen == whole.seen


def test_a_limit_that_is_reached_already_makes_no_step(caplog):
    caplog.set_level(logging.INFO)
    for options in ({"max_steps": 7}, {"max_minutes": 0.0}):
        task = Counter()
        state, _ = go(task, TrainState(step=7, epoch=2, batch=2), **options)
        assert (state.step, task.seen, task.saved) == (7, [], [])
    assert "step 7 reached" in caplog.text and "stopping at step 7" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_end_the_run(number, caplog):
    caplog.set_level(logging.INFO)
    task = Counter()
    task.during = lambda step: os.kill(os.getpid(), number) if step == 5 else None
    before = signal.getsignal(number)
    state, _ = go(task)
    assert state.step == 6 == task.saved[-1][0].step
    assert task.validated == [4]  # not again: whoever stops a run does not want to wait
    assert f"{number.name}: saving after this step" in caplog.text
    assert signal.getsignal(number) is before


def test_a_second_signal_interrupts_at_once():
    task = Counter()

    def twice(step):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    task.during = twice
    with pytest.raises(KeyboardInterrupt):
        go(task)
    assert task.saved == []


def test_single_bad_losses_are_discarded_and_named(caplog):
    caplog.set_level(logging.INFO)
    task = Counter(bad={2, 9})
    state, _ = go(task)
    assert state.step == 20 and task.restored == 0 and len(task.seen) == 18
    assert "step 2: loss mel is not finite; update discarded. Clips: clip" in caplog.text


def test_a_row_of_bad_losses_goes_back_to_the_last_checkpoint(caplog):
    task = Counter(bad=range(6, 6 + STRIKES))
    state, _ = go(task)
    assert (state.step, task.restored) == (20, 1)
    assert "step 8 is not saved: the last updates were all discarded" in caplog.text
    assert "5 updates in a row had losses that are not finite: back to the weights of step 4" in caplog.text


@pytest.mark.parametrize("eval_interval", [1, 4, 5, 1000])
def test_losses_that_stay_bad_stop_the_run(eval_interval):
    task = Counter(bad=range(6, 1000))
    task.saved = [(TrainState(step=4), 1.0)]
    with pytest.raises(TrainingError, match="going back to the last checkpoint does not help: lower the rate"):
        go(task, epochs=100, eval_interval=eval_interval)
    assert task.restored == ROLLBACKS
    assert max(state.step for state, _ in task.saved) <= 7  # of the bad stretch nothing is saved but its first step


def test_bad_losses_before_the_first_checkpoint_stop_the_run():
    task = Counter(bad=range(100))
    with pytest.raises(TrainingError, match="there is no checkpoint yet to go back to: lower the rate"):
        go(task, eval_interval=2)
    assert task.saved == []


def test_weights_that_are_not_finite_are_never_saved(caplog):
    task = Counter(broken={5})
    state, _ = go(task)
    assert state.step == 20 and task.restored == 1
    assert [saved.step for saved, _ in task.saved] == [4, 12, 16, 20]
    assert all(weight == weight for _, weight in task.saved)
    assert "weights are not finite at step 8: back to the weights of step 4" in caplog.text


def test_other_processes_neither_save_nor_validate():
    task = Counter()
    go(task, rank=1)
    assert task.saved == [] and task.validated == []

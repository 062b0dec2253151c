"""Training that is killed at random moments: no checkpoint is lost, and what comes out is what would have come out."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from common import checkpoint
from pipeline.gan_training import TrainOptions, train
from tests.runs import differing, logged_losses, weights
from tests.synthetic import tiny_config, write_config, write_dataset

ROOT = Path(__file__).resolve().parents[2]
CHANGES = {"train": {"segment_size": 2048, "batch_size": 1, "eval_interval": 2, "keep_ckpts": 2}}
LOGS = Path("logs/killed")


@pytest.fixture
def in_tmp(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path, tiny_config(), lengths=(12, 30, 24, 20), n_validation=1)
    write_config(Path("configs/config.json"), **CHANGES)
    return tmp_path


def start(max_steps: int) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "train.py"), "-m", "killed", "-d", "cpu", "--max_steps", str(max_steps)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with open("out.txt", "a") as out:
        return subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)


def newest() -> int:
    pairs = checkpoint.find_pairs(LOGS)
    return pairs[-1].step if pairs else 0


def kill(rng: random.Random, max_steps: int, *, after_steps: int) -> None:
    """Start a run and kill it some while after so many steps of its own; 0: after any time at all."""
    log = LOGS / "train.log"
    begin = log.stat().st_size if log.exists() else 0
    process = start(max_steps)
    deadline = time.monotonic() + 240
    while after_steps and process.poll() is None and time.monotonic() < deadline:
        if log.exists() and log.read_bytes()[begin:].count(b"  step ") >= after_steps:
            break
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 1 if after_steps else 8))
    process.kill()
    process.wait()


def check_folder(before: int) -> None:
    """What was there is still there or newer; G and D belong together; every file can be read."""
    assert newest() >= before
    for pair in checkpoint.find_pairs(LOGS)[-2:]:
        steps = {checkpoint.read_model(path)[1]["step"] for path in (pair.generator, pair.discriminator)}
        assert steps == {pair.step}


def be_killed(n_kills: int, max_steps: int, seed: int) -> None:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    train(tiny_config(**CHANGES), TrainOptions(folder=Path("logs/whole"), device="cpu", max_steps=max_steps))
    torch.set_num_threads(n_threads)
    rng = random.Random(seed)
    for i in range(n_kills):
        before = newest()
        # A step takes as long as writing its checkpoint here: many of these moments lie within a write.
        kill(rng, max_steps, after_steps=3 if i == 0 else rng.randint(0, 3))
        check_folder(before)
    done = newest()
    assert done > 0
    assert start(max_steps).wait() == 0, Path("out.txt").read_text()[-3000:]
    said = Path("out.txt").read_text().rpartition("checking ")[2]
    assert f"resuming from logs/killed/G_{done}.pth: step {done}" in said.replace(os.sep, "/")
    assert not list(LOGS.rglob("*.part"))
    assert differing(weights("logs/whole", max_steps), weights(LOGS, max_steps)) == []
    # Steps that were made twice had the same losses, and they are those of the run that was left alone.
    in_file = logged_losses(LOGS)
    assert all(len(texts) == 1 for texts in in_file.values())
    assert set(in_file) == set(range(1, max_steps + 1))


def test_a_run_that_is_killed_twice(in_tmp):
    be_killed(2, max_steps=8, seed=5)


@pytest.mark.slow
def test_a_run_that_is_killed_twenty_times(in_tmp):
    be_killed(20, max_steps=80, seed=6)


@pytest.mark.slow
def test_sigterm_saves_and_exits_with_success(in_tmp):
    process = start(10_000)
    log = LOGS / "train.log"
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and not (log.exists() and "  step 3  " in log.read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 0
    stopped = newest()
    assert stopped >= 3
    assert f"stopping at step {stopped}, as asked" in log.read_text()
    assert start(stopped + 1).wait() == 0
    assert f"G_{stopped}.pth: step {stopped}" in log.read_text()

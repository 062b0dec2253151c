"""Several training processes on one CPU: as many steps each, one writer, and a resume that carries on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.small_refiner import write_refiner, write_refiner_dataset, write_vocoder
from tests.runs import logged_losses, weights
from tests.synthetic import tiny_config, write_config, write_dataset

ROOT = Path(__file__).resolve().parents[2]


def torchrun(*options: str, script: str = "train.py") -> str:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(ROOT / script), "-d", "cpu", *options]
    run = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=900
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stderr


@pytest.mark.slow
def test_two_processes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path, tiny_config(), lengths=(12, 30, 24, 20, 26))  # 8 clips: two steps per epoch and process
    write_config(
        Path("configs/config.json"), train={"segment_size": 2048, "eval_interval": 2, "keep_ckpts": 2, "epochs": 3}
    )
    said = torchrun("-m", "44k", "--max_steps", "3")
    assert said.count("8 clips on cpu, 2 steps per epoch") == 1
    assert said.count("saved logs") == 2
    assert sorted(path.name for path in Path("logs/44k").glob("G_*")) == ["G_2.pth", "G_3.pth"]
    assert len(list(Path("logs/44k").glob("events*"))) == 1
    said = torchrun("-m", "44k")
    assert "resuming from logs/44k/G_3.pth: step 3, epoch 2" in said.replace(os.sep, "/")
    assert "all 3 epochs (train.epochs) are done" in said
    assert set(logged_losses("logs/44k")) == {1, 2, 3, 4, 5, 6}
    assert weights("logs/44k", 6)


@pytest.mark.slow
def test_two_processes_train_the_refiner(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_refiner_dataset(tmp_path, lengths=(12, 30, 24, 20, 26))  # 8 clips: two steps per epoch and process
    write_vocoder(tmp_path / "pretrain/tiny")
    write_refiner(train={"batch_size": 2, "interval_val": 2, "interval_force_save": 2, "epochs": 3})
    said = torchrun("--max_steps", "3", script="train_diff.py")
    assert said.count("8 clips on cpu, 2 steps per epoch") == 1
    assert said.count("saved logs") == 2
    folder = Path("logs/44k/diffusion")
    assert sorted(path.name for path in folder.glob("*.pt")) == ["model_2.pt", "model_3.pt", "optimizer_3.pt"]
    assert len(list(folder.glob("events*"))) == 1
    said = torchrun(script="train_diff.py")
    assert "model_3.pt: step 3, epoch 2" in said and "all 3 epochs (train.epochs) are done" in said
    assert set(logged_losses(folder)) == {1, 2, 3, 4, 5, 6}

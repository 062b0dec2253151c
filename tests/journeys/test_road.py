"""The whole road through the real command lines: two made-up singers, the smallest model, every stage in order."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

import preprocess_flist_config
import preprocess_hubert_f0
import train
import train_diff
from common import audio
from common.checkpoint import find_pairs
from tests.pipeline.small_refiner import write_vocoder
from tests.synthetic import RATE, TINY, sing

ROOT = Path(__file__).resolve().parents[2]
BOB = "señor bob"  # a space and a letter beyond ASCII


@pytest.fixture
def in_tmp(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(script: str, *options: object, code: int = 0) -> str:
    """Run one script as a user does and return what it says; ``code`` is the exit status expected of it."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(
        [sys.executable, str(ROOT / script), *map(str, options)],
        **{"env": environment, "capture_output": True, "encoding": "utf-8", "timeout": 600},
    )
    said = run.stdout + run.stderr
    assert run.returncode == code, said[-4000:]
    assert "Traceback" not in said, said[-4000:]
    return said


def record(name: str, wav: np.ndarray, rate: int = RATE) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wav, rate)


def record_singers() -> None:
    """Three clips each, at rates and in formats of all kinds, and one file that is none."""
    for i in range(3):
        record(f"dataset_raw/anna/{i}.flac", np.stack(2 * [sing(220.0, 1.2, seed=i, rate=48000)], axis=1), 48000)
        record(f"dataset_raw/{BOB}/take {i}.wav", sing(120.0, 1.2, seed=10 + i, rate=22050), 22050)
    Path("dataset_raw/anna/notes.wav").write_text("this is no audio")


def shrink_config() -> None:
    """What a user does who edits config.json by hand; here to a model of a few thousand parameters."""
    path = Path("configs/config.json")
    config = json.loads(path.read_text(encoding="utf-8"))
    assert set(config["spk"]) == {"anna", BOB} and config["model"]["speech_encoder"] == "cepstral"
    config["model"] |= {key: TINY["model"][key] for key in TINY["model"] if key not in ("n_speakers", "speech_encoder")}
    config["train"] |= {"batch_size": 2, "segment_size": 2048, "log_interval": 1, "eval_interval": 2, "keep_ckpts": 1}
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")


def test_from_recordings_to_a_converted_song(in_tmp):
    record_singers()
    said = command("resample.py", "--num_processes", 1, code=1)
    assert "notes.wav" in said and len(list(Path("dataset/44k").rglob("*.wav"))) == 6

    said = command("preprocess_flist_config.py", "--preset", "small")
    assert "speaker 0 anna: 1 clips for training, 2 for validation" in said
    shrink_config()

    said = command("preprocess_hubert_f0.py", "--f0_predictor", "dio")
    assert "6 clips extracted, 0 up to date, 0 failed" in said and "next: python train.py" in said
    said = command("train.py", "-m", "44k", "--max_steps", 2)
    assert "step 2  disc" in said and "validation at step 2" in said
    said = command("train.py", "-m", "44k", "--max_steps", 3)
    assert "resuming from" in said and "step 3 reached" in said
    assert [pair.step for pair in find_pairs(Path("logs/44k"))] == [3]

    song = sing(180.0, 1.5, seed=77, rate=48000)
    record("raw/my song.wav", np.stack([song, song], axis=1), 48000)
    options = ("-m", "logs/44k/G_3.pth", "-c", "logs/44k/config.json", "-n", "my song", "-f0p", "dio")
    command("inference_main.py", *options, "-s", BOB, "anna", "-t", 0)
    results = sorted(path.name for path in Path("results").iterdir())
    assert results == ["my song_0key_anna_sovits_dio.flac", f"my song_0key_{BOB}_sovits_dio.flac"]
    for name in results:
        result = audio.load(Path("results") / name, RATE)
        assert len(result) == round(1.5 * RATE) and 0 < np.abs(result).max() <= 1


@pytest.mark.slow
def test_the_refiner_from_recordings_to_checkpoints(in_tmp):
    record_singers()
    command("resample.py", "--num_processes", 1, code=1)
    command("preprocess_flist_config.py", "--preset", "small")
    path = Path("configs/diffusion.yaml")
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert config["spk"] == {"anna": 0, BOB: 1} and config["model"]["n_spk"] == 2
    config["model"] |= {"n_layers": 2, "n_chans": 16, "n_hidden": 16}
    config["train"] |= {"batch_size": 2, "interval_log": 1, "interval_val": 2}
    config["vocoder"]["ckpt"] = "pretrain/tiny/model"
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")

    said = command("preprocess_hubert_f0.py", "--f0_predictor", "dio", "--use_diff", code=1)
    assert "python -m common.pretrained get nsf-hifigan" in said
    command("preprocess_hubert_f0.py", "--f0_predictor", "dio")
    write_vocoder(Path("pretrain/tiny"), num_mels=128, weights=False)
    said = command("train_diff.py", code=1)
    assert "no mels for" in said and "run python preprocess_hubert_f0.py --use_diff" in said
    said = command("preprocess_hubert_f0.py", "--f0_predictor", "dio", "--use_diff")
    assert "6 clips extracted, 0 up to date, 0 failed" in said and "and: python train_diff.py" in said
    said = command("train_diff.py", "--max_steps", 2)
    assert "step 2  loss" in said and "validation at step 2  loss" in said
    said = command("train_diff.py", "--max_steps", 3)
    assert "resuming from" in said and "step 3 reached" in said
    found = sorted(path.name for path in Path("logs/44k/diffusion").iterdir() if path.suffix in (".pt", ".yaml"))
    assert found == ["config.yaml", "model_3.pt", "optimizer_3.pt"]


@pytest.mark.parametrize(
    ("script", "options", "text"),
    [
        (preprocess_flist_config, [], "no such folder: run python resample.py first"),
        (preprocess_hubert_f0, [], "no configuration configs/config.json: run python preprocess_flist_config.py"),
        (train, ["-m", "44k"], "no configuration configs/config.json: run python preprocess_flist_config.py"),
        (train_diff, [], "no configuration configs/diffusion.yaml: run python preprocess_flist_config.py"),
    ],
)
def test_each_stage_names_the_one_before_it(in_tmp, capsys, script, options, text):
    assert script.main(options) == 1
    assert text in capsys.readouterr().err.replace(os.sep, "/")

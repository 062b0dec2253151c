"""What all the scripts have in common: --help at once and on any console, one line at Ctrl-C, no folders by mistake."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import inference_main
import preprocess_hubert_f0
import train
from common.logs import INTERRUPTED, run_script

ROOT = Path(__file__).resolve().parents[2]
STAGES = ["resample.py", "preprocess_flist_config.py", "preprocess_hubert_f0.py", "train.py", "inference_main.py"]
OTHERS = ["evaluate.py", "train_diff.py", "train_index.py", "compress_model.py", "onnx_export.py", "mix_models.py"]
SCRIPTS = [*STAGES, *OTHERS, "cluster/train_cluster.py", "-m common.pretrained", "-m scripts.tables"]


def python(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the interpreter as a user would, on a console that knows few characters."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, *arguments],
        **{"cwd": cwd, "env": variables | environment, "capture_output": True, "timeout": 300},
        **{"encoding": "utf-8", "errors": "replace"},
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_needs_no_torch_and_no_special_console(script):
    run = python("-X", "importtime", *script.split(), "--help", PYTHONIOENCODING="cp1252")
    assert run.returncode == 0 and "Traceback" not in run.stderr, run.stderr[-2000:]
    assert run.stdout.startswith("usage: ")
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "argparse" in imported and "torch" not in imported


def test_registries_need_no_torch():
    run = python("-c", "import sys, vencoder, modules.f0, pipeline.settings; sys.exit('torch' in sys.modules)")
    assert run.returncode == 0, run.stderr


def test_ctrl_c_is_one_line(caplog):
    def main():
        raise KeyboardInterrupt

    assert run_script(main) == INTERRUPTED == 130
    assert [record.getMessage() for record in caplog.records] == ["interrupted: what is done stays"]
    assert run_script(lambda: 3) == 3


@pytest.mark.parametrize(
    "script", [*STAGES, *OTHERS, "cluster/train_cluster.py", "common/pretrained.py", "demo/run.py"]
)
def test_every_script_runs_through_it(script):
    assert (ROOT / script).read_text(encoding="utf-8").endswith("raise SystemExit(run_script(main))\n")


def test_a_missing_config_is_told_with_the_next_command_and_leaves_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train.main(["-m", "44k"]) == 1
    assert preprocess_hubert_f0.main([]) == 1
    first, second = (line for line in capsys.readouterr().err.splitlines() if line.startswith("ERROR"))
    assert first == second
    assert first.endswith(
        "no configuration configs/config.json: run python preprocess_flist_config.py, or name another file with -c"
    )
    assert inference_main.main([]) == 1
    assert "no configuration logs/44k/config.json: train.py writes it" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

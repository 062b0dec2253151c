"""The door to .onnx models says what is wrong with a file, a package or a device."""

import sys

import numpy as np
import onnxruntime
import pytest
import torch

from common.onnx_sessions import CUDA, open_session, run
from common.registry import NotAvailableError
from tests.parity import Case

CPU = torch.device("cpu")


MODEL = Case("onnx_encoders").folder / "hubert-soft.onnx"


def test_a_model_runs():
    session = open_session(MODEL, CPU)
    (units,) = run(session, ["embed"], {"source": np.zeros((1, 1, 16000), np.float32)}, where=MODEL)
    assert units.shape == (1, 50, 256)


def test_threads_are_those_of_torch():
    assert open_session(MODEL, CPU).get_session_options().intra_op_num_threads == torch.get_num_threads()


def test_a_model_that_cannot_be_run(capfd):
    session = open_session(MODEL, CPU)
    with pytest.raises(ValueError, match=r"soft\.onnx cannot be run: .*Invalid rank for input: source") as error:
        run(session, ["embed"], {"source": np.zeros((1, 16000), np.float32)}, where=MODEL)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""  # onnxruntime does not say the same again in its own way


def test_unusable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.onnx: no such file"):
        open_session(tmp_path / "absent.onnx", CPU)
    whole = MODEL.read_bytes()
    for content in (b"", b"no model", whole[:1000]):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.onnx is damaged, cut off, or no ONNX model: "):
            open_session(tmp_path / "bad.onnx", CPU)


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(NotAvailableError, match="pip install onnxruntime-gpu"):
        open_session(MODEL, torch.device("cuda"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(NotAvailableError, match="needs a package: pip install onnxruntime$"):
        open_session(MODEL, CPU)


def test_cuda_that_does_not_start_is_not_replaced_by_the_cpu(monkeypatch):
    on_the_cpu = open_session(MODEL, CPU)
    asked_for = []
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA])
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda *_, providers: asked_for.append(providers) or on_the_cpu
    )
    with pytest.raises(NotAvailableError, match=r"soft\.onnx: onnxruntime cannot start CUDA on cuda:1; .* -d cpu"):
        open_session(MODEL, torch.device("cuda:1"))
    assert asked_for == [[(CUDA, {"device_id": 1}), "CPUExecutionProvider"]]

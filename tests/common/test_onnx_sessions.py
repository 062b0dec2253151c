"""The door to .onnx models says what is wrong with a file, a package or a device."""

import sys

import numpy as np
import pytest
import torch

from common.onnx_sessions import open_session
from common.registry import NotAvailableError
from tests.parity import Case

CPU = torch.device("cpu")


def test_a_model_runs():
    session = open_session(Case("onnx_encoders").folder / "hubert-soft.onnx", CPU)
    (units,) = session.run(None, {session.get_inputs()[0].name: np.zeros((1, 1, 16000), np.float32)})
    assert units.shape == (1, 50, 256)


def test_unusable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.onnx: no such file"):
        open_session(tmp_path / "absent.onnx", CPU)
    whole = (Case("onnx_encoders").folder / "hubert-soft.onnx").read_bytes()
    for content in (b"", b"no model", whole[:1000]):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.onnx is damaged, cut off, or no ONNX model: "):
            open_session(tmp_path / "bad.onnx", CPU)


def test_what_is_not_installed_is_named(monkeypatch):
    path = Case("onnx_encoders").folder / "hubert-soft.onnx"
    with pytest.raises(NotAvailableError, match="pip install onnxruntime-gpu"):
        open_session(path, torch.device("cuda"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(NotAvailableError, match="needs a package: pip install onnxruntime$"):
        open_session(path, CPU)

"""Projects to export, so small that it takes a second; and onnxruntime in a process that has no torch."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.config import Config
from models import SynthesizerTrn
from tests.pipeline.tiny_model import MODEL, make_model
from tests.synthetic import tiny_config, write_config

ONE, TWO = {"anna": 0}, {"anna": 0, "bob": 1}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "volume": {"vol_embedding": True},
    "snake": {"vocoder_name": "nsf-snake-hifigan"},
    "transformer": {"use_transformer_flow": True},
    "transformer, shared": {"use_transformer_flow": True, "flow_share_parameter": True},
    "shared": {"flow_share_parameter": True},
    "depthwise": {"use_depthwise_conv": True},
    "resblock 1": {"resblock": "1"},
    "no f0 decoder": {"use_automatic_f0_prediction": False},
}
WITHOUT_TORCH = """
import sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
for name in sys.argv[2:]:
    with numpy.load(name) as inputs:
        numpy.save(name + ".out.npy", session.run(None, dict(inputs))[0])
assert "torch" not in sys.modules
"""


def write_project(root: Path, name: str = "alice", *, spk: dict[str, int] | None = None, **model: Any) -> Config:
    """checkpoints/<name>/{model.pth,config.json} under ``root``, of one speaker unless others are named."""
    changes = {"model": MODEL | {"vol_embedding": False} | model, "spk": spk or ONE}
    config, folder = tiny_config(**changes), root / "checkpoints" / name
    write_config(folder / "config.json", **changes)
    torch.save({"model": lively(config).state_dict(), "iteration": 1}, folder / "model.pth")
    return config


def lively(config: Config) -> SynthesizerTrn:
    """A network whose flow does something, which it does not at first."""
    net = make_model(config)
    for key, parameter in net.named_parameters():
        if key.startswith("flow.") and ".post." in key:
            torch.nn.init.normal_(parameter, std=0.3)
    return net


def run_without_torch(model: Path, *feeds: dict[str, Any]) -> list[np.ndarray]:
    """The first output of each run, in another process."""
    names = []
    for i, inputs in enumerate(feeds):
        names.append(str(model.with_name(f"feed{i}.npz")))
        np.savez(names[-1], **{name: np.asarray(value) for name, value in inputs.items()})
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH, str(model), *names], check=True, timeout=300)
    return [np.load(f"{name}.out.npy") for name in names]

"""A model so small that whole conversions take a fraction of a second, and songs for it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.config import Config
from models import SynthesizerTrn
from tests.synthetic import HOP, tiny_config, write_config
from tests.synthetic import RATE as SAMPLE_RATE

MODEL = {"vol_embedding": True}  # so that all features are used


def make_model(config: Config) -> SynthesizerTrn:
    torch.manual_seed(0)
    model = SynthesizerTrn(config.data.filter_length // 2 + 1, 8, **config.as_dict()["model"])
    model.dec.init_gains()
    model.dec.conv_post.bias.data.zero_()
    model.dec.conv_post.weight_g.data.mul_(3)  # loud enough to be measured
    return model


def write_model(folder: Path, **model: Any) -> tuple[Path, Path]:
    """G_5.pth as training leaves it, and its config; ``model`` changes keys of the model section."""
    config = tiny_config(model=MODEL | model)
    path = write_config(folder / "config.json", model=MODEL | model)
    content = {"model": make_model(config).state_dict(), "iteration": 1, "optimizer": None, "learning_rate": 1e-4}
    torch.save(content, folder / "G_5.pth")
    return folder / "G_5.pth", path


def sung(seconds: float, hz: float = 220.0, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """(T,) a tone with some overtones, faded at both ends."""
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    fade = np.clip(np.minimum(t, seconds - t) / 0.05, 0, 1)
    return (0.2 * fade * sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 6))).astype(np.float32)


def silence(seconds: float, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    return np.zeros(round(seconds * sample_rate), dtype=np.float32)


__all__ = ["HOP", "SAMPLE_RATE", "make_model", "silence", "sung", "write_model"]

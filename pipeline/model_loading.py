"""A synthesizer from its file, ready to sing, and what its config says of its voice."""

from pathlib import Path

import torch

from common import checkpoint
from common.config import Config
from models import SynthesizerTrn
from modules.layers import remove_weight_norms
from pipeline.diffusion_settings import read_project_config
from pipeline.onnx_synthesizer import OnnxSynthesizer
from pipeline.settings import read_config
from pipeline.voice import Voice

SUFFIXES = (".pth", ".safetensors", ".onnx")
NO_CONFIG = "train.py writes it into the folder of the model; name that one with -c, or run python train.py first"
NO_DIFFUSION_CONFIG = "it lies beside the diffusion model that it was trained with; name it with -dc"


def read_voice(config_path: Path) -> Voice:
    """The voice of a config.json, or of the config.yaml of a diffusion model that sings alone.

    Raises:
        FileNotFoundError: no such file.
        ConfigError: every problem of the file at once.
    """
    if config_path.suffix not in (".yaml", ".yml"):
        return Voice.of_synthesizer(read_config(config_path, advice=NO_CONFIG), config_path.parent)
    return Voice.of_diffusion(read_project_config(config_path, advice=NO_DIFFUSION_CONFIG), config_path.parent)


Synthesizer = SynthesizerTrn | OnnxSynthesizer  # they have one `infer`


def load_synthesizer(path: Path, config: Config, device: torch.device) -> Synthesizer:
    """The synthesizer of ``config`` for inference: a checkpoint of any kind, or an exported .onnx file.

    Raises:
        FileNotFoundError: no such file; those that are there are listed.
        CheckpointError, ValueError: it cannot be read, or is of another model.
        NotAvailableError: an .onnx file, without onnxruntime.
    """
    if path.suffix == ".onnx" and path.is_file():
        return OnnxSynthesizer(path, config, device)
    return load_network(path, config, device)


def load_network(path: Path, config: Config, device: torch.device) -> SynthesizerTrn:
    """`load_synthesizer` of a checkpoint: .pth, or .safetensors."""
    if not path.is_file():
        models = (found.name for found in path.parent.glob("*") if found.suffix in SUFFIXES and found.name[0] != "D")
        there = ", ".join(sorted(models))
        found = f"in that folder there are: {there}" if there else "that folder holds no model: run python train.py"
        raise FileNotFoundError(f"no model {path}; {found}")
    model = SynthesizerTrn.from_config(config)
    state, _ = checkpoint.read_model(path, only=())
    try:
        checkpoint.load_weights(model, state, where=path, optional=("enc_q.",))
    except checkpoint.CheckpointError as error:
        raise checkpoint.CheckpointError(f"{error}\n  -c must name the config.json it was trained with") from None
    del model.enc_q  # used in training only
    remove_weight_norms(model)
    return model.eval().to(device)

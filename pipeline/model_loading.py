"""A synthesizer from its file, ready to sing, and what its config says of its voice."""

from pathlib import Path

import torch

from common import checkpoint
from common.config import Config
from diffusion import read_diffusion_config
from models import SynthesizerTrn
from modules.layers import remove_weight_norms
from pipeline.settings import read_config
from pipeline.voice import Voice

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
    try:
        return Voice.of_diffusion(read_diffusion_config(config_path), config_path.parent)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}: {NO_DIFFUSION_CONFIG}") from None


def load_synthesizer(model_path: Path, config: Config, device: torch.device) -> SynthesizerTrn:
    """Build the synthesizer of ``config`` and fill it from a checkpoint, for inference only.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: it cannot be read, or is of another model.
    """
    if not model_path.is_file():
        there = ", ".join(sorted(path.name for path in model_path.parent.glob("*.pth") if path.name[0] != "D"))
        found = f"in that folder there are: {there}" if there else "that folder holds no model: run python train.py"
        raise FileNotFoundError(f"no model {model_path}; {found}")
    data = config.data
    model = SynthesizerTrn(
        data.filter_length // 2 + 1,
        config.train.segment_size // data.hop_length,
        sampling_rate=data.sampling_rate,
        **config.as_dict()["model"],
    )
    state, _ = checkpoint.read_model(model_path, only=())
    try:
        checkpoint.load_weights(model, state, where=model_path, optional=("enc_q.",))
    except checkpoint.CheckpointError as error:
        raise checkpoint.CheckpointError(f"{error}\n  -c must name the config.json it was trained with") from None
    del model.enc_q  # used in training only
    remove_weight_norms(model)
    return model.eval().to(device)

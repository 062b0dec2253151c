"""What MoeVoiceStudio asks of an exported model, and the file that tells it about one.

It looks for ``Models/<Folder>.json``, ``Models/<Folder>/<Folder>_SoVits.onnx`` and ``hubert/<Hubert>.onnx``.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from common.config import Config
from common.pretrained_files import FILES
from vencoder import SPEECH_ENCODERS

NOISE_CHANNELS = 192  # that it gives to every model


def encoder_file(name: str) -> str | None:
    """What the .onnx file of a speech encoder is called, without its suffix; None: it cannot be exported."""
    onnx = name if name.endswith("-onnx") else f"{name}-onnx"
    if onnx in SPEECH_ENCODERS:
        return Path(FILES[str(SPEECH_ENCODERS[onnx].weights)].file).stem
    return name if is_hubert(name) else None


def is_hubert(name: str) -> bool:
    """Whether the encoder is of the HuBERT family, which are those that can be exported."""
    from vencoder.hubert import HubertEncoder

    module, _, cls = SPEECH_ENCODERS[name].target.partition(":")
    return issubclass(getattr(import_module(module), cls), HubertEncoder)


def voices(config: Config) -> list[str]:
    """Names of the speakers in the order of their ids; where an id has no speaker, one is made up."""
    names = {speaker_id: name for name, speaker_id in config.spk.items()}
    return [names.get(i, f"speaker {i}") for i in range(max(names) + 1)]


def description(project: str, config: Config) -> dict[str, Any]:
    """The contents of ``<project>.json``."""
    characters = voices(config)
    return {
        "Folder": project,
        "Name": project,
        "Type": "SoVits",
        "Rate": config.data.sampling_rate,
        "Hop": config.data.hop_length,
        "Hubert": encoder_file(config.model.speech_encoder),
        "SoVits4": True,
        "SoVits3": False,
        "CharaMix": len(characters) > 1,
        "Volume": config.model.vol_embedding,
        "HiddenSize": config.model.ssl_dim,
        "Characters": characters,
        "Cluster": "",
    }

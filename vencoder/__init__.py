"""Speech encoders: the names that config.json's ``model.speech_encoder`` and ``--speech_encoder`` may hold."""

from pathlib import Path
from typing import TYPE_CHECKING

from common.registry import Entry, Registry

if TYPE_CHECKING:
    from vencoder.encoder import SpeechEncoder


def _onnx(dim: int, name: str, note: str, padding: int = 0) -> Entry:
    """A network that somebody exported; ``padding`` is what it adds on both sides by itself, in samples."""
    kwargs = {"dim": dim, "padding": padding}
    target, weights = "vencoder.onnx:OnnxEncoder", f"{name}-onnx"
    return Entry(target, kwargs, dim=dim, weights=weights, package="onnxruntime", note=note)


SPEECH_ENCODERS = Registry(
    "speech encoder",
    {
        "vec768l12": Entry(
            "vencoder.contentvec:ContentVec",
            {"layer": 12},
            dim=768,
            weights="contentvec",
            note="ContentVec, layer 12; the default of 4.1",
        ),
        "vec256l9": Entry(
            "vencoder.contentvec:ContentVec",
            {"layer": 9, "project": True},
            dim=256,
            weights="contentvec",
            note="ContentVec, layer 9 projected; every 4.0 model",
        ),
        "hubertsoft": Entry(
            "vencoder.hubertsoft:HubertSoft", dim=256, weights="hubert-soft", note="HuBERT soft units; models of 3.0"
        ),
        "cepstral": Entry(
            "vencoder.cepstral:CepstralEncoder", dim=60, note="computed from the audio itself: nothing to download"
        ),
        "embedded": Entry(
            "vencoder.embedded:EmbeddedEncoder",
            dim=256,
            weights="embedded",
            note="trained by us, in this repository: nothing to download",
        ),
        "whisper-ppg": Entry(
            "vencoder.whisper:WhisperPPG", dim=1024, weights="whisper-ppg", note="Whisper medium, encoder output"
        ),
        "whisper-ppg-large": Entry(
            "vencoder.whisper:WhisperPPG",
            dim=1280,
            weights="whisper-ppg-large",
            note="Whisper large-v2, encoder output",
        ),
        "cnhubertlarge": Entry(
            "vencoder.cnhubertlarge:ChineseHubertLarge",
            dim=1024,
            weights="cnhubertlarge",
            note="Chinese HuBERT large",
        ),
        "dphubert": Entry(
            "vencoder.dphubert:DPHubert", dim=768, weights="dphubert", note="HuBERT base, distilled and pruned"
        ),
        "wavlmbase+": Entry("vencoder.wavlm:WavLM", dim=768, weights="wavlmbase+", note="WavLM base+"),
        "vec256l9-onnx": _onnx(256, "vec256l9", "vec256l9 from an .onnx file"),
        "vec256l12-onnx": _onnx(256, "vec256l12", "ContentVec, layer 12 projected, from an .onnx file"),
        "vec768l9-onnx": _onnx(768, "vec768l9", "ContentVec, layer 9, from an .onnx file"),
        "vec768l12-onnx": _onnx(768, "vec768l12", "vec768l12 from an .onnx file"),
        "hubertsoft-onnx": _onnx(256, "hubertsoft", "hubertsoft from an .onnx file", padding=40),
    },
)


def build(name: str, device: str | None = None, weights: Path | str | None = None) -> "SpeechEncoder":
    """Construct the speech encoder called ``name`` on ``device`` (None: chosen automatically).

    ``weights`` is a file that replaces the one under ``pretrain/``.

    Raises:
        ValueError: unknown name or device, ``weights`` for an encoder that has none, or a file of another model.
        NotAvailableError: a package is missing.
        FileNotFoundError: the weights are not there; the message says where they belong and how to fetch them.
    """
    from common import devices, pretrained  # after --help: torch takes seconds to import

    entry = SPEECH_ENCODERS[name]
    if entry.weights is None:
        if weights is not None:
            raise ValueError(f"speech encoder {name!r} has no weights file, but {weights} was given")
        return SPEECH_ENCODERS.build(name, device=devices.resolve(device))
    if weights is None:
        weights = pretrained.require(entry.weights)
    return SPEECH_ENCODERS.build(name, device=devices.resolve(device), weights=Path(weights))

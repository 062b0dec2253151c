"""Files of the real layouts and sizes with random numbers, to measure speed and memory where the real ones are absent.

Keys, shapes and settings are those of tests/golden. A network is as quick with them as with what it learned; what it
says means nothing.
"""

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.golden.weights import make_tensor
from tests.parity import Case
from vencoder.contentvec import ContentVec
from vencoder.hubert import HubertEncoder
from vencoder.hubertsoft import HubertSoft

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Layout:
    """How the file called so in `common.pretrained.FILES` is made up; ``wrap`` takes the tensors and case.json."""

    case: str  # folder of tests/golden
    wrap: Callable[[dict[str, Tensor], Mapping[str, Any]], Any]
    keys: str = "keys.json"
    half: bool = False


def _fairseq(state: dict[str, Tensor], info: Mapping[str, Any]) -> Any:
    return {"model": state}


def _whisper(state: dict[str, Tensor], info: Mapping[str, Any]) -> Any:
    return {"dims": info["real_dims"], "model_state_dict": state}


LAYOUTS = {
    "contentvec": Layout("contentvec", _fairseq),
    "hubert-soft": Layout("hubertsoft", lambda state, info: state),
    "whisper-ppg": Layout("whisper-ppg", _whisper, "full_keys.json", half=True),
    "whisper-ppg-large": Layout("whisper-ppg-large", _whisper, "full_keys.json", half=True),
    "cnhubertlarge": Layout("cnhubertlarge", _fairseq, "full_keys.json"),
    "dphubert": Layout("dphubert", lambda state, info: {"state_dict": state, "config": info["config"]}),
    "wavlmbase+": Layout("wavlmbase+", lambda state, info: {"model": state, "cfg": info["config"]}),
    "rmvpe": Layout("rmvpe", _fairseq),
}
# what such files were exported from: name of the weights, layer, projected or not
EXPORTS = {
    "vec256l9-onnx": ("contentvec", 9, True),
    "vec256l12-onnx": ("contentvec", 12, True),
    "vec768l9-onnx": ("contentvec", 9, False),
    "vec768l12-onnx": ("contentvec", 12, False),
    "hubertsoft-onnx": ("hubert-soft", 12, True),
}


def write(name: str, folder: Path) -> Path | None:
    """Write a stand-in for the pretrained file called ``name``; None for a file whose layout is not known here."""
    if name in LAYOUTS:
        path = folder / f"{name}.pt"
        if not path.exists():
            torch.save(_content(LAYOUTS[name]), path)
        return path
    if name in EXPORTS:
        origin, layer, project = EXPORTS[name]
        source = write(origin, folder)
        soft = origin == "hubert-soft"
        encoder = HubertSoft(source, CPU) if soft else ContentVec(source, CPU, layer=layer, project=project)
        return export(encoder, folder / f"{name}.onnx")
    return None


def _content(layout: Layout) -> Any:
    case = Case(layout.case)
    state = {}
    for key, shape, _ in json.loads((case.folder / layout.keys).read_text(encoding="utf-8")):
        # A Whisper's decoder is read past: it has to be there, and nothing else.
        tensor = torch.zeros(shape) if key.startswith("decoder.") else make_tensor(key, shape, case.info["seed"])
        state[key] = tensor.half() if layout.half else tensor
    return layout.wrap(state, case.info)


def export(encoder: HubertEncoder, path: Path) -> Path:
    """Write the network as an .onnx file of the layout that MoeVoiceStudio's tools have."""
    wav = torch.randn(1, 1, 16000)
    axes = {"source": {2: "samples"}, "embed": {1: "frames"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about branches that are the same for every single clip
        torch.onnx.export(
            _Exported(encoder),
            (wav,),
            path,
            input_names=["source"],
            output_names=["embed"],
            dynamic_axes=axes,
            dynamo=False,
        )
    return path


class _Exported(nn.Module):
    """source (1, 1, T) -> embed (1, N, D); pads by itself what its encoder asks for."""

    def __init__(self, encoder: HubertEncoder) -> None:
        super().__init__()
        self.net, self.padding = encoder.net, encoder.padding

    def forward(self, source: Tensor) -> Tensor:
        wavs = F.pad(source[0], (self.padding, self.padding))
        return self.net(wavs, torch.tensor([wavs.shape[1]]))

"""Folders for dspitch: the golden case's models, and small models with the same inputs and outputs."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

from tests.parity import GOLDEN

STUBS = GOLDEN / "dspitch"
FLOAT, HALF, INT, INT32, BOOL = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.INT64,
    TensorProto.INT32,
    TensorProto.BOOL,
)
TRANSCRIBER_FRAME = 512  # samples of every note of `save_transcriber`
Inputs = Mapping[str, tuple[int, Sequence[Any] | None]]

LINGUISTIC: Inputs = {"tokens": (INT, [1, "n"]), "ph_dur": (INT, [1, "n"])}
PITCH: Inputs = {
    "encoder_out": (FLOAT, [1, "n", 4]),
    "note_midi": (FLOAT, [1, "n"]),
    "pitch": (FLOAT, [1, "frames"]),
    "retake": (BOOL, [1, "frames"]),
}


def golden_folder(folder: Path, config: str, linguistic: str, pitch: str) -> Path:
    """The golden case's models under the names that so-vits-svc gives them; dsconfig.yaml keeps its own names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {config: "dsconfig.yaml", linguistic: "ds_linguistic.onnx", pitch: "ds_pitch.onnx"}
    for name in ("SOME.onnx", "phonemes.txt", "spk0.emb", *names):
        shutil.copy(STUBS / name, folder / names.get(name, name))
    return folder


def small_folder(folder: Path, *, linguistic: Inputs = LINGUISTIC, pitch: Inputs = PITCH, **config: Any) -> Path:
    """A folder whose pitch models answer each note of one frame with its own pitch."""
    folder.mkdir(parents=True, exist_ok=True)
    save_transcriber(folder / "SOME.onnx")
    save_linguistic(folder / "ds_linguistic.onnx", linguistic)
    save_pitch(folder / "ds_pitch.onnx", pitch)
    (folder / "phonemes.txt").write_text("<PAD>\nSP\na\n", encoding="utf-8")
    (folder / "dsconfig.yaml").write_text(yaml.safe_dump({"hop_size": 512, **config}), encoding="utf-8")
    return folder


def save_transcriber(path: Path) -> None:
    """Every 512 samples are a note: MIDI 50 + 20 times the mean absolute sample, a rest below 0.01."""
    nodes = [
        ("Shape", ["waveform"], "shape"),
        ("Gather", ["shape", "one"], "samples"),
        ("Div", ["samples", "hop"], "notes"),
        ("Mul", ["notes", "hop"], "used"),
        ("Slice", ["waveform", "zero", "used", "one"], "whole"),
        ("Concat", ["notes", "hop"], "grid"),
        ("Reshape", ["whole", "grid"], "rows"),
        ("Abs", ["rows"], "absolute"),
        ("ReduceMean", ["absolute"], "level"),
        ("Less", ["level", "quiet"], "rest"),
        ("Mul", ["level", "slope"], "scaled"),
        ("Add", ["scaled", "base"], "midi"),
        ("Mul", ["level", "nothing"], "zeros"),
        ("Add", ["zeros", "seconds"], "dur"),
        ("Unsqueeze", ["midi", "zero"], "note_midi"),
        ("Unsqueeze", ["rest", "zero"], "note_rest"),
        ("Unsqueeze", ["dur", "zero"], "note_dur"),
    ]
    constants = {
        "zero": np.array([0]),
        "one": np.array([1]),
        "hop": np.array([TRANSCRIBER_FRAME]),
        "quiet": np.float32(0.01),
        "slope": np.float32(20.0),
        "base": np.float32(50.0),
        "nothing": np.float32(0.0),
        "seconds": np.float32(TRANSCRIBER_FRAME / 44100),
    }
    attributes = {"Concat": {"axis": 0}, "ReduceMean": {"axes": [1], "keepdims": 0}}
    made = [helper.make_node(kind, names, [out], **attributes.get(kind, {})) for kind, names, out in nodes]
    save(path, made, {"waveform": (FLOAT, [1, "samples"])}, NOTES, constants)


NOTES: Inputs = {"note_midi": (FLOAT, [1, "n"]), "note_rest": (BOOL, [1, "n"]), "note_dur": (FLOAT, [1, "n"])}


def save_fixed_transcriber(path: Path, midi: Sequence[float], rest: Sequence[bool], seconds: Sequence[float]) -> None:
    """Hears the same notes in everything."""
    values = {
        "note_midi": np.array([midi], np.float32),
        "note_rest": np.array([rest], bool),
        "note_dur": np.array([seconds], np.float32),
    }
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
        for name, value in values.items()
    ]
    save(path, nodes, {"waveform": (FLOAT, [1, "samples"])}, NOTES)


def save_linguistic(path: Path, inputs: Inputs = LINGUISTIC, width: int = 4) -> None:
    """encoder_out (1, N, width): the token's number."""
    nodes = [
        helper.make_node("Cast", ["tokens"], ["numbers"], to=FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "axis"], ["column"]),
        helper.make_node("Expand", ["column", "shape"], ["encoder_out"]),
    ]
    constants = {"axis": np.array([2]), "shape": np.array([1, 1, width])}
    save(path, nodes, inputs, {"encoder_out": (FLOAT, [1, "n", width])}, constants)


def save_pitch(path: Path, inputs: Inputs = PITCH) -> None:
    """pitch_pred is note_midi where retake is set, else ``pitch``: for notes of one frame each."""
    nodes = [
        helper.make_node("Cast", ["note_midi"], ["midi"], to=FLOAT),
        helper.make_node("Where", ["retake", "midi", "pitch"], ["pitch_pred"]),
    ]
    save(path, nodes, inputs, {"pitch_pred": (FLOAT, [1, "frames"])})


def save_fixed_pitch(path: Path, midi: Sequence[float]) -> None:
    value = numpy_helper.from_array(np.array([midi], np.float32), "pitch_pred")
    nodes = [helper.make_node("Constant", [], ["pitch_pred"], value=value)]
    save(path, nodes, PITCH, {"pitch_pred": (FLOAT, [1, "frames"])})


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Inputs,
    outputs: Inputs,
    constants: Mapping[str, np.ndarray | np.generic] | None = None,
) -> None:
    """Write the graph of ``nodes``."""
    graph = helper.make_graph(
        nodes,
        "stub",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)

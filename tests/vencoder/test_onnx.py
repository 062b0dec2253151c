"""Encoders from .onnx files equal the reference's; windows do not show; models that do not fit are named."""

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

import vencoder
from tests.parity import Case, assert_close
from tests.vencoder.small_files import CPU, check_batches
from vencoder.onnx import OnnxEncoder

CASE = Case("onnx_encoders")
ENCODERS = CASE.info["map"]


def built(name: str) -> OnnxEncoder:
    return vencoder.build(name, "cpu", CASE.folder / Path(ENCODERS[name]["default_path"]).name)


def model(
    path: Path, *, takes=(1, 1, "n"), gives=(1, "t", 2), kind=TensorProto.FLOAT, more=(), at_last=(1, -1, 2)
) -> Path:
    """A model that gives its samples two by two: one frame for two of them, which is no encoder's rate."""
    inputs = [helper.make_tensor_value_info(name, kind, shape) for name, shape in (("audio", takes), *more)]
    nodes = [helper.make_node("Reshape", ["audio", "shape"], ["units"])]
    shape = helper.make_tensor("shape", TensorProto.INT64, [len(at_last)], at_last)
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("units", kind, gives)], [shape])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    onnx.save(made, path)
    return path


def encoder_of(path: Path, **kwargs) -> OnnxEncoder:
    return OnnxEncoder(path, CPU, **({"dim": 2} | kwargs))


@pytest.mark.parametrize("name", ENCODERS)
def test_golden(name):
    arrays, encoder = CASE.arrays(), built(name)
    assert encoder.dim == ENCODERS[name]["hidden_dim"] == vencoder.SPEECH_ENCODERS[name].dim
    assert_close(encoder.encode(arrays["wav"])[:: encoder.dim // 128], arrays[name][0], max_abs=1e-5)


def test_the_average_of_two_channels():
    """What 4.1 makes of audio with two channels, the one that decodes files has to do here."""
    arrays, encoder = CASE.arrays(), built("vec256l9-onnx")
    units = encoder.encode(arrays["stereo_like"].mean(axis=1))
    assert_close(units[::2], arrays["vec256l9-onnx_stereo"][0], max_abs=1e-5)
    with pytest.raises(ValueError, match=r"got shape \(16000, 2\): average the channels"):
        encoder.encode(arrays["stereo_like"])


def test_batches():
    check_batches(built("vec256l12-onnx"))


def test_batches_of_a_model_that_pads_by_itself():
    wavs, encoder = [torch.randn(n) for n in (16000, 320, 9999)], built("hubertsoft-onnx")
    for wav, got in zip(wavs, encoder.encode_batch(wavs), strict=True):
        assert_close(got, encoder.encode(wav), max_abs=1e-6)


@pytest.mark.parametrize("name", ["vec256l12-onnx", "hubertsoft-onnx"])
@pytest.mark.parametrize("n_samples", [32000, 32041, 33333, 64319])
def test_windows_are_invisible(name, n_samples):
    """Also where the model adds zeros at the ends of what it is given, which are not those of the clip."""
    wav, encoder = torch.randn(n_samples) * 0.1, built(name)
    whole = encoder.encode(wav)
    encoder.max_frames, encoder.context_frames = 40, 2
    assert_close(encoder.encode(wav), whole, max_abs=5e-6)


def test_frames_of_a_model_that_pads_by_itself():
    encoder = built("hubertsoft-onnx")
    assert [encoder.encode(torch.zeros(n)).shape[1] for n in (320, 639, 640, 16000)] == [1, 1, 2, 50]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"takes": (1, "n")}, r"takes audio tensor\(float\) \[1, 'n'\], where one tensor\(float\) \[1, 1, 'samples'\]"),
        ({"takes": (1, 1, 16000)}, r"takes audio tensor\(float\) \[1, 1, 16000\], where one"),
        ({"takes": (1, 2, "n")}, r"takes audio tensor\(float\) \[1, 2, 'n'\], where one"),
        ({"kind": TensorProto.FLOAT16}, r"takes audio tensor\(float16\) \[1, 1, 'n'\], where one tensor\(float\)"),
        ({"more": [("length", (1,))]}, r"takes audio .*, length tensor\(float\) \[1\], where one"),
        (
            {"gives": (1, "t", 3), "at_last": (1, -1, 3)},
            r"gives units .*3\], where one tensor\(float\) \[1, 'frames', 2\]",
        ),
        ({"gives": (1, 2, "t"), "at_last": (1, 2, -1)}, r"gives units tensor\(float\) \[1, 2, 't'\], where one"),
        ({"gives": ("t", 2), "at_last": (-1, 2)}, r"gives units tensor\(float\) \['t', 2\], where one"),
    ],
)
def test_models_of_another_kind(changes, message, tmp_path):
    with pytest.raises(ValueError, match=r"other\.onnx " + message):
        encoder_of(model(tmp_path / "other.onnx", **changes))


def test_a_model_that_says_nothing_is_judged_by_what_it_gives(tmp_path):
    encoder = encoder_of(model(tmp_path / "other.onnx", takes=None, gives=None))
    with pytest.raises(ValueError, match=r"other\.onnx gives \(1, 500, 2\) for 1000 samples, where \(1, 2, 2\) was"):
        encoder.encode(torch.zeros(1000))


def test_a_model_that_pads_otherwise_than_the_registry_says():
    path = CASE.folder / "hubert-soft.onnx"
    with pytest.raises(ValueError, match=r"gives \(1, 50, 256\) for 16000 samples, where \(1, 49, 256\) was expected"):
        OnnxEncoder(path, CPU, dim=256).encode(torch.zeros(16000))
    with pytest.raises(
        ValueError, match=r"soft\.onnx gives .* 'hubert_length', 256\], where one .*'frames', 768\] was"
    ):
        vencoder.build("vec768l12-onnx", "cpu", path)


def test_a_model_that_fails(tmp_path):
    encoder = encoder_of(model(tmp_path / "odd.onnx"))
    with pytest.raises(ValueError, match=r"odd\.onnx cannot be run: .*Reshape"):
        encoder.encode(torch.zeros(1001))

"""An exported model in the place of the network: the same audio, for one item or a batch, whatever the seed."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from common.config import Config
from models import SynthesizerTrn
from pipeline.conversion import Converter
from pipeline.conversion_options import ConversionOptions
from pipeline.model_loading import load_network
from pipeline.onnx_files import write_graph
from pipeline.onnx_graphs import NOISE_FRAMES, synthesizer_graph
from pipeline.onnx_synthesizer import OnnxSynthesizer
from tests.parity import assert_close
from tests.pipeline.onnx_projects import ONE, TWO, write_project
from tests.pipeline.tiny_model import HOP, SAMPLE_RATE, sung
from tests.synthetic import tiny_config

CPU = torch.device("cpu")


def exported(root: Path, *, spk: dict[str, int] = ONE, **model: Any) -> tuple[SynthesizerTrn, OnnxSynthesizer]:
    """A network, and its file."""
    config = write_project(root, spk=spk, **model)
    net = load_network(root / "checkpoints/alice/model.pth", config, CPU)
    write_graph(synthesizer_graph(net, len(spk)), root / "model.onnx", properties={})
    return net, OnnxSynthesizer(root / "model.onnx", config, CPU)


def batch(n_frames: int = 40, size: int = 1) -> dict[str, torch.Tensor]:
    return {
        "c": torch.randn(size, 60, n_frames),
        "f0": 100 + 300 * torch.rand(size, n_frames),
        "uv": (torch.rand(size, n_frames) > 0.3).float(),
    }


@pytest.mark.parametrize("spk", [ONE, TWO], ids=["one", "mixed"])
def test_a_batch_equals_the_network(tmp_path: Path, spk: dict[str, int]) -> None:
    net, model = exported(tmp_path, spk=spk, vol_embedding=True)
    inputs = batch(size=3) | {"vol": torch.rand(3, 40)}
    ids, lengths = torch.tensor([[0], [len(spk) - 1], [0]]), torch.tensor([40, 23, 7])
    expected, _ = net.infer(**inputs, g=ids, noice_scale=0.7, seed=11, c_lengths=lengths)
    audio, f0 = model.infer(**inputs, g=ids, noice_scale=0.7, seed=11, c_lengths=lengths)
    assert_close(audio, expected, max_abs=1e-5)
    assert f0 is inputs["f0"]
    alone, _ = model.infer(**{key: x[:1] for key, x in inputs.items()}, g=ids[:1], noice_scale=0.7, seed=11)
    assert torch.equal(alone[0], audio[0])
    other, _ = model.infer(**inputs, g=ids, seed=12)
    assert (other - audio).abs().max() > 0.01


def test_weights_of_speakers(tmp_path: Path) -> None:
    net, model = exported(tmp_path, spk=TWO)
    weights = torch.rand(2, 40, 2).softmax(dim=2)
    for inputs, g in ((batch(), weights[0]), (batch(size=2), weights), (batch(size=2), weights[0])):
        assert_close(model.infer(**inputs, g=g)[0], net.infer(**inputs, g=g)[0], max_abs=1e-5)
    inputs = batch()
    alone, _ = model.infer(**inputs, g=torch.zeros(1, 1, dtype=torch.int64))
    assert_close(model.infer(**inputs, g=torch.ones(40, 1))[0], alone, max_abs=1e-6)
    model.EnableCharacterMix(2, "cpu")
    with pytest.raises(ValueError, match=r"cannot mix 3 speakers: .*model\.onnx has 2"):
        model.infer(**batch(), g=torch.rand(40, 3))


def test_longer_than_the_noise_in_the_file(tmp_path: Path) -> None:
    net, model = exported(tmp_path)
    inputs, ids = batch(NOISE_FRAMES + 30), torch.zeros(1, 1, dtype=torch.int64)
    assert_close(model.infer(**inputs, g=ids)[0], net.infer(**inputs, g=ids)[0], max_abs=1e-5)


@pytest.mark.parametrize("spk", [ONE, TWO], ids=["one", "mixed"])
def test_a_conversion_equals_that_of_the_checkpoint(tmp_path: Path, spk: dict[str, int]) -> None:
    _, model = exported(tmp_path, spk=spk)
    folder = tmp_path / "checkpoints/alice"
    converter = Converter(folder / "model.pth", folder / "config.json", device="cpu")
    song, options = sung(1.5, 200.0), ConversionOptions(speaker=len(spk) - 1, f0_predictor="dio", seed=3)
    expected = converter.convert(song, options)
    converter.model = model
    assert_close(converter.convert(song, options), expected, max_abs=1e-5)
    assert len(song) == round(1.5 * SAMPLE_RATE)


def test_what_an_exported_model_cannot_do(tmp_path: Path) -> None:
    _, model = exported(tmp_path)
    ids = torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"model\.onnx cannot predict f0, as no exported model can: run without -a"):
        model.infer(**batch(), g=ids, predict_f0=True)
    with pytest.raises(ValueError, match="takes one speaker: it was exported without the mixing of speakers"):
        model.infer(**batch(), g=torch.rand(40, 2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ssl_dim": 768, "speech_encoder": "vec768l12"}, r"model\.ssl_dim: 768 in the configuration, 60 in the model"),
        ({"inter_channels": 32}, r"model\.inter_channels: 32 in the configuration, 16 in the model"),
        ({"vol_embedding": True}, r"model\.vol_embedding: True, but its inputs are "),
    ],
)
def test_a_configuration_of_another_model(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    exported(tmp_path)
    with pytest.raises(ValueError, match=rf"model\.onnx does not fit its configuration:\n  {message}") as error:
        OnnxSynthesizer(tmp_path / "model.onnx", tiny_config(model=changes), CPU)
    assert str(error.value).endswith("-c must name the config.json it was exported with")


def test_a_configuration_of_other_speakers(tmp_path: Path) -> None:
    exported(tmp_path, spk=TWO)
    message = r"does not fit its configuration:\n  spk: ids up to 0 in the configuration, 2 speakers in the model"
    with pytest.raises(ValueError, match=message):
        OnnxSynthesizer(tmp_path / "model.onnx", tiny_config(spk=ONE), CPU)


def foreign(path: Path, *, hop: int = HOP, uv: int = TensorProto.FLOAT, **renamed: str) -> Path:
    """A file of another tool: every sample of a frame is its f0 over 1000, plus its uv."""
    kinds = {
        "c": (TensorProto.FLOAT, [1, "n", "d"]),
        "f0": (TensorProto.FLOAT, [1, "f"]),
        "mel2ph": (TensorProto.INT64, [1, "f"]),
        "uv": (uv, [1, "f"]),
        "noise": (TensorProto.FLOAT, [1, "k", "f"]),
        "sid": (TensorProto.INT64, [1]),
    }
    inputs = [helper.make_tensor_value_info(renamed.get(name, name), *kind) for name, kind in kinds.items()]
    ones = helper.make_tensor("ones", TensorProto.FLOAT, [1, 1, hop], np.ones(hop, np.float32))
    thousand = helper.make_tensor("thousand", TensorProto.FLOAT, [], [1000.0])
    shapes = [helper.make_tensor("column", TensorProto.INT64, [3], [1, -1, 1])]
    shapes.append(helper.make_tensor("row", TensorProto.INT64, [3], [1, 1, -1]))
    nodes = [
        helper.make_node("Div", ["f0", "thousand"], ["scaled"]),
        helper.make_node("Cast", ["uv"], ["voiced"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["scaled", "voiced"], ["sum"]),
        helper.make_node("Reshape", ["sum", "column"], ["frames"]),
        helper.make_node("Mul", ["frames", "ones"], ["samples"]),
        helper.make_node("Reshape", ["samples", "row"], ["audio"]),
    ]
    output = helper.make_tensor_value_info("audio", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", inputs, [output], [ones, thousand, *shapes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


@pytest.fixture
def config() -> Config:
    return tiny_config(spk=ONE)


@pytest.mark.parametrize("uv", [TensorProto.FLOAT, TensorProto.INT64])
def test_a_file_of_another_tool(tmp_path: Path, config: Config, uv: int) -> None:
    model, inputs = OnnxSynthesizer(foreign(tmp_path / "other.onnx", uv=uv), config, CPU), batch(size=2)
    ids, lengths = torch.zeros(2, 1, dtype=torch.int64), torch.tensor([40, 5])
    audio, _ = model.infer(**inputs, g=ids, c_lengths=lengths)
    expected = (inputs["f0"] / 1000 + inputs["uv"]).repeat_interleave(HOP, dim=1)
    expected[1, 5 * HOP :] = 0
    assert_close(audio[:, 0], expected, max_abs=1e-6)


def test_files_that_are_no_synthesizer(tmp_path: Path, config: Config) -> None:
    path = foreign(tmp_path / "other.onnx", sid="g", mel2ph="mel2ph")
    with pytest.raises(ValueError, match=r"other\.onnx is no synthesizer .* it takes c, f0, g, .* \(differing: sid\)"):
        OnnxSynthesizer(path, config, CPU)
    short = OnnxSynthesizer(foreign(tmp_path / "short.onnx", hop=100), config, CPU)
    with pytest.raises(ValueError, match=r"short\.onnx gives \(1, 1, 4000\) for 40 frames, where 20480 samples were"):
        short.infer(**batch(), g=torch.zeros(1, 1, dtype=torch.int64))
    with pytest.raises(FileNotFoundError, match=r"absent\.onnx: no such file"):
        OnnxSynthesizer(tmp_path / "absent.onnx", config, CPU)

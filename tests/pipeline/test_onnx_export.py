"""Every variant of the synthesizer as a file: what onnxruntime makes of it without torch, and what lies beside it."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import onnx_export
from common.config import Config
from common.registry import NotAvailableError
from models import SynthesizerTrn, draw_prior_noise
from modules.layers import remove_weight_norms
from pipeline.model_loading import load_network
from pipeline.onnx_export import ExportOptions, export
from pipeline.onnx_files import Graph, write_graph
from pipeline.onnx_graphs import PHASES, SOURCE_NOISE, repeated, synthesizer_graph
from tests.parity import Case, assert_close
from tests.pipeline.onnx_projects import ONE, TWO, VARIANTS, run_without_torch, write_project

CPU = torch.device("cpu")
LENGTHS = (17, 60)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def contract_inputs(config: Config, n_frames: int) -> dict[str, torch.Tensor]:
    """What MoeVoiceStudio gives: units on the encoder's grid, noise that is scaled already."""
    n_units = n_frames * 4 // 7
    uv = (torch.rand(1, n_frames) > 0.3).float()
    inputs = {
        "c": torch.randn(1, n_units, config.model.ssl_dim),
        "f0": 100 + 400 * torch.rand(1, n_frames),
        "mel2ph": (1 + torch.arange(n_frames) * 4 // 7).clamp(max=n_units)[None],
        "uv": uv,
        "noise": 0.4 * draw_prior_noise(52468, config.model.inter_channels, n_frames),
        "sid": torch.zeros(1, dtype=torch.int64),
    }
    if len(config.spk) > 1:
        inputs["sid"] = torch.rand(n_frames, len(config.spk)).softmax(dim=1)
    if config.model.vol_embedding:
        inputs["vol"] = torch.rand(1, n_frames)
    return inputs


def expected_audio(config: Config, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """What the checkpoint itself sings with the default seed."""
    net = load_network(Path("checkpoints/alice/model.pth"), config, CPU)
    if len(config.spk) > 1:
        net.EnableCharacterMix(len(config.spk))
    units = inputs["c"][:, inputs["mel2ph"][0] - 1].transpose(1, 2)
    audio, _ = net.infer(units, inputs["f0"], inputs["uv"], inputs["sid"], noice_scale=0.4, vol=inputs.get("vol"))
    return audio


@pytest.mark.parametrize(
    ("variant", "spk"),
    [*((name, ONE) for name in VARIANTS), *((name, TWO) for name in ("default", "volume", "transformer, shared"))],
)
def test_every_variant_equals_the_network(tmp_path: Path, variant: str, spk: dict[str, int]) -> None:
    config = write_project(tmp_path, spk=spk, **VARIANTS[variant])
    export(ExportOptions("alice"))
    feeds = [contract_inputs(config, n) for n in LENGTHS]
    for inputs, got in zip(feeds, run_without_torch(Path("checkpoints/alice/model.onnx"), *feeds), strict=True):
        expected = expected_audio(config, inputs)
        assert expected.abs().max() > 0.01
        assert_close(got, expected, max_abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "default",
        "vol",
        "snake",
        "transflow",
        "transflow_shared",
        "flow_shared",
        "depthwise",
        "tiny",
        "legacy40",
        "spkmix",
    ],
)
def test_golden(tmp_path: Path, name: str) -> None:
    """Full-size networks in onnxruntime alone equal the reference's audio."""
    case = Case(f"synth_{name}")
    arrays = case.arrays()
    net = SynthesizerTrn(1025, 20, **case.info["model_config"])
    kept = case.info["weights"]["model"]["kept_buffers"]
    net.load_state_dict(case.state_dict() | {key: x for key, x in net.state_dict().items() if key in kept})
    remove_weight_norms(net)
    n_speakers = arrays["spk_mix"].shape[1] if "spk_mix" in arrays else 1
    write_graph(synthesizer_graph(net, n_speakers), tmp_path / "model.onnx", properties={})

    n_frames, runs = arrays["f0"].shape[1], [run for run in case.info["runs"] if not run.get("predict_f0")]
    runs = [run for run in runs if not run.get("novol")]  # the graph of such a model always has its volume
    zeros = np.zeros((1, net.config.inter_channels, n_frames), np.float32)
    inputs = {
        "c": arrays["c"].transpose(0, 2, 1),
        "f0": arrays["f0"],
        "mel2ph": np.arange(1, n_frames + 1)[None],
        "uv": arrays["uv"],
        "sid": arrays["spk_mix"] if n_speakers > 1 else np.array(case.info["speaker"]["g"]).reshape(-1),
        PHASES: np.zeros((1, 9), np.float32),
        SOURCE_NOISE: np.zeros((1, 1, 1), np.float32),
    }
    if "vol" in arrays:
        inputs["vol"] = arrays["vol"]
    feeds = [inputs | {"noise": run["noice_scale"] * arrays["noise_zp"] if run.get("noise") else zeros} for run in runs]
    feeds = [{key: x.astype(np.float32) if x.dtype == np.float64 else x for key, x in feed.items()} for feed in feeds]
    assert runs
    for run, got in zip(runs, run_without_torch(tmp_path / "model.onnx", *feeds), strict=True):
        assert_close(got, arrays[f"wav_{run['name']}"], max_abs=1e-4)


def test_the_file_names_and_shapes(tmp_path: Path) -> None:
    write_project(tmp_path, vol_embedding=True, spk=TWO)
    export(ExportOptions("alice"))
    import onnxruntime

    session = onnxruntime.InferenceSession("checkpoints/alice/model.onnx")
    assert {item.name: (item.type, item.shape) for item in session.get_inputs()} == {
        "c": ("tensor(float)", [1, "units", 60]),
        "f0": ("tensor(float)", [1, "frames"]),
        "mel2ph": ("tensor(int64)", [1, "frames"]),
        "uv": ("tensor(float)", [1, "frames"]),
        "noise": ("tensor(float)", [1, 16, "frames"]),
        "sid": ("tensor(float)", ["frames", 2]),
        "vol": ("tensor(float)", [1, "frames"]),
    }
    assert [(item.name, item.shape) for item in session.get_outputs()] == [("audio", [1, 1, "samples"])]
    assert [item.name for item in session.get_overridable_initializers()] == [PHASES, SOURCE_NOISE]
    assert onnx.load("checkpoints/alice/model.onnx").opset_import[0].version == 18
    assert session.get_modelmeta().custom_metadata_map["speakers"] == "anna, bob"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"speech_encoder": "vec768l12", "ssl_dim": 768, "inter_channels": 192},
            {
                "Hubert": "vec-768-layer-12",
                "CharaMix": False,
                "Volume": False,
                "HiddenSize": 768,
                "Characters": ["anna"],
            },
        ),
        (
            {"speech_encoder": "vec256l9", "ssl_dim": 256, "vol_embedding": True, "spk": {"歌手": 2, "bob": 0}},
            {
                **{"Hubert": "vec-256-layer-9", "CharaMix": True, "Volume": True, "HiddenSize": 256},
                "Characters": ["bob", "speaker 1", "歌手"],
            },
        ),
    ],
)
def test_what_moe_voice_studio_is_told(tmp_path: Path, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    write_project(tmp_path, "愛", **{"n_speakers": 3, **changes})
    assert onnx_export.main(["-n", "愛"]) == 0
    described = json.loads(Path("checkpoints/愛.json").read_text(encoding="utf-8"))
    assert described == {
        **{"Folder": "愛", "Name": "愛", "Type": "SoVits", "Rate": 44100, "Hop": 512, "SoVits4": True},
        **{"SoVits3": False, "Cluster": ""},
        **expected,
    }
    edited = json.dumps(described | {"Cluster": "Index"})
    Path("checkpoints/愛.json").write_text(edited, encoding="utf-8")
    for _ in range(2):
        assert onnx_export.main(["-n", "愛"]) == 0
    assert json.loads(Path("checkpoints/愛.json").read_text(encoding="utf-8")) == described
    assert [path.read_text(encoding="utf-8") for path in Path("checkpoints").glob("愛.json.bak-*")] == [edited]


def test_models_that_moe_voice_studio_cannot_run_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_project(tmp_path)
    with caplog.at_level(logging.INFO):
        export(ExportOptions("alice"))
    assert "no file for MoeVoiceStudio: it has no speech encoder 'cepstral'" in caplog.text
    assert not Path("checkpoints/alice.json").exists()
    write_project(tmp_path, speech_encoder="vec256l9", ssl_dim=256)
    with caplog.at_level(logging.INFO):
        export(ExportOptions("alice"))
    assert "gives noise of 192 channels, this model takes 16 (inter_channels): it cannot run there" in caplog.text
    assert "Models takes it, and the model as alice/alice_SoVits.onnx" in caplog.text


def test_other_paths(tmp_path: Path) -> None:
    write_project(tmp_path)
    Path("checkpoints/alice").rename("elsewhere")
    model, config = "elsewhere/model.pth", "elsewhere/config.json"
    assert onnx_export.main(["-n", "alice", "-m", model, "-c", config, "-o", "out/a b.onnx"]) == 0
    assert Path("out/a b.onnx").is_file() and not Path("checkpoints/alice").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "a/b"], "-n wants the name of a folder in checkpoints/, not a path: got 'a/b'"),
        (["-n", ".."], "not a path: got '..'"),
        (["-n", "bob"], "no checkpoints/bob/model.pth: copy logs/44k/G_<step>.pth there under this name, or name"),
        (
            ["-n", "alice", "-c", "c.json"],
            "no c.json: copy logs/44k/config.json there under this name, or name it with",
        ),
        (
            ["-n", "alice", "--what", "encoder"],
            "speech encoder 'cepstral' cannot be exported; those that can: vec768l12",
        ),
        (
            ["-n", "alice", "--what", "encoder", "--speech_encoder", "vec768l12-onnx"],
            "speech encoder 'vec768l12-onnx' is an .onnx file already: ",
        ),
        (["-n", "bob", "--what", "encoder"], "no checkpoints/bob/config.json: it says which encoder; name one with"),
        (["-n", "bob", "--what", "vocoder", "-m", "v"], "v: no such file"),
        (["-n", "bob", "--what", "rmvpe", "-m", "r.pt"], "r.pt: no such file"),
        (["-n", "bob", "--what", "diffusion"], "no checkpoints/bob/model.pt: copy logs/44k/diffusion/model_<step>.pt"),
        (["-n", "b", "-o", "checkpoints/b/model.pth"], "model.pth: an exported file must end in .onnx"),
        (["-n", "b", "--what", "diffusion", "-o", "x.onnx"], "writes four into checkpoints/b: leave it out"),
    ],
)
def test_what_cannot_be_exported(
    tmp_path: Path, arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write_project(tmp_path)
    assert onnx_export.main(arguments) == 1
    assert message in capfd.readouterr().err
    assert not list(tmp_path.rglob("*.onnx"))


def test_a_config_of_another_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_project(tmp_path)
    write_project(tmp_path, "other", vol_embedding=True)
    assert onnx_export.main(["-n", "alice", "-c", "checkpoints/other/config.json"]) == 1
    assert "-c must name the config.json it was trained with" in capfd.readouterr().err


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NotAvailableError, match=f"needs the package {package}: pip install onnx onnxruntime -c const"):
        export(ExportOptions("alice"))


class Branching(nn.Module):
    """What a trace cannot hold."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if x.size(1) > 5 else x


def test_a_file_that_differs_is_not_written(tmp_path: Path) -> None:
    axes = {1: "n"}
    graph = Graph(Branching(), lambda n: {"x": torch.zeros(1, n)}, {"x": axes}, {"y": axes}, lengths=(3, 4, 9))
    path = tmp_path / "model.onnx"
    path.write_text("what was there")
    with pytest.raises(ValueError, match=r"model\.onnx is not written: .* \(they differ by 1\.0e\+00; 1e-04 is allow"):
        write_graph(graph, path, properties={})
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"] and path.read_text() == "what was there"


def test_noise_begins_again_where_it_ends() -> None:
    noise = torch.arange(5.0).view(1, 5, 1)
    assert repeated(noise, 12).flatten().tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]

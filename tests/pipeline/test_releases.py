"""Released models: small, whole, and the same voice; the layout is that of 4.1."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import compress_model
from common import checkpoint
from common.checkpoint import CheckpointError
from common.config import from_dict
from common.download import digest
from models import SynthesizerTrn
from pipeline.model_loading import load_network
from pipeline.releases import compress
from pipeline.settings import UNIT_DIMS, read_config
from tests.pipeline.tiny_model import write_model

CPU = torch.device("cpu")


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Path, Path]:
    """G_5.pth with the moments of one step, as training leaves it, and its config."""
    path, config_path = write_model(tmp_path)
    model = SynthesizerTrn.from_config(read_config(config_path))
    state, _ = checkpoint.read_model(path)
    model.load_state_dict(state)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    content = {"model": model.state_dict(), "iteration": 2, "optimizer": optimizer.state_dict(), "learning_rate": 3e-4}
    checkpoint.save(path, {**content, "step": 5})
    return path, config_path


def sing(path: Path, config_path: Path) -> np.ndarray:
    config = read_config(config_path)
    torch.manual_seed(0)
    inputs = {"c": torch.randn(1, config.model.ssl_dim, 40), "f0": torch.full((1, 40), 220.0), "uv": torch.ones(1, 40)}
    model = load_network(path, config, CPU)
    return model.infer(**inputs, g=torch.tensor([[1]]), vol=torch.full((1, 40), 0.1))[0].numpy()


def test_the_layout_is_that_of_the_family(trained: tuple[Path, Path], tmp_path: Path) -> None:
    path, config_path = trained
    output = compress(path, None, config_path)
    assert output == tmp_path / "G_5_release.pth"
    whole, released = (torch.load(file, weights_only=True) for file in (path, output))
    kept = {key: value for key, value in whole["model"].items() if not key.startswith("enc_q.")}
    assert len(kept) < len(whole["model"]) and list(released["model"]) == list(kept)
    assert all(torch.equal(released["model"][key], kept[key]) for key in kept)
    assert released["iteration"] == 0 and released["learning_rate"] == 1e-4
    config = read_config(config_path)
    model = SynthesizerTrn.from_config(config)
    torch.optim.AdamW(model.parameters()).load_state_dict(released["optimizer"])  # as 4.1 does
    assert released["optimizer"]["state"] == {} and released["optimizer"]["param_groups"][0]["lr"] == 2e-4
    assert from_dict(released["config"], unit_dims=UNIT_DIMS) == config
    source = {"name": "G_5.pth", "sha256": digest(path), "step": 5, "iteration": 2}
    assert released["made_from"] == {"tool": "compress_model.py", "half": False, "files": [source]}
    assert output.stat().st_size < 0.4 * path.stat().st_size


@pytest.mark.parametrize("name", ["release.pth", "new folder/声.safetensors"])
def test_the_voice_stays_the_same(trained: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    path, config_path = trained
    expected = sing(path, config_path)
    whole, half = tmp_path / name, tmp_path / f"half {Path(name).name}"
    compress(path, whole, config_path)
    np.testing.assert_array_equal(sing(whole, config_path), expected)
    compress(path, half, config_path, half=True)
    np.testing.assert_allclose(sing(half, config_path), expected, atol=2e-2 * np.abs(expected).max())
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    assert {x.dtype for x in checkpoint.read_model(half)[0].values()} == {torch.float16}
    embedded = checkpoint.read_embedded_config(half)
    assert embedded is not None and from_dict(embedded, unit_dims=UNIT_DIMS) == read_config(config_path)


def test_a_release_of_a_release_knows_where_it_comes_from(trained: tuple[Path, Path], tmp_path: Path) -> None:
    path, config_path = trained
    first = compress(path, None, config_path, half=True, safetensors=True)
    assert first == tmp_path / "G_5_release.safetensors"
    second = compress(first, None, config_path, safetensors=False)
    state, extra = checkpoint.read_model(second)
    (file,) = extra["made_from"]["files"]
    assert file["name"] == first.name and file["made_from"]["files"][0]["sha256"] == digest(path)
    assert state["emb_g.weight"].dtype == torch.float16  # numbers stay as they are
    third = compress(second, tmp_path / "again.safetensors", config_path)
    assert checkpoint.read_model(third)[0].keys() == state.keys()


def test_what_a_foreign_file_says_of_itself_is_kept_where_it_can_be(tmp_path: Path) -> None:
    path, config_path = write_model(tmp_path)
    content = torch.load(path, weights_only=True) | {"made_from": {"x": torch.zeros(2)}, "step": {1, 2}}
    torch.save(content, path)
    _, extra = checkpoint.read_model(compress(path, None, config_path))
    assert extra["made_from"]["files"] == [{"name": "G_5.pth", "sha256": digest(path), "iteration": 1}]


@pytest.mark.parametrize(("flags", "copies"), [({"flow_share_parameter": True, "n_flow_layer": 2}, 1), ({}, 0)])
def test_shared_tensors_are_stored_once(tmp_path: Path, flags: dict, copies: int) -> None:
    path, config_path = write_model(tmp_path, **flags)
    for half in (False, True):
        output = compress(path, tmp_path / "r.pth", config_path, half=half)
        state = torch.load(output, weights_only=True)["model"]
        storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in state.values()}
        assert (sum(x.nbytes for x in state.values()) > sum(storages.values())) == bool(copies)
        np.testing.assert_array_equal(
            sing(output, config_path), sing(compress(output, tmp_path / "r.safetensors", config_path), config_path)
        )


def test_what_is_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    path, config_path = trained
    before = path.read_bytes()
    (tmp_path / "link.pth").symlink_to(path)
    for output in (path, tmp_path / "link.pth", tmp_path / "x/../G_5.pth", config_path):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match="would be written over what it is made from, .*: name another file"):
            compress(path, output, config_path)
    with pytest.raises(ValueError, match=r"a file of this format must end in \.safetensors"):
        compress(path, tmp_path / "r.pth", config_path, safetensors=True)
    with pytest.raises(ValueError, match=r"a file of this format must not end in \.safetensors"):
        compress(path, tmp_path / "r.safetensors", config_path, safetensors=False)
    with pytest.raises(ValueError, match=r"what is written here is a checkpoint; python onnx_export\.py makes"):
        compress(path, tmp_path / "r.onnx", config_path)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        compress(tmp_path / "G_6.pth", None, config_path)
    config = json.loads(config_path.read_text())
    config["model"]["gin_channels"] = 24
    other = tmp_path / "other.json"
    other.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"(?s)emb_g.weight is \(2, 16\).*-c .*other.json must be the config"):
        compress(path, None, other)
    content = torch.load(path, weights_only=True)
    content["model"]["emb_g.weight"][0, 0] = 1e5
    torch.save(content, tmp_path / "G_7.pth")
    with pytest.raises(CheckpointError, match=r"G_7.pth: emb_g.weight reaches 100000, half precision ends at 65504"):
        compress(tmp_path / "G_7.pth", None, config_path, half=True)
    content["model"]["emb_g.weight"][0, 0] = torch.nan
    torch.save(content, tmp_path / "G_8.pth")
    with pytest.raises(CheckpointError, match=r"G_8.pth holds numbers that are not finite.*emb_g.weight"):
        compress(tmp_path / "G_8.pth", None, config_path)
    assert path.read_bytes() == before and not list(tmp_path.glob("*release*"))


def test_the_command(trained: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, config_path = trained
    names = ["-c", str(config_path), "-i", str(path)]
    assert compress_model.main([*names, "-o", str(tmp_path / "release.pth"), "-hf"]) == 0
    assert compress_model.main([*names, "--format", "safetensors"]) == 0
    assert (tmp_path / "G_5_release.safetensors").is_file()
    assert compress_model.main([*names, "-o", str(path)]) == 1
    heard = capfd.readouterr().err
    assert "release.pth: 0." in heard and "ERROR" in heard.splitlines()[-1]

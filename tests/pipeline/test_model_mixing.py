"""Static mixing: the reference's arithmetic, and only of models that belong together."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import mix_models
from common import checkpoint
from common.checkpoint import CheckpointError
from common.download import digest
from pipeline.model_loading import load_network
from pipeline.model_mixing import CONVEX, LINEAR, MODES, Ingredient, mix, parse_ingredient, shares, weighted_sum
from pipeline.releases import compress
from pipeline.settings import read_config
from tests.parity import Case, assert_close
from tests.pipeline.tiny_model import MODEL, write_model
from tests.synthetic import write_config


@pytest.fixture
def models(tmp_path: Path) -> tuple[list[Path], Path]:
    """G_1, G_2 and G_3 of one config, which lies beside them."""
    path, config_path = write_model(tmp_path)
    content = torch.load(path, weights_only=True)
    paths = [tmp_path / f"G_{i}.pth" for i in (1, 2, 3)]
    for i, target in enumerate(paths):
        state = {key: x + 0.01 * i * torch.randn_like(x) for key, x in content["model"].items()}
        torch.save(content | {"model": state, "step": i + 1}, target)
    return paths, config_path


def states(paths: list[Path]) -> list[dict[str, torch.Tensor]]:
    return [checkpoint.read_model(path)[0] for path in paths]


@pytest.mark.parametrize("mode", MODES)
def test_golden(mode: str) -> None:
    case = Case("utils_models")
    arrays = {key: torch.from_numpy(x) for key, x in case.arrays().items() if key.startswith("mix_")}
    models = [(Path(f"{i}"), {name: arrays[f"mix_{name}_{i}"] for name in "wb"}) for i in range(3)]
    got = weighted_sum(models, shares(case.info["info"]["mix_rates_percent"], mode))
    for name in "wb":
        assert_close(got[name], arrays[f"mix_{mode}_{name}"], max_abs=1e-6)


def test_shares() -> None:
    assert shares([60, 40], LINEAR) == [0.6, 0.4]
    assert shares([60, 40], CONVEX) == pytest.approx([0.549834, 0.450166], abs=1e-6)
    assert sum(shares([90, 90, 0.5], CONVEX)) == pytest.approx(1)


@pytest.mark.parametrize("name", ["output.pth", "新/mix.safetensors"])
def test_the_mix_of_three(models: tuple[list[Path], Path], tmp_path: Path, name: str) -> None:
    paths, config_path = models
    output = tmp_path / name
    mix([Ingredient(path, rate) for path, rate in zip(paths, (50, 30, 20), strict=True)], output, config_path)
    weights = shares([50, 30, 20], CONVEX)
    state, extra = checkpoint.read_model(output)
    for key, x in state.items():
        assert_close(x, sum(w * s[key] for w, s in zip(weights, states(paths), strict=True)), max_abs=1e-6)
    assert extra["iteration"] == 0 and extra["learning_rate"] == 1e-4
    assert extra["config"] == read_config(config_path).as_dict()
    assert extra["made_from"]["tool"] == "mix_models.py" and extra["made_from"]["mode"] == CONVEX
    first = {"name": "G_1.pth", "sha256": digest(paths[0]), "rate": 50, "step": 1, "iteration": 1}
    assert extra["made_from"]["files"][0] == first and len(extra["made_from"]["files"]) == 3
    load_network(output, read_config(config_path), torch.device("cpu"))
    if output.suffix == ".pth":
        assert extra["optimizer"]["state"] == {} and any(key.startswith("enc_q.") for key in state)


def test_released_and_half_models(
    models: tuple[list[Path], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths, config_path = models
    released = compress(paths[1], tmp_path / "r.pth", config_path, half=True)
    for order in ([paths[0], released], [released, paths[0]]):
        caplog.clear()
        mix([Ingredient(path, 50) for path in order], tmp_path / "output.pth", config_path, mode=LINEAR)
        assert "differ in enc_q: the mix is a released model, for conversion only" in caplog.text
        state, _ = checkpoint.read_model(tmp_path / "output.pth")
        assert state.keys() == checkpoint.read_model(released)[0].keys()
        assert {x.dtype for x in state.values()} == {torch.float32}
        one, two = states(order)
        assert_close(state["emb_g.weight"], (one["emb_g.weight"] + two["emb_g.weight"].float()) / 2, max_abs=1e-6)


def test_shared_tensors_stay_shared(tmp_path: Path) -> None:
    path, config_path = write_model(tmp_path, flow_share_parameter=True, n_flow_layer=2)
    other = tmp_path / "G_6.pth"
    other.write_bytes(path.read_bytes())
    mix([Ingredient(path, 50), Ingredient(other, 50)], tmp_path / "output.pth", config_path)
    state = torch.load(tmp_path / "output.pth", weights_only=True)["model"]
    assert len({x.data_ptr() for x in state.values()}) < len(state)


def test_tensors_that_are_no_numbers_to_be_mixed() -> None:
    def models(second: int) -> list[tuple[Path, dict[str, torch.Tensor]]]:
        return [(Path(name), {"n": torch.tensor(n), "x": torch.ones(1)}) for name, n in (("a", 3), ("b", second))]

    assert weighted_sum(models(3), [0.5, 0.5]) == {"n": torch.tensor(3), "x": torch.ones(1)}
    with pytest.raises(CheckpointError, match="b: n is no floating tensor and differs from that of the first model"):
        weighted_sum(models(4), [0.5, 0.5])


def changed_config(folder: Path, **changes: dict[str, Any]) -> Path:
    return write_config(folder / "config.json", **{**changes, "model": MODEL | changes.get("model", {})})


def test_models_that_do_not_belong_together(models: tuple[list[Path], Path], tmp_path: Path) -> None:
    paths, config_path = models
    output, mine = tmp_path / "output.pth", Ingredient(paths[0], 50)

    def refused(path: Path, message: str) -> None:
        with pytest.raises(CheckpointError, match=message):
            mix([mine, Ingredient(path, 50)], output, config_path)
        assert not output.exists()

    other, wide_config = write_model(tmp_path / "wide", gin_channels=24)
    refused(other, r"(?s)wide.G_5.pth does not fit.*emb_g.weight is \(2, 24\).*-c .*config.json must be the config")

    folder = tmp_path / "other"
    changed_config(folder, model={"speech_encoder": "cepstral", "p_dropout": 0.2}, spk={"bob": 0, "anna": 1})
    (folder / "G_2.pth").write_bytes(paths[1].read_bytes())
    lines = r"(?s)G_2.pth cannot be mixed: .*config.json differs from .*config.json:.*model.p_dropout: 0.2, not 0.1"
    refused(folder / "G_2.pth", lines + r".*spk: bob \(id 0\), anna \(id 1\); not anna \(id 0\), bob \(id 1\)")

    changed_config(folder, data={"filter_length": 1024, "sampling_rate": 32000})
    refused(folder / "G_2.pth", r"data.sampling_rate: 32000, not 44100")

    # What a model carries inside goes before what lies beside it.
    changed_config(folder)
    mix([mine, Ingredient(folder / "G_2.pth", 50)], output, config_path)
    output.unlink()
    config = json.loads(config_path.read_text()) | {"spk": {"carla": 0}}
    torch.save(torch.load(paths[1], weights_only=True) | {"config": config}, folder / "G_2.pth")
    refused(folder / "G_2.pth", r"the config inside .*G_2.pth differs from .*\n  spk: carla \(id 0\); not anna")

    state = states([paths[1]])[0]
    checkpoint.save(folder / "G_3.pth", {"model": state | {"emb_g.weight": state["emb_g.weight"] * torch.nan}})
    refused(folder / "G_3.pth", r"G_3.pth holds numbers that are not finite")
    refused(folder / "G_4.pth", r"no checkpoint .*G_4.pth")


def test_a_model_without_any_config(
    models: tuple[list[Path], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths, config_path = models
    lonely = tmp_path / "lonely/G_2.pth"
    lonely.parent.mkdir()
    lonely.write_bytes(paths[1].read_bytes())
    mix([Ingredient(paths[0], 60), Ingredient(lonely, 50)], tmp_path / "o.pth", config_path, mode=LINEAR)
    assert "lonely/G_2.pth has no config.json beside it: that its speakers are those of -c was not checked" in (
        caplog.text.replace("\\", "/")
    )
    assert "the rates make 110 %, not 100" in caplog.text


def test_what_no_mix_can_be_made_of(models: tuple[list[Path], Path], tmp_path: Path) -> None:
    paths, config_path = models
    for items in ([], [Ingredient(paths[0], 100)], [Ingredient(path, 0) for path in paths]):
        with pytest.raises(ValueError, match="a mix needs at least two models, and a rate above 0"):
            mix(items, tmp_path / "output.pth", config_path)
    for output in (paths[2], config_path):
        before = output.read_bytes()
        with pytest.raises(ValueError, match="would be written over what it is made from, "):
            mix([Ingredient(path, 30) for path in paths], output, config_path)
        assert output.read_bytes() == before


def test_models_and_rates_on_the_command_line() -> None:
    assert parse_ingredient("logs/G_1.pth:60") == (Path("logs/G_1.pth"), 60)
    assert parse_ingredient("C:/a:b.pth:0.5") == (Path("C:/a:b.pth"), 0.5)
    for text in ("G_1.pth", "G_1.pth:", ":60", "C:\\a.pth", "G_1.pth:-1", "G_1.pth:nan", "G_1.pth:inf", ""):
        with pytest.raises(ValueError, match=r"expected a model and its rate in percent, such as"):
            parse_ingredient(text)


def test_the_command(
    models: tuple[list[Path], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, config_path = models
    monkeypatch.chdir(tmp_path)
    arguments = ["-c", str(config_path), "-m", f"{paths[0]}:60", f"{paths[1]}:40"]
    assert mix_models.main(arguments) == 0
    assert "output.pth: 0.5498 " in capfd.readouterr().err
    assert mix_models.main([*arguments, "--mode", "linear", "-o", "linear.pth"]) == 0
    assert "linear.pth: 0.6000 " in capfd.readouterr().err
    assert mix_models.main([*arguments, str(paths[2])]) == 1
    assert "ERROR" in capfd.readouterr().err

"""Diffusion models from files: of this project, of DDSP-SVC and Diffusion-SVC, and what is refused with which words."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import diffusion
from common.checkpoint import CheckpointError
from common.registry import NotAvailableError
from common.sections import ConfigError
from diffusion.loading import base_voices, build_unit2mel, fit_base, load_state, read_diffusion_config
from modules.timbre import Timbres
from tests.diffusion import tiny
from tests.parity import assert_close

TINY: dict[str, Any] = {
    "data": {"encoder": "cepstral", "encoder_out_channels": 60},
    "model": {"n_spk": 2, "use_pitch_aug": True, **tiny.NETWORK},
    "spk": {"anna": 0, "bob": 1},
}


def write(folder: Path, *, state: dict | None = None, config: dict | None = None, **model: Any) -> Path:
    """A checkpoint of ``config`` with ``state``, and a config.yaml whose section model is changed by ``model``."""
    config = TINY if config is None else config
    path, trained = folder / "model_9.pt", folder / "trained.yaml"
    trained.write_text(yaml.safe_dump(config), encoding="utf-8")
    if state is None:
        state = build_unit2mel(read_diffusion_config(trained)).state_dict()
    torch.save({"global_step": 9, "model": state}, path)
    changed = config | {"model": config["model"] | model}
    (folder / "config.yaml").write_text(yaml.safe_dump(changed), encoding="utf-8")
    return path


def test_a_round_trip(tmp_path):
    path = write(tmp_path)
    model = diffusion.load_unit2mel(path, device="cpu")
    config = model.config
    assert (config.speaker_id("bob"), config.model.n_layers) == (1, 4)
    saved = torch.load(path, weights_only=True)["model"]
    assert all(torch.equal(value, saved[key]) for key, value in model.state_dict().items())
    assert not model.training and not any(parameter.requires_grad for parameter in model.parameters())
    elsewhere = (tmp_path / "config.yaml").rename(tmp_path / "other.yaml")
    again = diffusion.load_unit2mel(str(path), str(elsewhere), "cpu")
    assert again.config == config


def test_a_rectified_flow_round_trip(tmp_path):
    network = TINY["model"] | {"type": "RectifiedFlow", "t_start": 0.7}
    model = diffusion.load_unit2mel(write(tmp_path, config=TINY | {"model": network}), device="cpu")
    assert (model.decoder.k_step_max, model.config.infer.method) == (300, "euler")
    assert not any("betas" in key for key in model.state_dict())


def test_a_model_of_ddsp_svc(tmp_path):
    """Its encoder is written otherwise, and speakers have no names but are counted from 1."""
    data = {"encoder": "contentvec768l12", "encoder_out_channels": 768, "f0_extractor": "rmvpe", "f0_min": 65}
    config = {"data": data, "model": TINY["model"], "device": "cuda", "train": {"lambda_ddsp": 1}}
    model = diffusion.load_unit2mel(write(tmp_path, config=config), device="cpu")
    config = model.config
    assert config.data.encoder == "vec768l12"
    assert [config.speaker_id(who) for who in ("1", 1, "2")] == [0, 0, 1]
    assert model.spk_embed.num_embeddings == 2


def test_half_precision_weights_keep_the_exact_schedule(tmp_path):
    state = {key: value.half() for key, value in torch.load(write(tmp_path), weights_only=True)["model"].items()}
    model = diffusion.load_unit2mel(write(tmp_path, state=state), device="cpu")
    assert_close(model.decoder.betas, model.decoder.schedule.betas, max_abs=1e-9)
    assert model.unit_embed.weight.dtype == torch.float32
    assert_close(model.unit_embed.weight, state["unit_embed.weight"].float(), max_abs=0)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no diffusion model .*: train one: python train_diff.py"):
        diffusion.load_unit2mel(tmp_path / "model_0.pt")
    path = write(tmp_path)
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"config.yaml: .* belongs beside it, or is named with -dc"):
        diffusion.load_unit2mel(path)


def test_damaged_weights(tmp_path):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match="model_9.pt is damaged, cut off"):
        diffusion.load_unit2mel(path)
    torch.save({"weights": 1}, path)
    with pytest.raises(CheckpointError, match="is no model checkpoint"):
        diffusion.load_unit2mel(path)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"n_layers": 3}, "model.n_layers: 3 in the configuration, 4 in the weights"),
        ({"n_chans": 32}, "model.n_chans: 32 in the configuration, 16 in the weights"),
        ({"n_hidden": 8}, "model.n_hidden: 8 in the configuration, 12 in the weights"),
        ({"n_spk": 4}, "model.n_spk: 4 in the configuration, 2 in the weights"),
        ({"use_pitch_aug": False}, "model.use_pitch_aug: false in the configuration, true in the weights"),
        ({"timesteps": 500}, "model.timesteps: 500 in the configuration, 1000 in the weights"),
        ({"type": "RectifiedFlow"}, 'model.type: "RectifiedFlow" in the configuration, "Diffusion" in the weights'),
    ],
)
def test_weights_of_another_network(tmp_path, changes, line):
    path = write(tmp_path, **changes)
    with pytest.raises(CheckpointError, match="model_9.pt does not fit its configuration:") as caught:
        diffusion.load_unit2mel(path)
    assert line in str(caught.value)


def test_weights_of_another_encoder_and_another_vocoder(tmp_path):
    path = write(tmp_path)
    data = {"encoder": "vec256l9", "encoder_out_channels": 256}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(TINY | {"data": data}), encoding="utf-8")
    with pytest.raises(CheckpointError) as caught:
        diffusion.load_unit2mel(path, n_mels=80)
    assert "data.encoder_out_channels: 256 in the configuration, 60 in the weights" in str(caught.value)
    assert "mel bands of the vocoder: 80 in the configuration, 128 in the weights" in str(caught.value)


def test_an_encoder_that_gives_other_units(tmp_path):
    path = write(tmp_path)
    data = {"encoder": "vec256l9", "encoder_out_channels": 60}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(TINY | {"data": data}), encoding="utf-8")
    with pytest.raises(ConfigError, match="data.encoder_out_channels: encoder vec256l9 gives 256 channels, got 60"):
        diffusion.load_unit2mel(path)


def test_another_noise_schedule(tmp_path):
    state = torch.load(write(tmp_path), weights_only=True)["model"]
    state["decoder.betas"] = torch.linspace(1e-4, 0.01, 1000)
    with pytest.raises(CheckpointError, match=r"trained with another noise schedule \(decoder.betas\)"):
        diffusion.load_unit2mel(write(tmp_path, state=state))


def test_timbres_of_another_model(tmp_path, caplog):
    """The model is good without them."""
    path = write(tmp_path)
    content = torch.load(path, weights_only=True)
    shapes = ((2, 60, 20), (2, 20), (2, 20), (2, 60), (2, 60), (2, 20))
    timbres = {name: torch.ones(shape) for name, shape in zip(Timbres._fields, shapes, strict=True)}
    torch.save(content | {"timbres": timbres}, path)
    assert diffusion.load_unit2mel(path, device="cpu").timbres.has(1)
    for wrong, message in (
        (
            timbres | {"bias": torch.ones(3, 20)},
            "timbres of other sizes than those of the model: bias; they are left out, and python train_diff.py",
        ),
        ([1.0], "a list in the place of timbres; they are left out"),
    ):
        torch.save(content | {"timbres": wrong}, path)
        assert diffusion.load_unit2mel(path).timbres is None
        assert message in caplog.text


def test_a_missing_tensor_and_one_too_many(tmp_path):
    state = torch.load(write(tmp_path), weights_only=True)["model"]
    state["stranger"] = state.pop("f0_embed.bias")
    with pytest.raises(CheckpointError) as caught:
        diffusion.load_unit2mel(write(tmp_path, state=state))
    assert "1 keys are missing: f0_embed.bias" in str(caught.value)
    assert "1 keys are unknown: stranger" in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"type": "CombSubFast"}, "model.type CombSubFast is a DDSP synthesiser, which is not available here"),
        ({"type": "Sins"}, "model.type Sins is a DDSP synthesiser"),
        (
            {"type": "DiffusionNew", "pcmer_norm": True},
            "DiffusionNew is a DDSP synthesiser and a diffusion model in one",
        ),
        ({"type": "RectifiedFlow", "win_length": 2048}, "a DDSP synthesiser and a rectified flow in one"),
    ],
)
def test_other_models_of_the_family_are_named(tmp_path, model, message):
    with pytest.raises(NotAvailableError, match=message):
        diffusion.load_unit2mel(write(tmp_path, **model))


def test_weights_of_a_cascade(tmp_path):
    with pytest.raises(NotAvailableError, match="holds a DDSP synthesiser and a refiner in one"):
        diffusion.load_unit2mel(write(tmp_path, state={"ddsp_model.window": torch.zeros(4)}))


def test_weights_of_something_else(tmp_path):
    with pytest.raises(CheckpointError, match=r"is no diffusion model: it has no unit_embed.weight \(keys: \['emb_g"):
        diffusion.load_unit2mel(write(tmp_path, state={"emb_g.weight": torch.zeros(4)}))


def test_an_absent_device(tmp_path):
    with pytest.raises(ValueError, match="device 'cuda:99' was asked for"):
        diffusion.load_unit2mel(write(tmp_path), device="cuda:99")


def fitted(base: dict[str, Any], own: dict[str, Any]):
    """The base, and a model of other settings that was started from it."""
    first, second = tiny.model(**base), tiny.model(**own)
    load_state(second, fit_base(first.state_dict(), second, where="model_0.pt"), where="model_0.pt")
    return first, second


def test_a_base_model_with_as_many_speakers_is_taken_as_it_is(caplog):
    caplog.set_level(logging.INFO)
    base, own = fitted({}, {"k_step_max": 100})
    assert all(torch.equal(value, own.state_dict()[key]) for key, value in base.state_dict().items())
    assert not caplog.records and base_voices(base.state_dict(), own) is None


@pytest.mark.parametrize(("theirs", "ours"), [(3, 5), (3, 1), (1, 4)])
def test_a_base_model_with_other_speakers(theirs, ours, caplog):
    caplog.set_level(logging.INFO)
    base, own = fitted({"n_spk": theirs}, {"n_spk": ours})
    clips, _ = tiny.inputs()
    mean = base.condition(*clips, spk_mix_dict={i: 1 / theirs for i in range(theirs)})
    for speaker in range(ours):
        assert_close(own.condition(*clips, spk_id=torch.tensor([speaker])), mean, max_abs=1e-5)
    voices = base_voices(base.state_dict(), own)
    assert (voices is None) == (theirs == 1)
    for voice in range(theirs if theirs > 1 else 0):
        speaks = own.condition(*clips, spk_id=torch.tensor([0])) + voices[voice]
        assert_close(speaks, base.condition(*clips, spk_id=torch.tensor([voice])), max_abs=1e-5)
    assert f"model_0.pt as a base: {theirs} speakers there, {ours} here" in caplog.text


@pytest.mark.parametrize(("theirs", "ours"), [(True, False), (False, True)])
def test_a_base_model_with_and_without_pitch_augmentation(theirs, ours, caplog):
    caplog.set_level(logging.INFO)
    base, own = fitted({"use_pitch_aug": theirs}, {"use_pitch_aug": ours})
    clips, _ = tiny.inputs()
    speaker = {"spk_id": torch.tensor([0])}
    shift = {"aug_shift": 3.0} if ours else {}
    assert_close(own.condition(*clips, **speaker, **shift), base.condition(*clips, **speaker), max_abs=1e-6)
    assert "it knows" in caplog.text


def test_the_package_names_what_it_has():
    assert diffusion.Unit2Mel.__name__ == "Unit2Mel"
    with pytest.raises(AttributeError, match="module 'diffusion' has no attribute 'Unit2Wav'"):
        _ = diffusion.Unit2Wav

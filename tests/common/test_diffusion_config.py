"""diffusion.yaml: every problem at once, by its full name; files of 4.1, DDSP-SVC and Diffusion-SVC load."""

import logging
from dataclasses import fields
from typing import Any

import pytest
import yaml

from common.diffusion_config import SECTIONS, DiffusionConfig, from_dict, load_diffusion_config, read_yaml
from common.registry import NotAvailableError
from common.sections import ConfigError
from diffusion import read_diffusion_config
from pipeline.filelists import TEMPLATES, fit_diffusion

KNOWN: dict[str, Any] = {
    "unit_dims": {"cepstral": 60, "vec768l12": 768, "vec256l9": 256},
    "vocoders": ["nsf-hifigan"],
    "samplers": {"Diffusion": ["ddim", "dpm-solver++"], "RectifiedFlow": ["euler", "rk4"]},
}
TEMPLATE = yaml.safe_load((TEMPLATES / "diffusion_template.yaml").read_text(encoding="utf-8"))


def raw(**changes: Any) -> dict[str, Any]:
    """The template for two speakers, with ``changes`` to the sections, and to what else there is."""
    config = fit_diffusion(TEMPLATE, {"anna": 0, "bob": 1}, encoder="cepstral", dim=60)
    for name, change in changes.items():
        update = isinstance(change, dict) and name in SECTIONS
        config = config | {name: config[name] | change if update else change}
    return config


def load(config: dict[str, Any]) -> DiffusionConfig:
    return from_dict(config, **KNOWN, where="diffusion.yaml")


def problems(**changes: Any) -> list[str]:
    with pytest.raises(ConfigError, match="diffusion.yaml cannot be used") as caught:
        load(raw(**changes))
    return caught.value.problems


def test_the_template_is_valid_and_known_to_the_last_key(caplog, tmp_path):
    config = raw()
    path = tmp_path / "diffusion.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    read = read_diffusion_config(path)
    assert not caplog.records
    new = {
        "train": {"seed"},
        "model": {"t_start"},
        "infer": {"temperature", "articulation", "timbre_match"},
    }  # of this project
    for name, cls in SECTIONS.items():
        assert {f.name for f in fields(cls)} == config[name].keys() | new.get(name, set())
        assert {key: getattr(getattr(read, name), key) for key in config[name]} == config[name]
    assert (read.device, read.spk) == ("auto", {"anna": 0, "bob": 1})
    assert from_dict(read.as_dict(), **KNOWN) == read


def test_every_problem_is_told_at_once():
    found = problems(
        data={"encoder": "contentvec"},
        model={"n_layers": "20", "n_hiden": 256},
        train={"amp_dtype": "fp8", "batch_size": 0},
        infer={"speedup": 0},
        spk={"anna": "0"},
        trian={},
        device="gpu",
    )
    assert sorted(found) == [
        "data.encoder: unknown 'contentvec'; choose one of: cepstral, vec768l12, vec256l9",
        'device: must be "auto", "cpu", "cuda", "cuda:N" or "mps", got "gpu"',
        "infer.speedup: must be at least 1, got 0",
        "model.n_hiden: unknown field, did you mean 'n_hidden'?",
        'model.n_layers: expected int, got "20"',
        'spk: expected an object of speakers and ids such as {"alice": 0}',
        'train.amp_dtype: must be "fp32", "fp16" or "bf16", got "fp8"',
        "train.batch_size: must be at least 1, got 0",
        "trian: unknown field, did you mean 'train'?",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"encoder": "hubert"}}, "data.encoder: unknown 'hubert'; choose one of: cepstral, vec768l12"),
        (
            {"data": {"encoder_out_channels": 768}},
            "data.encoder_out_channels: encoder cepstral gives 60 channels, got 768",
        ),
        ({"data": {"encoder_sample_rate": 44100}}, "data.encoder_sample_rate: every encoder works at 16000 Hz"),
        ({"data": {"encoder_hop_size": 512}}, "data.encoder_sample_rate: every encoder works at 16000 Hz"),
        ({"data": {"duration": 0}}, "data.duration: must be at least one frame of block_size samples, got 0"),
        ({"data": {"block_size": 0}}, "data.block_size: must be at least 1, got 0"),
        ({"data": {"unit_interpolate_mode": "cubic"}}, 'data.unit_interpolate_mode: must be "left" or "nearest"'),
        ({"data": {"extensions": "wav"}}, 'data.extensions: expected list[str], got "wav"'),
        ({"model": {"type": "Difusion"}}, 'model.type: must be Diffusion or RectifiedFlow, got "Difusion"'),
        ({"model": {"n_chans": 511}}, "model.n_chans: must be even and at least 4, got 511"),
        ({"model": {"n_layers": 0}}, "model.n_layers: must be at least 1, got 0"),
        ({"model": {"timesteps": 1}}, "model.timesteps: must be at least 2, got 1"),
        ({"model": {"timesteps": 0, "k_step_max": 1}}, "model.k_step_max: must be at most timesteps (0), got 1"),
        ({"model": {"k_step_max": 1001}}, "model.k_step_max: must be at most timesteps (1000), got 1001"),
        ({"model": {"k_step_max": -1}}, "model.k_step_max: must not be negative, got -1"),
        ({"model": {"use_pitch_aug": "yes"}}, 'model.use_pitch_aug: expected bool, got "yes"'),
        ({"model": {"t_start": 0.7}}, "model.t_start: is for rectified flow; for diffusion set k_step_max instead"),
        (
            {"model": {"type": "RectifiedFlow", "k_step_max": 300}},
            "model.k_step_max: is for diffusion; for rectified flow set it to 0, and t_start to 0.7",
        ),
        (
            {"model": {"type": "RectifiedFlow", "t_start": 1.0}},
            "model.t_start: must be at least 0, and leave a step of the 1000 to 1, got 1.0",
        ),
        ({"model": {"n_spk": 1}}, "spk.bob: id 1 is outside model.n_spk (1)"),
        ({"spk": {"anna": 0, "bob": 0}}, "spk: two speakers share one id"),
        ({"spk": {}}, "spk: expected an object of speakers and ids"),
        ({"vocoder": {"type": "hifigan"}}, "vocoder.type: unknown 'hifigan'; choose one of: nsf-hifigan"),
        (
            {"infer": {"method": "heun"}},
            "infer.method: unknown 'heun' for Diffusion; choose one of: ddim, dpm-solver++",
        ),
        (
            {"model": {"type": "RectifiedFlow"}},
            "infer.method: unknown 'dpm-solver++' for RectifiedFlow; choose one of: euler, rk4",
        ),
        (
            {"model": {"k_step_max": 100}, "infer": {"speedup": 200}},
            "infer.speedup: must be at most the 100 steps of the model, got 200",
        ),
        ({"infer": {"infer_step": 50}}, "infer.infer_step: set infer.speedup instead"),
        ({"env": {"gpu_id": -1}}, "env.gpu_id: must not be negative, got -1"),
        ({"train": {"cache_device": "gpu"}}, 'train.cache_device: must be "cpu", "cuda", "cuda:N" or "mps", got "gpu"'),
        ({"train": {"lr": 2}}, "train.lr: must be between 0 and 1, got 2"),
        ({"train": {"gamma": 0}}, "train.gamma: must be above 0 and at most 1, got 0"),
        ({"train": {"decay_step": 0}}, "train.decay_step: must be at least 1, got 0"),
        ({"train": {"weight_decay": -0.1}}, "train.weight_decay: must not be negative, got -0.1"),
        ({"train": {"interval_val": 0}}, "train.interval_val: must be at least 1, got 0"),
        ({"train": [1]}, "train: expected a table, got [1]"),
        ({"data": None}, "data: section missing"),
        ({"device": 0}, 'device: must be "auto", "cpu", "cuda", "cuda:N" or "mps", got 0'),
    ],
)
def test_a_wrong_value_is_named(changes, message):
    assert any(text.startswith(message) for text in problems(**changes)), problems(**changes)


def test_defaults_of_absent_keys():
    config = load({"data": {"encoder": "vec768l12", "encoder_out_channels": 768}, "model": {}, "spk": {"lain": 0}})
    assert (config.model.timesteps, config.model.k_step_max, config.model.trained_steps) == (1000, 0, 1000)
    assert (config.model.n_hidden, config.model.use_pitch_aug) == (256, False)
    assert (config.data.unit_interpolate_mode, config.data.block_size) == ("left", 512)
    assert (config.infer.method, config.infer.speedup) == ("dpm-solver++", 10)
    assert (config.train.cache_all_data, config.train.amp_dtype) == (False, "fp32")


def test_keys_without_a_value_count_as_absent():
    config = load(raw(model={"k_step_max": None}, env=None, device=None))
    assert (config.model.k_step_max, config.env.expdir, config.device) == (0, "logs/44k/diffusion", "auto")


def test_rectified_flow_has_its_own_depth_and_sampler():
    config = load(raw(model={"type": "RectifiedFlow", "t_start": 0.7}, infer={"method": None}))
    assert (config.model.trained_steps, config.infer.method) == (300, "euler")
    assert load(raw(model={"k_step_max": 200})).model.trained_steps == 200


def test_a_config_of_ddsp_svc(caplog):
    caplog.set_level(logging.WARNING)
    data = {
        "encoder": "contentvec768l12",
        "encoder_out_channels": 768,
        "encoder_ckpt": "x.pt",
        "train_path": "data/train",
    }
    config = load(
        {"data": data, "model": {"type": "Diffusion", "n_spk": 2}, "train": {"lambda_ddsp": 1}, "device": "cuda"}
    )
    assert not caplog.records
    assert config.data.encoder == "vec768l12"
    assert config.spk == {"1": 0, "2": 1}
    assert [config.speaker_id(who) for who in ("2", 2)] == [1, 1]
    load(raw(data={"somebodys_extension": 1}))
    assert "data.somebodys_extension: unknown field, ignored" in caplog.text


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"type": "CombSub"}, "diffusion.yaml: model.type CombSub is a DDSP synthesiser, which is not available here"),
        ({"type": "Naive"}, "model.type Naive is a network that makes mels without diffusion"),
        ({"type": "RectifiedFlow", "n_aux_layers": 3}, r"a rectified flow in one \(DDSP-SVC 6\)"),
    ],
)
def test_networks_that_are_not_here(model, message):
    with pytest.raises(NotAvailableError, match=message):
        load({"model": model})  # before all that is wrong besides


def test_the_device_of_training():
    assert load(raw(device="cuda", env={"gpu_id": 2})).training_device == "cuda:2"
    assert load(raw(device="cuda:1", env={"gpu_id": 2})).training_device == "cuda:1"
    assert load(raw()).training_device == "auto"


def test_numbers_in_powers_of_ten(tmp_path):
    path = tmp_path / "diffusion.yaml"
    text = yaml.safe_dump(raw()).replace("lr: 0.0001", "lr: 2e-4").replace("anna", "1e2x")
    path.write_text(text, encoding="utf-8-sig")
    config = load_diffusion_config(path, **KNOWN)
    assert (config.train.lr, list(config.spk)) == (2e-4, ["1e2x", "bob"])


def test_files_that_are_no_config(tmp_path):
    path = tmp_path / "diffusion.yaml"
    with pytest.raises(FileNotFoundError, match=r"^no configuration .*diffusion.yaml$"):
        read_yaml(path)
    path.write_text("data:\n  encoder: [1\nmodel: 2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"not valid YAML: (.|\n)*line 3"):
        read_yaml(path)
    path.write_text("- 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="expected a table of sections, got list"):
        read_yaml(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_yaml(path)
    path.write_text("a: !!python/object/apply:os.system [true]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid YAML: could not determine a constructor"):
        read_yaml(path)

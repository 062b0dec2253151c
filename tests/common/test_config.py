"""config.json: every problem at once, by its full name; old and foreign configs still load."""

import json
import logging

import pytest

from common.config import ConfigError, from_dict, load_config, read_json
from pipeline.filelists import TEMPLATES
from pipeline.settings import UNIT_DIMS
from tests.synthetic import tiny

DIMS = {"cepstral": 60, "vec768l12": 768, "vec256l9": 256}


def load(raw):
    return from_dict(raw, unit_dims=DIMS, where="config.json")


def problems(**changes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(tiny(**changes))
    return caught.value.problems


def test_every_problem_is_told_at_once():
    found = problems(
        train={"batch_size": "6", "learning_rate": True, "epocs": 3},
        model={"n_layer": 3, "hidden_channels": 15, "speech_encoder": "contentvec"},
        spk={"anna": 0, "bob": "1"},
    )
    text = "\n".join(found)
    assert 'train.batch_size: expected int, got "6"' in text
    assert "train.learning_rate: expected float, got true" in text
    assert "train.epocs: unknown field, did you mean 'epochs'?" in text
    assert "model.n_layer: unknown field, did you mean 'n_layers'?" in text
    assert "spk: expected an object of speakers" in text
    assert len(found) == 5  # checks of values wait until a section can be read


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"batch_size": 0}}, "train.batch_size: must be at least 1, got 0"),
        ({"train": {"seed": -1}}, "train.seed: must not be negative"),
        ({"train": {"learning_rate": 3}}, "train.learning_rate: must be between 0 and 1"),
        ({"train": {"half_type": "fp8"}}, 'train.half_type: must be "fp16" or "bf16", got "fp8"'),
        ({"train": {"betas": [0.8]}}, "train.betas: must be two numbers"),
        ({"train": {"num_workers": -2}}, "train.num_workers: must be -1 (automatic), 0 or more"),
        ({"train": {"discriminator_channels": 12}}, "train.discriminator_channels: must be a multiple of 8, got 12"),
        ({"train": {"segment_size": 4000}}, "train.segment_size: must be a multiple of data.hop_length (512)"),
        ({"train": {"window_frames": 4}}, "train.window_frames: must cover train.segment_size (8 frames)"),
        ({"train": {"eps": float("nan")}}, "train.eps: expected float, got NaN"),
        ({"data": {"hop_length": 0}}, "data.hop_length: must be at least 1, got 0"),
        ({"data": {"mel_fmax": 30000}}, "data.mel_fmax: must lie between mel_fmin and half the sampling rate"),
        ({"data": {"win_length": 4096}}, "data.win_length: must be at most filter_length (1024)"),
        ({"data": {"unit_interpolate_mode": "cubic"}}, 'data.unit_interpolate_mode: must be "left" or "nearest"'),
        ({"model": {"upsample_rates": [8, 8, 4]}}, "model.upsample_rates: their product must be data.hop_length (512)"),
        ({"model": {"n_heads": 0}}, "model.n_heads: must be at least 1"),
        ({"model": {"inter_channels": 15}}, "model.inter_channels: must be even"),
        ({"model": {"resblock": "3"}}, 'model.resblock: must be "1" or "2"'),
        ({"model": {"resblock_kernel_sizes": [3, 5.0]}}, "model.resblock_kernel_sizes: expected list[int], got"),
        ({"model": {"ssl_dim": 768}}, "model.ssl_dim: encoder cepstral gives 60 channels, got 768"),
        ({"model": {"speech_encoder": "hubert"}}, "model.speech_encoder: unknown 'hubert'; choose one of: cepstral"),
        ({"model": {"n_speakers": 1}}, "spk.bob: id 1 is outside model.n_speakers (1)"),
        ({"spk": {"anna": 0, "bob": 0}}, "spk: two speakers share one id"),
    ],
)
def test_a_wrong_value_is_named(changes, message):
    assert any(text.startswith(message) for text in problems(**changes)), problems(**changes)


def test_missing_fields_and_sections():
    raw = tiny()
    del raw["model"]["n_heads"], raw["train"], raw["spk"]
    with pytest.raises(ConfigError, match="config.json cannot be used") as caught:
        load(raw)
    assert {"train: section missing", "model.n_heads: missing"} < set(caught.value.problems)
    assert any(text.startswith("spk: expected") for text in caught.value.problems)


def test_values_of_one_section_and_the_rules_between_sections_come_together():
    found = problems(train={"seed": -1, "segment_size": 4000}, model={"ssl_dim": 61})
    assert [text.split(":")[0] for text in found] == ["train.seed", "model.ssl_dim", "train.segment_size"]


def test_defaults_are_those_of_4_0():
    raw = tiny(model={"ssl_dim": 256})
    del raw["model"]["speech_encoder"], raw["data"]["unit_interpolate_mode"]
    config = load(raw)
    assert (config.model.speech_encoder, config.model.vocoder_name) == ("vec256l9", "nsf-hifigan")
    assert config.data.unit_interpolate_mode == "left"
    assert (config.model.vol_embedding, config.train.fp16_run) == (False, False)
    raw["model"]["ssl_dim"] = 768
    assert load(raw).model.speech_encoder == "vec768l12"


def test_keys_of_older_and_foreign_tools_are_accepted(caplog):
    caplog.set_level(logging.WARNING)
    legacy = {"use_sr": True, "max_speclen": 512, "port": "8001", "bf16_run": False, "ckpt_name_by_step": False}
    data = {"max_wav_value": 32768.0, "contentvec_final_proj": False}
    load(tiny(train=legacy, data=data, model={"speaker_embedding": False, "type_": "hifi-gan"}))
    assert not caplog.records
    load(tiny(model={"somebodys_extension": 1}))
    assert "model.somebodys_extension: unknown field, ignored" in caplog.text


def test_an_edited_file_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(tiny(), ensure_ascii=False), encoding="utf-8-sig")
    config = load_config(path, unit_dims=DIMS)
    assert from_dict(config.as_dict(), unit_dims=DIMS) == config


def test_files_that_are_no_config(tmp_path):
    path = tmp_path / "config.json"
    with pytest.raises(FileNotFoundError, match=r"^no configuration .*config.json$"):
        read_json(path)
    path.write_text('{"train": {,}}')
    with pytest.raises(ConfigError, match=r"not valid JSON: .*line 1 column 12"):
        read_json(path)
    path.write_text("[1]")
    with pytest.raises(ConfigError, match="expected an object"):
        read_json(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not valid JSON"):
        read_json(path)


def test_speakers_by_name_and_by_id():
    config = load(tiny(spk={"anna": 1, "bob": 0}))
    assert [config.speaker_id(who) for who in ("anna", 0, "1")] == [1, 0, 1]
    for unknown in ("carl", 2, "-1"):
        with pytest.raises(ValueError, match=r"unknown speaker .*: this model knows anna \(id 1\), bob \(id 0\)"):
            config.speaker_id(unknown)


@pytest.mark.parametrize("name", [path.name for path in TEMPLATES.glob("config_*.json")])
def test_the_templates_are_valid(name, caplog):
    raw = read_json(TEMPLATES / name)
    assert raw["spk"] == {}
    from_dict(raw | {"spk": {"anna": 0}}, unit_dims=UNIT_DIMS)
    assert not caplog.records

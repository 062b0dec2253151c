"""preprocess_flist_config.py: the reference's config changes, a deterministic split, odd datasets."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml

import preprocess_flist_config as script
from common import audio
from common.config import ConfigError
from diffusion.loading import build_unit2mel, read_diffusion_config
from pipeline.filelists import TEMPLATES
from pipeline.settings import read_config
from tests.parity import GOLDEN
from vdecoder.mel_format import EMBEDDED
from vencoder import SPEECH_ENCODERS

RATE = 44100
RUNS = json.loads((GOLDEN / "flist" / "case.json").read_text(encoding="utf-8"))["runs"]


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(speaker: str, *lengths: int, rate: int = RATE) -> None:
    for i, n_samples in enumerate(lengths):
        audio.save(f"dset/{speaker}/{speaker}_{i}.wav", np.zeros(n_samples, dtype=np.float32), rate)


@pytest.fixture
def golden_dataset() -> None:
    put("zoe", *[RATE] * 5, 13000, 13230)
    put("adam", *[RATE] * 3)
    put("mike", *[RATE] * 2)


def run(*options: str) -> int:
    return script.main(["--source_dir", "./dset", *options])


def lines(name: str) -> list[str]:
    return Path(f"filelists/{name}.txt").read_text(encoding="utf-8").splitlines()


def config() -> dict:
    return json.loads(Path("configs/config.json").read_text(encoding="utf-8"))


def flat(tree: dict) -> dict:
    """{"section.key": value}, with "spk" whole."""
    sections = {k: v for k, v in tree.items() if isinstance(v, dict) and k != "spk"}
    leaves = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    return leaves | {k: v for k, v in tree.items() if k not in sections}


def changes(new: dict, template: dict) -> dict:
    new, template = flat(new), flat(template)
    assert new.keys() == template.keys()
    return {key: value for key, value in new.items() if value != template[key]}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.usefixtures("golden_dataset")
def test_golden_changes(name: str) -> None:
    stored = RUNS[name]
    assert run(*stored["args"]) == 0
    tiny = "--tiny" in stored["args"]
    template = json.loads((TEMPLATES / f"config{'_tiny' * tiny}_template.json").read_text(encoding="utf-8"))
    spk = {"spk": {"adam": 0, "mike": 1, "zoe": 2}}  # sorted; the reference takes the order of the file system
    assert changes(config(), template) == stored["config_changes"] | spk
    template = yaml.safe_load((TEMPLATES / "diffusion_template.yaml").read_text(encoding="utf-8"))
    diffusion = yaml.safe_load(Path("configs/diffusion.yaml").read_text(encoding="utf-8"))
    assert changes(diffusion, template) == stored["diffusion_changes"] | spk


@pytest.mark.usefixtures("golden_dataset")
def test_split() -> None:
    assert run() == 0
    train, val = lines("train"), lines("val")
    assert not set(train) & set(val)
    count = {s: (sum(f"/{s}/" in x for x in train), sum(f"/{s}/" in x for x in val)) for s in ("zoe", "adam", "mike")}
    assert count == {"zoe": (4, 2), "adam": (1, 2), "mike": (1, 1)}  # the reference left mike nothing to train on
    assert all(line.startswith("./dset/") for line in train + val)
    assert not any("zoe_5" in line for line in train + val)  # 0.295 s; zoe_6 has 0.3 s exactly
    assert any("zoe_6" in line for line in train + val)


@pytest.mark.usefixtures("golden_dataset")
def test_split_depends_on_the_seed_and_the_speaker_alone() -> None:
    run()
    first = lines("val")
    run()
    assert lines("val") == first
    put("another", *[RATE] * 4)
    run()
    assert [line for line in lines("val") if "/another/" not in line] == first
    splits = set()
    for seed in range(6):
        run("--seed", str(seed))
        splits.add(tuple(lines("val")))
    assert len(splits) > 1


@pytest.mark.usefixtures("golden_dataset")
def test_an_edited_config_is_copied_first(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    assert run() == 0
    assert not list(Path("configs").glob("*.bak-*"))  # nothing to lose
    edited = config()
    edited["train"]["batch_size"] = 3
    text = json.dumps(edited)
    for _ in range(2):  # twice within one second
        Path("configs/config.json").write_text(text, encoding="utf-8")
        assert run() == 0
    backups = list(Path("configs").glob("config.json.bak-*"))
    assert len(backups) == 2 and all(path.read_text(encoding="utf-8") == text for path in backups)
    assert config()["train"]["batch_size"] == 6
    assert "copied to" in capsys.readouterr().err


def test_names_with_spaces_and_other_letters() -> None:
    put("Ünï cödé 名", *[RATE] * 4)
    Path("dset/Ünï cödé 名/a b.wav").write_bytes(Path("dset/Ünï cödé 名/Ünï cödé 名_0.wav").read_bytes())
    assert run() == 0
    assert config()["spk"] == {"Ünï cödé 名": 0}
    assert all(Path(line).is_file() for line in lines("train") + lines("val"))
    assert any(line.endswith("/a b.wav") for line in lines("train") + lines("val"))


def test_what_is_left_out_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    put("a", *[RATE] * 3, 1000)
    put("b", 24000, rate=24000)
    Path("dset/a/corrupt.wav").write_bytes(b"RIFF")
    Path("dset/a/notes.txt").write_text("x")
    Path("dset/a/a_0.wav.f0.npy").write_bytes(b"cache")
    Path("dset/loose.wav").write_bytes(b"")
    assert run() == 1  # a corrupt clip and a speaker of the wrong rate
    said = capsys.readouterr().err
    for text in (
        "a_3.wav: left out, 0.023 s is shorter than 0.3 s",
        "corrupt.wav",
        "notes.txt: left out, not a wav file",
        "b_0.wav: left out, 24000 Hz, the model needs 44100 Hz: run python resample.py",
        "speaker b: no usable clip",
        "loose.wav: left out",
    ):
        assert text in said
    assert "f0.npy" not in said
    assert config()["spk"] == {"a": 0}


def test_one_clip_trains_and_validates(capsys: pytest.CaptureFixture[str]) -> None:
    put("a", RATE)
    assert run() == 0
    assert lines("train") == lines("val") == ["./dset/a/a_0.wav"]
    assert "no clip left for validation" in capsys.readouterr().err


@pytest.mark.parametrize("prepare", [lambda: None, lambda: Path("dset").mkdir(), lambda: put("a", 100)])
def test_nothing_to_train_on(prepare, capsys: pytest.CaptureFixture[str]) -> None:
    prepare()
    assert run() == 1
    assert "run python resample.py first" in capsys.readouterr().err
    assert not Path("configs/config.json").exists()


def test_options_are_those_of_4_1() -> None:
    args = script.parse_args([])
    assert (args.train_list, args.val_list) == (Path("./filelists/train.txt"), Path("./filelists/val.txt"))
    assert (args.source_dir, args.speech_encoder) == ("./dataset/44k", "vec768l12")
    assert (args.vol_aug, args.tiny, args.preset) == (False, False, "default")
    assert script.parse_args(["--tiny"]).preset == "tiny"
    for preset, encoder in (("small", "cepstral"), ("embedded", "embedded")):
        assert script.parse_args(["--preset", preset]).speech_encoder == encoder
        with pytest.raises(SystemExit):
            script.parse_args(["--tiny", "--preset", preset])


def test_embedded_preset_is_small_for_other_units() -> None:
    """So that the base model of one can begin that of the other."""
    put("a", *[RATE] * 3)
    written = []
    for preset in ("small", "embedded"):
        assert run("--preset", preset) == 0
        written.append(config())
    assert changes(*reversed(written)) == {"model.speech_encoder": "embedded", "model.ssl_dim": 256}
    assert read_config("configs/config.json").model.ssl_dim == SPEECH_ENCODERS["embedded"].dim


def test_built_in_encoder_keeps_the_speaker_embedding_wide() -> None:
    put("a", *[RATE] * 3)
    assert run("--speech_encoder", "cepstral") == 0
    model, dim = config()["model"], SPEECH_ENCODERS["cepstral"].dim
    assert (model["ssl_dim"], model["gin_channels"], model["filter_channels"]) == (dim, 256, 768)


@pytest.mark.parametrize("options", [(), ("--speech_encoder", "embedded")])
def test_the_small_preset_has_a_small_refiner(options: tuple[str, ...]) -> None:
    put("a", *[RATE] * 3)
    put("b", *[RATE] * 3)
    assert run("--preset", "small", *options) == 0
    refiner = read_diffusion_config("configs/diffusion.yaml")
    assert refiner.data.encoder == config()["model"]["speech_encoder"]
    assert refiner.spk == config()["spk"] == {"a": 0, "b": 1}
    assert refiner.vocoder.ckpt == EMBEDDED
    n_parameters = sum(parameter.numel() for parameter in build_unit2mel(refiner).parameters())
    assert 1.5e6 < n_parameters < 3e6


@pytest.mark.parametrize("name", SPEECH_ENCODERS)
def test_widths_fit_every_encoder(name: str) -> None:
    """The configs written for it are accepted; those of an encoder of another width are refused, with the fix."""
    put("a", *[RATE] * 3)
    assert run("--speech_encoder", name) == 0
    dim = SPEECH_ENCODERS[name].dim
    model = read_config("configs/config.json").model
    assert (model.speech_encoder, model.ssl_dim, model.gin_channels) == (name, dim, max(dim, 256))
    refiner = read_diffusion_config("configs/diffusion.yaml")
    assert (refiner.data.encoder, refiner.data.encoder_out_channels) == (name, dim)
    assert (refiner.spk, refiner.model.n_spk, refiner.data.unit_interpolate_mode) == ({"a": 0}, 1, "nearest")
    other = "vec256l9" if dim != 256 else "vec768l12"
    edited = config()
    edited["model"]["speech_encoder"] = other
    Path("configs/config.json").write_text(json.dumps(edited), encoding="utf-8")
    with pytest.raises(ConfigError, match=f"encoder {other} gives .* set ssl_dim to {SPEECH_ENCODERS[other].dim}"):
        read_config("configs/config.json")


@pytest.mark.skipif(os.name == "nt", reason="names are always text there")
def test_a_name_that_is_not_text_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    put("a", *[RATE] * 3)
    try:
        Path(os.fsdecode(b"dset/a/caf\xe9.wav")).write_bytes(Path("dset/a/a_0.wav").read_bytes())
    except OSError:
        pytest.skip("this file system has only names that are text")
    assert run() == 1
    assert "the name is not valid text: rename the file or its folder: left out" in capsys.readouterr().err
    assert len(lines("train") + lines("val")) == 3

"""What the repository brings along: base pairs, vocoders, the refiner, and that they fit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from common import checkpoint
from common.config import Config, from_dict
from diffusion.loading import build_unit2mel, fit_base, load_state, read_diffusion_config
from models import MultiPeriodDiscriminator, SynthesizerTrn
from pipeline.conversion import Converter
from pipeline.conversion_options import ConversionOptions
from pipeline.conversion_tools import ToolFiles
from pipeline.diffusion_task import how_to_get_base
from pipeline.pitch_comparison import track_pitch
from pipeline.settings import UNIT_DIMS
from scripts import release_refiner
from tests.synthetic import sing
from vdecoder import build_vocoder

ROOT = Path(__file__).resolve().parent.parent
PAIRS = {"small": "small", "embedded": "base"}  # preset: folder in pretrain/embedded
MAX_MEGABYTES = 40


def preset_config(preset: str, n_speakers: int) -> Config:
    raw = json.loads((ROOT / "configs_template" / f"config_{preset}_template.json").read_text(encoding="utf-8"))
    raw["spk"] = {f"singer {i}": i for i in range(n_speakers)}
    raw["model"]["n_speakers"] = n_speakers
    return from_dict(raw, unit_dims=UNIT_DIMS)


@pytest.mark.parametrize("n_speakers", [1, 3])
@pytest.mark.parametrize("preset", PAIRS)
def test_the_base_pair_fits_its_preset(preset: str, n_speakers: int) -> None:
    config = preset_config(preset, n_speakers)
    data = config.data
    frames = config.train.segment_size // data.hop_length
    generator = SynthesizerTrn(data.filter_length // 2 + 1, frames, **config.as_dict()["model"])
    discriminator = MultiPeriodDiscriminator(base_channels=config.train.discriminator_channels)
    pair = checkpoint.pair_at(ROOT / "pretrain/embedded" / PAIRS[preset], 0)
    for net, path in ((generator, pair.generator), (discriminator, pair.discriminator)):
        state, _ = checkpoint.read_model(path)
        checkpoint.load_weights(net, checkpoint.adapt_speakers(state, net, where=path), where=path)


@pytest.mark.parametrize("folder", PAIRS.values())
def test_the_base_pair_is_small_and_has_a_card(folder: str) -> None:
    path = ROOT / "pretrain/embedded" / folder
    assert sum(file.stat().st_size for file in path.glob("*.pth")) < MAX_MEGABYTES * 1e6
    card = (path / "README.md").read_text(encoding="utf-8")
    for word in ("CC BY-SA", "steps", "Mel L1", "f0 correlation", "to target"):
        assert word in card


@pytest.mark.parametrize(("kind", "folder"), [("nsf-hifigan", "vocoder"), ("subtractive", "subtractive")])
def test_the_vocoders_that_are_here_load_and_have_the_mels_of_the_family(kind: str, folder: str) -> None:
    path = ROOT / "pretrain" / "embedded" / folder / "model.ckpt"
    config = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
    mel = {key: config[key] for key in ("sampling_rate", "hop_size", "win_size", "n_fft", "num_mels", "fmin", "fmax")}
    assert list(mel.values()) == [44100, 512, 2048, 2048, 128, 40, 16000]
    assert path.stat().st_size < 15e6
    vocoder = build_vocoder(kind, path, "cpu")
    wav = torch.from_numpy(sing(150.0, 1.0))[None, : 80 * 512]
    made = vocoder.infer(vocoder.extract(wav), torch.full((1, 80), 150.0), generator=torch.Generator().manual_seed(1))
    assert made.shape == wav.shape and torch.isfinite(made).all()
    assert 0.1 < made.std() / wav.std() < 4


@pytest.fixture(scope="module")
def refiner_folder() -> Path:
    return ROOT / "pretrain" / "embedded" / "refiner"


def test_the_refiner_that_is_here_sings_alone(refiner_folder: Path) -> None:
    files = ToolFiles(refiner_folder / "model_0.pt", refiner_folder / "config.yaml")
    converter = Converter(None, None, device="cpu", files=files)
    assert {"lj", "martin", "pjs"} < converter.voice.speakers.keys() and len(converter.voice.speakers) == 18
    song = sing(200.0, 1.5)
    made = converter.convert(
        song, ConversionOptions(speaker="pjs", f0_predictor="dio", only_diffusion=True, speedup=100)
    )
    assert made.shape == song.shape and 0.02 < made.std() < 0.5
    pitch = track_pitch(made, 44100)
    assert abs(1200 * np.log2(np.median(pitch.f0[pitch.uv > 0]) / 200)) < 60


def test_the_refiner_is_small_and_the_base_of_its_preset(refiner_folder: Path, tmp_path: Path) -> None:
    """What `--preset embedded` writes for other speakers begins with it."""
    assert (refiner_folder / "model_0.pt").stat().st_size < 25e6
    template = (ROOT / "configs_template" / "diffusion_small_template.yaml").read_text(encoding="utf-8")
    raw = yaml.safe_load(template)
    raw["data"] |= {"encoder": "embedded", "encoder_out_channels": 256}
    raw["model"]["n_spk"], raw["spk"] = 2, {"anna": 0, "bob": 1}
    (tmp_path / "diffusion.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    config = read_diffusion_config(tmp_path / "diffusion.yaml")
    assert "--base pretrain/embedded/refiner" in how_to_get_base(config)
    model = build_unit2mel(config)
    state, _ = checkpoint.read_model(refiner_folder / "model_0.pt")
    load_state(model, fit_base(state, model, where="model_0.pt"), where="model_0.pt")
    card = (refiner_folder / "README.md").read_text(encoding="utf-8")
    for word in ("CC BY-SA", "steps", "f0 correlation", "to target"):
        assert word in card


def test_a_refiner_is_handed_on_without_the_places_it_came_from(refiner_folder: Path, tmp_path: Path) -> None:
    raw = yaml.safe_load((refiner_folder / "config.yaml").read_text(encoding="utf-8"))
    raw["data"]["training_files"], raw["env"]["expdir"] = "places of anna/train.txt", "places of anna/logs"
    state, _ = checkpoint.read_model(refiner_folder / "model_0.pt")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    timbres = {
        "weight": torch.zeros(18, 256, 20),
        "bias": torch.ones(18, 20),
        "residual_variance": torch.ones(18, 20),
        "unit_mean": torch.zeros(18, 256),
        "unit_variance": torch.ones(18, 256),
        "fitted": torch.ones(18, 20),
    }
    weights = {key: value.float() for key, value in state.items()}
    torch.save({"global_step": 7, "model": weights, "timbres": timbres}, tmp_path / "model_7.pt")
    assert release_refiner.main(["-m", str(tmp_path / "model_7.pt"), "-o", str(tmp_path / "out")]) == 0
    assert "anna" not in (tmp_path / "out/config.yaml").read_text(encoding="utf-8")
    released, beside = checkpoint.read_model(tmp_path / "out/model_0.pt")
    assert torch.equal(beside["timbres"]["bias"], timbres["bias"].half())
    assert all(released[key].dtype == torch.float16 for key, value in state.items() if value.is_floating_point())
    files = ToolFiles(tmp_path / "out/model_0.pt", tmp_path / "out/config.yaml")
    assert Converter(None, None, device="cpu", files=files).voice.speakers == raw["spk"]
    assert release_refiner.main(["-m", str(tmp_path / "model_8.pt"), "-o", str(tmp_path / "out")]) == 1

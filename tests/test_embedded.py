"""What the repository brings along: the base pair of the demo, fitting what the small preset writes; the vocoder."""

import json
from pathlib import Path

import pytest
import torch

from common import checkpoint
from common.config import Config, from_dict
from models import MultiPeriodDiscriminator, SynthesizerTrn
from pipeline.settings import UNIT_DIMS
from tests.synthetic import sing
from vdecoder import build_vocoder

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "pretrain" / "embedded" / "small"
MAX_MEGABYTES = 40


def small_config(n_speakers: int) -> Config:
    raw = json.loads((ROOT / "configs_template" / "config_small_template.json").read_text(encoding="utf-8"))
    raw["spk"] = {f"singer {i}": i for i in range(n_speakers)}
    raw["model"]["n_speakers"] = n_speakers
    return from_dict(raw, unit_dims=UNIT_DIMS)


@pytest.mark.parametrize("n_speakers", [1, 3])
def test_the_base_pair_fits_the_small_preset(n_speakers: int) -> None:
    config = small_config(n_speakers)
    data = config.data
    frames = config.train.segment_size // data.hop_length
    generator = SynthesizerTrn(data.filter_length // 2 + 1, frames, **config.as_dict()["model"])
    discriminator = MultiPeriodDiscriminator(base_channels=config.train.discriminator_channels)
    pair = checkpoint.pair_at(FOLDER, 0)
    for net, path in ((generator, pair.generator), (discriminator, pair.discriminator)):
        state, _ = checkpoint.read_model(path)
        checkpoint.load_weights(net, checkpoint.adapt_speakers(state, net, where=path), where=path)


def test_the_base_pair_is_small_and_has_a_card() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.pth")) < MAX_MEGABYTES * 1e6
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for word in ("CC BY-SA", "steps", "Mel L1", "f0 correlation", "to target"):
        assert word in card


def test_the_vocoder_that_is_here_loads_and_has_the_mels_of_the_family():
    path = ROOT / "pretrain" / "embedded" / "vocoder" / "model.ckpt"
    config = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
    mel = {key: config[key] for key in ("sampling_rate", "hop_size", "win_size", "n_fft", "num_mels", "fmin", "fmax")}
    assert list(mel.values()) == [44100, 512, 2048, 2048, 128, 40, 16000]
    assert path.stat().st_size < 15e6
    vocoder = build_vocoder("nsf-hifigan", path, "cpu")
    wav = torch.from_numpy(sing(150.0, 1.0))[None, : 80 * 512]
    made = vocoder.infer(vocoder.extract(wav), torch.full((1, 80), 150.0), generator=torch.Generator().manual_seed(1))
    assert made.shape == wav.shape and torch.isfinite(made).all()
    assert 0.1 < made.std() / wav.std() < 4

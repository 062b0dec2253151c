"""The base pair that the demo begins from: there, whole, small, and fitting what the small preset writes."""

import json
from pathlib import Path

import pytest

from common import checkpoint
from common.config import Config, from_dict
from models import MultiPeriodDiscriminator, SynthesizerTrn
from pipeline.settings import UNIT_DIMS

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

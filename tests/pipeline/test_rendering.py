"""Who sings, and with whose units: mixes of speakers and units of the target inside whole conversions."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from cluster.centres_file import write_centres
from pipeline.conversion import Converter
from pipeline.conversion_options import ConversionOptions
from pipeline.conversion_tools import ToolFiles
from pipeline.rendering import Target
from pipeline.speaker_mix import SpeakerMix
from tests.pipeline.tiny_diffusion import write_diffusion, write_vocoder
from tests.pipeline.tiny_model import SAMPLE_RATE, silence, sung, write_model

SPK = {"anna": 0, "bob": 1}
DEFAULT = ConversionOptions(speaker="bob", f0_predictor="dio")
SONG = np.concatenate([sung(1.0), silence(0.5), sung(1.2, 300.0), silence(0.4), sung(0.9)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder)
    vocoder = write_vocoder(folder / "vocoder")
    write_diffusion(folder / "diffusion", vocoder=vocoder)
    write_centres(folder / "kmeans.pt", {name: torch.randn(5, 60) for name in SPK})
    return folder


@pytest.fixture(scope="module")
def converter(folder: Path) -> Converter:
    diffusion = folder / "diffusion"
    files = ToolFiles(diffusion / "model_5.pt", diffusion / "config.yaml", cluster_model=folder / "kmeans.pt")
    return Converter(folder / "G_5.pth", folder / "config.json", device="cpu", files=files)


def options(**changes: object) -> ConversionOptions:
    return dataclasses.replace(DEFAULT, **changes)


def mix(anna: list[list[float]], bob: list[list[float]]) -> SpeakerMix:
    return SpeakerMix.from_map({0: anna, 1: bob}, SPK)


ALONE = mix([[0, 1, 0, 0]], [[0, 1, 1, 1]])  # bob from beginning to end
HANDED_OVER = mix([[0, 0.5, 1, 1], [0.5, 1, 0, 0]], [[0, 0.5, 0, 0], [0.5, 1, 1, 1]])  # anna, then bob
EVEN = mix([[0, 1, 2, 2]], [[0, 1, 2, 2]])

TOOLS = [
    {},
    {"auto_predict_f0": True},
    {"cluster_infer_ratio": 0.6},
    {"shallow_diffusion": True, "k_step": 20},
    {"only_diffusion": True, "speedup": 250},
]


@pytest.mark.parametrize("changes", TOOLS, ids=str)
def test_a_mix_of_one_is_that_one(converter: Converter, changes: dict) -> None:
    mixed = converter.convert(SONG, options(speaker_mix=ALONE, **changes))
    # A predicted f0 that differs in its last bit moves the phase of a tone more and more.
    atol = 1e-2 if "auto_predict_f0" in changes else 2e-5
    np.testing.assert_allclose(mixed, converter.convert(SONG, options(**changes)), atol=atol)


@pytest.mark.parametrize("changes", TOOLS, ids=str)
def test_the_timeline_is_that_of_the_song(converter: Converter, changes: dict) -> None:
    """Cut in pieces, the first half is sung by one and the second by the other, as if each sang alone."""
    given = options(speaker_mix=HANDED_OVER, clip=0.5, **changes)
    mixed = converter.convert(SONG, given)
    alone = {name: converter.convert(SONG, options(speaker=name, clip=0.5, **changes)) for name in SPK}
    middle, edge = len(SONG) // 2, round(1.1 * SAMPLE_RATE)  # a piece and what it hears around it
    for name, part in (("anna", slice(0, middle - edge)), ("bob", slice(middle + edge, len(SONG)))):
        other = next(who for who in SPK if who != name)
        near, far = (np.abs(mixed[part] - alone[who][part]).max() for who in (name, other))
        assert near < (1e-2 if "auto_predict_f0" in changes else 1e-4) < far


def test_a_mix_lies_between(converter: Converter) -> None:
    with torch.no_grad():
        converter.model.EnableCharacterMix(2)
        own = converter.model.emb_g.weight
        vector = converter.model.speaker_vector(torch.tensor(EVEN.weights(np.array([0.3]), 1.0)))
    torch.testing.assert_close(vector[0, :, 0], own[:2].mean(dim=0))
    assert np.abs(converter.convert(SONG, options(speaker_mix=EVEN)) - converter.convert(SONG, DEFAULT)).max() > 1e-3


def test_a_batch_of_a_mix_equals_single_pieces(converter: Converter, monkeypatch: pytest.MonkeyPatch) -> None:
    given = options(speaker_mix=HANDED_OVER, clip=0.7, cluster_infer_ratio=0.3)
    single = converter.convert(SONG, given)
    monkeypatch.setattr(Converter, "_batches", True)
    np.testing.assert_allclose(converter.convert(SONG, given), single, atol=2e-5)


def test_units_go_to_the_target_of_each_conversion(converter: Converter) -> None:
    """One song for two singers at once: the units of each are drawn to his own centres."""
    given = options(cluster_infer_ratio=0.8)
    both = np.concatenate(list(converter.stream(SONG, given, [Target(0, 0.0), Target(1, 0.0)])), axis=1)
    for row, name in zip(both, SPK, strict=True):
        np.testing.assert_allclose(row, converter.convert(SONG, dataclasses.replace(given, speaker=name)), atol=1e-6)
    assert np.abs(both[1] - converter.convert(SONG, DEFAULT)).max() > 1e-3


def test_a_speaker_who_is_not_in_the_file(folder: Path, tmp_path: Path) -> None:
    write_centres(tmp_path / "kmeans.pt", {"anna": torch.zeros(3, 60)})
    files = ToolFiles(cluster_model=tmp_path / "kmeans.pt")
    converter = Converter(folder / "G_5.pth", folder / "config.json", device="cpu", files=files)
    with pytest.raises(ValueError, match=r"no speaker bob \(id 1\); it has: anna"):
        converter.convert(SONG, options(cluster_infer_ratio=0.5))
    with pytest.raises(ValueError, match=r"no speaker bob"):
        converter.convert(SONG, options(cluster_infer_ratio=0.5, speaker_mix=EVEN))
    only_anna = mix([[0, 1, 1, 1]], [[0, 1, 0, 0]])
    assert converter.convert(SONG, options(cluster_infer_ratio=0.5, speaker_mix=only_anna)).any()

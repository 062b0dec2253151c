"""Speakers begin as the voice of a base model that is most like them."""

import logging
from types import SimpleNamespace

import pytest
import torch

from pipeline.base_voices import DRAWS, choose_voices
from pipeline.diffusion_dataset import MelClip
from tests.diffusion import tiny

NAMES = ("anna", "bob", "carl")
VOICES = torch.randn(4, tiny.NETWORK["n_hidden"], generator=torch.Generator().manual_seed(1))


class Recordings:
    """Clips of speakers; the mel of a clip says which voice speaks in it."""

    def __init__(self, speakers: list[int], voices: list[int]) -> None:
        self.speakers, self.voices, self.heard = speakers, voices, []
        self.config = SimpleNamespace(spk={NAMES[i]: i for i in set(speakers)})

    def __len__(self) -> int:
        return len(self.speakers)

    def speaker(self, index: int) -> str:
        return NAMES[self.speakers[index]]

    def __getitem__(self, key) -> MelClip:
        self.heard.append(key)
        n = 5 + key.clip
        mel = torch.full((n, tiny.SIZES["out_dims"]), float(self.voices[key.clip]))
        units, f0 = torch.zeros(n, tiny.SIZES["input_channel"]), torch.full((n,), 200.0)
        return MelClip(units, f0, torch.zeros(n), mel, 0.0, self.speakers[key.clip], f"{key.clip}.wav")


def listening(monkeypatch: pytest.MonkeyPatch, n_spk: int):
    """A model all of whose speakers are the mean voice; its loss is the distance from the voice that is heard."""
    model = tiny.model(n_spk=n_spk)
    if model.spk_embed is not None:
        torch.nn.init.zeros_(model.spk_embed.weight)
    mean = model.unit_embed.bias.detach().clone()

    def condition(units: torch.Tensor, *features: torch.Tensor, **speaker: torch.Tensor) -> torch.Tensor:
        return torch.zeros(*units.shape[:2], VOICES.shape[1])

    def loss(cond: torch.Tensor, mel: torch.Tensor, *, lengths: torch.Tensor) -> torch.Tensor:
        spoken = torch.stack([VOICES[int(one[0, 0])] if one[0, 0] >= 0 else 0 * VOICES[0] for one in mel])
        return (cond[:, 0] - spoken).abs().sum()

    monkeypatch.setattr(model, "condition", condition)
    monkeypatch.setattr(model, "loss", loss)
    return model, mean


def test_each_speaker_begins_as_the_voice_that_fits(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    caplog.set_level(logging.INFO)
    model, mean = listening(monkeypatch, 3)
    recordings = Recordings([2, 0, 0, 2, 1], [3, 1, 1, 3, -1])
    choose_voices(model, VOICES, recordings, seed=1, names={1: "lj"})
    torch.testing.assert_close(model.spk_embed.weight.data, torch.stack([VOICES[1], 0 * VOICES[0], VOICES[3]]))
    assert torch.equal(model.unit_embed.bias, mean) and model.training
    for line in ("anna begins as lj of the base", "bob begins as the mean voice", "carl begins as voice 3 of the base"):
        assert line in caplog.text
    assert len(set(recordings.heard)) == 3 * DRAWS, "of few clips, several windows"


def test_a_single_speaker_has_no_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    """His voice goes where that of every clip is."""
    model, mean = listening(monkeypatch, 1)
    recordings = Recordings([0] * 20, [2] * 20)
    choose_voices(model, VOICES, recordings, seed=1)
    torch.testing.assert_close(model.unit_embed.bias.data, mean + VOICES[2])
    assert len(recordings.heard) == DRAWS and recordings.heard[-1].clip > 15, "from all over the list"


def test_nobody_moves_without_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    model, mean = listening(monkeypatch, 2)
    choose_voices(model, VOICES, Recordings([], []), seed=1)
    assert not model.spk_embed.weight.any() and torch.equal(model.unit_embed.bias, mean)

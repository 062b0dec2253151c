"""What makes the embedded encoder: texts, phones, copies by WORLD, batches, objectives, a few steps of training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from scripts.embedded import batches, engines, phones, texts, train_encoder
from scripts.embedded.engines import ESPEAK_LANGUAGES, Speech
from scripts.embedded.objectives import contrast
from scripts.embedded.rendering import F0_RANGE, FRAME, melody, render
from tests.vencoder.test_cepstral import babble
from vencoder.nets.embedded import ContentNet


def test_engines_phones_become_classes() -> None:
    def names(found: list[int]) -> str:
        return "".join(phones.CLASSES[i] if i != phones.UNKNOWN else "?" for i in found)

    assert names(phones.from_ipa("tʃ")) == "tʃ"
    assert names(phones.from_ipa("ɯᵝ")) == "ɯ"
    assert names(phones.from_ipa("ç")) == "ʃ"
    assert names(phones.from_ipa("ɐ̃")) == "a"
    assert names(phones.from_ipa("")) == phones.SILENCE
    assert names(phones.from_table("ow", phones.ARPABET)) == "oʊ"
    assert names(phones.from_table("a1", phones.SAMPA)) == "a"
    assert names(phones.from_table("i:", phones.CZECH)) == "i"
    assert names(phones.from_table("pau", phones.RUSSIAN)) == phones.SILENCE
    assert names(phones.from_table("nonsense", phones.CZECH)) == "?"


def test_every_phone_of_the_tables_has_a_class() -> None:
    for table in (phones.ARPABET, phones.SAMPA, phones.CZECH, phones.RUSSIAN):
        for name, ipa in table.items():
            assert phones.from_ipa(ipa) != [phones.INDEX[phones.SILENCE]], name


@pytest.mark.parametrize("script", sorted({script for _, script in ESPEAK_LANGUAGES}))
def test_texts_depend_on_their_generator_only(script: str) -> None:
    first, again, other = (texts.sentence(np.random.default_rng(seed), script, n_words=5) for seed in (1, 1, 2))
    assert first == again != other
    assert len(first.split()) == 5


def test_missing_engines_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="festival is missing: apt-get install festival"):
        engines.festival("kal_diphone", phones.ARPABET, ["water"], "latin-1")
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(FileNotFoundError, match="libespeak-ng is missing: apt-get install espeak-ng"):
        engines.Espeak()


def test_a_voice_that_says_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr("subprocess.run", lambda *args, **kwargs: None)
    with pytest.raises(FileNotFoundError, match="festival says nothing as kal_diphone: install the packages that"):
        engines.festival("kal_diphone", phones.ARPABET, ["water"], "latin-1")


def speech() -> Speech:
    wav = babble(seconds=2.0)
    return Speech("babble", wav, np.array([0.5, 1.0, 1.5, 2.0]), np.array([phones.INDEX[c] for c in "aim_"]))


@pytest.mark.parametrize("seed", range(4))
def test_copies_share_their_timing_and_differ_in_pitch(seed: int) -> None:
    copies = render(speech(), 3, np.random.default_rng(seed))
    n_frames = len(copies.phone)
    assert copies.wav.shape == (3, n_frames * FRAME)
    assert copies.f0.shape == (3, n_frames)
    assert np.isfinite(copies.wav).all() and np.abs(copies.wav).max() < 1.0
    pitch = [np.median(f0[f0 > 0]) for f0 in copies.f0 if f0.any()]
    assert np.ptp(pitch) > 5.0


def test_melodies_stay_in_the_range_and_keep_the_voicing() -> None:
    voiced = np.arange(400) % 100 < 70
    for seed in range(20):
        hertz = melody(np.full(400, 150.0), voiced, np.random.default_rng(seed), sung=bool(seed % 2))
        assert not hertz[~voiced].any()
        assert not hertz.any() or (hertz[voiced] >= F0_RANGE[0]).all() and (hertz <= F0_RANGE[1]).all()


@pytest.fixture
def corpus_folder(tmp_path: Path) -> Path:
    copies = [render(speech(), 4, np.random.default_rng(seed)) for seed in range(3)]
    tensors = {
        "wav": np.concatenate([np.round(one.wav * 32767).astype(np.int16) for one in copies], axis=1),
        "f0": np.concatenate([one.f0.astype(np.float16) for one in copies], axis=1),
        "phone": np.concatenate([one.phone.astype(np.int8) for one in copies]),
        "frames": np.array([len(one.phone) for one in copies]),
    }
    save_file(tensors, tmp_path / "0000.safetensors", {"voices": json.dumps(["en+m1", "ja+m1", "festival x"])})
    return tmp_path


def test_an_empty_corpus_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no shards in .*: python -m scripts.embedded.corpus -o "):
        batches.read_corpus(tmp_path)


def test_batches_depend_on_their_generator_only_and_end_in_zeros(corpus_folder: Path) -> None:
    corpus, voices = batches.read_corpus(corpus_folder)
    assert voices == ["m1", "festival x"]
    first, again = (batches.draw(corpus, 4, np.random.default_rng(3), torch.device("cpu")) for _ in range(2))
    assert torch.equal(first.wav, again.wav)
    for i, length in enumerate(first.lengths):
        assert not first.wav[:, i, length:].any()
        assert first.wav[:, i, :length].std() > 0
    n_frames = (first.wav.shape[-1] - 400) // 320 + 1
    assert first.phone.shape[1] == first.log_f0.shape[2] == n_frames


def test_contrast_is_low_for_equal_copies_and_ignores_the_same_phone() -> None:
    torch.manual_seed(0)
    keys = torch.randn(1, 2, 30, 8)
    mask = torch.ones(2, 30, dtype=torch.bool)
    phone = torch.arange(30).expand(2, -1)
    same, other = contrast(torch.cat([keys, keys]), mask, phone), contrast(torch.randn(2, 2, 30, 8), mask, phone)
    assert same < 0.2 < other
    assert contrast(torch.randn(2, 2, 30, 8), mask, torch.zeros(2, 30)) == 0.0


def test_training_in_parts_is_training_at_once(corpus_folder: Path, tmp_path: Path) -> None:
    def train(name: str, *more: str) -> dict[str, torch.Tensor]:
        folder = tmp_path / name
        common = ["--corpus", str(corpus_folder), "--state", str(folder), "-o", str(folder), "--pairs", "2"]
        assert train_encoder.main([*common, "--steps", "4", "-d", "cpu", *more]) == 0
        net = ContentNet()
        net.load_state_dict(torch.load(folder / "training.pth")["net"])
        return net.state_dict()

    whole = train("whole")
    train("parts", "--until", "2")
    parts = train("parts")
    assert all(torch.allclose(whole[key].float(), parts[key].float(), atol=1e-5) for key in whole)
    assert (tmp_path / "parts" / "encoder.safetensors").stat().st_size < 25e6

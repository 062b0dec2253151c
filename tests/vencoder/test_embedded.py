"""The encoder that comes with the repository: its file, its grid, what it must ignore and what it must keep."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import vencoder
from common import audio
from common.checkpoint import CheckpointError
from modules.perturb import apply_timbre, draw_equaliser
from tests.vencoder.test_cepstral import babble, relative_change
from vencoder.embedded import EmbeddedEncoder
from vencoder.nets.embedded import log_mel

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "pretrain" / "embedded" / "encoder"
RECORDING = ROOT / "demo" / "dataset_raw" / "lj" / "003.flac"


@cache
def encoder() -> EmbeddedEncoder:
    return EmbeddedEncoder(FOLDER / "encoder.safetensors", torch.device("cpu"))


@cache
def recording(sample_rate: int = 16000) -> np.ndarray:
    return audio.load(RECORDING, sample_rate)


def test_the_registry_builds_it_with_the_width_that_it_declares() -> None:
    built = vencoder.build("embedded", "cpu")
    assert isinstance(built, EmbeddedEncoder)
    assert built.dim == vencoder.SPEECH_ENCODERS["embedded"].dim == 256


def test_the_weights_are_small_and_have_a_card() -> None:
    state = load_file(FOLDER / "encoder.safetensors")
    assert (FOLDER / "encoder.safetensors").stat().st_size <= 25e6
    assert sum(value.numel() for value in state.values()) <= 12e6
    assert all(value.dtype == torch.float16 for value in state.values() if value.is_floating_point())
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for word in ("licence", "hours", "python -m scripts.embedded", "CPU", "Intended use", "Limits", "phone error"):
        assert word in card, word


def test_units_are_float32_of_about_unit_variance_on_the_common_grid() -> None:
    units = encoder().encode(recording())
    assert units.dtype == torch.float32
    assert units.shape == (256, (len(recording()) - 400) // 320 + 1)
    assert 0.5 < float(units.var(dim=1).mean()) < 2.0


def test_batches_are_equal_to_one_by_one() -> None:
    wavs = [recording()[:400], recording()[:16000], recording()[8000:50001], babble(seconds=1.3)]
    for alone, together in zip([encoder().encode(wav) for wav in wavs], encoder().encode_batch(wavs), strict=True):
        assert torch.allclose(alone, together, atol=2e-4)


def test_windows_of_a_long_clip_agree_with_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [audio.load(path, 16000) for path in sorted(RECORDING.parent.glob("*.flac"))[:2]]
    wav = np.concatenate(clips)
    whole = encoder().encode(wav)
    monkeypatch.setattr(EmbeddedEncoder, "max_frames", 400)
    windows = encoder().encode(wav)
    assert windows.shape == whole.shape
    # each window has the level and the mean of its own samples
    assert 0.0 < relative_change(whole, windows) < 0.02


def test_gain_changes_nothing() -> None:
    assert relative_change(encoder().encode(recording()), encoder().encode(0.02 * recording())) < 1e-4


def test_silence_is_finite() -> None:
    assert torch.isfinite(encoder().encode(np.zeros(16000, np.float32))).all()
    assert torch.isfinite(encoder().encode(np.zeros(400, np.float32))).all()


@pytest.mark.parametrize("ratio", [1.2, 1 / 1.2])
def test_moved_formants_move_the_units_less_than_those_of_cepstral(ratio: float) -> None:
    wav = recording(44100)
    changed = apply_timbre(wav, 44100, ratio, draw_equaliser(np.random.default_rng(0)))
    pair = [audio.resample(samples, 44100, 16000) for samples in (wav, changed)]
    ours = relative_change(*(encoder().encode(samples) for samples in pair))
    cepstral = vencoder.build("cepstral", "cpu")
    assert ours < 0.5 * relative_change(*(cepstral.encode(samples) for samples in pair))


def test_pitch_changes_less_than_vowels_do() -> None:
    low, high = (encoder().encode(babble(f0=hertz)) for hertz in (110.0, 220.0))
    assert relative_change(low, high) < 0.25


def test_level_and_padding_of_the_front_end() -> None:
    wavs = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    wavs[1, 2000:] = 0.0
    features = log_mel(wavs, torch.tensor([4000, 2000]))
    alone = log_mel(wavs[1:, :2000], torch.tensor([2000]))
    assert features.shape == (2, 12, 160)
    assert torch.allclose(features[1:, : alone.shape[1]], alone, atol=1e-5)


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(b"no such thing")
    with pytest.raises(ValueError, match="encoder.safetensors is no safetensors file: "):
        EmbeddedEncoder(path, torch.device("cpu"))


def test_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    state = load_file(FOLDER / "encoder.safetensors")
    state.pop("stem.bias")
    save_file(state, path)
    with pytest.raises(CheckpointError, match="stem.bias"):
        EmbeddedEncoder(path, torch.device("cpu"))

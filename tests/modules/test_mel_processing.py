"""Spectra and mels equal those that the published weights were trained on."""

from functools import partial

import numpy as np
import pytest
import torch

from modules import mel_processing
from modules.mel_processing import (
    mel_filterbank,
    mel_spectrogram,
    spec_to_mel,
    spectrogram,
    stft_power,
    vocoder_mel,
)
from tests.parity import Case, assert_close

STFT = {"n_fft": 2048, "hop_length": 512, "win_length": 2048}
TRAINING = {"sample_rate": 44100, **STFT, "n_mels": 80, "fmin": 0.0, "fmax": 22050.0}
VOCODER = {"sample_rate": 44100, **STFT, "n_mels": 128, "fmin": 40.0, "fmax": 16000.0}
WARPS = {
    "key_p3": {"keyshift": 3},
    "key_m5": {"keyshift": -5},
    "key_p2p37": {"keyshift": 2.37},
    "speed_1p25": {"speed": 1.25},
    "speed_0p8": {"speed": 0.8},
    "key_p3_speed_1p25": {"keyshift": 3, "speed": 1.25},
}


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return Case("mel_spec").arrays()


@pytest.fixture(scope="module")
def wav(golden: dict[str, np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(golden["wav_int16"].astype(np.float32) / 32768)[None]


def assert_mel_close(got: torch.Tensor, expected: np.ndarray) -> None:
    """1e-4 on log mels above -60 dB; below, the FFT of another CPU rounds otherwise: there the linear mel counts."""
    expected = torch.from_numpy(expected)
    assert got.shape == expected.shape
    assert_close(got.exp(), expected.exp(), max_abs=5e-6, mean_abs=1e-7)
    loud = expected > -7.0
    assert_close(got[loud], expected[loud], max_abs=1e-4)
    assert_close(got, expected, max_abs=1e-2, mean_abs=1e-4)


def test_golden_training_spectrogram(golden: dict[str, np.ndarray], wav: torch.Tensor) -> None:
    spec = spectrogram(wav, **STFT)
    assert spec.shape == (1, 1025, 172)
    assert_close(spec[0][:, golden["spec_idx"].astype(int)], golden["spec_cols"], max_abs=1e-4)
    mel = spec_to_mel(spec, 44100, 2048, 80, fmin=0.0, fmax=22050.0)[0]
    assert_mel_close(mel, golden["mel80"])
    assert_mel_close(mel_spectrogram(wav, **TRAINING)[0, :, :8], golden["mel80_direct_first8"])


def test_golden_vocoder_mel(golden: dict[str, np.ndarray], wav: torch.Tensor) -> None:
    assert_mel_close(vocoder_mel(wav, **VOCODER)[0], golden["nv_mel128"])


@pytest.mark.parametrize("name", WARPS)
def test_golden_keyshift_and_speed(golden: dict[str, np.ndarray], wav: torch.Tensor, name: str) -> None:
    mel = vocoder_mel(wav, **VOCODER, **WARPS[name])[0]
    assert mel.shape[1] == int(golden[f"nv_{name}_nframes"][0])
    assert_mel_close(mel[:, ::3], golden[f"nv_{name}_every3"])


@pytest.mark.parametrize("n_samples", [300, 1000])
def test_golden_very_short(golden: dict[str, np.ndarray], wav: torch.Tensor, n_samples: int) -> None:
    assert_mel_close(vocoder_mel(wav[:, 5000 : 5000 + n_samples], **VOCODER)[0], golden[f"nv_short_{n_samples}"])


@pytest.mark.parametrize("htk", [False, True])
@pytest.mark.parametrize(
    "bands", [(44100, 2048, 80, 0.0, None), (44100, 2048, 128, 40.0, 16000.0), (16000, 400, 80, 0.0, None)]
)
def test_filterbank_equals_librosa(bands: tuple, htk: bool) -> None:
    librosa = pytest.importorskip("librosa")
    rate, n_fft, n_mels, fmin, fmax = bands
    expected = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax, htk=htk)
    assert_close(mel_filterbank(*bands, htk=htk), expected, max_abs=1e-7)
    assert np.array_equal(mel_filterbank(*bands, htk=htk).numpy() > 0, expected > 0)


def test_bad_bands_are_refused() -> None:
    with pytest.raises(ValueError, match="0 <= fmin < fmax <= 8000 Hz, got 40 and 9000"):
        mel_filterbank(16000, 400, 80, 40.0, 9000.0)


def test_centred_power_equals_definition(wav: torch.Tensor) -> None:
    power = stft_power(wav, 400, 160, center=True)
    assert power.shape == (1, 201, 1 + wav.shape[1] // 160)
    frame = wav[0, 1600 - 200 : 1600 + 200].double() * torch.hann_window(400, dtype=torch.float64)
    expected = torch.fft.rfft(frame).abs().square()
    assert_close(power[0, :, 10], expected, max_abs=1e-4 * float(expected.max()))


def test_keyshift_moves_a_tone_and_batches_are_independent() -> None:
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(44100) / 44100)
    mel = vocoder_mel(torch.stack([tone, torch.zeros_like(tone)]), **VOCODER, keyshift=12)
    filters = mel_filterbank(44100, 2048, 128, 40.0, 16000.0)
    peak_bin = filters[mel[0, :, 40].argmax()].argmax()
    assert abs(float(peak_bin) * 44100 / 2048 - 2000) < 60
    assert (mel[1, :, 40] == np.log(1e-5).astype(np.float32)).all()


def test_half_precision_input_is_computed_in_float32(wav: torch.Tensor) -> None:
    assert spectrogram(wav.half(), **STFT).dtype == torch.float32


def test_too_short_and_bad_speed() -> None:
    with pytest.raises(ValueError, match="700 samples are too few"):
        spectrogram(torch.zeros(1, 700), **STFT)
    with pytest.raises(ValueError, match="at least one sample per frame"):
        vocoder_mel(torch.zeros(1, 700), **VOCODER, speed=0.0)


def test_gradient_is_finite_on_silence() -> None:
    silence = torch.zeros(1, 4096, requires_grad=True)
    mel_spectrogram(silence, **TRAINING).sum().backward()
    assert torch.isfinite(silence.grad).all()


def test_cached_tensors_can_be_trained_with_after_inference() -> None:
    options = {"sample_rate": 8000, "n_fft": 256, "hop_length": 64, "win_length": 256, "n_mels": 13}
    with torch.inference_mode():
        mel_spectrogram(torch.randn(1, 2048), **options)  # sizes that no other test has cached
    wav = torch.randn(1, 2048, requires_grad=True)
    mel_spectrogram(wav, **options).sum().backward()
    assert wav.grad is not None


@pytest.mark.parametrize(("keyshift", "speed"), [(0.0, 1.0), (3.7, 1.0), (-4.2, 1.3)])
def test_vocoder_mels_of_long_audio_are_made_in_blocks(monkeypatch, keyshift, speed):
    wav = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 20000)).astype(np.float32))
    make = partial(vocoder_mel, wav, **VOCODER, keyshift=keyshift, speed=speed)
    whole = make()
    monkeypatch.setattr(mel_processing, "BLOCK_FRAMES", 7)
    assert_close(make(), whole, max_abs=1e-5)

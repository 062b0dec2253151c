"""The subtractive vocoder: its pulses, its levels, its pitch, what its files may hold."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.pitch_comparison import track_pitch
from tests.parity import assert_close
from vdecoder import build_vocoder
from vdecoder.mel_format import MelFormat
from vdecoder.subtractive import SubtractiveVocoder, limited, pulse_train
from vdecoder.vocoder import build_generator

RATE, HOP = 44100, 512
MEL = MelFormat(RATE, 128, 2048, HOP, 2048, 40, 16000)
CONFIG = {
    **{"sampling_rate": RATE, "num_mels": 128, "n_fft": 2048, "hop_size": HOP, "win_size": 2048, "fmin": 40},
    **{"fmax": 16000, "network": "subtractive", "channels": 16, "n_layers": 2},
}


def test_pulses_have_all_harmonics_at_one_strength() -> None:
    wav = pulse_train(torch.full((1, 86), 441.0), HOP, RATE)[0, :44000]  # 440 periods: no leakage
    spectrum = wav.double().numpy()
    strength = 2 * np.abs(np.fft.rfft(spectrum)) / len(spectrum)
    harmonics = strength[440 * np.arange(1, 46)]
    np.testing.assert_allclose(harmonics, 2 * 441 / RATE, rtol=0.03)
    between = np.delete(strength, np.arange(0, len(strength), 440))
    assert between.max() < 1e-3


def test_pulses_glide_between_the_middles_of_frames_and_rest_where_unvoiced() -> None:
    f0 = torch.tensor([[0.0, 0, 200, 200, 400, 400, 0, 0, 300]])
    wav = pulse_train(f0, HOP, RATE)[0]
    assert wav.shape == (9 * HOP,)
    frames = wav.view(9, HOP)
    assert not frames[[0, 1, 6, 7]].any() and frames[[2, 3, 4, 5, 8]].abs().amax(1).gt(0.5).all()
    starts = np.flatnonzero((wav[1:-1] > 0.6) & (wav[1:-1] >= wav[:-2]) & (wav[1:-1] > wav[2:])) + 1
    periods = np.diff(starts[(starts > 2 * HOP) & (starts < 6 * HOP)])
    assert abs(periods[0] - RATE / 200) < 2 and abs(periods[-1] - RATE / 400) < 2
    assert (np.diff(periods) < 3).all()  # it rises throughout


@pytest.fixture(scope="module")
def vocoder() -> SubtractiveVocoder:
    torch.manual_seed(0)
    return SubtractiveVocoder(MEL, channels=16, n_layers=2).eval()


@torch.no_grad()
def test_an_untrained_network_plays_the_mel(vocoder: SubtractiveVocoder) -> None:
    """The levels that mels and filters have are right: what is learnt is the rest."""
    f0 = torch.full((1, 80), 250.0)
    smooth = -2.0 - 3.0 * torch.linspace(0, 1, 128)[None, :, None].expand(1, 128, 80)
    made = MEL.extract(vocoder(smooth, f0, generator=torch.Generator().manual_seed(0)).squeeze(1))
    wide = made[:, 70:, 4:-4]  # bands that hold several harmonics
    assert abs((wide - smooth[:, 70:, 4:-4]).mean()) < 0.35  # the noise comes on top
    silent = vocoder(torch.full((1, 128, 80), -11.5), f0)
    assert silent.abs().max() < 1e-3


def test_peaks_are_bent_and_the_rest_is_left_alone() -> None:
    wav = torch.linspace(-3, 3, 601)
    bent = limited(wav)
    assert torch.equal(bent[wav.abs() <= 0.8], wav[wav.abs() <= 0.8])
    assert bent.abs().max() <= 1 and (bent.diff() >= 0).all()


@torch.no_grad()
def test_it_sings_the_f0_that_it_is_given(vocoder: SubtractiveVocoder) -> None:
    times = (np.arange(160) + 0.5) * HOP / RATE
    f0 = 220 * 2 ** (0.7 / 12 * np.sin(2 * np.pi * 5.5 * times))
    mel = torch.full((1, 128, 160), -4.0)
    wav = vocoder(mel, torch.from_numpy(f0.astype(np.float32))[None], generator=torch.Generator().manual_seed(0))
    heard = track_pitch(wav[0, 0].numpy(), RATE, predictor="auto")
    cents = 1200 * np.abs(np.log2(heard.f0 / f0))[8:-8]
    assert heard.uv[8:-8].mean() > 0.95 and np.median(cents) < 4 and np.percentile(cents, 95) < 12


@torch.no_grad()
def test_a_batch_equals_its_items(vocoder: SubtractiveVocoder) -> None:
    mel, f0 = torch.randn(2, 128, 20) - 5, torch.tensor([[150.0], [0.0]]).expand(2, 20)
    both = vocoder(mel, f0, generator=torch.Generator().manual_seed(3))
    assert both.shape == (2, 1, 20 * HOP) and torch.isfinite(both).all()
    for i in range(2):
        alone = vocoder(mel[i : i + 1], f0[i : i + 1], generator=torch.Generator().manual_seed(3))
        assert_close(both[i : i + 1], alone, max_abs=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("n_frames", [1, 2, 3])
def test_a_single_frame_is_enough(vocoder: SubtractiveVocoder, n_frames: int) -> None:
    wav = vocoder(torch.full((1, 128, n_frames), -3.0), torch.full((1, n_frames), 200.0))
    assert wav.shape == (1, 1, n_frames * HOP) and torch.isfinite(wav).all() and wav.abs().max() > 0.01


def test_its_file_is_read_like_any_vocoders(tmp_path: Path) -> None:
    torch.save({"generator": build_generator(CONFIG).half().state_dict()}, tmp_path / "model")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    vocoder = build_vocoder("subtractive", tmp_path / "model", "cpu")
    mel = vocoder.extract(torch.randn(1, 30 * HOP) * 0.1)
    assert vocoder.infer(mel, torch.full((1, 30), 200.0)).shape == (1, 30 * HOP) and not vocoder.can_shift


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "wavenet"}, 'network: must be absent .* or "subtractive"'),
        ({"channels": 0}, "channels, n_layers must be whole numbers above 0"),
        ({"n_layers": None}, "channels, n_layers must be whole numbers above 0"),
        ({"hop_size": 511}, "hop_size must be even"),
    ],
)
def test_files_that_cannot_be_built_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    torch.save({"generator": {}}, tmp_path / "model")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | changes), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        build_vocoder("subtractive", tmp_path / "model", "cpu")


def test_a_missing_size_is_named(tmp_path: Path) -> None:
    torch.save({"generator": {}}, tmp_path / "model")
    config = {key: value for key, value in CONFIG.items() if key != "channels"}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match="missing channels"):
        build_vocoder("subtractive", tmp_path / "model", "cpu")

"""Resampling of tensors: the golden filter, tones, lengths."""

import math

import numpy as np
import pytest
import torch

from modules.resampling import resample
from tests.parity import Case, assert_close


@pytest.mark.parametrize(("from_rate", "to_rate"), [(44100, 55600), (55600, 44100)])
def test_golden(from_rate: int, to_rate: int) -> None:
    arrays = Case("enhancer").arrays()
    wav = torch.from_numpy(arrays["audio_int16"][:4000].astype(np.float32) / 32768)[None]
    assert_close(resample(wav, from_rate, to_rate), arrays[f"resample_{from_rate}_{to_rate}_w128"], max_abs=2e-6)


@pytest.mark.parametrize("to_rate", [22050, 48000, 55600])
def test_a_tone_keeps_pitch_and_level_and_what_the_new_rate_cannot_hold_is_gone(to_rate: int) -> None:
    time = torch.arange(44100) / 44100
    wav = torch.stack([torch.sin(2 * math.pi * 1000 * time), torch.sin(2 * math.pi * 15000 * time)])
    got = resample(wav, 44100, to_rate)
    new_time = torch.arange(got.shape[1]) / to_rate
    middle = slice(1000, -1000)
    assert_close(got[0][middle], torch.sin(2 * math.pi * 1000 * new_time)[middle], max_abs=2e-3)
    if to_rate < 30000:
        assert got[1][middle].abs().max() < 5e-3  # what the hard edges of the tone leave


@pytest.mark.parametrize("n_samples", [1, 2, 440, 441, 1000])
def test_lengths(n_samples: int) -> None:
    wav = torch.ones(3, n_samples)
    assert resample(wav, 44100, 55600).shape == (3, math.ceil(n_samples * 556 / 441))
    assert resample(wav, 44100, 44100) is wav

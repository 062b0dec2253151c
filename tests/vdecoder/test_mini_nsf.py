"""Vocoders of 2025.02: their one-sine source, where it enters, and files in their layout, against plain arithmetic."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.parity import assert_close
from tests.vdecoder.test_vocoder import TINY
from vdecoder import build_vocoder
from vdecoder.nsf_hifigan import NSFHiFiGAN
from vdecoder.source import MiniSource
from vdecoder.vocoder import build_generator

THREE_STAGES = {
    "hop_size": 32,
    "upsample_rates": [4, 4, 2],
    "upsample_kernel_sizes": [8, 8, 4],
    "resblock": "2",
    "resblock_dilation_sizes": [[1]],
    "mini_nsf": True,
    "pc_aug": True,
}


def write_vocoder(folder: Path, **changes: object) -> Path:
    config = TINY | THREE_STAGES | changes
    torch.manual_seed(5)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.save({"generator": build_generator(config).state_dict()}, folder / "model.ckpt")
    return folder / "model.ckpt"


def sine(f0: np.ndarray, sample_rate: float, hop: int) -> np.ndarray:
    """Sample by sample: within a frame the step grows towards that of the next frame; the last frame keeps its own."""
    phase, made = 0.0, []
    for i, now in enumerate(f0):
        then = f0[i + 1] if i + 1 < len(f0) else now
        for n in range(hop):
            phase += (now + (then - now) * n / hop) / sample_rate
            made.append(math.sin(2 * math.pi * phase))
    return np.array(made)


def test_the_source_is_a_gliding_sine() -> None:
    f0 = np.array([110.0, 220.0, 230.0, 0.0, 0.0, 880.0, 440.0])
    source = MiniSource(5512.5, 64)
    got = source(torch.tensor(np.stack([f0, f0[::-1].copy()]), dtype=torch.float32))
    assert got.shape == (2, 1, 7 * 64)
    for row, track in zip(got[:, 0], (f0, f0[::-1]), strict=True):
        np.testing.assert_allclose(row.numpy(), sine(track, 5512.5, 64), atol=2e-5)


def test_the_phase_stays_exact_for_minutes() -> None:
    n_frames, hop, rate = 20000, 64, 5512.5  # 232 s
    got = MiniSource(rate, hop)(torch.full((1, n_frames), 441.3))[0, 0, -hop:].double()
    n = torch.arange((n_frames - 1) * hop + 1, n_frames * hop + 1, dtype=torch.float64)
    f0 = torch.tensor(441.3, dtype=torch.float32).double()
    assert_close(got, torch.sin(2 * math.pi * (f0 * n / rate)), max_abs=1e-5)


def test_the_network_layer_by_layer() -> None:
    """The source enters behind the second stage and nowhere else; noise is added behind the first layer."""
    torch.manual_seed(5)
    net = build_generator(TINY | THREE_STAGES)
    mel, f0 = torch.randn(1, 8, 6), 100 + 200 * torch.rand(1, 6)
    x = net.conv_pre(mel)
    for stage in range(3):
        x = net.ups[stage](F.leaky_relu(x, 0.1))
        if stage == 1:
            source = torch.tensor(sine(f0[0].double().numpy(), 16000 / 2, 16), dtype=torch.float32)
            x = x + F.conv1d(source[None, None], net.source_conv.weight, net.source_conv.bias)
        x = net.resblocks[stage](x)
    expected = torch.tanh(net.conv_post(F.leaky_relu(x, 0.01)))
    assert_close(net(mel, f0), expected, max_abs=1e-5)


def test_keys_and_shapes() -> None:
    state = build_generator(TINY | THREE_STAGES).state_dict()
    assert {key.split(".")[0] for key in state} == {"conv_pre", "ups", "resblocks", "source_conv", "conv_post"}
    assert state["source_conv.weight"].shape == (4, 1, 1)  # 16 channels, halved twice


def test_a_file_is_read_and_can_shift(tmp_path: Path) -> None:
    vocoder = build_vocoder("nsf-hifigan", write_vocoder(tmp_path), "cpu")
    mel, f0 = torch.randn(2, 8, 10), torch.full((2, 10), 200.0)
    together = vocoder.infer(mel, f0)
    assert together.shape == (2, 320) and vocoder.can_shift
    for i in range(2):
        assert_close(together[i], vocoder.infer(mel[i : i + 1], f0[i : i + 1])[0], max_abs=1e-6)
    assert (vocoder.infer(mel, 2 * f0) - together).abs().max() > 1e-4


def test_noise_is_drawn_from_the_generator(tmp_path: Path) -> None:
    plain = build_vocoder("nsf-hifigan", write_vocoder(tmp_path), "cpu")
    mel, f0 = torch.randn(2, 8, 10), torch.full((2, 10), 200.0)
    quiet = plain.infer(mel, f0)
    noisy = build_vocoder("nsf-hifigan", write_vocoder(tmp_path, noise_sigma=0.5), "cpu")
    made = [noisy.infer(mel, f0, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    assert (made[0] - quiet).abs().max() > 1e-4
    alone = noisy.infer(mel[1:], f0[1:], generator=torch.Generator().manual_seed(1))
    assert_close(alone[0], made[0][1], max_abs=1e-6)


def test_training_from_nothing_begins_loud_enough(tmp_path: Path) -> None:
    net = build_generator(TINY | THREE_STAGES)
    net.init_gains()
    made = net(torch.randn(1, 8, 40), torch.full((1, 40), 200.0))
    assert 0.02 < made.std() < 0.5


def test_one_stage_is_too_few() -> None:
    with pytest.raises(ValueError, match="mini_nsf needs more than 1 upsample_rates"):
        NSFHiFiGAN(
            sample_rate=16000,
            inter_channels=8,
            resblock="2",
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1]],
            upsample_rates=[32],
            upsample_initial_channel=16,
            upsample_kernel_sizes=[64],
            mini_nsf=True,
        )

"""The enhancer: golden case, lengths to the sample, and what stays as it was."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity import Case, assert_close
from tests.vdecoder.test_vocoder import write_vocoder
from vdecoder import build_vocoder
from vdecoder.enhancer import Enhancer, _at

HOP = 512


@pytest.fixture(scope="module")
def golden(tmp_path_factory) -> tuple[Enhancer, dict[str, np.ndarray]]:
    case, folder = Case("enhancer"), tmp_path_factory.mktemp("enhancer")
    (folder / "config.json").write_text(json.dumps(case.info["config"]), encoding="utf-8")
    torch.save({"generator": case.state_dict("model")}, folder / "model")
    return Enhancer(build_vocoder("nsf-hifigan", folder / "model", "cpu")), case.arrays()


@pytest.mark.parametrize(("name", "key", "silence"), [("key0", 0, 0.0), ("key4", 4, 0.0), ("key4_sf", 4, 0.05)])
def test_golden(golden, zero_noise: None, name: str, key: int, silence: float) -> None:
    enhancer, arrays = golden
    wav = torch.from_numpy(arrays["audio_int16"].astype(np.float32) / 32768)
    f0 = torch.from_numpy(arrays["f0"])
    got = enhancer.enhance(wav, f0, adaptive_key=key, silence_front=silence)
    assert got.shape == wav.shape
    # The reference ends with the last whole frame. A frame more changes what the convolutions see for ten before it.
    same = len(arrays["wav_key0"]) if key == 0 else 20 * HOP
    assert_close(got[:same], arrays[f"wav_{name}"][:same], max_abs=1e-4)
    assert np.array_equal(f0.numpy(), arrays["f0"])  # the reference divides the caller's


@pytest.fixture
def enhancer(tmp_path: Path) -> Enhancer:
    return Enhancer(build_vocoder("nsf-hifigan", write_vocoder(tmp_path), "cpu"))


@pytest.mark.parametrize("n_samples", [0, 1, 31, 32, 33, 500, 1600])
@pytest.mark.parametrize("key", [-7, 0, 0.5, 3, 12])
def test_the_length_stays_to_the_sample(enhancer: Enhancer, n_samples: int, key: float) -> None:
    f0 = torch.full((max(1, n_samples // 32),), 200.0)
    got = enhancer.enhance(0.1 * torch.randn(n_samples), f0, adaptive_key=key)
    assert got.shape == (n_samples,) and got.dtype == torch.float32
    assert torch.isfinite(got).all()


def test_silence_in_front(enhancer: Enhancer) -> None:
    wav, f0 = 0.1 * torch.randn(1600), torch.full((50,), 200.0)
    got = enhancer.enhance(wav, f0, silence_front=0.021)  # 10.5 frames of 2 ms
    assert not got[:320].any() and got[320:].any()
    assert enhancer.enhance(wav, f0, silence_front=9.0).shape == wav.shape


def test_generator_argument_leaves_the_global_state_and_repeats(enhancer: Enhancer) -> None:
    wav, f0, before = 0.1 * torch.randn(640), torch.full((20,), 200.0), torch.get_rng_state()
    first, second = (
        enhancer.enhance(wav, f0, adaptive_key=2, generator=torch.Generator().manual_seed(1)) for _ in range(2)
    )
    assert torch.equal(first, second) and torch.equal(torch.get_rng_state(), before)


def test_f0_between_frames() -> None:
    f0 = torch.tensor([100.0, 200.0, 0.0, 0.0, 300.0])
    assert _at(f0, 9, 0.5).tolist() == [100, 150, 200, 0, 0, 0, 0, 300, 300]
    assert _at(f0, 3, 4.0).tolist() == [100, 300, 300]


@pytest.mark.parametrize(
    ("wav", "f0"),
    [(torch.zeros(1, 64), torch.ones(2)), (torch.zeros(64), torch.ones(1, 2)), (torch.zeros(64), torch.ones(0))],
)
def test_wrong_shapes(enhancer: Enhancer, wav: torch.Tensor, f0: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected wav \(T,\) and f0 \(F,\), got"):
        enhancer.enhance(wav, f0)

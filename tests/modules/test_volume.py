"""Frame volume and the transfer of the loudness envelope."""

import numpy as np
import pytest
import torch

from modules.volume import frame_volume, loudness_envelope, match_loudness
from tests.parity import Case, assert_close


@pytest.fixture(scope="module")
def models() -> dict[str, torch.Tensor]:
    arrays = Case("utils_models").arrays()
    return {key: torch.from_numpy(value) for key, value in arrays.items() if key.startswith(("vol_", "rms_"))}


@pytest.mark.parametrize("hop_length", [512, 441])
def test_golden_volume(models: dict[str, torch.Tensor], hop_length: int) -> None:
    wav = models["vol_audio_int16"].float() / 32768
    assert_close(frame_volume(wav, hop_length), models[f"vol_out_{hop_length}"], max_abs=1e-6)


@pytest.mark.parametrize("rate", ["0", "0.25", "0.7"])
def test_golden_loudness(models: dict[str, torch.Tensor], rate: str) -> None:
    got = match_loudness(models["rms_in1"], 8000, models["rms_in2"], 8000, float(rate))
    assert_close(got, models[f"rms_out_rate_{rate}"], max_abs=1e-5)


def test_golden_pipeline() -> None:
    arrays = {
        k: torch.from_numpy(v) for k, v in Case("utils_pipeline").arrays().items() if k.startswith(("lea", "vol"))
    }
    source, output = arrays["lea_in"], arrays["lea_out"]
    before = output.clone()
    assert_close(match_loudness(source, 44100, output, 44100, 0.4), arrays["lea_rate_0.4"], max_abs=1e-5)
    assert_close(match_loudness(source, 44100, output, 44100, 0.0)[::8], arrays["lea_rate_0_every8"], max_abs=1e-5)
    assert torch.equal(output, before)
    assert_close(frame_volume(source, 512), arrays["volume"], max_abs=1e-5)


def test_envelope_equals_its_definition() -> None:
    librosa = pytest.importorskip("librosa")
    wav = np.random.default_rng(0).standard_normal(3217).astype(np.float32)
    for rate in (400, 401):
        half = rate // 2
        expected = librosa.feature.rms(y=wav, frame_length=2 * half, hop_length=half)[0]
        assert_close(loudness_envelope(torch.from_numpy(wav), rate), expected, max_abs=1e-6)


def test_loudness_between_rates_and_limits() -> None:
    tone = torch.sin(torch.arange(32000) * 0.3)
    louder = match_loudness(0.5 * tone[::2], 8000, 0.1 * tone, 16000, 0.0)
    assert louder[4000:28000].abs().max() == pytest.approx(0.5, rel=0.02)
    assert torch.equal(match_loudness(tone, 16000, tone, 16000, 1.0), tone)
    assert torch.isfinite(match_loudness(tone, 16000, torch.zeros(32000), 16000, 0.0)).all()
    with pytest.raises(ValueError, match="between 0 and 1, got 1.5"):
        match_loudness(tone, 16000, tone, 16000, 1.5)


def test_volume_of_batches_and_constants() -> None:
    wav = torch.stack([torch.full((2000,), 0.25), torch.zeros(2000)])
    volume = frame_volume(wav, 512)
    assert volume.shape == (2, 3)
    assert_close(volume, torch.tensor([[0.25] * 3, [0.0] * 3]), max_abs=1e-7)
    with pytest.raises(ValueError, match="100 samples are less than one frame of 512"):
        frame_volume(torch.zeros(100), 512)

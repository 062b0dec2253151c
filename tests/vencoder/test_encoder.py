"""What holds for every encoder: the registry, frame counts, windows and batches, and the messages of errors."""

import numpy as np
import pytest
import torch

import vencoder
from common import pretrained
from common.registry import NotAvailableError
from vencoder.encoder import SpeechEncoder

NAMES_OF_4_1 = {
    **{"vec768l12": 768, "vec256l9": 256, "hubertsoft": 256, "whisper-ppg": 1024, "whisper-ppg-large": 1280},
    **{"cnhubertlarge": 1024, "dphubert": 768, "wavlmbase+": 768, "vec256l9-onnx": 256, "vec256l12-onnx": 256},
    **{"vec768l9-onnx": 768, "vec768l12-onnx": 768, "hubertsoft-onnx": 256},
}


class FrameSums(SpeechEncoder):
    """Mean and largest sample of each frame: depends on nothing but the frame, so windows must be invisible."""

    max_frames, context_frames = 20, 3

    def __init__(self) -> None:
        super().__init__(2, torch.device("cpu"))
        self.batches: list[tuple[int, int]] = []

    def encode_padded(self, wavs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        self.batches.append(tuple(wavs.shape))
        frames = wavs.unfold(1, self.field, 320)
        return torch.stack([frames.mean(2), frames.amax(2)], dim=1)


class PaddedFrameSums(FrameSums):
    padding = 40


def test_registry_has_every_name_of_4_1():
    assert {name: vencoder.SPEECH_ENCODERS[name].dim for name in NAMES_OF_4_1} == NAMES_OF_4_1
    assert set(vencoder.SPEECH_ENCODERS) - set(NAMES_OF_4_1) == {"cepstral"}


@pytest.mark.parametrize("name", [n for n, entry in vencoder.SPEECH_ENCODERS.items() if entry.target is None])
def test_later_names_say_so(name):
    with pytest.raises(NotAvailableError, match="not available yet; available now: vec768l12"):
        vencoder.build(name, "cpu")


def test_build_errors(tmp_path):
    with pytest.raises(ValueError, match="unknown speech encoder 'vec'; choose one of: vec768l12, vec256l9"):
        vencoder.build("vec")
    with pytest.raises(ValueError, match="'cepstral' has no weights file"):
        vencoder.build("cepstral", "cpu", weights=tmp_path / "a.pt")
    with pytest.raises(FileNotFoundError, match=r"absent\.pt"):
        vencoder.build("vec768l12", "cpu", weights=tmp_path / "absent.pt")


def test_missing_weights_say_what_to_do(tmp_path, monkeypatch):
    def absent(name: str) -> None:
        raise FileNotFoundError(f"no {name}")

    monkeypatch.setattr(pretrained, "require", absent)
    with pytest.raises(FileNotFoundError, match="no contentvec"):
        vencoder.build("vec768l12", "cpu")


def test_weights_are_known_to_the_table_of_pretrained_files():
    needed = {entry.weights for entry in vencoder.SPEECH_ENCODERS.values() if entry.weights}
    assert needed <= set(pretrained.FILES)


@pytest.mark.parametrize("encoder", [FrameSums(), PaddedFrameSums()])
@pytest.mark.parametrize("n_samples", [400, 719, 720, 16000, 6720, 6400, 100_001])
def test_windows_are_invisible(encoder, n_samples):
    wav = torch.randn(n_samples)
    n_frames = (n_samples + 2 * encoder.padding - 400) // 320 + 1
    padded = torch.nn.functional.pad(wav, (encoder.padding, encoder.padding)).unfold(0, 400, 320)
    units = encoder.encode(wav)
    assert units.shape == (2, n_frames) and encoder.n_frames(n_samples) == n_frames
    torch.testing.assert_close(units, torch.stack([padded.mean(1), padded.amax(1)]))


def test_batches_are_bounded_and_in_order():
    encoder = FrameSums()
    encoder.batch_frames = {"cpu": 60}
    wavs = [torch.randn(n) for n in (20_000, 500, 3000, 16_000, 5000, 400)]
    units = encoder.encode_batch(wavs)
    for wav, got in zip(wavs, units, strict=True):
        torch.testing.assert_close(got, FrameSums().encode(wav))
    assert all(n_items * encoder.n_frames(n_samples) <= 60 for n_items, n_samples in encoder.batches)
    assert encoder.encode_batch([]) == []


def test_unusable_audio():
    encoder = FrameSums()
    with pytest.raises(ValueError, match=r"mono audio \(T,\), got shape \(2, 1600\)"):
        encoder.encode(np.zeros((2, 1600), np.float32))
    with pytest.raises(ValueError, match="399 samples at 16 kHz are too short to encode: 400 are needed"):
        encoder.encode(torch.zeros(399))
    assert encoder.encode(np.zeros(400, np.float64)).dtype == torch.float32

"""What holds for every encoder: the registry, frame counts, windows and batches, and the messages of errors."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import vencoder
from common import pretrained
from vencoder.encoder import SpeechEncoder

ROOT = Path(__file__).resolve().parents[2]
ENCODE_MINUTES = """
import sys
from pathlib import Path
import torch
from vencoder.contentvec import ContentVec
n_samples = int(sys.argv[1]) * 60 * 16000
encoder = ContentVec(Path("tests/golden/contentvec_files/contentvec_tiny.pt"), torch.device("cpu"), layer=2)
units = encoder.encode(torch.rand(n_samples))
assert units.shape == (64, encoder.n_frames(n_samples)) and bool(units.isfinite().all())
print(next(line.split()[1] for line in Path("/proc/self/status").open() if line.startswith("VmHWM")))  # kB
"""
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


class FixedFrameSums(FrameSums):
    """Has the limits of Whisper: no window is longer, and what is shorter costs as much."""

    field, always_max_frames = 320, True


class Convolutions(SpeechEncoder):
    """What comes before attention in a network: frames, then a convolution that sees three more on both sides."""

    max_frames, context_frames, padding = 20, 3, 40

    def __init__(self) -> None:
        super().__init__(4, torch.device("cpu"))
        self.frames = torch.nn.Conv1d(1, 4, self.field, stride=320)
        self.near = torch.nn.Conv1d(4, 4, 2 * self.context_frames + 1, padding=self.context_frames)

    def encode_padded(self, wavs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return self.near(self.frames(wavs.unsqueeze(1)))


def test_registry_has_every_name_of_4_1():
    assert {name: vencoder.SPEECH_ENCODERS[name].dim for name in NAMES_OF_4_1} == NAMES_OF_4_1


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


@pytest.mark.parametrize("encoder", [FrameSums(), PaddedFrameSums(), FixedFrameSums()])
@pytest.mark.parametrize("n_samples", [400, 719, 720, 16000, 6720, 6400, 100_001])
def test_windows_are_invisible(encoder, n_samples):
    wav, field = torch.randn(n_samples), encoder.field
    n_frames = (n_samples + 2 * encoder.padding - field) // 320 + 1
    padded = torch.nn.functional.pad(wav, (encoder.padding, encoder.padding)).unfold(0, field, 320)
    units = encoder.encode(wav)
    assert units.shape == (2, n_frames) and encoder.n_frames(n_samples) == n_frames
    torch.testing.assert_close(units, torch.stack([padded.mean(1), padded.amax(1)]))


def test_windows_of_a_network_that_sees_as_far_as_its_context():
    encoder, wav = Convolutions(), torch.randn(100_001)
    in_windows = encoder.encode(wav)
    encoder.context_frames = 2
    with pytest.raises(AssertionError):
        torch.testing.assert_close(encoder.encode(wav), in_windows, rtol=0, atol=1e-4)
    encoder.max_frames = 1000
    torch.testing.assert_close(encoder.encode(wav), in_windows, rtol=0, atol=1e-6)


@pytest.mark.parametrize("encoder", [FrameSums(), FixedFrameSums()])
@pytest.mark.parametrize("n_frames", [1, 19, 20, 21, 34, 35, 48, 49, 1000, 90_000])
def test_windows_keep_to_their_limits(encoder, n_frames):
    windows = list(encoder._windows(0, n_frames))
    assert [w.start for w in windows] == [0, *(w.end for w in windows[:-1])] and windows[-1].end == n_frames
    assert {w.right - w.left for w in windows} == {min(n_frames, 20)} or not encoder.always_max_frames
    assert len({w.right - w.left for w in windows}) == 1 and windows[0].right - windows[0].left <= 20
    for w in windows:
        assert w.left == w.start == 0 or w.start - w.left >= 3
        assert w.right == w.end == n_frames or w.right - w.end >= 3
    assert len(windows) == max(1, -(-(n_frames - 6) // 14))  # no fewer would do


def test_windows_that_are_all_context():
    encoder = FrameSums()
    encoder.context_frames = 10
    with pytest.raises(AssertionError, match="windows that are all context"):
        encoder.encode(torch.zeros(16000))
    assert encoder.encode(torch.zeros(6480)).shape == (2, 20)


@pytest.mark.slow
def test_half_an_hour_takes_no_more_memory_than_its_audio_and_its_units():
    """The peak of a process that encoded one minute, and of one that encoded thirty."""
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read where Linux tells it")
    peaks = [
        1e3 * int(subprocess.check_output([sys.executable, "-c", ENCODE_MINUTES, str(n)], cwd=ROOT)) for n in (1, 30)
    ]
    audio, units = 29 * 60 * 16000 * 4, 29 * 60 * 50 * 64 * 4  # bytes
    assert peaks[1] - peaks[0] < audio + units + 50e6, peaks


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

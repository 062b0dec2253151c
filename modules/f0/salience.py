"""What the network predictors share: audio at 16 kHz, frames of 10 ms, a salience over 360 pitch bins, its decoding.

Letters: B batch, T samples at 16 kHz, K = T // 160 + 1 frames, M mels, P pitch bins.
The local weighted average goes back to CREPE (Kim et al. 2018, arXiv:1802.06182, section 2).

A network that was trained on pitches up to about 1050 Hz hears higher ones when it is told that audio at 32 kHz were
at 16 kHz: all frequencies are halved. Its frames then lie 320 samples apart, still 10 ms. Audio at 8 kHz brings basses
into its range in the same way.
"""

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common import audio
from modules.f0 import F0_MAX, F0_MIN
from modules.f0.predictor import Array, F0Predictor, track_in_windows

SAMPLE_RATE, HOP_LENGTH = 16000, 160  # Hz, samples: 10 ms
CENTS_REFERENCE = 10.0  # Hz at 0 cents
N_BINS, CENTS_PER_BIN, FIRST_BIN_CENTS = 360, 20.0, 1997.3794084376191  # CREPE's bins, RMVPE's too: 31.7 Hz and up
MIN_SAMPLES = 1024  # shorter audio is padded with silence: it could not be mirrored at its ends
NEIGHBOURS = 4  # bins on each side of the best one that enter the average
WINDOW_FRAMES, CONTEXT_FRAMES = 3200, 192  # 32 s with 1.92 s more on both sides; multiples of RMVPE's 32 frames
HALVED, DOUBLED = 0.5, 2.0  # what a reading multiplies all frequencies by
# Hz: a reading with halved frequencies is believed above the first, with doubled ones below the second. The weights in
# torchfcpe are right for 60 to 1050 Hz as they are, for 110 to 2100 Hz with halved, for 35 to 450 Hz with doubled ones.
BELIEVED_ABOVE, BELIEVED_BELOW = 900.0, 60.0
HIGHEST_HZ = 2100.0


class Reading(NamedTuple):
    """f0 (K,) in Hz, also of frames that are not voiced, and confidence (K,) in 0..1; frames are 10 ms apart."""

    f0: NDArray[np.floating]
    confidence: NDArray[np.floating]

    def voiced(self, threshold: float) -> NDArray[np.floating]:
        """f0 (K,) in Hz, 0 where the confidence does not exceed the threshold."""
        return np.where(self.confidence > threshold, self.f0, np.zeros_like(self.f0))


class SaliencePredictor(F0Predictor):
    """Base of ``rmvpe`` and ``fcpe``.

    Their range is what they were trained on, while ``f0_min`` and ``f0_max`` are left at their defaults. An end that is
    set further out is reached by a second reading with all frequencies doubled or halved; bins beyond an end that is
    set are left out.

    Raises:
        ValueError: ``f0_max`` is above 2100 Hz.
    """

    repeat_edges = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.f0_max > HIGHEST_HZ:
            raise ValueError(f"rmvpe and fcpe track up to {HIGHEST_HZ:g} Hz, f0_max is {self.f0_max:g}")

    @abstractmethod
    def mel(self, wav: Tensor, hop_length: int = HOP_LENGTH) -> Tensor:
        """wav (1, T) at 16 kHz on ``device`` -> log-mel (1, M, T // hop_length + 1)."""

    @abstractmethod
    def salience(self, mel: Tensor) -> Tensor:
        """Log-mel (1, M, K) -> (1, K, P) confidences in 0..1."""

    @abstractmethod
    def cents(self) -> Tensor:
        """Pitch of every bin (P,), in cents above 10 Hz."""

    def raw_f0(self, wav: Array) -> NDArray[np.floating]:
        f0 = self.read(wav).voiced(self.threshold)
        if self.f0_min < F0_MIN:
            low = self.read(wav, DOUBLED).voiced(self.threshold)
            f0 = np.where((low > 0) & (low < BELIEVED_BELOW), low, f0)
        if self.f0_max > F0_MAX:
            high = self.read(wav, HALVED).voiced(self.threshold)
            f0 = np.where(high > BELIEVED_ABOVE, high, f0)
        return f0

    def read(self, wav: Array, factor: float = 1.0) -> Reading:
        """wav (T,) at ``sample_rate`` -> what the network hears when all frequencies are multiplied by ``factor``."""
        rate, hop_length = round(SAMPLE_RATE / factor), round(HOP_LENGTH / factor)
        columns = track_in_windows(
            audio.resample(wav, self.sample_rate, rate),
            lambda piece: np.stack(self.hear(piece, factor), axis=1),
            hop_length=hop_length,
            window_frames=WINDOW_FRAMES,
            context_frames=CONTEXT_FRAMES,
        )
        # at another rate the last frame may be missing, or there may be one more
        n_frames = audio.resampled_length(len(wav), self.sample_rate, SAMPLE_RATE) // HOP_LENGTH + 1
        f0, confidence = columns[np.minimum(np.arange(n_frames), len(columns) - 1)].T
        return Reading(f0, confidence)

    @torch.inference_mode()
    def hear(self, wav: Array, factor: float = 1.0) -> Reading:
        """wav (T,) at 16 kHz / factor, in one piece -> what `read` says."""
        hop_length = round(HOP_LENGTH / factor)
        n_frames = len(wav) // hop_length + 1
        padded = torch.from_numpy(np.pad(wav, (0, max(MIN_SAMPLES - len(wav), 0)))).to(self.device)
        salience = self.salience(self.mel(padded[None], hop_length))[0, :n_frames]  # (K, P)
        cents = self.cents().to(salience)
        hz, (low, high) = CENTS_REFERENCE * 2 ** (cents / 1200) / factor, self.set_range
        salience = salience * ((hz >= low) & (hz <= high))
        f0 = decode(salience, cents, threshold=0.0, repeat_edges=self.repeat_edges) / factor
        return Reading(f0.cpu().numpy(), salience.amax(dim=-1).cpu().numpy())


def decode(salience: Tensor, cents: Tensor, *, threshold: float | Tensor, repeat_edges: bool = False) -> Tensor:
    """Average of the pitches around the best bin, weighted by confidence.

    Args:
        salience: (K, P) in 0..1.
        cents: (P,) of the bins.
        threshold: frames whose best confidence is at most this are unvoiced.
        repeat_edges: near an end of the table count its last bin again (FCPE) instead of fewer bins (RMVPE).

    Returns:
        (K,) Hz, 0 where unvoiced.
    """
    confidence, best = salience.max(dim=-1, keepdim=True)
    index = best + torch.arange(-NEIGHBOURS, NEIGHBOURS + 1, device=salience.device)  # (K, 9)
    clamped = index.clamp(0, salience.shape[-1] - 1)
    weights = salience.gather(-1, clamped)
    if not repeat_edges:
        weights = weights * (index == clamped)
    pitch = (weights * cents.to(salience)[clamped]).sum(-1) / weights.sum(-1)  # (K,) cents
    return torch.where(confidence[:, 0] > threshold, CENTS_REFERENCE * 2 ** (pitch / 1200), torch.zeros_like(pitch))

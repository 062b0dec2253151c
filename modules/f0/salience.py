"""What the network predictors share: audio at 16 kHz, frames of 10 ms, a salience over 360 pitch bins, its decoding.

Letters: B batch, T samples at 16 kHz, K = T // 160 + 1 frames, M mels, P pitch bins.
The local weighted average goes back to CREPE (Kim et al. 2018, arXiv:1802.06182, section 2).
"""

from abc import abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common import audio
from modules.f0.predictor import Array, F0Predictor, track_in_windows

SAMPLE_RATE, HOP_LENGTH = 16000, 160  # Hz, samples: 10 ms
CENTS_REFERENCE = 10.0  # Hz at 0 cents
N_BINS, CENTS_PER_BIN, FIRST_BIN_CENTS = 360, 20.0, 1997.3794084376191  # CREPE's bins, RMVPE's too: 31.7 Hz and up
MIN_SAMPLES = 1024  # shorter audio is padded with silence: it could not be mirrored at its ends
NEIGHBOURS = 4  # bins on each side of the best one that enter the average
WINDOW_FRAMES, CONTEXT_FRAMES = 3200, 192  # 32 s with 1.92 s more on both sides; multiples of RMVPE's 32 frames


class SaliencePredictor(F0Predictor):
    """Base of ``rmvpe`` and ``fcpe``; their range is what they were trained on, not ``f0_min`` to ``f0_max``."""

    repeat_edges = False

    @abstractmethod
    def mel(self, wav: Tensor) -> Tensor:
        """wav (1, T) at 16 kHz on ``device`` -> log-mel (1, M, K)."""

    @abstractmethod
    def salience(self, mel: Tensor) -> Tensor:
        """Log-mel (1, M, K) -> (1, K, P) confidences in 0..1."""

    @abstractmethod
    def cents(self) -> Tensor:
        """Pitch of every bin (P,), in cents above 10 Hz."""

    def raw_f0(self, wav: Array) -> NDArray[np.floating]:
        return track_in_windows(
            audio.resample(wav, self.sample_rate, SAMPLE_RATE),
            self.track,
            hop_length=HOP_LENGTH,
            window_frames=WINDOW_FRAMES,
            context_frames=CONTEXT_FRAMES,
        )

    @torch.inference_mode()
    def track(self, wav16k: Array) -> NDArray[np.floating]:
        """wav (T,) at 16 kHz -> (K,) Hz, 0 where the best confidence does not exceed the threshold."""
        n_frames = len(wav16k) // HOP_LENGTH + 1
        wav = torch.from_numpy(np.pad(wav16k, (0, max(MIN_SAMPLES - len(wav16k), 0)))).to(self.device)
        salience = self.salience(self.mel(wav[None]))[0, :n_frames]
        f0 = decode(salience, self.cents(), threshold=self.threshold, repeat_edges=self.repeat_edges)
        return f0.cpu().numpy()


def decode(salience: Tensor, cents: Tensor, *, threshold: float, repeat_edges: bool = False) -> Tensor:
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

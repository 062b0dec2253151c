"""How strongly each pitch of a fine grid sounds in a frame: SWIPE', which compares spectra with those of a sawtooth.

Camacho and Harris 2008, "A sawtooth waveform inspired pitch estimator for speech and music", JASA 124(3). The prime in
its name says that of the harmonics only the first and the prime ones count: the octave below gains nothing from them.
Simplified here: magnitudes between FFT bins are interpolated linearly, and nothing above 10 kHz is heard.

Letters: T samples, K = T // hop_length + 1 frames, P pitches, E points on the scale of equivalent rectangular bands.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from modules.f0.predictor import Array
from modules.mel_processing import stft_power

BINS_PER_OCTAVE = 48
PERIODS_PER_WINDOW = 8  # a Hann window's main lobes are then as wide as the harmonics of the pitch are apart
ERB_STEP = 0.1
HIGHEST_FREQUENCY = 10000.0  # Hz
SILENCE = 1e-6  # norm of the loudness below which a frame has no pitch


class _Window(NamedTuple):
    """Spectra of ``n_fft`` samples serve ``pitches``; point e lies ``share`` (E,) between FFT bins ``below`` and +1."""

    n_fft: int
    pitches: slice
    kernels: Tensor  # (E, pitches)
    below: Tensor
    share: Tensor


class PitchStrength:
    """wav -> strength of every pitch from ``lowest`` to ``highest`` Hz: 1 a sawtooth's, 0 and less nothing alike."""

    def __init__(
        self, sample_rate: int, hop_length: int, *, lowest: float, highest: float, device: torch.device
    ) -> None:
        self.hop_length, self.device = hop_length, device
        n_pitches = max(int(np.ceil(np.log2(highest / lowest) * BINS_PER_OCTAVE)) + 1, 3)
        self.pitches = lowest * 2 ** (np.arange(n_pitches) / BINS_PER_OCTAVE)  # (P,) Hz
        top = min(HIGHEST_FREQUENCY, 0.49 * sample_rate)
        frequencies = _from_erbs(np.arange(_to_erbs(lowest / 4), _to_erbs(top), ERB_STEP))  # (E,) Hz
        kernels = np.stack([kernel(pitch, frequencies) for pitch in self.pitches], axis=1)  # (E, P)
        self.windows = []
        sizes = np.log2(PERIODS_PER_WINDOW * sample_rate / self.pitches)  # (P,) the best, in octaves
        for size in range(round(sizes.min()), round(sizes.max()) + 1):
            weights = np.maximum(1 - np.abs(sizes.clip(round(sizes.min()), round(sizes.max())) - size), 0)  # (P,)
            used = np.flatnonzero(weights)
            position = frequencies / sample_rate * 2**size
            self.windows.append(
                _Window(
                    2**size,
                    slice(used[0], used[-1] + 1),
                    torch.from_numpy(kernels * weights)[:, used[0] : used[-1] + 1].float().to(device),
                    torch.from_numpy(np.floor(position).astype(int)).to(device),
                    torch.from_numpy(position % 1).float()[:, None].to(device),
                )
            )

    @torch.inference_mode()
    def __call__(self, wav: Array) -> NDArray[np.float32]:
        """wav (T,) at ``sample_rate`` -> (K, P)."""
        samples = torch.from_numpy(wav).to(self.device)
        strengths = torch.zeros(len(wav) // self.hop_length + 1, len(self.pitches), device=self.device)
        for window in self.windows:
            padded = F.pad(samples, (window.n_fft // 2, window.n_fft // 2))
            magnitude = stft_power(padded[None], window.n_fft, self.hop_length)[0].sqrt() / window.n_fft  # (bins, K)
            loudness = torch.lerp(magnitude[window.below], magnitude[window.below + 1], window.share).sqrt().T  # (K, E)
            loudness = loudness / loudness.norm(dim=1, keepdim=True).clamp(min=SILENCE)
            strengths[:, window.pitches] += loudness @ window.kernels
        return strengths.cpu().numpy()


def kernel(pitch: float, frequencies: NDArray[np.floating]) -> NDArray[np.floating]:
    """(E,) weights of the loudness at ``frequencies``: cosine lobes on the harmonics 1, 2, 3, 5, ..., fading as 1/√f.

    The valley on either side of a lobe is half as deep as the lobe is high, because the next harmonic's valley, were it
    not left out, would add to it.
    """
    place = frequencies / pitch
    weights = np.zeros(len(frequencies))
    for harmonic in _harmonics(int(place[-1] - 0.75)):
        away = np.abs(place - harmonic)
        weights = np.where(away < 0.25, np.cos(2 * np.pi * place), weights)
        weights += np.where((away >= 0.25) & (away < 0.75), np.cos(2 * np.pi * place) / 2, 0.0)
    weights /= np.sqrt(frequencies)
    return weights / np.linalg.norm(weights[weights > 0])


def _harmonics(highest: int) -> list[int]:
    """1 and the primes up to ``highest``."""
    return [n for n in range(1, highest + 1) if all(n % divisor for divisor in range(2, int(n**0.5) + 1))]


def _to_erbs(hz: float) -> float:
    return 6.44 * (np.log2(229 + hz) - 7.84)


def _from_erbs(erbs: NDArray[np.floating]) -> NDArray[np.floating]:
    return 2 ** (erbs / 6.44 + 7.84) - 229

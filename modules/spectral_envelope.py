"""The spectral envelope of mels: the part of a spectrum that is coarser than its harmonics, as cepstral coefficients.

Letters: F frames, M mels, Q cepstral coefficients.
"""

import math

import numpy as np
import torch
from torch import Tensor

CEPSTRA = 20
HARMONICS_SHARE = 0.8  # of the quefrency of the harmonics: from there on they would show in an envelope
FLOOR = -9.0  # natural-log mel; what is quieter says nothing
LOUD_QUANTILE = 0.95  # of the levels of a piece's frames
SOUNDING = 3.0  # nepers: a frame sounds down to so far below it
FADE = 2.0  # nepers further down, it does not sound at all


class SpectralEnvelope:
    """For mels of one format.

    Args:
        centres: of the bands, Hz (M,).
    """

    def __init__(self, centres: np.ndarray) -> None:
        self.centres = torch.from_numpy(centres.astype(np.float32))
        n_mels = len(centres)
        self.n_cepstra = min(CEPSTRA, n_mels)
        quefrencies = torch.arange(self.n_cepstra)[:, None]
        self._cosines = torch.cos(math.pi / n_mels * quefrencies * (torch.arange(n_mels) + 0.5)) * (2 / n_mels) ** 0.5
        self._cosines[0] /= 2**0.5  # (Q, M), orthonormal

    def cepstra(self, mel: Tensor) -> Tensor:
        """Natural-log mel (F, M) -> (F, Q); the first is how loud a frame is."""
        return mel.clamp_min(FLOOR) @ self._cosines.to(mel).T

    def mel(self, cepstra: Tensor) -> Tensor:
        """(F, Q) -> (F, M), with nothing that is finer."""
        return cepstra @ self._cosines.to(cepstra)

    def below_harmonics(self, f0: Tensor) -> Tensor:
        """(F, Q): 1 for coefficients in which harmonics of f0 (F,) do not show, 0 for the others; 0 Hz has none."""
        n_mels, width = len(self.centres), float(self.centres[1] - self.centres[0])  # Hz, where bands are narrowest
        harmonics = 2 * n_mels * width / f0.clamp_min(1.0)  # coefficient that has their distance as period
        coefficients = torch.arange(self.n_cepstra, device=f0.device)
        return (HARMONICS_SHARE * harmonics[:, None] - coefficients + 1).clamp(0, 1)

    def sounding(self, cepstra: Tensor) -> Tensor:
        """How much each frame of a piece (F, Q) sounds, 0 to 1: (F,)."""
        level = cepstra[:, 0] / len(self.centres) ** 0.5  # mean of the bands
        lowest = max(float(level.quantile(LOUD_QUANTILE)) - SOUNDING, FLOOR + FADE)
        return ((level - lowest) / FADE + 1).clamp(0, 1)

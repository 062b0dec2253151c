"""What WORLD's two trackers share: windows for long audio, and refinement by StoneMask.

Papers: Morise, Yokomori and Ozawa 2016, "WORLD"; StoneMask is its refinement step.
"""

from abc import abstractmethod

import numpy as np
import pyworld
from numpy.typing import NDArray

from modules.f0.predictor import Array, F0Predictor, track_in_windows

# Harvest keeps about 200 candidate bands of one value per millisecond: 1.5 MB per second of audio.
WINDOW_SECONDS, CONTEXT_SECONDS = 60.0, 2.0


class WorldPredictor(F0Predictor):
    """A tracker of pyworld; members name the function that finds the candidates."""

    def raw_f0(self, wav: Array) -> NDArray[np.floating]:
        return track_in_windows(
            wav,
            self._track,
            hop_length=self.hop_length,
            window_frames=int(WINDOW_SECONDS * self.sample_rate / self.hop_length),
            context_frames=int(CONTEXT_SECONDS * self.sample_rate / self.hop_length),
        )

    def _track(self, wav: Array) -> NDArray[np.floating]:
        samples = wav.astype(np.float64)
        f0, seconds = self._search(
            samples,
            self.sample_rate,
            f0_floor=self.f0_min,
            f0_ceil=self.f0_max,
            frame_period=1000 * self.hop_length / self.sample_rate,
        )
        return pyworld.stonemask(samples, f0, seconds, self.sample_rate)

    @staticmethod
    @abstractmethod
    def _search(samples: NDArray[np.float64], sample_rate: int, **options: float) -> tuple[np.ndarray, np.ndarray]:
        """f0 (K,) in Hz, 0 where unvoiced, and the seconds (K,) of its frames."""

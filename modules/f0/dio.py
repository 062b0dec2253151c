"""DIO of the WORLD vocoder (Morise et al. 2009) refined by StoneMask, through pyworld."""

import numpy as np
import pyworld
from numpy.typing import NDArray

from modules.f0.predictor import Array, F0Predictor, resize_linear, track_in_windows

WINDOW_SECONDS, CONTEXT_SECONDS = 60.0, 2.0


class DioPredictor(F0Predictor):
    """``dio``: values are rounded to 0.1 Hz, as every model trained on its tracks has seen them."""

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
        f0, seconds = pyworld.dio(
            samples,
            self.sample_rate,
            f0_floor=self.f0_min,
            f0_ceil=self.f0_max,
            frame_period=1000 * self.hop_length / self.sample_rate,
        )
        return np.round(pyworld.stonemask(samples, f0, seconds, self.sample_rate), 1)

    def resize(self, track: NDArray[np.floating], n_frames: int) -> NDArray[np.floating]:
        return resize_linear(track, n_frames)

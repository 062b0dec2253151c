"""DIO of the WORLD vocoder (Morise et al. 2009) refined by StoneMask, through pyworld."""

import numpy as np
import pyworld
from numpy.typing import NDArray

from modules.f0.predictor import Array, resize_linear
from modules.f0.world import WorldPredictor


class DioPredictor(WorldPredictor):
    """``dio``: values are rounded to 0.1 Hz, as every model trained on its tracks has seen them."""

    @staticmethod
    def _search(samples: NDArray[np.float64], sample_rate: int, **options: float) -> tuple[np.ndarray, np.ndarray]:
        return pyworld.dio(samples, sample_rate, **options)

    def _track(self, wav: Array) -> NDArray[np.floating]:
        return np.round(super()._track(wav), 1)

    def resize(self, track: NDArray[np.floating], n_frames: int) -> NDArray[np.floating]:
        return resize_linear(track, n_frames)

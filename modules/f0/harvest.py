"""Harvest of the WORLD vocoder (Morise 2017) refined by StoneMask, through pyworld."""

import numpy as np
import pyworld
from numpy.typing import NDArray

from modules.f0.predictor import resize_linear
from modules.f0.world import WorldPredictor


class HarvestPredictor(WorldPredictor):
    """``harvest``: slower than dio, fewer gaps.

    Voiced stretches lose up to one frame at their edges, as in every track that released models were trained on
    (Harvest itself extends stretches beyond their true ends, so that the loss costs nothing).
    """

    @staticmethod
    def _search(samples: NDArray[np.float64], sample_rate: int, **options: float) -> tuple[np.ndarray, np.ndarray]:
        return pyworld.harvest(samples, sample_rate, **options)

    def resize(self, track: NDArray[np.floating], n_frames: int) -> NDArray[np.floating]:
        return resize_linear(track, n_frames, keep_edges=False)

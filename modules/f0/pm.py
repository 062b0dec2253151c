"""Praat's autocorrelation pitch tracker (Boersma 1993), through praat-parselmouth."""

import numpy as np
import parselmouth
from numpy.typing import NDArray

from modules.f0.predictor import Array, F0Predictor

VOICING_THRESHOLD = 0.6  # of the normalised autocorrelation; Praat's own default is 0.45
PERIODS_PER_WINDOW = 3  # Praat refuses a sound shorter than this many periods of the pitch floor


class PraatPredictor(F0Predictor):
    """``pm``: the fastest predictor; frames that Praat leaves out at both ends count as unvoiced."""

    def raw_f0(self, wav: Array) -> NDArray[np.floating]:
        return self.track(wav)[0]

    def track(self, wav: Array) -> tuple[NDArray[np.floating], float]:
        """wav (T,) -> (K,) Hz, 0 where unvoiced, and the seconds at which the first of these frames lies."""
        if len(wav) <= PERIODS_PER_WINDOW / self.f0_min * self.sample_rate:
            return np.zeros(0), 0.0
        sound = parselmouth.Sound(wav.astype(np.float64), self.sample_rate)
        pitch = sound.to_pitch_ac(
            time_step=self.hop_length / self.sample_rate,
            voicing_threshold=VOICING_THRESHOLD,
            pitch_floor=self.f0_min,
            pitch_ceiling=self.f0_max,
        )
        return pitch.selected_array["frequency"], pitch.t1

    def resize(self, track: NDArray[np.floating], n_frames: int) -> NDArray[np.floating]:
        """Praat's frames lie at the right distance already: centre them, padding with unvoiced frames."""
        left = (n_frames - len(track) + 1) // 2
        if left < 0:
            return track[-left : -left + n_frames]
        return np.pad(track, (left, max(n_frames - len(track) - left, 0)))[:n_frames]

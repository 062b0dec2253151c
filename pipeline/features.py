"""wav -> features: the same object for preprocessing, conversion and benchmarks.

Letters: T samples at the model's rate, F = T // hop_length frames, D unit channels, N unit frames at 50 per second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import vencoder
from common import audio
from common.config import Config
from modules import f0 as f0_predictors
from modules.f0 import F0_MAX, F0_MIN
from modules.f0.predictor import fill_unvoiced
from modules.perturb import perturb_timbre
from modules.volume import frame_volume
from vencoder.encoder import SAMPLE_RATE as ENCODER_RATE

Track = tuple[np.ndarray, np.ndarray]  # f0 (F,) float32 Hz, unvoiced stretches interpolated; uv (F,), 1 = voiced


@dataclass(frozen=True)
class FeatureSettings:
    """Everything, besides the audio, that the features of a clip depend on."""

    speech_encoder: str
    f0_predictor: str
    sample_rate: int  # Hz
    hop_length: int  # samples per frame
    f0_threshold: float = 0.05  # confidence below which a frame is unvoiced
    f0_min: float = F0_MIN  # range of the tracker, Hz
    f0_max: float = F0_MAX

    @classmethod
    def of(cls, config: Config, f0_predictor: str, **changes: Any) -> "FeatureSettings":
        return cls(
            speech_encoder=config.model.speech_encoder,
            f0_predictor=f0_predictor,
            sample_rate=config.data.sampling_rate,
            hop_length=config.data.hop_length,
            **changes,
        )


@dataclass(frozen=True)
class Features:
    """Features of one clip, F frames each but for the units."""

    units: Tensor  # (D, N) float32, the encoder's own 50 frames per second
    f0: np.ndarray  # (F,) float32 Hz, unvoiced stretches interpolated
    uv: np.ndarray  # (F,) float32, 1 = voiced
    volume: np.ndarray  # (F,) float32 root mean square


class FeatureExtractor:
    """Speech encoder and f0 predictor, built once and used for any number of clips.

    ``units`` and ``f0`` say what it will be asked for: the other is not built, and needs no weights.
    """

    def __init__(self, settings: FeatureSettings, device: torch.device, *, units: bool = True, f0: bool = True) -> None:
        self.settings = settings
        if units:
            self.encoder = vencoder.build(settings.speech_encoder, device=str(device))
        if f0:
            self.predictor = f0_predictors.build(
                settings.f0_predictor,
                sample_rate=settings.sample_rate,
                hop_length=settings.hop_length,
                device=device,
                threshold=settings.f0_threshold,
                f0_min=settings.f0_min,
                f0_max=settings.f0_max,
            )

    def extract(self, wav: np.ndarray) -> Features:
        """wav (T,) float32 at the settings' rate -> its features."""
        return self.extract_batch([wav])[0]

    def extract_batch(self, wavs: Sequence[np.ndarray], tracks: Sequence[Track] | None = None) -> list[Features]:
        """Several clips at once: the encoder takes them as one batch; the results equal those one by one.

        ``tracks`` are f0 and uv of each clip where they are known; else they are tracked.
        """
        known: Sequence[Track | None] = tracks or [None] * len(wavs)
        return [self._features(*clip) for clip in zip(wavs, self.units(wavs), known, strict=True)]

    def units(self, wavs: Sequence[np.ndarray]) -> list[Tensor]:
        """Content units (D, N) of each wav (T,) at the settings' rate, on the CPU.

        Raises:
            ValueError: units that are not finite, or a wav that is too short for the encoder.
        """
        at_16k = [audio.resample(wav, self.settings.sample_rate, ENCODER_RATE) for wav in wavs]
        units = [units.cpu() for units in self.encoder.encode_batch(at_16k)]
        if not all(bool(torch.isfinite(one).all()) for one in units):
            raise ValueError(f"{self.settings.speech_encoder} returned units that are not finite")
        return units

    def perturbed_units(self, wav: np.ndarray, seed: int) -> Tensor | None:
        """Units (K, D, N) of K copies of ``wav`` with other formants and equalisation; None if none are needed."""
        copies = self.encoder.perturbed_copies
        if copies == 0:
            return None
        rng = np.random.default_rng(seed)
        # One after the other: a copy of a long clip is large.
        return torch.stack(
            [self.units([perturb_timbre(wav, self.settings.sample_rate, rng)])[0] for _ in range(copies)]
        )

    def melody(self, wav: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """f0 in Hz, uv and volume of wav (T,), each (F,): the features that need no encoder. Raises as `track` does."""
        return *self.track(wav), self._volume(wav)

    def track(self, wav: np.ndarray) -> Track:
        """f0 in Hz and uv of wav (T,), each (F,).

        Raises:
            ValueError: f0 that is not finite.
        """
        f0, uv = self.predictor.compute_f0_uv(wav, len(wav) // self.settings.hop_length)
        if not np.isfinite(f0).all():
            raise ValueError(f"{self.settings.f0_predictor} returned f0 that is not finite: use another --f0_predictor")
        # A melody keeps the voiced frames alone: filled again here, they give the same numbers as in a piece of it.
        return fill_unvoiced(np.where(uv > 0, f0, np.float32(0)))

    def _volume(self, wav: np.ndarray) -> np.ndarray:
        return frame_volume(torch.from_numpy(wav), self.settings.hop_length).numpy()

    def _features(self, wav: np.ndarray, units: Tensor, track: Track | None) -> Features:
        f0, uv = track or self.track(wav)
        return Features(units=units, f0=f0, uv=uv, volume=self._volume(wav))

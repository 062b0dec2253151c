"""wav -> features: the same object for preprocessing, conversion and benchmarks.

Letters: T samples at the model's rate, F = T // hop_length frames, D unit channels, N unit frames at 50 per second.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import vencoder
from common import audio, unpickle
from common.config import Config
from common.formats import F0, FINGERPRINT, UNITS, UNITS_AUG, VOLUME, beside, write_atomically
from modules import f0 as f0_predictors
from modules.perturb import perturb_timbre
from modules.volume import frame_volume
from vencoder.encoder import SAMPLE_RATE as ENCODER_RATE

logger = logging.getLogger(__name__)

# Raised when the numbers of a cache change for the same settings, so that older caches are redone.
CACHE_VERSION = 1


@dataclass(frozen=True)
class FeatureSettings:
    """Everything, besides the audio, that the features of a clip depend on."""

    speech_encoder: str
    f0_predictor: str
    sample_rate: int  # Hz
    hop_length: int  # samples per frame
    f0_threshold: float = 0.05  # voicing threshold of crepe, rmvpe and fcpe
    f0_min: float = 50.0  # Hz
    f0_max: float = 1100.0  # Hz

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
    """Speech encoder and f0 predictor, built once and used for any number of clips."""

    def __init__(self, settings: FeatureSettings, device: torch.device) -> None:
        self.settings = settings
        self.encoder = vencoder.build(settings.speech_encoder, device=str(device))
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

    def extract_batch(self, wavs: Sequence[np.ndarray]) -> list[Features]:
        """Several clips at once: the encoder takes them as one batch; the results equal those one by one."""
        return [self._features(wav, units) for wav, units in zip(wavs, self.units(wavs), strict=True)]

    def units(self, wavs: Sequence[np.ndarray]) -> list[Tensor]:
        """Content units (D, N) of each wav (T,) at the settings' rate, on the CPU."""
        at_16k = [audio.resample(wav, self.settings.sample_rate, ENCODER_RATE) for wav in wavs]
        return [units.cpu() for units in self.encoder.encode_batch(at_16k)]

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

    def _features(self, wav: np.ndarray, units: Tensor) -> Features:
        n_frames = len(wav) // self.settings.hop_length
        f0, uv = self.predictor.compute_f0_uv(wav, n_frames)
        if not np.isfinite(f0).all():
            raise ValueError(f"{self.settings.f0_predictor} returned f0 that is not finite: use another --f0_predictor")
        if not torch.isfinite(units).all():
            raise ValueError(f"{self.settings.speech_encoder} returned units that are not finite")
        volume = frame_volume(torch.from_numpy(wav), self.settings.hop_length).numpy()
        return Features(units=units, f0=f0, uv=uv, volume=volume)


def audio_digest(wav: Path) -> str:
    """SHA-1 of a clip's file: what changes when the audio does."""
    with open(wav, "rb") as file:
        return hashlib.sha1(file.read(), usedforsecurity=False).hexdigest()


def fingerprint(wav: Path, settings: FeatureSettings) -> dict[str, Any]:
    """What the caches of a clip were computed from: the file's content and the settings."""
    return {"version": CACHE_VERSION, "audio": audio_digest(wav), **asdict(settings)}


def read_fingerprint(wav: Path) -> dict[str, Any] | None:
    """The fingerprint that stands beside a clip; None where another tool made the caches, or none are there."""
    try:
        content = json.loads(beside(wav, FINGERPRINT).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def is_current(wav: Path, current: dict[str, Any]) -> bool:
    """Whether a clip has caches that were made from ``current``."""
    return read_fingerprint(wav) == current and all(beside(wav, suffix).is_file() for suffix in (UNITS, F0, VOLUME))


def write_caches(wav: Path, features: Features, perturbed: Tensor | None, made_from: dict[str, Any]) -> None:
    """Write the caches beside a clip; the fingerprint goes last, so that a part is never taken for the whole."""
    beside(wav, FINGERPRINT).unlink(missing_ok=True)
    write_atomically(beside(wav, UNITS), lambda file: torch.save(features.units.unsqueeze(0).clone(), file))
    if perturbed is None:
        beside(wav, UNITS_AUG).unlink(missing_ok=True)
    else:
        write_atomically(beside(wav, UNITS_AUG), lambda file: torch.save(perturbed.half(), file))
    f0_uv = np.stack([features.f0, features.uv]).astype(np.float32)
    write_atomically(beside(wav, F0), lambda file: np.save(file, f0_uv))
    write_atomically(beside(wav, VOLUME), lambda file: np.save(file, features.volume))
    text = json.dumps(made_from, indent=1).encode()
    write_atomically(beside(wav, FINGERPRINT), lambda file: file.write(text))


def read_units(wav: Path) -> Tensor:
    """Cached units of a clip (K, D, N): the clean ones, then those of its perturbed copies where there are any.

    Raises:
        FileNotFoundError: there are none.
        ValueError: a file that is damaged, or copies of other units.
    """
    units = _read_tensor(_present(wav, UNITS))
    copies = beside(wav, UNITS_AUG)
    if not copies.is_file():
        return units
    perturbed = _read_tensor(copies)
    if perturbed.shape[1:] != units.shape[1:]:
        raise ValueError(f"{copies} does not belong to {UNITS}: delete it, or run python preprocess_hubert_f0.py")
    return torch.cat([units, perturbed])


def _read_tensor(path: Path) -> Tensor:
    tensor = unpickle.read_file(path)
    if not isinstance(tensor, Tensor) or tensor.ndim != 3 or 0 in tensor.shape:
        raise ValueError(f"{path} holds no units (1, D, N): delete it and run python preprocess_hubert_f0.py")
    return tensor.float()


def read_f0(wav: Path) -> tuple[np.ndarray, np.ndarray]:
    """Cached f0 (F,) in Hz and uv (F,); the object arrays that 4.x tools wrote are read as well."""
    path = _present(wav, F0)
    stored = unpickle.read_npy(path)
    if stored.ndim == 0 or len(stored) != 2:
        raise ValueError(f"{path} holds no pair of f0 and uv: delete it and run python preprocess_hubert_f0.py")
    f0, uv = (np.asarray(row, dtype=np.float32) for row in stored)
    return f0, uv


def read_volume(wav: Path) -> np.ndarray:
    """Cached volume (F,)."""
    return unpickle.read_npy(_present(wav, VOLUME)).astype(np.float32)


def _present(wav: Path, suffix: str) -> Path:
    path = beside(wav, suffix)
    if not path.is_file():
        raise FileNotFoundError(f"no features for {wav} ({path.name} is missing): run python preprocess_hubert_f0.py")
    return path

"""The caches beside a clip: what is in them, and the fingerprint that says what they were made from.

Letters: F frames of the clip, D unit channels, N unit frames at 50 per second, K the clip and its perturbed copies.
"""

import functools
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from common import pretrained, unpickle
from common.formats import F0, FINGERPRINT, UNITS, UNITS_AUG, VOLUME, beside, write_atomically, write_json
from modules.f0 import CONFIDENT, F0_PREDICTORS, SEARCHING
from vencoder import SPEECH_ENCODERS

if TYPE_CHECKING:
    from pipeline.features import Features, FeatureSettings

# Raised when the numbers of a cache change for the same settings, so that older caches are redone.
CACHE_VERSION = 1
SEED = 1234  # of the perturbed copies
MEGABYTE = 1 << 20

# What each part depends on: keys of the fingerprint.
UNITS_KEYS = ("version", "audio", "sample_rate", "speech_encoder", "encoder_weights", "copies", "seed")
F0_KEYS = (
    *("version", "audio", "sample_rate", "hop_length", "f0_predictor", "f0_weights"),
    *("f0_min", "f0_max", "f0_threshold", "f0_instant"),
)


class Stale(NamedTuple):
    """Which caches of a clip have to be made anew."""

    units: bool  # with those of the perturbed copies
    f0: bool  # with the volume


# ---- fingerprints


def audio_digest(wav: Path, recorded: Mapping[str, Any] | None = None) -> str:
    """SHA-1 of a clip's file; taken from ``recorded`` while size and time of change are those that stand there."""
    if recorded and isinstance(recorded.get("audio"), str) and _same_file(wav, recorded):
        return str(recorded["audio"])
    with open(wav, "rb") as file:
        return hashlib.file_digest(file, functools.partial(hashlib.sha1, usedforsecurity=False)).hexdigest()


def _same_file(wav: Path, recorded: Mapping[str, Any]) -> bool:
    status = wav.stat()
    return (recorded.get("size"), recorded.get("mtime_ns")) == (status.st_size, status.st_mtime_ns)


def copy_seed(seed: int, digest: str) -> int:
    """Seed of the changed copies of a clip with this `audio_digest`: they are the same in any order of work."""
    return zlib.crc32(f"{seed}{digest}".encode())


def fingerprint(wav: Path, settings: "FeatureSettings", seed: int = SEED) -> dict[str, Any]:
    """What the caches of a clip would be made from now: the audio, the settings, the weights files.

    Settings that the encoder or the predictor does not use are None, so that they make nothing stale. ``size`` and
    ``mtime_ns`` only save reading the audio again.
    """
    status, predictor = wav.stat(), settings.f0_predictor
    copies = _perturbed_copies(settings.speech_encoder)
    return {
        "version": CACHE_VERSION,
        "audio": audio_digest(wav, read_fingerprint(wav)),
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sample_rate": settings.sample_rate,
        "hop_length": settings.hop_length,
        "speech_encoder": settings.speech_encoder,
        "encoder_weights": _digest_of(_encoder_weights(settings.speech_encoder)),
        "copies": copies,
        "seed": seed if copies else None,
        "f0_predictor": predictor,
        "f0_weights": _digest_of(_predictor_weights(predictor)),
        "f0_min": settings.f0_min if predictor in SEARCHING else None,
        "f0_max": settings.f0_max if predictor in SEARCHING else None,
        "f0_threshold": settings.f0_threshold if predictor in CONFIDENT else None,
        "f0_instant": _instant(predictor),
    }


@functools.cache
def _perturbed_copies(speech_encoder: str) -> int:
    """How many perturbed copies of a clip the class of this encoder wants."""
    module, _, cls = SPEECH_ENCODERS[speech_encoder].target.partition(":")
    return int(getattr(import_module(module), cls).perturbed_copies)


@functools.cache
def _instant(predictor: str) -> float | None:
    """Where in a frame this predictor answers; None for the beginning, which older fingerprints do not name."""
    module, _, cls = F0_PREDICTORS[predictor].target.partition(":")
    return getattr(import_module(module), cls).instant or None


def _encoder_weights(name: str) -> list[Path]:
    weights = SPEECH_ENCODERS[name].weights
    return [pretrained.FILES[weights].path] if weights else []


def _predictor_weights(name: str) -> list[Path]:
    """What the predictor reads: its module tells where that is not simply the file that the table has for it."""
    entry = F0_PREDICTORS[name]
    module = import_module(entry.target.partition(":")[0])
    if find := getattr(module, "weight_files", None):
        return _found(find)
    return [pretrained.FILES[entry.weights].path] if entry.weights else []


@functools.cache
def _found(find: Callable[[], list[Path]]) -> list[Path]:
    try:
        return find()
    except (FileNotFoundError, ValueError):  # whoever builds the predictor says so
        return []


def _digest_of(weights: list[Path]) -> str:
    """Size and SHA-1 of the ends of weights files; "" where there are none."""
    there = [(path, path.stat()) for path in weights if path.is_file()]
    return " ".join(_ends_digest(path, status.st_size, status.st_mtime_ns) for path, status in there)


@functools.cache
def _ends_digest(path: Path, size: int, mtime_ns: int) -> str:
    """Of the first and the last megabyte: enough to tell networks apart. ``mtime_ns`` tells the cache of a change."""
    with open(path, "rb") as file:
        ends = file.read(MEGABYTE)
        file.seek(max(0, size - MEGABYTE))
        ends += file.read(MEGABYTE)
    return f"{size} {hashlib.sha1(ends, usedforsecurity=False).hexdigest()}"


def read_fingerprint(wav: Path, suffix: str = FINGERPRINT) -> dict[str, Any] | None:
    """A fingerprint that stands beside a clip; None where another tool made the caches, or none are there."""
    try:
        content = json.loads(beside(wav, suffix).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_fingerprint(wav: Path, made_from: dict[str, Any]) -> None:
    write_json(beside(wav, FINGERPRINT), made_from)


def stale_parts(wav: Path, current: dict[str, Any]) -> Stale:
    """Which caches of a clip are absent, or were made from something else than ``current``."""
    recorded = read_fingerprint(wav) or {}

    def stale(keys: tuple[str, ...], suffixes: tuple[str, ...]) -> bool:
        changed = any(key not in recorded or recorded[key] != current[key] for key in keys)
        return changed or not all(beside(wav, suffix).is_file() for suffix in suffixes)

    copies = (UNITS_AUG,) if current["copies"] else ()
    return Stale(units=stale(UNITS_KEYS, (UNITS, *copies)), f0=stale(F0_KEYS, (F0, VOLUME)))


def is_current(wav: Path, current: dict[str, Any]) -> bool:
    """Whether a clip has all its caches, made from ``current``."""
    return not any(stale_parts(wav, current))


# ---- writing: the fingerprint goes first and comes last, so that a part is never taken for the whole


def write_caches(wav: Path, features: "Features", perturbed: Tensor | None, made_from: dict[str, Any]) -> None:
    """Write all the caches beside a clip; ``perturbed`` (K - 1, D, N) are the units of its copies."""
    beside(wav, FINGERPRINT).unlink(missing_ok=True)
    write_atomically(beside(wav, UNITS), lambda file: torch.save(features.units.unsqueeze(0).clone(), file))
    if perturbed is None:
        beside(wav, UNITS_AUG).unlink(missing_ok=True)
    else:
        write_atomically(beside(wav, UNITS_AUG), lambda file: torch.save(perturbed.half(), file))
    write_melody(wav, features.f0, features.uv, volume=features.volume, made_from=made_from)


def write_melody(wav: Path, f0: np.ndarray, uv: np.ndarray, *, volume: np.ndarray, made_from: dict[str, Any]) -> None:
    """Write f0 (F,) in Hz, uv (F,) and volume (F,) beside a clip whose units stay as they are."""
    beside(wav, FINGERPRINT).unlink(missing_ok=True)
    f0_uv = np.stack([f0, uv]).astype(np.float32)
    write_atomically(beside(wav, F0), lambda file: np.save(file, f0_uv))
    write_atomically(beside(wav, VOLUME), lambda file: np.save(file, volume))
    write_fingerprint(wav, made_from)


# ---- reading


def read_units(wav: Path) -> Tensor:
    """Cached units of a clip (K, D, N): the clean ones, then those of its perturbed copies where there are any.

    Raises:
        FileNotFoundError: there are none.
        ValueError: a file that is damaged, or copies of other units.
    """
    units = read_clean_units(wav)
    copies = beside(wav, UNITS_AUG)
    if not copies.is_file():
        return units
    perturbed = _read_tensor(copies)
    if perturbed.shape[1:] != units.shape[1:]:
        raise ValueError(f"{copies} does not belong to {UNITS}: delete it, or run python preprocess_hubert_f0.py")
    return torch.cat([units, perturbed])


def read_clean_units(wav: Path) -> Tensor:
    """Cached units of the clip itself, (1, D, N), without its perturbed copies. Raises: as `read_units`."""
    return _read_tensor(_present(wav, UNITS))


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

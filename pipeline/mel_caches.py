"""The mels beside a clip, which the diffusion model is trained on, and the fingerprint that says what they are of.

Names are those of 4.1: ``X.wav.mel.npy``, ``X.wav.aug_mel.npy`` and ``X.wav.aug_vol.npy``, the latter two of a copy
whose spectrum is moved by some semitones and whose loudness is changed. Nothing is pickled: where 4.1 writes mel and
shift as an array of objects, `AUG_MEL` is one record with these two fields.

Letters: T samples, F frames of the clip, M mels.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from common import unpickle
from common.formats import AUG_MEL, AUG_VOLUME, MEL, MEL_FINGERPRINT, beside, write_atomically, write_json
from diffusion.unit2mel import MAX_SHIFT
from modules.volume import frame_volume, random_gain
from pipeline.caches import SEED, read_fingerprint
from vdecoder.mel_format import MelFormat

# Raised when the numbers change for the same settings, so that older caches are redone.
MEL_CACHE_VERSION = 1
AGAIN = "run python preprocess_hubert_f0.py --use_diff"


class Mels(NamedTuple):
    """Natural-log mels of a clip."""

    mel: np.ndarray  # (F, M)
    aug_mel: np.ndarray  # (F, M), of the changed copy
    aug_shift: float  # semitones by which the copy's spectrum is moved
    aug_volume: np.ndarray  # (F,) of the copy


def make_mels(wav: np.ndarray, mel_format: MelFormat, seed: int) -> Mels:
    """wav (T,) at the format's rate -> its mels; loudness and shift of the copy are drawn from ``seed``."""
    rng = np.random.default_rng(seed)
    clean = torch.from_numpy(wav)[None]
    changed = clean * random_gain(float(np.abs(wav).max()), rng)
    shift = float(np.float32(rng.uniform(-MAX_SHIFT, MAX_SHIFT)))
    return Mels(
        mel=mel_format.extract(clean)[0].T.contiguous().numpy(),
        aug_mel=mel_format.extract(changed, keyshift=shift)[0].T.contiguous().numpy(),
        aug_shift=shift,
        aug_volume=frame_volume(changed[0], mel_format.hop_length).numpy(),
    )


# ---- the fingerprint stands apart from that of the other features, which depend on other things


def mel_fingerprint(audio: str, mel_format: MelFormat, seed: int = SEED) -> dict[str, Any]:
    """What the mels of a clip with this `audio_digest` would be made from now."""
    return {"version": MEL_CACHE_VERSION, "audio": audio, "seed": seed, "format": asdict(mel_format)}


def mels_are_current(wav: Path, current: dict[str, Any]) -> bool:
    """Whether a clip has all its mels, made from ``current``."""
    there = all(beside(wav, suffix).is_file() for suffix in (MEL, AUG_MEL, AUG_VOLUME))
    return there and read_fingerprint(wav, MEL_FINGERPRINT) == current


# ---- files


def write_mels(wav: Path, mels: Mels, made_from: dict[str, Any]) -> None:
    """Write the mels beside a clip; the fingerprint goes first and comes last."""
    beside(wav, MEL_FINGERPRINT).unlink(missing_ok=True)
    record = np.array(
        (mels.aug_mel, mels.aug_shift), dtype=[("mel", np.float32, mels.aug_mel.shape), ("keyshift", np.float32)]
    )
    for suffix, array in ((MEL, mels.mel), (AUG_MEL, record), (AUG_VOLUME, mels.aug_volume)):
        write_atomically(beside(wav, suffix), lambda file, array=array: np.save(file, array))  # type: ignore[misc]
    write_json(beside(wav, MEL_FINGERPRINT), made_from)


def read_mel(wav: Path) -> np.ndarray:
    """Cached mel (F, M) of a clip.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a damaged file.
    """
    return _matrix(_array(_present(wav, MEL)), beside(wav, MEL))


def read_aug(wav: Path) -> tuple[np.ndarray, float, np.ndarray]:
    """Mel (F, M), shift in semitones and volume (F,) of the changed copy; the files of 4.1 are read as well.

    Raises: as `read_mel`.
    """
    path = _present(wav, AUG_MEL)
    stored = _array(path)
    if stored.dtype.names == ("mel", "keyshift") and stored.ndim == 0:
        mel, shift = stored["mel"], stored["keyshift"]
    elif stored.dtype == object and stored.shape == (2,):
        mel, shift = stored
    else:
        raise ValueError(f"{path} holds no pair of mel and shift: delete it and {AGAIN}")
    if not isinstance(shift, (int, float, np.floating, np.ndarray)) or np.size(shift) != 1:
        raise ValueError(f"{path} holds no shift in semitones: delete it and {AGAIN}")
    volume = _array(_present(wav, AUG_VOLUME)).astype(np.float32)
    return _matrix(mel, path), float(shift), volume


def _array(path: Path) -> np.ndarray:
    try:
        return unpickle.read_npy(path)
    except ValueError as error:
        raise ValueError(f"{error}: delete it and {AGAIN}") from None


def _matrix(mel: Any, path: Path) -> np.ndarray:
    if not isinstance(mel, np.ndarray) or mel.ndim != 2 or mel.dtype == object:
        raise ValueError(f"{path} holds no mel (F, M): delete it and {AGAIN}")
    return mel.astype(np.float32, copy=False)


def _present(wav: Path, suffix: str) -> Path:
    path = beside(wav, suffix)
    if not path.is_file():
        raise FileNotFoundError(f"no mels for {wav} ({path.name} is missing): {AGAIN}")
    return path

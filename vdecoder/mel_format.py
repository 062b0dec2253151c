"""The mels of a vocoder, which its config.json describes: whoever makes mels for it needs no weights.

Symbols: B batch, T samples, M mels, F frames.
Checked against: golden cases mel_spec and preprocess.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from common.config import read_json
from common.pretrained_files import ROOT
from modules.mel_processing import mel_edges, vocoder_mel

CONFIG = "config.json"  # beside the weights
KEYS = {  # fields of MelFormat, and what they are called in config.json
    "sample_rate": "sampling_rate",
    "n_mels": "num_mels",
    "n_fft": "n_fft",
    "hop_length": "hop_size",
    "win_length": "win_size",
    "fmin": "fmin",
    "fmax": "fmax",
}
WHOSE = "a vocoder's config.json has: name the weights of a vocoder, beside which its own stands"
MEAN, DEVIATION = -6.0, 3.0  # of the natural-log mels of recordings, about
EMBEDDED = "pretrain/embedded/subtractive/model.ckpt"  # part of this repository


@dataclass(frozen=True)
class MelFormat:
    """How a vocoder's mels are made."""

    sample_rate: int  # Hz
    n_mels: int
    n_fft: int
    hop_length: int  # samples per frame
    win_length: int
    fmin: float  # Hz
    fmax: float | None

    @classmethod
    def of(cls, config: Mapping[str, Any], where: Path | str) -> "MelFormat":
        """That of a vocoder's config.json; raises ValueError where a key is missing or out of range."""
        missing = [key for key in KEYS.values() if key not in config]
        if missing:
            raise ValueError(f"{where}: missing {', '.join(missing)}, which {WHOSE}")
        values = {field: config[key] for field, key in KEYS.items()}
        wrong = [KEYS[field] for field, value in values.items() if not _fits(field, value)]
        if wrong:
            raise ValueError(f"{where}: {', '.join(wrong)} must be a number above 0")
        nyquist = values["sample_rate"] / 2
        top = nyquist if values["fmax"] is None else values["fmax"]
        if not values["fmin"] < top <= nyquist:
            raise ValueError(f"{where}: fmin {values['fmin']:g} and fmax {top:g} must rise, up to {nyquist:g} Hz")
        return cls(**values)

    @property
    def centres(self) -> np.ndarray:
        """Of the bands, Hz (M,)."""
        return mel_edges(self.sample_rate, self.n_mels, self.fmin, self.fmax)[1:-1]

    def extract(self, wav: Tensor, keyshift: float = 0, speed: float = 1) -> Tensor:
        """wav (B, T) at ``sample_rate`` -> natural-log mel (B, M, F); F = T // hop_length at speed 1.

        ``keyshift`` moves the spectrum by that many semitones; ``speed`` above 1 makes proportionally fewer frames.
        """
        return vocoder_mel(
            wav,
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            hop_length=self.hop_length,
            win_length=self.win_length,
            n_mels=self.n_mels,
            fmin=self.fmin,
            fmax=self.fmax,
            keyshift=keyshift,
            speed=speed,
        )


def _fits(field: str, value: Any) -> bool:
    if field == "fmax" and value is None:  # half the sample rate
        return True
    whole = not field.startswith("f")
    numeric = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    return numeric and (value > 0 or field == "fmin" and value == 0)


def vocoder_path(ckpt: str | PathLike[str]) -> Path:
    """Place of ``vocoder.ckpt``: below the working directory, or else where pretrained files are installed."""
    path = Path(ckpt)
    here = path.is_absolute() or path.exists() or path.with_name(CONFIG).is_file()
    return path if here else ROOT / path


def refuse_folder(weights: Path) -> None:
    """Raise ValueError where the folder of a vocoder is named and not its weights."""
    if weights.is_dir():
        found = sorted(child.name for child in weights.iterdir() if child.name == "model" or child.suffix == ".ckpt")
        hint = f"write {weights / found[0]}" if found else "it holds neither model nor model.ckpt"
        raise ValueError(f"{weights} is a folder, not a vocoder's weights: {hint}")


def read_mel_format(ckpt: str | PathLike[str]) -> MelFormat:
    """The mels of the vocoder that ``vocoder.ckpt`` of diffusion.yaml names; its weights may be absent.

    Raises:
        FileNotFoundError: no config.json beside the weights, or where they would be.
        ValueError: one without a needed key, or a folder in place of the weights.
    """
    refuse_folder(vocoder_path(ckpt))
    path = vocoder_path(ckpt).with_name(CONFIG)
    if not path.is_file():
        raise FileNotFoundError(
            f"no {path}: it says how the mels of the vocoder are made (vocoder.ckpt of diffusion.yaml). Fetch both:"
            " python -m common.pretrained get nsf-hifigan    or, without a network, set vocoder.ckpt to"
            f" {EMBEDDED}, which is part of this repository"
        )
    return MelFormat.of(read_json(path), path)

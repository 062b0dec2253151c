"""Typed view of vocoder.json, the settings of train_vocoder.py. Field names are the JSON keys."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.config import GanTraining, read_json
from common.sections import ConfigError, read_section, unknown_keys

SEMITONES = 24  # that the pitch may be moved: beyond, nothing is left that is a voice


@dataclass(frozen=True)
class VocoderTraining(GanTraining):
    """Section "train"."""

    pitch_aug: float = 0.0  # share of the clips that are played faster or slower, pitch and formants with it
    pc_aug: float = 0.0  # share of the steps whose mel is of another pitch than f0, with the same formants
    aug_semitones: float = 12.0  # both move the pitch by up to this much, up or down

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        for name in ("pitch_aug", "pc_aug"):
            if not 0 <= getattr(self, name) <= 1:
                yield f"{name}: must be from 0 to 1, got {getattr(self, name)}"
        if not 0 <= self.aug_semitones <= SEMITONES:
            yield f"aug_semitones: must be from 0 to {SEMITONES}, got {self.aug_semitones}"


@dataclass(frozen=True)
class VocoderData:
    """Section "data"."""

    training_files: str = "filelists/train.txt"
    validation_files: str = "filelists/val.txt"

    def problems(self) -> Iterator[str]:
        return iter(())


@dataclass(frozen=True)
class VocoderConfig:
    """A whole vocoder.json."""

    train: VocoderTraining
    data: VocoderData
    model: dict[str, Any]  # a vocoder's config.json; that of the base model takes its place

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, every default written out."""
        return asdict(self)


def load_vocoder_config(path: Path | str) -> VocoderConfig:
    """Read and check vocoder.json.

    Raises:
        FileNotFoundError: no such file.
        ConfigError: all the problems of the file at once.
    """
    raw = read_json(path)
    problems = unknown_keys(raw, ("train", "data", "model"))
    sections: dict[str, Any] = {}
    for name, cls in (("train", VocoderTraining), ("data", VocoderData)):
        section = raw.get(name)
        if isinstance(section, Mapping):
            sections[name] = read_section(cls, section, name, problems)
        else:
            problems.append(f"{name}: section missing")
    model = raw.get("model", {})
    if not isinstance(model, dict):
        problems.append("model: expected an object, the keys of a vocoder's config.json")
    if problems:
        raise ConfigError(path, problems)
    return VocoderConfig(**sections, model=model)

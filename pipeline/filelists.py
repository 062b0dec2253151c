"""From a folder of clips to the filelists and the two configuration files (the journey of preprocess_flist_config.py).

Everything is deterministic: speaker ids follow the sorted folder names, and a split depends only on the seed and on the
speaker's name and clips, so that adding a speaker leaves the split of the others alone.
"""

import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from common import audio, formats
from vencoder import SPEECH_ENCODERS

TEMPLATES = Path(__file__).resolve().parent.parent / "configs_template"  # found from any working directory
MIN_CLIP_SECONDS = 0.3  # exactly this long is kept
N_VALIDATION = 2  # clips per speaker
MIN_GIN_CHANNELS = 256  # the narrowest speaker embedding in use; narrower units do not narrow it further
TINY_FILTER_CHANNELS = 512


@dataclass(frozen=True)
class Preset:
    """A template of configs_template/ and the encoder it is meant for."""

    template: str
    diffusion_template: str = "diffusion_template.yaml"
    speech_encoder: str = "vec768l12"
    widths_follow_encoder: bool = True  # False: base models fix gin_channels and filter_channels
    refiner_training: Mapping[str, float] = field(default_factory=dict)  # keys of its section train that differ


PRESETS = {
    "default": Preset("config_template.json"),
    "tiny": Preset("config_tiny_template.json"),
    "small": Preset(
        "config_small_template.json",
        "diffusion_small_template.yaml",
        speech_encoder="cepstral",
        widths_follow_encoder=False,
    ),
    "embedded": Preset(
        "config_embedded_template.json",
        "diffusion_small_template.yaml",
        speech_encoder="embedded",
        widths_follow_encoder=False,
        # For a few thousand steps from its base model. At 5e-4 a low voice forgot within minutes how high notes sound.
        refiner_training={"lr": 0.0001, "decay_step": 1000, "gamma": 0.75},
    ),
}


@dataclass
class Speaker:
    """One folder's clips: all of them, and the split in two lists of paths."""

    name: str
    train: list[str] = field(default_factory=list)
    val: list[str] = field(default_factory=list)


@dataclass
class FilelistReport:
    """What was found: ``notices`` are in order (short clips, other files), ``failed`` is what could not be used."""

    speakers: list[Speaker] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)


class FilelistError(ValueError):
    """The dataset folder holds nothing to train on; the message says what to run."""


def make_filelists(
    source_dir: str,
    *,
    train_list: Path,
    val_list: Path,
    config_dir: Path = Path("configs"),
    preset: str = "default",
    speech_encoder: str | None = None,
    vol_aug: bool = False,
    seed: int = 1234,
) -> FilelistReport:
    """Split the clips of ``source_dir`` into ``train_list`` and ``val_list`` and write the two configs for them.

    ``speech_encoder`` None takes the preset's own. A config that is there and differs is first copied to a .bak file.

    Raises:
        FilelistError: no folder, no speaker in it, or no usable clip.
        ValueError: unknown speech encoder.
    """
    encoder = speech_encoder or PRESETS[preset].speech_encoder
    dim = SPEECH_ENCODERS[encoder].dim
    if dim is None:
        raise ValueError(f"speech encoder {encoder!r} states no width")
    config = _read_template(PRESETS[preset].template)
    report = scan_speakers(source_dir, sample_rate=config["data"]["sampling_rate"], seed=seed)
    spk = {speaker.name: i for i, speaker in enumerate(report.speakers)}
    config = fit_config(config, spk, preset=preset, encoder=encoder, dim=dim, vol_aug=vol_aug)
    config["data"] |= {"training_files": train_list.as_posix(), "validation_files": val_list.as_posix()}
    diffusion = fit_diffusion(_read_template(PRESETS[preset].diffusion_template), spk, encoder=encoder, dim=dim)
    diffusion["train"] |= PRESETS[preset].refiner_training
    diffusion["data"] |= {"training_files": train_list.as_posix(), "validation_files": val_list.as_posix()}

    _write_lines(train_list, [clip for speaker in report.speakers for clip in speaker.train])
    _write_lines(val_list, [clip for speaker in report.speakers for clip in speaker.val])
    config_text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    diffusion_text = yaml.safe_dump(diffusion, sort_keys=False, allow_unicode=True)
    for path, text in ((config_dir / "config.json", config_text), (config_dir / "diffusion.yaml", diffusion_text)):
        _write_config(path, text, report.notices)
    report.written = [train_list, val_list, config_dir / "config.json", config_dir / "diffusion.yaml"]
    return report


def scan_speakers(source_dir: str, *, sample_rate: int, seed: int) -> FilelistReport:
    """List and split the clips of every folder in ``source_dir``; paths begin with ``source_dir`` as it was given.

    Raises:
        FilelistError: no folder, no speaker in it, or no usable clip.
    """
    root = Path(source_dir)
    again = "run python resample.py first (it reads dataset_raw/<speaker>/)"
    if not root.is_dir():
        raise FilelistError(f"{source_dir}: no such folder: {again}")
    report = FilelistReport()
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    for entry in entries:
        if not entry.is_dir():
            report.notices.append(f"{entry}: left out, clips belong in {root.as_posix()}/<speaker>/")
            continue
        names = _usable_clips(entry, sample_rate, report)
        prefix = f"{source_dir.replace(os.sep, '/').rstrip('/')}/{entry.name}/"
        if names:
            report.speakers.append(_split(entry.name, [prefix + name for name in names], seed, report))
        else:
            report.failed.append(f"speaker {entry.name}: no usable clip in {entry}, so it gets no id")
    if not report.speakers:
        raise FilelistError("\n".join([*report.failed, f"{source_dir}: no usable clip of any speaker: {again}"]))
    if not any(speaker.val for speaker in report.speakers):
        first = report.speakers[0]
        first.val = first.train[:1]
        report.warnings.append(f"no clip left for validation: {first.val[0]} is used for training and validation")
    return report


def _usable_clips(folder: Path, sample_rate: int, report: FilelistReport) -> list[str]:
    """Sorted names of the clips of one speaker; what is left out is added to ``report`` with the reason."""
    usable = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or f"{formats.CLIP_SUFFIX}." in path.name or path.name.endswith(".spec.pt"):
            continue  # caches of preprocess_hubert_f0.py
        if path.suffix.lower() != formats.CLIP_SUFFIX or not path.is_file():
            report.notices.append(f"{path}: left out, not a wav file")
            continue
        try:
            info = audio.info(path)
        except audio.AudioError as error:
            report.failed.append(f"{error}: left out")
            continue
        if info.sample_rate != sample_rate:
            reason = f"{info.sample_rate} Hz, the model needs {sample_rate} Hz: run python resample.py"
            report.failed.append(f"{path}: left out, {reason}")
        elif info.seconds < MIN_CLIP_SECONDS:
            report.notices.append(f"{path}: left out, {info.seconds:.3f} s is shorter than {MIN_CLIP_SECONDS} s")
        else:
            usable.append(path.name)
    return usable


def _split(name: str, clips: list[str], seed: int, report: FilelistReport) -> Speaker:
    """Draw the validation clips of one speaker; at least one clip stays for training."""
    n_validation = min(N_VALIDATION, len(clips) - 1)
    drawn = set(random.Random(f"{seed}/{name}").sample(clips, n_validation))
    if n_validation < N_VALIDATION:
        what = "1 clip" if len(clips) == 1 else f"{len(clips)} clips"
        report.warnings.append(
            f"speaker {name}: only {what}, {n_validation} for validation and 1 for training: add recordings"
        )
    return Speaker(name, train=[c for c in clips if c not in drawn], val=[c for c in clips if c in drawn])


def fit_config(
    template: dict[str, Any], spk: dict[str, int], *, preset: str, encoder: str, dim: int, vol_aug: bool
) -> dict[str, Any]:
    """The config.json of these speakers: ``template`` with the widths that units of ``dim`` channels need."""
    model = template["model"] | {"speech_encoder": encoder, "ssl_dim": dim, "n_speakers": len(spk)}
    if PRESETS[preset].widths_follow_encoder:
        model["gin_channels"] = max(dim, MIN_GIN_CHANNELS)
        model["filter_channels"] = max(dim, model["filter_channels"])
    if preset == "tiny":
        model["filter_channels"] = TINY_FILTER_CHANNELS
    train = dict(template["train"])
    if vol_aug:
        train["vol_aug"] = model["vol_embedding"] = True
    return template | {"train": train, "data": dict(template["data"]), "model": model, "spk": spk}


def fit_diffusion(template: dict[str, Any], spk: dict[str, int], *, encoder: str, dim: int) -> dict[str, Any]:
    """The diffusion.yaml of these speakers."""
    data = template["data"] | {"encoder": encoder, "encoder_out_channels": dim}
    return template | {"data": data, "model": template["model"] | {"n_spk": len(spk)}, "spk": spk}


def _read_template(name: str) -> dict[str, Any]:
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    return yaml.safe_load(text) if name.endswith(".yaml") else json.loads(text)


def _write_lines(path: Path, lines: list[str]) -> None:
    formats.write_text(path, "".join(f"{line}\n" for line in lines))


def _write_config(path: Path, text: str, notices: list[str]) -> None:
    """Write ``text``; a file that holds anything else is first copied, since it may have been edited by hand."""
    if kept := formats.rewrite_text(path, text):
        notices.append(f"{path} was there and differs: copied to {kept}, then written anew")

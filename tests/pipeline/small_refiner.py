"""The smallest diffusion model, the vocoder format of its mels, and a dataset for it."""

import json
from pathlib import Path
from typing import Any

import torch
import yaml

from common import audio
from common.config import Config
from common.diffusion_config import DiffusionConfig
from diffusion.loading import read_diffusion_config
from pipeline.caches import SEED, audio_digest, copy_seed
from pipeline.mel_caches import make_mels, mel_fingerprint, write_mels
from tests.synthetic import HOP, RATE, SPEAKERS, tiny_config, write_dataset
from vdecoder.mel_format import MelFormat
from vdecoder.vocoder import build_generator

N_MELS = 16
VOCODER = {
    **{"sampling_rate": RATE, "num_mels": N_MELS, "n_fft": 2048, "hop_size": HOP, "win_size": 2048},
    **{"fmin": 40, "fmax": 16000, "resblock": "1", "upsample_rates": [8, 8, 8]},
    **{"upsample_kernel_sizes": [16, 16, 16], "upsample_initial_channel": 16},
    **{"resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]]},
}
FORMAT = MelFormat.of(VOCODER, "config.json")
REFINER: dict[str, Any] = {
    "data": {"encoder": "cepstral", "encoder_out_channels": 60, "duration": 0.3, "unit_interpolate_mode": "nearest"},
    "model": {
        **{"type": "Diffusion", "n_layers": 2, "n_chans": 32, "n_hidden": 24},
        **{"use_pitch_aug": True, "timesteps": 100, "n_spk": 2},
    },
    "device": "cpu",
    "vocoder": {"type": "nsf-hifigan", "ckpt": "pretrain/tiny/model"},
    "infer": {"speedup": 25},
    "env": {"expdir": "logs/44k/diffusion"},
    "train": {
        **{"num_workers": 0, "batch_size": 4, "epochs": 1000, "interval_log": 1, "interval_val": 4},
        **{"interval_force_save": 8, "lr": 1e-3, "decay_step": 3, "gamma": 0.9, "cache_all_data": True},
    },
    "spk": {name: i for i, name in enumerate(SPEAKERS)},
}


def write_refiner(path: Path | str = "configs/diffusion.yaml", **changes: dict[str, Any]) -> Path:
    """A diffusion.yaml with some keys of its sections replaced."""
    sections = {
        name: section | changes.get(name, {}) if name not in ("spk", "device") else changes.get(name, section)
        for name, section in REFINER.items()
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(sections, allow_unicode=True), encoding="utf-8")
    return path


def refiner_config(**changes: dict[str, Any]) -> DiffusionConfig:
    return read_diffusion_config(write_refiner("configs/changed.yaml", **changes))


def write_vocoder(folder: Path, *, weights: bool = True, **changes: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(VOCODER | changes), encoding="utf-8")
    if weights:
        torch.manual_seed(0)
        torch.save({"generator": build_generator(VOCODER).state_dict()}, folder / "model")


def write_clip_mels(clip: Path, mel_format: MelFormat = FORMAT) -> None:
    digest = audio_digest(clip)
    mels = make_mels(audio.load(clip, RATE), mel_format, copy_seed(SEED, digest))
    write_mels(clip, mels, mel_fingerprint(digest, mel_format))


def write_refiner_dataset(
    root: Path, config: Config | None = None, lengths: tuple[int, ...] = (40, 30, 60, 16)
) -> None:
    """The dataset of `write_dataset`, one validation clip, with mels."""
    write_dataset(root, config or tiny_config(), lengths=lengths, n_validation=1)
    for clip in sorted((root / "dataset").rglob("*.wav")):
        write_clip_mels(clip)

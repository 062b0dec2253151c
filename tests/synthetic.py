"""Made-up singers, datasets and the smallest config, for tests that need a whole dataset but no real voice."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import audio
from common.config import Config, from_dict
from pipeline.caches import fingerprint, write_caches
from pipeline.features import Features, FeatureSettings

RATE, HOP = 44100, 512
UNIT_DIMS = {"cepstral": 60, "embedded": 256, "vec768l12": 768, "vec256l9": 256}
SPEAKERS = {"anna": 220.0, "bob": 110.0}  # median f0, Hz

TINY: dict[str, Any] = {
    "train": {
        "batch_size": 2,
        "log_interval": 1,
        "eval_interval": 4,
        "learning_rate": 2e-4,
        "segment_size": 4096,
        "window_frames": 24,
        "discriminator_channels": 8,
        "keep_ckpts": 2,
        "num_workers": 0,
    },
    "data": {"unit_interpolate_mode": "nearest", "filter_length": 1024, "win_length": 1024, "n_mel_channels": 40},
    "model": {
        **{"inter_channels": 16, "hidden_channels": 16, "filter_channels": 32, "n_heads": 2, "n_layers": 1},
        **{"kernel_size": 3, "p_dropout": 0.1, "resblock": "2", "resblock_kernel_sizes": [3]},
        **{"resblock_dilation_sizes": [[1]], "upsample_rates": [8, 8, 8], "upsample_initial_channel": 32},
        **{"upsample_kernel_sizes": [16, 16, 16], "gin_channels": 16, "ssl_dim": 60, "n_speakers": 2},
        **{"n_layers_q": 1, "n_flow_layer": 1, "n_layers_trans_flow": 1, "speech_encoder": "cepstral"},
    },
    "spk": {name: i for i, name in enumerate(SPEAKERS)},
}


def tiny(**changes: dict[str, Any]) -> dict[str, Any]:
    """The tiny configuration with some keys of its sections replaced, and all the speakers where ``spk`` is given."""
    sections = {name: section | changes.get(name, {}) for name, section in TINY.items()}
    return sections | {"spk": changes.get("spk", TINY["spk"])}


def tiny_config(**changes: dict[str, Any]) -> Config:
    return from_dict(tiny(**changes), unit_dims=UNIT_DIMS)


def write_config(path: Path, **changes: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tiny(**changes)), encoding="utf-8")
    return path


def sing(f0_hz: float, seconds: float, seed: int = 0, *, rate: int = RATE) -> np.ndarray:
    """A voice-like tone (T,): harmonics of a wavering f0 under slowly moving formants, with breath noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    f0 = f0_hz * 2 ** (np.sin(2 * np.pi * (5.0 * t + rng.random())) / 24 + np.sin(2 * np.pi * 0.7 * t) / 6)
    phase = 2 * np.pi * np.cumsum(f0) / rate
    formants = 600 + 250 * np.sin(2 * np.pi * 1.3 * t + seed), 1800 + 500 * np.sin(2 * np.pi * 0.9 * t)
    wav = 0.02 * rng.standard_normal(len(t))
    for k in range(1, 25):
        gain = sum(1 / (1 + ((k * f0 - formant) / 200) ** 2) for formant in formants) + 0.05
        wav += gain * np.sin(k * phase) / k
    return (0.5 * wav / np.abs(wav).max()).astype(np.float32)


def write_clip(path: Path, config: Config, *, n_frames: int, f0_hz: float = 200.0, seed: int = 0) -> Path:
    """A clip with features that look like the real ones, at next to no cost; units are noise."""
    rng = np.random.default_rng(seed)
    audio.save(path, sing(f0_hz, (n_frames * HOP + 100) / RATE, seed), RATE)
    units = torch.from_numpy(rng.standard_normal((config.model.ssl_dim, n_frames * 4 // 7)).astype(np.float32))
    f0 = (f0_hz + rng.standard_normal(n_frames)).astype(np.float32)
    features = Features(
        units=units,
        f0=f0,
        uv=np.ones(n_frames, np.float32),
        volume=np.full(n_frames, 0.1, np.float32),
    )
    write_caches(path, features, torch.stack([units + 1, units + 2]), fingerprint(path, settings(config)))
    return path


def settings(config: Config) -> FeatureSettings:
    return FeatureSettings.of(config, "dio")


def write_dataset(
    root: Path, config: Config, lengths: tuple[int, ...] = (30, 40, 50, 20, 60), *, n_validation: int = 2
) -> None:
    """Clips of ``lengths`` frames of each speaker with features under ``root``, and the two filelists.

    The first clip of a speaker is for validation; of these clips ``n_validation`` are listed.
    """
    training, validation = [], []
    for speaker, f0_hz in SPEAKERS.items():
        clips = [
            write_clip(root / f"dataset/44k/{speaker}/{i}.wav", config, n_frames=n, f0_hz=f0_hz, seed=i)
            for i, n in enumerate(lengths)
        ]
        names = [clip.relative_to(root).as_posix() for clip in clips]
        training += names[1:]
        validation += names[:1]
    (root / "filelists").mkdir(exist_ok=True)
    for name, clips in (("train", training), ("val", validation[:n_validation])):
        (root / f"filelists/{name}.txt").write_text("".join(f"{clip}\n" for clip in clips), encoding="utf-8")

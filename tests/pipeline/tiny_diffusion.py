"""A diffusion model and a vocoder on the grid of `tiny_model`, small enough for whole conversions in a second."""

import json
from pathlib import Path
from typing import Any

import torch
import yaml

from diffusion.loading import build_unit2mel, read_diffusion_config
from tests.pipeline.tiny_model import HOP, SAMPLE_RATE
from vdecoder.vocoder import build_generator

N_MELS = 10
VOCODER = {
    **{"sampling_rate": SAMPLE_RATE, "hop_size": HOP, "n_fft": 2048, "win_size": 2048, "num_mels": N_MELS},
    **{"fmin": 40, "fmax": 16000, "resblock": "2", "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1]]},
    **{"upsample_rates": [8, 8, 8], "upsample_kernel_sizes": [16, 16, 16], "upsample_initial_channel": 16},
}
MODEL = {"n_layers": 2, "n_chans": 16, "n_hidden": 12, "n_spk": 2, "timesteps": 1000, "k_step_max": 0}


def write_vocoder(folder: Path, **changes: Any) -> Path:
    """``folder``/model and its config.json, in the layout of openvpi's vocoders."""
    folder.mkdir(parents=True, exist_ok=True)
    config = VOCODER | changes
    torch.manual_seed(1)
    generator = build_generator(config)
    generator.init_gains()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.save({"generator": generator.state_dict()}, folder / "model")
    return folder / "model"


def write_diffusion(folder: Path, *, vocoder: Path, sections: dict[str, Any] | None = None) -> tuple[Path, Path]:
    """``folder``/model_5.pt and config.yaml; ``sections`` change keys of theirs."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "data": {"encoder": "cepstral", "encoder_out_channels": 60, "unit_interpolate_mode": "nearest"},
        "model": dict(MODEL),
        "vocoder": {"type": "nsf-hifigan", "ckpt": str(vocoder)},
        "infer": {"speedup": 10, "method": "unipc"},
        "spk": {"anna": 1, "bob": 0},  # not in the order of the synthesizer
    }
    for name, changes in (sections or {}).items():
        content[name] = changes if name == "spk" else content[name] | changes
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    torch.manual_seed(2)
    model = build_unit2mel(read_diffusion_config(path), n_mels=N_MELS)
    torch.nn.init.normal_(model.decoder.denoise_fn.output_projection.weight, std=0.05)
    torch.save({"global_step": 5, "model": model.state_dict()}, folder / "model_5.pt")
    return folder / "model_5.pt", path

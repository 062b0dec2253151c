"""Diffusion models from files: weights, and the config.yaml beside them that says what network they are of.

A file ``{"global_step", "model": state dict[, "optimizer"]}``, as so-vits-svc 4.1, DDSP-SVC and Diffusion-SVC write it;
this project adds `Timbres` under "timbres", and what training goes on from.
"""

import json
import logging
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from common import checkpoint, devices
from common.checkpoint import CheckpointError
from common.diffusion_config import DIFFUSION, RECTIFIED_FLOW, DiffusionConfig, load_diffusion_config
from common.registry import NotAvailableError
from diffusion.samplers import FLOW_SAMPLERS, SAMPLERS
from diffusion.unit2mel import Unit2Mel
from modules.spectral_envelope import CEPSTRA
from modules.timbre import Timbres
from vdecoder import VOCODERS
from vencoder import SPEECH_ENCODERS

logger = logging.getLogger(__name__)

VOICES_KEY = "spk_embed.weight"
TIMBRES_KEY = "timbres"  # beside the model: `Timbres` as a table

N_MELS = 128  # of every vocoder of the family
TABLE_TOLERANCE = 1e-3  # relative; half precision is off by 5e-4


def read_diffusion_config(path: str | PathLike[str]) -> DiffusionConfig:
    """Read a diffusion.yaml, checked against the encoders, vocoders and samplers that this version knows.

    Raises:
        FileNotFoundError, ConfigError, NotAvailableError: as `load_diffusion_config`.
    """
    return load_diffusion_config(
        Path(path),
        unit_dims={name: entry.dim for name, entry in SPEECH_ENCODERS.items()},
        vocoders=VOCODERS,
        samplers={DIFFUSION: SAMPLERS, RECTIFIED_FLOW: FLOW_SAMPLERS},
    )


def build_unit2mel(config: DiffusionConfig, *, n_mels: int = N_MELS) -> Unit2Mel:
    """The untrained model of a configuration, which becomes its attribute ``config``."""
    sizes = config.model
    model = Unit2Mel(
        config.data.encoder_out_channels,
        sizes.n_spk,
        use_pitch_aug=sizes.use_pitch_aug,
        out_dims=n_mels,
        n_layers=sizes.n_layers,
        n_chans=sizes.n_chans,
        n_hidden=sizes.n_hidden,
        timesteps=sizes.timesteps,
        k_step_max=sizes.trained_steps,
        model_type=sizes.type,
    )
    model.config = config
    return model


def load_unit2mel(
    path: str | PathLike[str],
    config_path: str | PathLike[str] | None = None,
    device: str | torch.device | None = None,
    *,
    n_mels: int = N_MELS,
) -> Unit2Mel:
    """Load a diffusion model for inference; what its configuration says is its attribute ``config``.

    Args:
        config_path: its configuration; None: config.yaml beside the weights.
        n_mels: bands of the vocoder's mels.

    Raises:
        FileNotFoundError: no weights, or no configuration.
        ConfigError: every problem of the configuration at once.
        CheckpointError: the weights are damaged, or of another network than the configuration says.
        NotAvailableError: a model of DDSP-SVC or Diffusion-SVC whose network is another.
        ValueError: an absent device.
    """
    path = Path(path)
    if not path.is_file():
        there = ", ".join(sorted(found.name for found in path.parent.glob("model_*.pt")))
        advice = f"in that folder there are: {there}; name one with -dm" if there else "train one: python train_diff.py"
        raise FileNotFoundError(f"no diffusion model {path}: {advice}")
    config_path = path.with_name("config.yaml") if config_path is None else Path(config_path)
    if not config_path.is_file():
        raise FileNotFoundError(
            f"no {config_path}: the config.yaml that a diffusion model was trained with belongs beside it,"
            " or is named with -dc"
        )
    config = read_diffusion_config(config_path)
    target = devices.resolve(device)
    state, extra = checkpoint.read_model(path, only=(TIMBRES_KEY,))
    model = build_unit2mel(config, n_mels=n_mels)
    try:
        load_state(model, state, where=path)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}\n  -dm and -dc must name a model and the config.yaml it was trained with"
        ) from None
    if (timbres := read_timbres(extra, config, where=path, n_mels=n_mels)) is not None:
        model.timbres = Timbres(*(tensor.to(target) for tensor in timbres))
    return model.eval().requires_grad_(False).to(target)


def read_timbres(
    extra: Mapping[str, object], config: DiffusionConfig, *, where: Path | str, n_mels: int = N_MELS
) -> Timbres | None:
    """The timbres that stand beside a model; None where there are none, or, which is logged, none that fit it."""
    content = extra.get(TIMBRES_KEY)
    if content is None:
        return None
    sizes = {"n_speakers": config.model.n_spk, "n_units": config.data.encoder_out_channels}
    try:
        if not isinstance(content, Mapping):
            raise ValueError(f"a {type(content).__name__} in the place of timbres")
        return Timbres.of_content(content, **sizes, n_cepstra=min(CEPSTRA, n_mels))
    except ValueError as error:
        logger.warning(
            "%s: %s; they are left out, and python train_diff.py fits them anew when it goes on", where, error
        )
        return None


def load_state(model: Unit2Mel, state: Mapping[str, Tensor], *, where: Path | str) -> None:
    """Copy the weights of a checkpoint into ``model``, strictly; its noise schedule is compared, and ours kept.

    Raises:
        CheckpointError: another network than the configuration describes, or trained with another noise schedule.
        NotAvailableError: the network of DDSP-SVC's cascades.
    """
    if any(key.startswith("ddsp_model.") for key in state):
        raise NotAvailableError(
            f"{where} holds a DDSP synthesiser and a refiner in one (DDSP-SVC), which is not available here"
        )
    if "unit_embed.weight" not in state:
        raise CheckpointError(f"{where} is no diffusion model: it has no unit_embed.weight (keys: {list(state)[:4]})")
    own = model.state_dict()
    wrong = _differences(_sizes(state), _sizes(own))
    if wrong:
        raise CheckpointError("\n  ".join([f"{where} does not fit its configuration:", *wrong]))
    tables = {key: own[key] for key in (f"decoder.{name}" for name in model.decoder.table_names) if key in state}
    for key, table in tables.items():
        theirs = state[key].float()
        if theirs.shape != table.shape or not torch.allclose(theirs, table.cpu(), rtol=TABLE_TOLERANCE, atol=1e-3):
            raise CheckpointError(
                f"{where}: trained with another noise schedule ({key}) than this version samples with"
            )
    checkpoint.load_weights(model, {**state, **tables}, where=where)


def fit_base(state: Mapping[str, Tensor], model: Unit2Mel, *, where: Path | str) -> dict[str, Tensor]:
    """Give a base model the speakers and the pitch augmentation of this configuration, so that `load_state` takes it.

    Where their number differs, all speakers begin as the mean of the base's; see also `base_voices`.
    """
    own, fitted, notes = model.state_dict(), dict(state), []
    bias, shift = "unit_embed.bias", "aug_shift_embed.weight"
    there, here = (_sizes(sizes)["model.n_spk"] for sizes in (state, own))
    if there != here:
        notes.append(f"{there} speakers there, {here} here")
        if VOICES_KEY in fitted:
            fitted[bias] = fitted[bias].float() + fitted.pop(VOICES_KEY).float().mean(dim=0)
        if VOICES_KEY in own:
            fitted[VOICES_KEY] = torch.zeros_like(own[VOICES_KEY])
    if shift in own and shift not in fitted:
        notes.append("it knows no pitch shifts: they are learnt anew")
        fitted[shift] = torch.zeros_like(own[shift])
    elif shift in fitted and shift not in own:
        notes.append("it knows of pitch shifts: they are left out")
        del fitted[shift]
    if notes:
        logger.info("%s as a base: %s", where, "; ".join(notes))
    return fitted


def base_voices(state: Mapping[str, Tensor], model: Unit2Mel) -> Tensor | None:
    """What to add to the conditions of a model that `fit_base` gave the mean voice, for each of the base's: (V, H).

    None where the base has one voice, or as many as ``model``, which then are its own.
    """
    if VOICES_KEY not in state or len(state[VOICES_KEY]) == model.n_spk:
        return None
    voices = state[VOICES_KEY].float()
    return voices - voices.mean(dim=0)


def _sizes(state: Mapping[str, Tensor]) -> dict[str, object]:
    """What a state dict says of the fields of its configuration."""
    denoiser = "decoder.denoise_fn."
    layers = {key.split(".")[3] for key in state if key.startswith(f"{denoiser}residual_layers.")}
    sizes: dict[str, object] = {
        "model.type": DIFFUSION if "decoder.betas" in state else RECTIFIED_FLOW,
        "model.n_layers": len(layers),
        "model.use_pitch_aug": "aug_shift_embed.weight" in state,
        "model.n_spk": len(state[VOICES_KEY]) if VOICES_KEY in state else 1,
    }
    for key, names in (
        ("unit_embed.weight", ("model.n_hidden", "data.encoder_out_channels")),
        (f"{denoiser}input_projection.weight", ("model.n_chans", "mel bands of the vocoder")),
        ("decoder.betas", ("model.timesteps",)),
    ):
        if key in state:
            sizes |= zip(names, state[key].shape, strict=False)
    return sizes


def _differences(theirs: Mapping[str, object], own: Mapping[str, object]) -> list[str]:
    """One line for each field in which the weights and the configuration disagree."""
    return [
        f"{name}: {json.dumps(value)} in the configuration, {json.dumps(theirs[name])} in the weights"
        for name, value in own.items()
        if name in theirs and theirs[name] != value
    ]

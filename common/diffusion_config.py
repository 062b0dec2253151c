"""Typed view of diffusion.yaml and of the config.yaml beside a diffusion model. Field names are the YAML keys.

The file is that of so-vits-svc 4.1, DDSP-SVC and Diffusion-SVC: key names are a file format, do not rename. A default
is what 4.1 did when the key was absent, or where it could not do without, what its template writes.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from common.config import encoder_problems, find_speaker, read_speakers, speaker_problems
from common.registry import NotAvailableError
from common.sections import ConfigError, below, read_section, unknown_keys

DIFFUSION, RECTIFIED_FLOW = "Diffusion", "RectifiedFlow"  # model.type

# Models of DDSP-SVC and Diffusion-SVC whose networks are others.
OTHER_TYPES = {
    **dict.fromkeys(("Sins", "CombSub", "CombSubFast", "CombSubSuperFast"), "a DDSP synthesiser"),
    **dict.fromkeys(("DiffusionNew", "DiffusionFast"), "a DDSP synthesiser and a diffusion model in one"),
    "Naive": "a network that makes mels without diffusion",
}

DDSP_FLOW_KEYS = {"win_length", "n_aux_layers", "n_aux_chans"}  # of model, where RectifiedFlow is DDSP-SVC's

DEFAULT_METHODS = {DIFFUSION: "dpm-solver++", RECTIFIED_FLOW: "euler"}

DEVICES = r"cpu|mps|cuda(:\d+)?"

ENCODER_ALIASES = {"contentvec768l12": "vec768l12"}  # as DDSP-SVC and Diffusion-SVC write it

# Keys that tools of this family write and that change nothing here: accepted without a word.
LEGACY_KEYS = {
    "data": {"f0_extractor", "f0_min", "f0_max", "encoder_ckpt", "train_path", "valid_path"},
    "train": {"lambda_ddsp"},
}


@dataclass(frozen=True)
class DataSection:
    """Section "data"."""

    encoder: str
    encoder_out_channels: int
    sampling_rate: int = 44100  # Hz
    block_size: int = 512  # samples per frame
    duration: float = 2.0  # seconds of each clip that a training step sees
    cnhubertsoft_gate: int = 10  # of an encoder that only DDSP-SVC has
    encoder_sample_rate: int = 16000  # Hz
    encoder_hop_size: int = 320  # samples per unit
    training_files: str = "filelists/train.txt"
    validation_files: str = "filelists/val.txt"
    extensions: list[str] = field(default_factory=lambda: ["wav"])
    unit_interpolate_mode: str = "left"  # left or nearest: how units are stretched to the frame grid

    def problems(self) -> Iterator[str]:
        yield from below(self, 1, "encoder_out_channels", "sampling_rate", "block_size")
        if (self.encoder_sample_rate, self.encoder_hop_size) != (16000, 320):
            got = f"{self.encoder_sample_rate} and {self.encoder_hop_size}"
            yield f"encoder_sample_rate: every encoder works at 16000 Hz, with an encoder_hop_size of 320, got {got}"
        if self.duration * self.sampling_rate < self.block_size:
            yield f"duration: must be at least one frame of block_size samples, got {self.duration} s"
        if self.unit_interpolate_mode not in ("left", "nearest"):
            yield f'unit_interpolate_mode: must be "left" or "nearest", got {json.dumps(self.unit_interpolate_mode)}'


@dataclass(frozen=True)
class ModelSection:
    """Section "model": what `diffusion.Unit2Mel` is built from."""

    type: str = DIFFUSION
    n_layers: int = 20
    n_chans: int = 512
    n_hidden: int = 256
    use_pitch_aug: bool = False
    timesteps: int = 1000
    k_step_max: int = 0  # steps from the mel up that are trained; 0: all of them
    n_spk: int = 1
    t_start: float = 0.0  # rectified flow in place of k_step_max: time that training begins at, 0 noise, 1 mel

    def problems(self) -> Iterator[str]:
        if self.type not in DEFAULT_METHODS:
            yield f"type: must be {' or '.join(DEFAULT_METHODS)}, got {json.dumps(self.type)}"
        yield from below(self, 1, "n_layers", "n_hidden", "n_spk")
        yield from below(self, 2, "timesteps")
        yield from below(self, 0, "k_step_max")
        if self.n_chans < 4 or self.n_chans % 2:
            yield f"n_chans: must be even and at least 4, got {self.n_chans}"
        if self.k_step_max > self.timesteps:
            yield f"k_step_max: must be at most timesteps ({self.timesteps}), got {self.k_step_max}"
        if self.type == RECTIFIED_FLOW:
            if self.k_step_max:
                t_start = 1 - self.k_step_max / max(self.timesteps, 1)
                yield f"k_step_max: is for diffusion; for rectified flow set it to 0, and t_start to {t_start:g}"
            if self.t_start < 0 or self.trained_steps < 1:
                yield f"t_start: must be at least 0, and leave a step of the {self.timesteps} to 1, got {self.t_start}"
        elif self.t_start:
            yield "t_start: is for rectified flow; for diffusion set k_step_max instead"

    @property
    def trained_steps(self) -> int:
        """How many of the timesteps, from the mel up, the network knows."""
        if self.type == RECTIFIED_FLOW:
            return round((1 - self.t_start) * self.timesteps)
        return self.k_step_max or self.timesteps


@dataclass(frozen=True)
class VocoderSection:
    """Section "vocoder"."""

    type: str = "nsf-hifigan"
    ckpt: str = "pretrain/nsf_hifigan/model"

    def problems(self) -> Iterator[str]:
        return iter(())


@dataclass(frozen=True)
class InferSection:
    """Section "infer"."""

    speedup: int = 10  # steps of training per step of the sampler
    method: str = ""  # of the sampler; "": DEFAULT_METHODS
    temperature: float = 1.0  # standard deviation of the noise that sampling begins with, and adds
    articulation: float = 0.0  # share of the source's that refined mels take over in conversions
    timbre_match: float = 0.0  # how far their envelopes are moved to what the target's recordings have at such sounds

    def problems(self) -> Iterator[str]:
        yield from below(self, 1, "speedup")
        yield from below(self, 0, "temperature")
        for name in ("articulation", "timbre_match"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                yield f"{name}: must be between 0 and 1, got {share}"


@dataclass(frozen=True)
class EnvSection:
    """Section "env"."""

    expdir: str = "logs/44k/diffusion"
    gpu_id: int = 0

    def problems(self) -> Iterator[str]:
        yield from below(self, 0, "gpu_id")


@dataclass(frozen=True)
class TrainSection:
    """Section "train"."""

    num_workers: int = 4
    amp_dtype: str = "fp32"  # fp32, fp16 or bf16
    batch_size: int = 48
    cache_all_data: bool = False
    cache_device: str = "cpu"
    cache_fp16: bool = False
    epochs: int = 100000
    interval_log: int = 10  # steps
    interval_val: int = 2000  # steps
    interval_force_save: int = 5000  # steps
    lr: float = 1e-4
    decay_step: int = 100000  # steps
    gamma: float = 0.5
    weight_decay: float = 0.0
    save_opt: bool = False
    seed: int = 1234  # new in this project

    def problems(self) -> Iterator[str]:
        yield from below(self, 1, "batch_size", "epochs", "interval_log", "interval_val", "interval_force_save")
        yield from below(self, 1, "decay_step")
        yield from below(self, 0, "num_workers", "weight_decay", "seed")
        if self.amp_dtype not in ("fp32", "fp16", "bf16"):
            yield f'amp_dtype: must be "fp32", "fp16" or "bf16", got {json.dumps(self.amp_dtype)}'
        if not re.fullmatch(DEVICES, self.cache_device):
            yield f'cache_device: must be "cpu", "cuda", "cuda:N" or "mps", got {json.dumps(self.cache_device)}'
        if not 0 < self.lr < 1:
            yield f"lr: must be between 0 and 1, got {self.lr}"
        if not 0 < self.gamma <= 1:
            yield f"gamma: must be above 0 and at most 1, got {self.gamma}"


SECTIONS = {
    "data": DataSection,
    "model": ModelSection,
    "vocoder": VocoderSection,
    "infer": InferSection,
    "env": EnvSection,
    "train": TrainSection,
}
REQUIRED = ("data", "model")


@dataclass(frozen=True)
class DiffusionConfig:
    """A whole diffusion.yaml."""

    data: DataSection
    model: ModelSection
    vocoder: VocoderSection
    infer: InferSection
    env: EnvSection
    train: TrainSection
    spk: dict[str, int]
    device: str = "auto"

    def speaker_id(self, speaker: str | int) -> int:
        """Id of a speaker given by name or id; raises ValueError as `find_speaker` does."""
        return find_speaker(self.spk, speaker)

    @property
    def training_device(self) -> str:
        """``device``, and which of several GPUs."""
        return f"cuda:{self.env.gpu_id}" if self.device == "cuda" else self.device

    def as_dict(self) -> dict[str, Any]:
        """The YAML form, every default written out."""
        return asdict(self)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML table; raises FileNotFoundError or ConfigError naming the file, and the line of a syntax error."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no configuration {path}")
    try:
        raw = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(path, [f"not valid YAML: {error}"]) from None
    if not isinstance(raw, dict):
        raise ConfigError(path, [f"expected a table of sections, got {type(raw).__name__}"])
    return raw


def load_diffusion_config(
    path: Path | str,
    *,
    unit_dims: Mapping[str, int | None],
    vocoders: Collection[str],
    samplers: Mapping[str, Collection[str]],
) -> DiffusionConfig:
    """Read and check a diffusion.yaml. The registries know what may stand in it, and layer 0 knows no registry.

    Args:
        unit_dims: width of each speech encoder.
        vocoders: names of vocoders.
        samplers: names of the samplers of each `model.type`.

    Raises:
        FileNotFoundError: no such file.
        ConfigError: all the problems of the file at once.
        NotAvailableError: it belongs to a model of DDSP-SVC or Diffusion-SVC whose network is another.
    """
    return from_dict(read_yaml(path), unit_dims=unit_dims, vocoders=vocoders, samplers=samplers, where=path)


def from_dict(
    raw: Mapping[str, Any],
    *,
    unit_dims: Mapping[str, int | None],
    vocoders: Collection[str],
    samplers: Mapping[str, Collection[str]],
    where: Path | str = "config",
) -> DiffusionConfig:
    """`load_diffusion_config` for a configuration that is already in memory."""
    _refuse_other_networks(raw.get("model"), where)
    problems = unknown_keys(raw, {*SECTIONS, "spk", "device"})
    sections = {name: _read(name, raw.get(name), problems) for name in SECTIONS}
    data, model, infer = sections["data"], sections["model"], sections["infer"]
    if data:
        names = ("data.encoder", "data.encoder_out_channels")
        problems += encoder_problems(data.encoder, data.encoder_out_channels, unit_dims, fields=names)
    if sections["vocoder"] and sections["vocoder"].type not in vocoders:
        problems.append(f"vocoder.type: unknown {sections['vocoder'].type!r}; choose one of: {', '.join(vocoders)}")
    if model and infer and model.type in DEFAULT_METHODS:
        infer = sections["infer"] = replace(infer, method=infer.method or DEFAULT_METHODS[model.type])
        problems += _infer_problems(infer, model, samplers[model.type])
    device = "auto" if raw.get("device") is None else raw["device"]
    if not isinstance(device, str) or not re.fullmatch(rf"auto|{DEVICES}", device):
        problems.append(
            f'device: must be "auto", "cpu", "cuda", "cuda:N" or "mps", got {json.dumps(device, default=str)}'
        )
    spk = _speakers(raw.get("spk"), model, problems)
    if problems:
        raise ConfigError(where, problems)
    return DiffusionConfig(**sections, spk=spk, device=device)


def _refuse_other_networks(model: Any, where: Path | str) -> None:
    if not isinstance(model, Mapping):
        return
    kind = model.get("type")
    what = OTHER_TYPES.get(kind) if isinstance(kind, str) else None
    if kind == RECTIFIED_FLOW and DDSP_FLOW_KEYS & model.keys():
        what = "a DDSP synthesiser and a rectified flow in one (DDSP-SVC 6)"
    if what is not None:
        raise NotAvailableError(
            f"{where}: model.type {kind} is {what}, which is not available here: use the tool that it was trained with,"
            f" or a model of type {DIFFUSION}"
        )


def _read(name: str, section: Any, problems: list[str]) -> Any:
    """One section of the file, None when it cannot be read. A key without a value counts as absent."""
    if section is None and name in REQUIRED:
        problems.append(f"{name}: section missing")
        return None
    if not isinstance(section, Mapping | None):
        problems.append(f"{name}: expected a table, got {json.dumps(section, default=str)}")
        return None
    values = {key: value for key, value in (section or {}).items() if value is not None}
    if name == "data" and isinstance(values.get("encoder"), str):
        values["encoder"] = ENCODER_ALIASES.get(values["encoder"], values["encoder"])
    if name == "infer" and values.pop("infer_step", None) is not None:  # of DDSP-SVC 6
        problems.append("infer.infer_step: set infer.speedup instead, the steps of training per step of the sampler")
    return read_section(SECTIONS[name], values, name, problems, legacy=LEGACY_KEYS.get(name, ()))


def _infer_problems(infer: InferSection, model: ModelSection, samplers: Collection[str]) -> Iterator[str]:
    if infer.method not in samplers:
        yield f"infer.method: unknown {infer.method!r} for {model.type}; choose one of: {', '.join(samplers)}"
    if infer.speedup > model.trained_steps:
        yield f"infer.speedup: must be at most the {model.trained_steps} steps of the model, got {infer.speedup}"


def _speakers(raw: Any, model: ModelSection | None, problems: list[str]) -> dict[str, int]:
    """DDSP-SVC and Diffusion-SVC name no speakers, they count them from 1: so those are the names."""
    if raw is None:
        return {str(i + 1): i for i in range(model.n_spk if model else 0)}
    spk = read_speakers(raw, problems)
    if model:
        problems += speaker_problems(spk, model.n_spk, field="model.n_spk")
    return spk


class _Loader(yaml.SafeLoader):
    """Takes 1e-4 for a number, as YAML 1.2 does; PyYAML takes it for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)

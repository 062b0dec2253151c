"""Typed view of config.json. Field names are the JSON keys: they are a file format, do not rename.

A default is what so-vits-svc 4.0/4.1 did when the key was absent, which is not always what the template writes.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common.sections import ConfigError, below, read_section

# Keys that tools of this family write and that change nothing here: accepted without a word.
LEGACY_KEYS = {
    "train": {
        *("use_sr", "max_speclen", "port", "num_workers_val"),
        *("log_version", "ckpt_name_by_step", "accumulate_grad_batches", "bf16_run"),  # so-vits-svc-fork
    },
    "data": {"max_wav_value", "contentvec_final_proj", "wav_path", "unit_path"},
    "model": {"speaker_embedding", "use_spectral_norm", "type_", "pretrained", "n_fft", "sampling_rate", "hop_length"},
}


POSITIVE_SIZES = (
    *("inter_channels", "hidden_channels", "filter_channels", "n_heads", "n_layers", "kernel_size", "gin_channels"),
    *("ssl_dim", "n_speakers", "upsample_initial_channel", "n_layers_q", "n_layers_trans_flow", "n_flow_layer"),
)


@dataclass(frozen=True)
class GanTraining:
    """What every adversarial training is asked: the common part of section "train" of config.json and vocoder.json."""

    batch_size: int
    log_interval: int = 200  # steps
    eval_interval: int = 800  # steps between validations, each followed by a checkpoint
    seed: int = 1234
    epochs: int = 10000
    learning_rate: float = 1e-4
    betas: list[float] = field(default_factory=lambda: [0.8, 0.99])
    eps: float = 1e-9
    fp16_run: bool = False  # autocast in half_type
    half_type: str = "fp16"  # fp16 or bf16
    lr_decay: float = 0.999875  # per epoch
    segment_size: int = 10240  # samples that the decoder synthesises of each clip
    warmup_epochs: int = 0
    c_mel: float = 45
    keep_ckpts: int = 0  # newest pairs that are kept; 0 keeps all
    all_in_mem: bool = False
    vol_aug: bool = False
    # New in this project; the defaults are the behaviour of 4.1.
    c_stft: float = 0.0  # weight of a loss on narrow STFT bins; sharpens the harmonics long before discriminators do
    smooth_upsampling: bool = False  # keep the decoder free of a comb at the frame rate; for small, short trainings
    clip_grad_norm: float = 0.0  # 0: gradients are not clipped
    num_workers: int = -1  # loader processes; -1 chooses
    discriminator_channels: int = 32  # width of the first discriminator layer
    discriminator_start: int = 0  # step at which the discriminators join

    def problems(self) -> Iterator[str]:
        yield from below(self, 1, "batch_size", "log_interval", "eval_interval", "epochs", "segment_size")
        yield from below(self, 0, "keep_ckpts", "warmup_epochs", "clip_grad_norm", "discriminator_start", "seed")
        if not 0 < self.learning_rate < 1:
            yield f"learning_rate: must be between 0 and 1, got {self.learning_rate}"
        if not 0 < self.lr_decay <= 1:
            yield f"lr_decay: must be above 0 and at most 1, got {self.lr_decay}"
        if self.half_type not in ("fp16", "bf16"):
            yield f'half_type: must be "fp16" or "bf16", got {json.dumps(self.half_type)}'
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            yield f"betas: must be two numbers from 0 up to 1, got {self.betas}"
        if self.discriminator_channels < 8 or self.discriminator_channels % 8:
            yield f"discriminator_channels: must be a multiple of 8, got {self.discriminator_channels}"
        if self.num_workers < -1:
            yield f"num_workers: must be -1 (automatic), 0 or more, got {self.num_workers}"


@dataclass(frozen=True)
class TrainConfig(GanTraining):
    """Section "train"."""

    init_lr_ratio: float = 1
    c_kl: float = 1.0
    window_frames: int = 790  # longer clips are cut to a random window of this length; new in this project

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from below(self, 1, "window_frames")


@dataclass(frozen=True)
class DataConfig:
    """Section "data"."""

    training_files: str = "filelists/train.txt"
    validation_files: str = "filelists/val.txt"
    sampling_rate: int = 44100  # Hz
    filter_length: int = 2048  # FFT size of the linear spectrogram, samples
    hop_length: int = 512  # samples per frame
    win_length: int = 2048  # samples
    n_mel_channels: int = 80
    mel_fmin: float = 0.0  # Hz
    mel_fmax: float | None = None  # Hz; null means half the sampling rate
    unit_interpolate_mode: str = "left"  # left or nearest: how units are stretched to the frame grid

    def problems(self) -> Iterator[str]:
        yield from below(self, 1, "sampling_rate", "filter_length", "hop_length", "win_length", "n_mel_channels")
        if self.win_length > self.filter_length:
            yield f"win_length: must be at most filter_length ({self.filter_length}), got {self.win_length}"
        if self.unit_interpolate_mode not in ("left", "nearest"):
            yield f'unit_interpolate_mode: must be "left" or "nearest", got {json.dumps(self.unit_interpolate_mode)}'
        if self.mel_fmax is not None and not self.mel_fmin < self.mel_fmax <= self.sampling_rate / 2:
            yield f"mel_fmax: must lie between mel_fmin and half the sampling rate, got {self.mel_fmax}"


@dataclass(frozen=True)
class ModelConfig:
    """Section "model": the arguments of models.SynthesizerTrn after the first two."""

    inter_channels: int
    hidden_channels: int
    filter_channels: int
    n_heads: int
    n_layers: int
    kernel_size: int
    p_dropout: float
    resblock: str
    resblock_kernel_sizes: list[int]
    resblock_dilation_sizes: list[list[int]]
    upsample_rates: list[int]
    upsample_initial_channel: int
    upsample_kernel_sizes: list[int]
    gin_channels: int
    ssl_dim: int
    n_speakers: int
    n_layers_q: int = 3
    n_layers_trans_flow: int = 3
    n_flow_layer: int = 4
    vocoder_name: str = "nsf-hifigan"
    speech_encoder: str = ""  # "": 4.0 had no such key, see `from_dict`
    vol_embedding: bool = False
    use_depthwise_conv: bool = False
    flow_share_parameter: bool = False
    use_automatic_f0_prediction: bool = True
    use_transformer_flow: bool = False

    def problems(self) -> Iterator[str]:
        yield from below(self, 1, *POSITIVE_SIZES)
        if len(self.upsample_rates) != len(self.upsample_kernel_sizes):
            yield "upsample_kernel_sizes: must be as many as upsample_rates"
        if len(self.resblock_kernel_sizes) != len(self.resblock_dilation_sizes):
            yield "resblock_dilation_sizes: must be as many as resblock_kernel_sizes"
        if self.hidden_channels % max(self.n_heads, 1):
            yield f"hidden_channels: must be a multiple of n_heads ({self.n_heads}), got {self.hidden_channels}"
        if self.inter_channels % 2:
            yield f"inter_channels: must be even, got {self.inter_channels}"
        if self.resblock not in ("1", "2"):
            yield f'resblock: must be "1" or "2", got {json.dumps(self.resblock)}'


@dataclass(frozen=True)
class Config:
    """A whole config.json."""

    train: TrainConfig
    data: DataConfig
    model: ModelConfig
    spk: dict[str, int]

    def problems(self) -> Iterator[str]:
        """Rules between sections."""
        hop, product = max(1, self.data.hop_length), math.prod(self.model.upsample_rates)
        if product != hop:
            yield f"model.upsample_rates: their product must be data.hop_length ({hop}), got {product}"
        if self.train.segment_size % hop:
            yield f"train.segment_size: must be a multiple of data.hop_length ({hop}), got {self.train.segment_size}"
        if self.train.window_frames * hop < self.train.segment_size:
            yield f"train.window_frames: must cover train.segment_size ({self.train.segment_size // hop} frames)"
        yield from speaker_problems(self.spk, self.model.n_speakers, field="model.n_speakers")

    def speaker_id(self, speaker: str | int) -> int:
        """Id of a speaker given by name or id; raises ValueError as `find_speaker` does."""
        return find_speaker(self.spk, speaker)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, every default written out."""
        return asdict(self)


def read_json(path: Path | str) -> dict[str, Any]:
    """Read a JSON object; raises FileNotFoundError or ConfigError naming the file, and the line of a syntax error."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no configuration {path}")
    try:
        raw = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(path, [f"not valid JSON: {error}"]) from None
    if not isinstance(raw, dict):
        raise ConfigError(path, [f"expected an object {{...}}, got {type(raw).__name__}"])
    return raw


def load_config(path: Path | str, *, unit_dims: Mapping[str, int | None]) -> Config:
    """Read and check config.json; ``unit_dims`` holds the width of each speech encoder (the registry knows them).

    Raises:
        FileNotFoundError: no such file.
        ConfigError: all the problems of the file at once.
    """
    return from_dict(read_json(path), unit_dims=unit_dims, where=path)


def from_dict(raw: Mapping[str, Any], *, unit_dims: Mapping[str, int | None], where: Path | str = "config") -> Config:
    """`load_config` for a configuration that is already in memory."""
    problems: list[str] = []
    sections: dict[str, Any] = {}
    for name, cls in (("train", TrainConfig), ("data", DataConfig), ("model", ModelConfig)):
        section = raw.get(name)
        if isinstance(section, Mapping):
            section = _with_encoder(section) if name == "model" else section
            sections[name] = read_section(cls, section, name, problems, legacy=LEGACY_KEYS[name])
        else:
            problems.append(f"{name}: section missing")
    spk = read_speakers(raw.get("spk"), problems)
    if sections.get("model"):
        model = sections["model"]
        names = ("model.speech_encoder", "model.ssl_dim")
        problems += encoder_problems(model.speech_encoder, model.ssl_dim, unit_dims, fields=names)
    if len(sections) == 3 and all(sections.values()):  # all of them could be read
        config = Config(**sections, spk=spk)
        problems += config.problems()
        if not problems:
            return config
    raise ConfigError(where, problems)


def _with_encoder(model: Mapping[str, Any]) -> dict[str, Any]:
    """4.0 configs name no encoder: 256 channels meant vec256l9 then, everything else vec768l12."""
    default = "vec256l9" if model.get("ssl_dim") == 256 else "vec768l12"
    return {**model, "speech_encoder": model.get("speech_encoder", default)}


def encoder_problems(
    encoder: str, dim: int, unit_dims: Mapping[str, int | None], *, fields: tuple[str, str]
) -> Iterator[str]:
    """Lines such as "model.ssl_dim: encoder vec256l9 gives 256 channels, got 768".

    ``fields`` are the full names of where ``encoder`` and ``dim`` stand; ``unit_dims`` holds the right widths.
    """
    if encoder not in unit_dims:
        yield f"{fields[0]}: unknown {encoder!r}; choose one of: {', '.join(unit_dims)}"
        return
    expected, short = unit_dims[encoder], fields[1].rpartition(".")[2]
    if expected is not None and expected != dim:
        yield (
            f"{fields[1]}: encoder {encoder} gives {expected} channels, got {dim}:"
            f" set {short} to {expected} for a new model, or name the encoder that this model was trained with"
        )


def read_speakers(raw: Any, problems: list[str]) -> dict[str, int]:
    """Section "spk", or an empty table and one problem more."""
    if isinstance(raw, Mapping) and raw and all(type(speaker_id) is int for speaker_id in raw.values()):
        return {str(name): speaker_id for name, speaker_id in raw.items()}
    problems.append('spk: expected an object of speakers and ids such as {"alice": 0}')
    return {}


def speaker_problems(spk: Mapping[str, int], n_speakers: int, *, field: str) -> Iterator[str]:
    """Ids that are used twice or are more than ``n_speakers``, which stands in ``field``."""
    ids = list(spk.values())
    if len(set(ids)) != len(ids):
        yield f"spk: two speakers share one id: {dict(spk)}"
    for name, speaker_id in spk.items():
        if not 0 <= speaker_id < n_speakers:
            yield f"spk.{name}: id {speaker_id} is outside {field} ({n_speakers})"


def find_speaker(spk: Mapping[str, int], speaker: str | int) -> int:
    """Id of a speaker given by name, or by id (a number that is no speaker's name).

    Raises:
        ValueError: no such speaker; the message lists those there are.
    """
    if str(speaker) in spk:
        return spk[str(speaker)]
    if str(speaker).isdecimal() and int(speaker) in spk.values():
        return int(speaker)
    known = ", ".join(f"{name} (id {speaker_id})" for name, speaker_id in spk.items())
    raise ValueError(f"unknown speaker {str(speaker)!r}: this model knows {known}")

"""Stand-alone mel vocoder: the NSF-HiFiGAN files of the DiffSinger community, and our small subtractive one.

A file ``{"generator": state dict}`` with its config.json beside it. Symbols: B batch, T samples, M mels, F frames.
Format: github.com/openvpi/vocoders, releases of 2022.12, 2024.02 and 2025.02 (mini_nsf, noise_sigma, pc_aug).
Checked against: golden cases nsf_hifigan, mel_spec.
"""

import math
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common import checkpoint, devices
from common.config import read_json
from modules.layers import remove_weight_norms
from vdecoder.mel_format import EMBEDDED, WHOSE, MelFormat, refuse_folder
from vdecoder.nsf_hifigan import NSFHiFiGAN
from vdecoder.subtractive import SubtractiveVocoder

LOG10_PER_LN = 1 / math.log(10)  # networks trained on log10 mels are fed natural ones times this

SUBTRACTIVE = "subtractive"  # value of the key "network" of config.json; without that key it is NSF-HiFiGAN

# Keys of config.json that the generator and the mel are built from.
MEL_KEYS = ("sampling_rate", "num_mels", "n_fft", "hop_size", "win_size", "fmin", "fmax")
NSF_KEYS = (
    *("resblock", "upsample_rates", "upsample_kernel_sizes", "upsample_initial_channel"),
    *("resblock_kernel_sizes", "resblock_dilation_sizes"),
)
SUBTRACTIVE_KEYS = ("channels", "n_layers")


class Vocoder:
    """A loaded vocoder, for inference only.

    Attributes ``sample_rate`` (Hz), ``hop_length`` (samples per frame), ``n_mels``, ``device``, and ``can_shift``: the
    network was trained on mels whose pitch is not that of f0 (``pc_aug``), so a transposed f0 with the mel as it is
    gives the same voice at another pitch, formants kept.

    Raises:
        FileNotFoundError: no weights at ``path``, or no config.json beside them.
        ValueError: a config.json without a needed key or whose sizes do not fit, weights of another shape, a folder or
            a zip file, an absent device.
    """

    def __init__(self, path: str | PathLike[str], device: str | torch.device | None = None, *, log10: bool = False):
        path = Path(path)
        config = read_vocoder_config(path)
        if log10 and config.get("network") == SUBTRACTIVE:
            raise ValueError(f"{path} is a subtractive vocoder, which takes natural logarithms: set vocoder.type to it")
        self.device = devices.resolve(device)
        self.sample_rate, self.hop_length = config["sampling_rate"], config["hop_size"]
        self.n_mels, self.log10 = config["num_mels"], log10
        self.can_shift = bool(config.get("pc_aug"))
        self.mel_format = MelFormat.of(config, path.with_name("config.json"))
        generator = build_generator(config, path.with_name("config.json"))
        load_generator(generator, path)
        remove_weight_norms(generator)
        self.generator = generator.eval().requires_grad_(False).to(self.device)

    @torch.no_grad()
    def extract(self, wav: Tensor, keyshift: float = 0, speed: float = 1) -> Tensor:
        """wav (B, T) at ``sample_rate`` -> natural-log mel (B, M, F); F = T // hop_length at speed 1.

        ``keyshift`` moves the spectrum by that many semitones; ``speed`` above 1 makes proportionally fewer frames.
        """
        return self.mel_format.extract(wav.to(self.device), keyshift=keyshift, speed=speed)

    @torch.no_grad()
    def infer(self, mel: Tensor, f0: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Natural-log mel (B, M, F), f0 (B, F) in Hz, 0 where unvoiced -> wav (B, F * hop_length) in [-1, 1].

        ``generator`` supplies the random phases and noise of the source instead of torch's global state.
        """
        mel = mel.to(self.device)
        if self.log10:
            mel = mel * LOG10_PER_LN
        return self.generator(mel, f0.to(self.device), generator=generator).squeeze(1)


def read_vocoder_config(weights: Path) -> dict[str, Any]:
    """The checked config.json beside the weights of a vocoder; raises as `Vocoder` does."""
    refuse_folder(weights)
    if not weights.is_file():
        raise FileNotFoundError(
            f"no vocoder weights at {weights}: run python -m common.pretrained get nsf-hifigan, or name another file"
            f" (--vocoder; vocoder.ckpt of diffusion.yaml), such as {EMBEDDED}, which is part of this repository"
        )
    if weights.suffix in (".zip", ".oudep"):
        raise ValueError(f"{weights} is an archive: unpack it, and name the file model or model.ckpt that is in it")
    config_path = weights.parent / "config.json"
    if not config_path.is_file():
        raise FileNotFoundError(f"no {config_path}: the vocoder's config.json belongs beside its weights")
    config = read_json(config_path)
    check_vocoder(config, config_path)
    return config


def required_keys(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys that a vocoder's config.json must have; raises ValueError for a network that is none of ours."""
    network = config.get("network")
    if network not in (None, SUBTRACTIVE):
        raise ValueError(f'network: must be absent (NSF-HiFiGAN) or "{SUBTRACTIVE}", got {network!r}')
    return MEL_KEYS + (NSF_KEYS if network is None else SUBTRACTIVE_KEYS)


def build_generator(config: Mapping[str, Any], where: Path | str = "config.json") -> NSFHiFiGAN | SubtractiveVocoder:
    """The generator, untrained, that a vocoder's config.json describes; raises ValueError for sizes that do not fit."""
    try:
        if config.get("network") == SUBTRACTIVE:
            sizes = {key: config[key] for key in SUBTRACTIVE_KEYS}
            return SubtractiveVocoder(MelFormat.of(config, where), **sizes)
        return NSFHiFiGAN(
            sample_rate=config["sampling_rate"],
            inter_channels=config["num_mels"],
            phase_at_frame_rate=True,
            resblock=str(config["resblock"]),
            mini_nsf=bool(config.get("mini_nsf")),
            noise_sigma=float(config.get("noise_sigma") or 0.0),
            **{key: config[key] for key in NSF_KEYS if key != "resblock"},
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def load_generator(generator: NSFHiFiGAN | SubtractiveVocoder, path: Path) -> None:
    """Copy the weights of a vocoder file, of any precision, into ``generator``. Raises CheckpointError."""
    state = checkpoint.read(path, only={"generator"}).get("generator")
    if not isinstance(state, Mapping):
        raise checkpoint.CheckpointError(f"{path} is no vocoder: it has no key 'generator'")
    checkpoint.load_weights(generator, state, where=path)


def check_vocoder(config: Mapping[str, Any], where: Path | str) -> None:
    """Raise ValueError where no generator can be built from a vocoder's config.json."""
    try:
        missing = [key for key in required_keys(config) if key not in config]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if missing:
        raise ValueError(f"{where}: missing {', '.join(missing)}, which {WHOSE}")
    MelFormat.of(config, where)
    if config.get("network") == SUBTRACTIVE:
        if not _whole_numbers([config[key] for key in SUBTRACTIVE_KEYS]):
            raise ValueError(f"{where}: {', '.join(SUBTRACTIVE_KEYS)} must be whole numbers above 0")
        return
    lists = ("upsample_rates", "upsample_kernel_sizes", "resblock_kernel_sizes")
    wrong = [key for key in lists if not _whole_numbers(config[key])]
    dilations = config["resblock_dilation_sizes"]
    if not isinstance(dilations, list) or not all(map(_whole_numbers, dilations)):
        wrong.append("resblock_dilation_sizes")
    if wrong:
        raise ValueError(f"{where}: {', '.join(wrong)} must be a list of whole numbers (dilations: of such lists)")
    if not _whole_numbers([config["upsample_initial_channel"]]):
        raise ValueError(f"{where}: upsample_initial_channel must be a whole number above 0")
    product = math.prod(config["upsample_rates"])
    if product != config["hop_size"]:
        raise ValueError(f"{where}: upsample_rates multiply to {product}, but hop_size is {config['hop_size']}")


def _whole_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and number > 0 for number in value)

"""diffusion.yaml of a project, checked against what stands beside it: the vocoder's config.json, and config.json."""

from pathlib import Path

from common.config import Config
from common.diffusion_config import DiffusionConfig
from diffusion.loading import read_diffusion_config
from pipeline.settings import STEP_TWO
from vdecoder.mel_format import MelFormat, read_mel_format


def read_project_config(path: Path, *, advice: str = STEP_TWO) -> DiffusionConfig:
    """Read and check a diffusion.yaml; ``advice`` says what to do when there is none.

    Raises:
        FileNotFoundError, ConfigError, NotAvailableError: as `read_diffusion_config`.
    """
    try:
        return read_diffusion_config(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}: {advice}") from None


def vocoder_format(config: DiffusionConfig, ckpt: Path | str | None = None) -> MelFormat:
    """The mels of the vocoder at ``ckpt``, by default the one that ``config`` names.

    Raises:
        FileNotFoundError: its config.json is not there.
        ValueError: its rate or its frames are others than those of the data.
    """
    ckpt = config.vocoder.ckpt if ckpt is None else ckpt
    mel_format = read_mel_format(ckpt)
    theirs, ours = (mel_format.sample_rate, mel_format.hop_length), (config.data.sampling_rate, config.data.block_size)
    if theirs != ours:
        raise ValueError(
            f"the vocoder {ckpt} makes mels of {theirs[0]} Hz, {theirs[1]} samples per frame; the data"
            f" are of {ours[0]} Hz, {ours[1]} samples (data.sampling_rate, data.block_size): name another vocoder.ckpt"
        )
    return mel_format


def dataset_mel_format(path: Path, singing: Config) -> MelFormat:
    """The mels that clips of a project need, out of its diffusion.yaml at ``path`` and its config.json.

    Raises:
        FileNotFoundError, ConfigError, NotAvailableError: as `read_project_config`, and `vocoder_format`.
        ValueError: the two configurations are of different features.
    """
    config = read_project_config(path, advice="run python preprocess_flist_config.py, or name another file with -dc")
    for name, theirs, ours in (
        ("data.encoder", config.data.encoder, singing.model.speech_encoder),
        ("data.sampling_rate", config.data.sampling_rate, singing.data.sampling_rate),
        ("data.block_size", config.data.block_size, singing.data.hop_length),
    ):
        if theirs != ours:
            raise ValueError(
                f"{path} has {theirs} for {name}, but config.json has {ours}: one set of features serves both; run"
                " python preprocess_flist_config.py, which writes the two to fit, or edit one of them"
            )
    return vocoder_format(config)

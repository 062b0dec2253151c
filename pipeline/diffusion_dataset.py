"""Filelists, cached features and mels -> batches for the diffusion model.

Letters: B batch, D unit channels, F frames, N unit frames, M mels, K the clip and its perturbed copies.
As in `pipeline.dataset`, every random choice about a clip comes from (seed, epoch, position in the list).
"""

import logging
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from common import audio, devices
from common.diffusion_config import DiffusionConfig
from common.formats import MEL_FINGERPRINT
from pipeline.caches import audio_digest, read_f0, read_fingerprint, read_units, read_volume
from pipeline.dataset import (
    VALIDATION_SECONDS,
    DatasetError,
    Needed,
    check_each,
    check_features,
    common_length,
    frames_of_units,
    read_filelist,
)
from pipeline.mel_caches import AGAIN, read_aug, read_mel
from pipeline.sampling import ClipKey, moved
from vdecoder.mel_format import MelFormat

logger = logging.getLogger(__name__)


class MelBatch(NamedTuple):
    """Clips padded with zeros to the longest."""

    units: Tensor  # (B, F, D)
    f0: Tensor  # (B, F, 1) Hz
    volume: Tensor  # (B, F, 1)
    mel: Tensor  # (B, F, M) natural logarithm
    speaker: Tensor  # (B,) ids
    shift: Tensor  # (B,) semitones by which spectrum and f0 are moved
    lengths: Tensor  # (B,) frames
    names: list[str]

    def to(self, device: torch.device) -> "MelBatch":
        return MelBatch(*moved(self, device))


@dataclass(frozen=True)
class MelClip:
    """One clip as it was cut, and moved in pitch or not."""

    units: Tensor  # (F, D)
    f0: Tensor  # (F,)
    volume: Tensor  # (F,)
    mel: Tensor  # (F, M)
    shift: float
    speaker_id: int
    name: str


class View(NamedTuple):
    """A clip, or its changed copy, which has the same units."""

    mel: Tensor  # (F, M)
    shift: float  # semitones
    volume: Tensor  # (F,)


class StoredMels(NamedTuple):
    """What the files of one clip hold; the changed copy only where it is wanted."""

    units: Tensor  # (K, D, N)
    f0: Tensor  # (F,)
    clean: View
    changed: View | None


class MelDataset(Dataset[MelClip]):
    """The clips of one filelist; ``training`` cuts windows of `data.duration` and takes half of the clips changed.

    ``n_frames`` are those that `load_mel_datasets` found. A clip that is shorter than the window is taken whole.
    """

    def __init__(self, clips: list[Path], n_frames: list[int], config: DiffusionConfig, *, training: bool) -> None:
        self.clips, self.n_frames, self.config, self.training = clips, n_frames, config, training
        data, train = config.data, config.train
        longest = int((data.duration if training else VALIDATION_SECONDS) * data.sampling_rate) // data.block_size
        self.window_lengths = [min(n, longest) for n in n_frames]
        self.changes = training and config.model.use_pitch_aug
        self.in_memory = train.cache_all_data and training
        self.device = _cache_device(train.cache_device) if self.in_memory else torch.device("cpu")
        self.dtype = torch.float16 if self.in_memory and train.cache_fp16 else torch.float32
        self.cache: dict[int, StoredMels] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def speaker(self, index: int) -> str:
        return self.clips[index].parent.name

    def __getitem__(self, key: ClipKey) -> MelClip:
        clip, stored = self.clips[key.clip], self._stored(key.clip)
        rng = np.random.default_rng((self.config.train.seed, key.epoch, key.clip))
        n_frames, length = self.n_frames[key.clip], self.window_lengths[key.clip]
        start = int(rng.integers(n_frames - length + 1))
        window = slice(start, start + length)
        variant = int(rng.integers(len(stored.units))) if self.training else 0
        view = stored.changed if stored.changed is not None and rng.random() < 0.5 else stored.clean
        frames = frames_of_units(stored.units, n_frames, window, self.config.data.unit_interpolate_mode)
        return MelClip(
            units=stored.units[variant][:, frames.to(self.device)].T.float(),
            f0=stored.f0[window] * 2 ** (view.shift / 12),
            volume=view.volume[window],
            mel=view.mel[window].float(),
            shift=view.shift,
            speaker_id=self.config.spk[self.speaker(key.clip)],
            name=str(clip),
        )

    def _stored(self, index: int) -> StoredMels:
        if index in self.cache:
            return self.cache[index]
        clip = self.clips[index]
        stored = StoredMels(
            units=read_units(clip).to(self.device, self.dtype),
            f0=self._tensor(read_f0(clip)[0]),
            clean=self._view(read_mel(clip), 0.0, read_volume(clip)),
            changed=self._view(*read_aug(clip)) if self.changes else None,
        )
        if self.in_memory:
            self.cache[index] = stored
        return stored

    def _view(self, mel: np.ndarray, shift: float, volume: np.ndarray) -> View:
        return View(self._tensor(mel).to(self.dtype), shift, self._tensor(volume))

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def _cache_device(name: str) -> torch.device:
    try:
        return devices.resolve(name)
    except ValueError as error:
        raise ValueError(f"train.cache_device: {error}") from None


def collate_mels(clips: list[MelClip]) -> MelBatch:
    """Pad clips with zeros to the longest one."""

    def padded(items: list[Tensor]) -> Tensor:
        return pad_sequence(items, batch_first=True)

    return MelBatch(
        units=padded([clip.units for clip in clips]),
        f0=padded([clip.f0 for clip in clips]).unsqueeze(2),
        volume=padded([clip.volume for clip in clips]).unsqueeze(2),
        mel=padded([clip.mel for clip in clips]),
        speaker=torch.tensor([clip.speaker_id for clip in clips]),
        shift=torch.tensor([clip.shift for clip in clips], dtype=torch.float32),
        lengths=torch.tensor([len(clip.f0) for clip in clips]),
        names=[clip.name for clip in clips],
    )


def load_mel_datasets(
    config: DiffusionConfig, *, n_mels: int, mel_format: MelFormat | None = None
) -> tuple[MelDataset, MelDataset]:
    """Training and validation clips of ``config``, all of them checked; those of no whole frame are left out.

    Args:
        mel_format: that of the vocoder, where it is known: mels that this project made are compared with it.

    Raises:
        FileNotFoundError: a filelist is missing.
        DatasetError: an empty list, or clips that cannot be used: all of both lists at once.
    """
    lists = [read_filelist(Path(path)) for path in (config.data.training_files, config.data.validation_files)]
    check = partial(_check_clip, config=config, n_mels=n_mels, mel_format=mel_format)
    frames = check_each(lists[0] + lists[1], check)
    training = _dataset(lists[0], frames[: len(lists[0])], config, training=True)
    validation = _dataset(lists[1], frames[len(lists[0]) :], config, training=False)
    if len(training) == 0:
        raise DatasetError(f"no clip of {config.data.training_files} is long enough: add recordings")
    return training, validation


def _dataset(clips: list[Path], frames: list[int], config: DiffusionConfig, *, training: bool) -> MelDataset:
    short = [str(clip) for clip, n_frames in zip(clips, frames, strict=True) if n_frames == 0]
    if short:
        logger.warning("left out, shorter than one frame: %s", ", ".join(short))
    usable = [clip for clip, n_frames in zip(clips, frames, strict=True) if n_frames]
    return MelDataset(usable, [n_frames for n_frames in frames if n_frames], config, training=training)


def _check_clip(clip: Path, config: DiffusionConfig, n_mels: int, mel_format: MelFormat | None) -> int:
    """Number of frames of a clip, 0 where it has none; raises as `load_mel_datasets`."""
    data = config.data
    if audio.info(clip).n_samples < data.block_size:
        return 0
    needed = Needed(data.sampling_rate, data.block_size, data.encoder, data.encoder_out_channels, config.spk)
    n_frames = common_length(clip, check_features(clip, needed), [len(read_volume(clip))])
    made_from = read_fingerprint(clip, MEL_FINGERPRINT)  # none where another tool made the mels
    if made_from and made_from.get("audio") != audio_digest(clip, read_fingerprint(clip)):
        raise DatasetError(f"{clip} was changed after its mels were made: {AGAIN}")
    if made_from and mel_format and made_from.get("format") != asdict(mel_format):
        raise DatasetError(f"{clip} has mels of another vocoder than vocoder.ckpt names: {AGAIN}")
    arrays = [read_mel(clip)]
    if config.model.use_pitch_aug:
        aug_mel, _, aug_volume = read_aug(clip)
        arrays.append(aug_mel)
        n_frames = common_length(clip, n_frames, [len(aug_volume)], again=AGAIN)
    for mel in arrays:
        if mel.shape[1] != n_mels:
            raise DatasetError(f"{clip} has mels of {mel.shape[1]} bands, those of the vocoder have {n_mels}: {AGAIN}")
    return common_length(clip, n_frames, [len(mel) for mel in arrays], again=AGAIN)

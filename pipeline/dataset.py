"""Filelists and cached features -> batches.

Letters: B batch, D unit channels, F frames, T = F * hop_length samples.
Every random choice about a clip comes from (seed, epoch, position in the list): it does not depend on the number of
loader processes, on the order of work, or on where a run was interrupted.
"""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from tqdm import tqdm

from common import audio, processes
from common.config import Config
from modules.units import resize_units
from modules.volume import random_gain
from pipeline.caches import audio_digest, read_f0, read_fingerprint, read_units, read_volume
from pipeline.sampling import ClipKey, moved

logger = logging.getLogger(__name__)

VALIDATION_CLIPS = 8  # at most: they are synthesised one after the other
VALIDATION_SECONDS = 12  # of a longer validation clip only so much is synthesised: attention costs the square of it
WINDOW_SLACK = 10  # frames: a clip this much longer than the window is still taken whole, as in 4.1
FRAME_SLACK = 2  # frames by which features of other tools may differ from the audio
AGAIN = "run python preprocess_hubert_f0.py"


class DatasetError(ValueError):
    """Clips that cannot be trained on, all of them listed with the reason."""


class Batch(NamedTuple):
    """Clips padded with zeros to the longest, longest first."""

    units: Tensor  # (B, D, F)
    f0: Tensor  # (B, F) Hz
    uv: Tensor  # (B, F) 1 = voiced
    wav: Tensor  # (B, 1, T) in [-1, 1]
    speaker: Tensor  # (B, 1) ids
    lengths: Tensor  # (B,) frames
    volume: Tensor | None  # (B, F)
    names: list[str]

    def to(self, device: torch.device) -> "Batch":
        return Batch(*moved(self, device))


@dataclass(frozen=True)
class Clip:
    """One clip as it was cut and augmented."""

    units: Tensor  # (D, F)
    f0: Tensor  # (F,)
    uv: Tensor  # (F,)
    wav: Tensor  # (T,)
    volume: Tensor | None  # (F,)
    speaker_id: int
    name: str


class Stored(NamedTuple):
    """What the files of one clip hold; volume and wav only where they are needed."""

    units: Tensor  # (K, D, N), of the clip itself and of its perturbed copies
    f0: np.ndarray  # (F,) Hz
    uv: np.ndarray  # (F,)
    volume: np.ndarray | None  # (F,)
    wav: np.ndarray | None  # (T,)


class ClipDataset(Dataset[Clip]):
    """The clips of one filelist; ``training`` cuts windows and augments, otherwise clips come clean.

    ``n_frames`` are those that `check_clips` found.
    """

    def __init__(self, clips: list[Path], n_frames: list[int], config: Config, *, training: bool) -> None:
        self.clips, self.n_frames, self.config, self.training = clips, n_frames, config, training
        longest = config.train.window_frames
        if not training:
            longest = VALIDATION_SECONDS * config.data.sampling_rate // config.data.hop_length
        # Frames of each clip as a batch holds it.
        self.window_lengths = [longest if n > longest + WINDOW_SLACK else n for n in n_frames]
        self.cache: dict[int, Stored] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: ClipKey) -> Clip:
        train, clip = self.config.train, self.clips[key.clip]
        rng = np.random.default_rng((train.seed, key.epoch, key.clip))
        stored = self._stored(key.clip)
        n_frames, length = self.n_frames[key.clip], self.window_lengths[key.clip]
        start = int(rng.integers(n_frames - length + 1))
        variant = int(rng.integers(len(stored.units))) if self.training else 0
        window = slice(start, start + length)
        wav, volume = self._wav(clip, stored, start, length), stored.volume
        mode = self.config.data.unit_interpolate_mode
        if volume is not None:
            volume = volume[window]
            if self.training and train.vol_aug and rng.random() < 0.5:
                gain = random_gain(float(np.abs(wav).max()), rng)
                wav, volume = wav * gain, volume * gain
        return Clip(
            units=stored.units[variant][:, frames_of_units(stored.units, n_frames, window, mode)],
            f0=torch.from_numpy(stored.f0[window]),
            uv=torch.from_numpy(stored.uv[window]),
            wav=torch.from_numpy(wav),
            volume=None if volume is None else torch.from_numpy(volume),
            speaker_id=self.config.spk[clip.parent.name],
            name=str(clip),
        )

    def _stored(self, index: int) -> Stored:
        if index in self.cache:
            return self.cache[index]
        clip, in_memory = self.clips[index], self.config.train.all_in_mem
        stored = Stored(
            read_units(clip),
            *read_f0(clip),
            read_volume(clip) if self.config.model.vol_embedding else None,
            audio.load_native(clip)[0] if in_memory else None,
        )
        if in_memory:
            self.cache[index] = stored
        return stored

    def _wav(self, clip: Path, stored: Stored, start: int, length: int) -> np.ndarray:
        hop = self.config.data.hop_length
        if stored.wav is not None:
            return stored.wav[start * hop : (start + length) * hop]
        return audio.load_part(clip, start * hop, length * hop)


def load_datasets(config: Config) -> tuple[ClipDataset, ClipDataset]:
    """Training and validation clips of ``config``, all of them checked.

    Raises:
        FileNotFoundError: a filelist is missing.
        DatasetError: an empty list, or clips that cannot be used: all of both lists at once.
    """
    lists = [read_filelist(Path(path)) for path in (config.data.training_files, config.data.validation_files)]
    training, validation = lists
    frames = check_clips(training + validation, config)
    return (
        ClipDataset(training, frames[: len(training)], config, training=True),
        ClipDataset(validation, frames[len(training) :], config, training=False),
    )


def collate(clips: list[Clip]) -> Batch:
    """Pad clips with zeros to the longest one."""
    clips = sorted(clips, key=lambda clip: len(clip.f0), reverse=True)

    def padded(items: list[Tensor]) -> Tensor:
        return pad_sequence(items, batch_first=True)

    volumes = [clip.volume for clip in clips if clip.volume is not None]
    return Batch(
        units=padded([clip.units.T for clip in clips]).transpose(1, 2).contiguous(),  # (B, F, D) -> (B, D, F)
        f0=padded([clip.f0 for clip in clips]),
        uv=padded([clip.uv for clip in clips]),
        wav=padded([clip.wav for clip in clips]).unsqueeze(1),
        speaker=torch.tensor([[clip.speaker_id] for clip in clips]),
        lengths=torch.tensor([len(clip.f0) for clip in clips]),
        volume=padded(volumes) if volumes else None,
        names=[clip.name for clip in clips],
    )


def read_filelist(path: Path) -> list[Path]:
    """Clips named in a filelist, one path per line.

    Raises:
        FileNotFoundError: no such list.
        DatasetError: the list is empty.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no filelist {path}: run python preprocess_flist_config.py")
    clips = [Path(line.strip()) for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if not clips:
        raise DatasetError(f"{path} names no clip: add recordings, then run python preprocess_flist_config.py again")
    return clips


def frames_of_units(units: Tensor, n_frames: int, window: slice, mode: str) -> Tensor:
    """Of units (..., N) stretched to ``n_frames``: which unit stands in each frame of ``window``."""
    numbers = torch.arange(units.shape[-1], dtype=torch.float32)[None]  # exact up to 2^24
    return resize_units(numbers, n_frames, mode)[0, window].long()


def check_clips(clips: list[Path], config: Config) -> list[int]:
    """Number of frames of every clip, after looking at all of them and their features.

    Raises:
        DatasetError: clips without features, with features of other audio or another encoder, at another rate, of an
            unknown speaker, or too short.
    """
    return check_each(clips, partial(_check_clip, config=config))


def check_each(clips: list[Path], check: Callable[[Path], int]) -> list[int]:
    """What ``check`` says of every clip; raises one DatasetError for all of those of which it raises something."""
    logger.info("checking %d clips and their features", len(clips))
    found, problems = [], []
    for clip in tqdm(clips, desc="check", unit="clip", disable=processes.rank() != 0):
        try:
            found.append(check(clip))
        except (ValueError, OSError) as error:
            problems.append(str(error))
    if problems:
        shown = "\n  ".join(problems[:20] + ([f"... and {len(problems) - 20} more"] if len(problems) > 20 else []))
        raise DatasetError(f"{len(problems)} of {len(clips)} clips cannot be used:\n  {shown}")
    return found


def _check_clip(clip: Path, config: Config) -> int:
    data, model = config.data, config.model
    needed = Needed(data.sampling_rate, data.hop_length, model.speech_encoder, model.ssl_dim, config.spk)
    n_frames, shortest = check_features(clip, needed), config.train.segment_size // data.hop_length
    if model.vol_embedding:
        n_frames = common_length(clip, n_frames, [len(read_volume(clip))])
    if n_frames < shortest:
        raise DatasetError(
            f"{clip} is too short: {n_frames} frames, {shortest} are needed (train.segment_size): delete it and"
            " run python preprocess_flist_config.py again"
        )
    return n_frames


@dataclass(frozen=True)
class Needed:
    """What a trainer on units wants of its clips."""

    sample_rate: int  # Hz
    hop_length: int  # samples per frame
    speech_encoder: str
    unit_channels: int
    speakers: Collection[str]


def check_features(clip: Path, needed: Needed) -> int:
    """Number of frames of a clip whose audio, units and f0 are what is needed.

    Raises:
        FileNotFoundError: no features.
        DatasetError: features of other audio or another encoder, another rate, or an unknown speaker.
    """
    n_samples = check_audio(clip, needed.sample_rate)
    if clip.parent.name not in needed.speakers:
        raise DatasetError(f"{clip} is of no speaker of the config: run python preprocess_flist_config.py again")
    encoder = (read_fingerprint(clip) or {}).get("speech_encoder", needed.speech_encoder)  # other tools leave none
    if encoder != needed.speech_encoder:
        raise DatasetError(f"{clip} has units of {encoder}, the config wants {needed.speech_encoder}: {AGAIN}")
    check_unchanged(clip, needed.hop_length)
    channels = read_units(clip).shape[1]
    if channels != needed.unit_channels:
        raise DatasetError(f"{clip} has units of {channels} channels, the config wants {needed.unit_channels}: {AGAIN}")
    return common_length(clip, n_samples // needed.hop_length, [len(row) for row in read_f0(clip)])


def check_audio(clip: Path, sample_rate: int) -> int:
    """Samples of a clip; raises DatasetError when it is not mono at ``sample_rate`` Hz."""
    header = audio.info(clip)
    if (header.sample_rate, header.channels) != (sample_rate, 1):
        raise DatasetError(
            f"{clip} is {header.channels} x {header.sample_rate} Hz, not mono {sample_rate} Hz: run python resample.py"
        )
    return header.n_samples


def common_length(clip: Path, n_frames: int, lengths: list[int], *, again: str = AGAIN) -> int:
    """Frames that audio and features have in common; raises DatasetError when they belong to other audio."""
    if any(abs(length - n_frames) > FRAME_SLACK for length in lengths):
        raise DatasetError(f"{clip} has {n_frames} frames, its features {min(lengths)}: {again}")
    return min(n_frames, *lengths)


def check_unchanged(clip: Path, hop_length: int) -> None:
    """Raise DatasetError when features that have a fingerprint are of other audio, or of another frame grid."""
    made_from = read_fingerprint(clip)
    if made_from is None:
        return
    if made_from.get("hop_length") != hop_length or made_from.get("audio") != audio_digest(clip, made_from):
        raise DatasetError(f"{clip} was changed after its features were extracted: {AGAIN}")

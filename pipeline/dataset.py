"""Filelists and cached features -> batches.

Letters: B batch, D unit channels, F frames, T = F * hop_length samples.
Every random choice about a clip comes from (seed, epoch, position in the list): it does not depend on the number of
loader processes, on the order of work, or on where a run was interrupted.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, Sampler

from common import audio
from common.config import Config
from modules.units import resize_units
from pipeline.features import read_f0, read_fingerprint, read_units, read_volume

logger = logging.getLogger(__name__)

WINDOW_SLACK = 10  # frames: a clip this much longer than the window is still taken whole, as in 4.1
BUCKET_BATCHES = 8  # clips of this many batches are sorted by length together


class DatasetError(ValueError):
    """Clips that cannot be trained on, all of them listed with the reason."""


class ClipKey(NamedTuple):
    """What the sampler asks for: clip ``index`` of the list, as it is drawn in ``epoch``."""

    epoch: int
    index: int


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
        return Batch(*(x.to(device, non_blocking=True) if isinstance(x, Tensor) else x for x in self))


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


class ClipDataset(Dataset[Clip]):
    """The clips of one filelist; ``training`` cuts windows and augments, otherwise clips come whole and clean."""

    def __init__(self, filelist: Path, config: Config, *, training: bool) -> None:
        self.config, self.training = config, training
        self.clips = read_filelist(filelist)
        self.speaker_ids = [config.speaker_id(clip.parent.name) for clip in self.clips]
        self.n_frames = check_clips(self.clips, config)
        self.cache: dict[int, tuple] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def window_lengths(self) -> list[int]:
        """Frames of each clip as a batch holds it."""
        longest = self.config.train.window_frames
        return [longest if self.training and n > longest + WINDOW_SLACK else n for n in self.n_frames]

    def __getitem__(self, key: ClipKey) -> Clip:
        rng = np.random.default_rng((self.config.train.seed, key.epoch, key.index))
        variants, f0, uv, volume = self._features(key.index)
        n_frames = self.n_frames[key.index]
        length = self.window_lengths()[key.index]
        start = int(rng.integers(n_frames - length + 1))
        variant = int(rng.integers(len(variants))) if self.training else 0
        units = resize_units(variants[variant], n_frames, self.config.data.unit_interpolate_mode)
        window = slice(start, start + length)
        wav = self._read_wav(self.clips[key.index], start, length)
        volume = None if volume is None else volume[window]
        if self.training and self.config.train.vol_aug and volume is not None and rng.random() < 0.5:
            gain = random_gain(float(np.abs(wav).max()), rng)
            wav, volume = wav * gain, volume * gain
        return Clip(
            units=units[:, window],
            f0=torch.from_numpy(f0[window]),
            uv=torch.from_numpy(uv[window]),
            wav=torch.from_numpy(wav),
            volume=None if volume is None else torch.from_numpy(volume),
            speaker_id=self.speaker_ids[key.index],
            name=str(self.clips[key.index]),
        )

    def _features(self, index: int) -> tuple:
        if index not in self.cache:
            clip = self.clips[index]
            volume = read_volume(clip) if self.config.model.vol_embedding else None
            features = (read_units(clip), *read_f0(clip), volume)
            if not self.config.train.all_in_mem:
                return features
            self.cache[index] = features
        return self.cache[index]

    def _read_wav(self, clip: Path, start: int, length: int) -> np.ndarray:
        hop = self.config.data.hop_length
        wav, _ = soundfile.read(clip, start=start * hop, frames=length * hop, dtype="float32")
        return wav


class BatchSampler(Sampler[list[ClipKey]]):
    """Batches of clips of similar length, reshuffled in every epoch by (seed, epoch), shared out among processes.

    ``start(epoch, batch)`` sets where the next iteration begins, so that a resumed run goes on inside an epoch.
    """

    def __init__(self, lengths: list[int], *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.lengths, self.batch_size, self.seed = lengths, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch, self.first_batch = 1, 0

    def __len__(self) -> int:
        """Batches that each process gets in a whole epoch."""
        return math.ceil(math.ceil(len(self.lengths) / self.batch_size) / self.world_size)

    def start(self, epoch: int, batch: int = 0) -> None:
        self.epoch, self.first_batch = epoch, batch

    def __iter__(self) -> Iterator[list[ClipKey]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(len(self.lengths)).tolist()
        bucket = self.batch_size * BUCKET_BATCHES
        batches = []
        for first in range(0, len(order), bucket):
            indices = sorted(order[first : first + bucket], key=lambda i: self.lengths[i])
            batches += [indices[i : i + self.batch_size] for i in range(0, len(indices), self.batch_size)]
        rng.shuffle(batches)
        batches += batches[: len(self) * self.world_size - len(batches)]  # every process takes as many steps
        for batch in batches[self.rank :: self.world_size][self.first_batch :]:
            yield [ClipKey(self.epoch, index) for index in batch]


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


def random_gain(peak: float, rng: np.random.Generator) -> float:
    """Loudness factor 10^U(-1, m) with m at most 1 and so that ``peak`` stays below full scale , as 4.1 draws it."""
    highest = min(1.0, math.log10(1 / (peak + 1e-5)))
    return 10 ** rng.uniform(-1, highest)


def read_filelist(path: Path) -> list[Path]:
    """Clips named in a filelist, one path per line.

    Raises:
        FileNotFoundError: no such list.
        DatasetError: the list is empty.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no filelist {path}: run python preprocess_flist_config.py")
    clips = [Path(line.strip()) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not clips:
        raise DatasetError(f"{path} names no clip: add recordings, then run python preprocess_flist_config.py again")
    return clips


def check_clips(clips: list[Path], config: Config) -> list[int]:
    """Number of frames of every clip, after looking at all of them and their features.

    Raises:
        DatasetError: clips without features, with features of another encoder, at another rate, or too short.
    """
    frames, problems = [], []
    for clip in clips:
        try:
            frames.append(_check_clip(clip, config))
        except (ValueError, OSError) as error:
            problems.append(str(error))
    if problems:
        shown = "\n  ".join(problems[:20] + ([f"... and {len(problems) - 20} more"] if len(problems) > 20 else []))
        raise DatasetError(f"{len(problems)} of {len(clips)} clips cannot be used:\n  {shown}")
    return frames


def _check_clip(clip: Path, config: Config) -> int:
    header = audio.info(clip)
    if (header.sample_rate, header.channels) != (config.data.sampling_rate, 1):
        raise DatasetError(
            f"{clip} is {header.channels} x {header.sample_rate} Hz, not mono {config.data.sampling_rate} Hz: run python resample.py"
        )
    made_from = read_fingerprint(clip)
    if made_from and made_from["speech_encoder"] != config.model.speech_encoder:
        raise DatasetError(
            f"{clip} has units of {made_from['speech_encoder']}, the config wants {config.model.speech_encoder}:"
            " run python preprocess_hubert_f0.py"
        )
    channels = read_units(clip).shape[1]
    if channels != config.model.ssl_dim:
        raise DatasetError(
            f"{clip} has units of {channels} channels, the config wants {config.model.ssl_dim}: run python preprocess_hubert_f0.py"
        )
    f0, _ = read_f0(clip)
    if config.model.vol_embedding:
        read_volume(clip)
    n_frames = min(len(f0), header.n_samples // config.data.hop_length)
    needed = config.train.segment_size // config.data.hop_length
    if n_frames < needed:
        raise DatasetError(f"{clip} is too short: {n_frames} frames, {needed} are needed (train.segment_size)")
    return n_frames

"""Clips and their cached f0 -> batches for the vocoder's training.

Letters: B batch, F frames of a window with its margins, T = F * hop_length samples.
Every random choice about a clip comes from (seed, epoch, position in the list), as in `pipeline.dataset`.
"""

import logging
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from common import audio
from common.vocoder_config import VocoderConfig
from modules.volume import random_gain
from pipeline.caches import read_f0
from pipeline.dataset import (
    VALIDATION_SECONDS,
    DatasetError,
    check_audio,
    check_each,
    check_unchanged,
    common_length,
    read_filelist,
)
from pipeline.sampling import ClipKey, moved

logger = logging.getLogger(__name__)

# Frames on either side of a training segment: its mels see the sound around it, as they do in whole songs.
MARGIN = 2
# Share of the training clips whose f0 is 0 in unvoiced frames. Elsewhere it is drawn through them: programs that use a
# vocoder do the one or the other.
GAPS = 0.5


class VocoderBatch(NamedTuple):
    """Windows of one length."""

    wav: Tensor  # (B, T) in [-1, 1]
    f0: Tensor  # (B, F) Hz
    names: list[str]

    def to(self, device: torch.device) -> "VocoderBatch":
        return VocoderBatch(*moved(self, device))


@dataclass(frozen=True)
class Window:
    """One clip as it was cut and augmented."""

    wav: Tensor  # (T,)
    f0: Tensor  # (F,) Hz
    name: str


class VocoderDataset(Dataset[Window]):
    """The clips of one filelist: random augmented windows for ``training``, else the beginnings of the clips."""

    def __init__(self, clips: list[Path], n_frames: list[int], config: VocoderConfig, *, training: bool) -> None:
        self.clips, self.n_frames, self.train, self.training = clips, n_frames, config.train, training
        self.sample_rate, self.hop = config.model["sampling_rate"], config.model["hop_size"]
        self.window = config.train.segment_size // self.hop + 2 * MARGIN  # frames
        self.cache: dict[int, np.ndarray] = {}
        short = sum(n < self.window for n in n_frames) if training else 0
        if short:
            logger.info(
                "%d of %d clips are shorter than %d frames: silence follows them", short, len(clips), self.window
            )

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: ClipKey) -> Window:
        if not self.training:
            n_frames = min(self.n_frames[key.clip], VALIDATION_SECONDS * self.sample_rate // self.hop)
            f0, _ = read_f0(self.clips[key.clip])
            wav = self._wav(key.clip, 0, n_frames)
            return self._as_window(wav, f0[:n_frames], key.clip)
        rng = np.random.default_rng((self.train.seed, key.epoch, key.clip))
        ratio = 1.0
        if rng.random() < self.train.pitch_aug:
            octaves = rng.uniform(-1, 1) * self.train.aug_semitones / 12
            ratio = round(self.sample_rate * 2**octaves) / self.sample_rate
        span = math.ceil(self.window * ratio)  # frames of the clip; played ``ratio`` times as fast they fill the window
        start = int(rng.integers(max(self.n_frames[key.clip] - span, 0) + 1))
        wav, f0 = self._played(key.clip, start, span, ratio=ratio, gaps=rng.random() < GAPS)
        if self.train.vol_aug:
            wav = wav * random_gain(audio.peak(wav), rng)
        return self._as_window(wav, f0, key.clip)

    def _played(self, index: int, start: int, span: int, *, ratio: float, gaps: bool) -> tuple[np.ndarray, np.ndarray]:
        """The window that ``span`` frames of a clip give when they are played ``ratio`` times as fast."""
        n_samples = self.window * self.hop
        wav = self._wav(index, start, span)
        if ratio != 1:
            wav = audio.resample(wav, round(self.sample_rate * ratio), self.sample_rate)
        wav = np.pad(wav, (0, max(0, n_samples - len(wav))))[:n_samples]
        f0, uv = (row[start : start + span] for row in read_f0(self.clips[index]))
        centres = (np.arange(self.window) + 0.5) * ratio - 0.5  # frames of the clip
        heard = centres < len(uv) - 0.5  # not the silence behind a short clip
        if gaps:
            heard &= uv[np.round(centres).clip(0, len(uv) - 1).astype(int)] > 0
        f0 = np.where(heard, np.interp(centres, np.arange(len(f0)), f0) * ratio, 0)
        return wav, f0.astype(np.float32)

    def _wav(self, index: int, start: int, n_frames: int) -> np.ndarray:
        clip, window = self.clips[index], slice(start * self.hop, (start + n_frames) * self.hop)
        if not self.train.all_in_mem:
            return audio.load_part(clip, window.start, window.stop - window.start)
        if index not in self.cache:
            self.cache[index], _ = audio.load_native(clip)
        return self.cache[index][window]

    def _as_window(self, wav: np.ndarray, f0: np.ndarray, index: int) -> Window:
        return Window(torch.from_numpy(wav), torch.from_numpy(f0), str(self.clips[index]))


def load_vocoder_datasets(config: VocoderConfig) -> tuple[VocoderDataset, VocoderDataset]:
    """The training and the validation clips of a configuration.

    Raises:
        FileNotFoundError: a filelist is missing.
        DatasetError: an empty list, or clips that cannot be used: all of both lists at once.
    """
    training, validation = (read_filelist(Path(p)) for p in (config.data.training_files, config.data.validation_files))
    check = partial(_check_clip, sample_rate=config.model["sampling_rate"], hop_length=config.model["hop_size"])
    frames = check_each(training + validation, check)
    return (
        VocoderDataset(training, frames[: len(training)], config, training=True),
        VocoderDataset(validation, frames[len(training) :], config, training=False),
    )


def collate(windows: list[Window]) -> VocoderBatch:
    """Join windows of one length."""
    return VocoderBatch(
        wav=torch.stack([window.wav for window in windows]),
        f0=torch.stack([window.f0 for window in windows]),
        names=[window.name for window in windows],
    )


def _check_clip(clip: Path, *, sample_rate: int, hop_length: int) -> int:
    """Frames of a clip with its f0."""
    check_unchanged(clip, hop_length)
    n_frames = check_audio(clip, sample_rate) // hop_length
    n_frames = common_length(clip, n_frames, [len(row) for row in read_f0(clip)])
    if n_frames < 1:
        raise DatasetError(f"{clip} is shorter than one frame of {hop_length} samples: delete it")
    return n_frames

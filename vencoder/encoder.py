"""What every speech encoder is: 16 kHz audio in, content units at 50 frames per second out.

The base class owns what does not depend on the network: checks, cutting long audio into windows, batching.

Letters: B batch, T samples at 16 kHz, N frames of 20 ms, D unit channels.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

SAMPLE_RATE = 16000  # Hz
HOP_LENGTH = 320  # samples per frame


class Window(NamedTuple):
    """Frames ``start`` to ``end`` of clip ``clip``, computed from the wider stretch ``left`` to ``right``."""

    clip: int
    start: int
    end: int
    left: int
    right: int


class SpeechEncoder(ABC):
    """Content units of speech or singing: (T,) samples at 16 kHz -> (D, N) float32, 50 frames per second.

    Frame i is computed around samples ``[i * 320, i * 320 + field)`` of the clip, which is first padded with
    ``padding`` zeros on both sides. A clip of more than ``max_frames`` is cut into windows of equal length that overlap
    by twice ``context_frames`` or more; each gives the frames up to the middle of its overlaps. All lie on the one grid
    of the whole clip. docs/encoders.md says how far such frames are from those of the clip in one piece.
    """

    field = 400  # samples that one frame needs
    padding = 0  # zeros before and after the clip
    max_frames = 1500  # of a window, 30 s: attention costs the square of this
    context_frames = 75  # that a window sees, but does not give, on either side; the positions of HuBERT look 64 far
    always_max_frames = False  # the network computes ``max_frames`` however short its input is
    batch_frames = {"cpu": 2000, "cuda": 12000}  # frames held in one batch, zeros included; bounds the memory
    perturbed_copies = 0  # further units per clip that preprocessing makes from copies with another timbre

    def __init__(self, dim: int, device: torch.device) -> None:
        self.dim, self.device = dim, device

    @abstractmethod
    def encode_padded(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """wavs (B, T) on ``device``, zero after each item's ``lengths`` (B,) samples -> (B, D, N).

        The frames of an item must not depend on the others in its batch; those past its end may be anything.
        """

    def n_frames(self, n_samples: int) -> int:
        """Number of frames N that a clip of ``n_samples`` samples gives; 0 when it is too short for one."""
        return max(0, (n_samples + 2 * self.padding - self.field) // HOP_LENGTH + 1)

    def encode(self, wav16k: Tensor | np.ndarray) -> Tensor:
        """wav16k (T,) mono in [-1, 1] at 16 kHz -> units (D, N) float32 on ``device``."""
        return self.encode_batch([wav16k])[0]

    @torch.no_grad()
    def encode_batch(self, wavs16k: Sequence[Tensor | np.ndarray]) -> list[Tensor]:
        """Several clips (T_i,) of any lengths -> their units (D, N_i), equal to encoding them one by one.

        Raises:
            ValueError: a clip is not one-dimensional, or too short for a single frame.
        """
        wavs = [self._checked(wav) for wav in wavs16k]
        results = [torch.empty(self.dim, self.n_frames(len(wav)), device=self.device) for wav in wavs]
        for windows in self._batches(wavs):
            pieces = [self._cut(wavs[w.clip], w) for w in windows]
            lengths = torch.tensor([len(piece) for piece in pieces], device=self.device)
            padded = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True).to(self.device)  # (B, T)
            for w, units in zip(windows, self.encode_padded(padded, lengths), strict=True):
                results[w.clip][:, w.start : w.end] = units[:, w.start - w.left : w.end - w.left]
        return results

    def _checked(self, wav: Tensor | np.ndarray) -> Tensor:
        wav = torch.as_tensor(wav).detach().float()
        if wav.ndim != 1:
            raise ValueError(f"the encoder takes mono audio (T,), got shape {tuple(wav.shape)}: average the channels")
        if self.n_frames(len(wav)) == 0:
            needed = self.field - 2 * self.padding
            raise ValueError(f"{len(wav)} samples at 16 kHz are too short to encode: {needed} are needed for one frame")
        return wav

    def _cut(self, wav: Tensor, window: Window) -> Tensor:
        """The samples of a window, with the clip's own zero padding where it reaches an end."""
        start = window.left * HOP_LENGTH - self.padding
        end = (window.right - 1) * HOP_LENGTH + self.field - self.padding
        if window.right == self.n_frames(len(wav)):  # samples after the last frame count in norms over time
            end = len(wav) + self.padding
        return F.pad(wav[max(0, start) : min(end, len(wav))], (max(0, -start), max(0, end - len(wav))))

    def _windows(self, clip: int, n_frames: int) -> Iterator[Window]:
        if n_frames <= self.max_frames:
            yield Window(clip, 0, n_frames, 0, n_frames)
            return
        overlap = 2 * self.context_frames
        assert overlap < self.max_frames, "windows that are all context"
        n_windows = -(-(n_frames - overlap) // (self.max_frames - overlap))
        width = -(-(n_frames - overlap) // n_windows) + overlap
        if self.always_max_frames:
            width = self.max_frames  # more context at the same price
        lefts = [i * (n_frames - width) // (n_windows - 1) for i in range(n_windows)]
        cuts = [(left + width + following) // 2 for left, following in pairwise(lefts)]
        for left, start, end in zip(lefts, [0, *cuts], [*cuts, n_frames], strict=True):
            yield Window(clip, start, end, left, left + width)

    def _batches(self, wavs: list[Tensor]) -> Iterator[list[Window]]:
        """Windows of all clips, similar lengths together, no more than ``batch_frames`` at once."""
        windows = [w for i, wav in enumerate(wavs) for w in self._windows(i, self.n_frames(len(wav)))]
        windows.sort(key=lambda w: w.right - w.left)
        limit = self.batch_frames.get(self.device.type, self.batch_frames["cpu"])
        batch: list[Window] = []
        for w in windows:
            cost = self.max_frames if self.always_max_frames else w.right - w.left
            if batch and (len(batch) + 1) * cost > limit:
                yield batch
                batch = []
            batch.append(w)
        if batch:
            yield batch

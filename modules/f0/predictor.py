"""What all the pitch trackers share: frame grid, voicing, interpolation through unvoiced frames, long audio.

Letters: T samples, F frames of the caller's grid (F = T // hop_length), K frames of a tracker's own track.
f0 is in Hz; uv is 1 where voiced, 0 where not (the meaning it has in the .f0.npy files).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from common import devices
from modules.f0 import F0_MAX, F0_MIN

Array = NDArray[np.float32]

GLIDE_RATIO = 1.2  # of neighbouring pitches; those further apart are a jump, with nothing in between


class F0Predictor(ABC):
    """A pitch tracker for mono audio.

    Members implement ``raw_f0``; ``resize`` says how their own track gets onto the caller's frames.

    Args:
        f0_min, f0_max: range in Hz. pm, dio, harvest and crepe search in it. rmvpe, fcpe and auto have ranges of
            their own, which hold at an end that is left at its default; an end that is set replaces theirs, further
            out or further in. A note outside the range is called unvoiced, or mistaken for one within.

    Attributes:
        instant: of a frame, where its answer lies: 0.0 the beginning, 0.5 the middle.

    Raises:
        ValueError: a rate, a hop or a range that is not positive, or ``f0_max`` not above ``f0_min``.
    """

    instant = 0.0

    def __init__(  # noqa: PLR0913 - one signature for every member of the registry
        self,
        sample_rate: int = 44100,
        hop_length: int = 512,
        *,
        device: str | torch.device | None = None,
        threshold: float = 0.05,
        f0_min: float = F0_MIN,
        f0_max: float = F0_MAX,
    ) -> None:
        if sample_rate < 1 or hop_length < 1:
            raise ValueError(f"sample_rate and hop_length must be positive, got {sample_rate} and {hop_length}")
        if not 0 < f0_min < f0_max:
            raise ValueError(f"the f0 range needs 0 < f0_min < f0_max (Hz), got {f0_min} and {f0_max}")
        if not 0 <= threshold <= 1:
            raise ValueError(f"the f0 threshold must lie in 0..1, got {threshold}")
        self.sample_rate, self.hop_length = sample_rate, hop_length
        self.device = devices.resolve(device)
        self.threshold, self.f0_min, self.f0_max = threshold, f0_min, f0_max

    @property
    def set_range(self) -> tuple[float, float]:
        """``f0_min`` and ``f0_max`` in Hz, 0 and infinity for an end that was left at its default."""
        low = 0.0 if self.f0_min == F0_MIN else self.f0_min
        return low, math.inf if self.f0_max == F0_MAX else self.f0_max

    @abstractmethod
    def raw_f0(self, wav: Array) -> NDArray[np.floating]:
        """wav (T,) at ``sample_rate`` -> (K,) Hz at the tracker's own frames, 0 where unvoiced."""

    def resize(self, track: NDArray[np.floating], n_frames: int) -> NDArray[np.floating]:
        """Own track (K,) -> (n_frames,), still 0 where unvoiced."""
        return resize_nearest(track, n_frames)

    def compute_f0_uv(self, wav: Array, n_frames: int | None = None) -> tuple[Array, Array]:
        """Track the pitch of ``wav``.

        Args:
            wav: (T,) at ``sample_rate``.
            n_frames: F, T // hop_length when absent.

        Returns:
            f0 (F,) in Hz, linear between voiced stretches, held at both ends, all 0 when nothing is voiced;
            uv (F,), 1 where voiced.

        Raises:
            ValueError: ``wav`` is not one channel of finite samples.
        """
        wav = np.ascontiguousarray(wav, dtype=np.float32)
        if wav.ndim != 1:
            raise ValueError(f"expected one channel of shape (T,), got shape {wav.shape}")
        if not np.isfinite(wav).all():
            raise ValueError("the audio holds NaN or infinite samples")
        n_frames = len(wav) // self.hop_length if n_frames is None else n_frames
        if n_frames < 1 or not wav.any():  # networks answer digital silence with anything at all
            return np.zeros(max(n_frames, 0), np.float32), np.zeros(max(n_frames, 0), np.float32)
        track = np.nan_to_num(self.raw_f0(wav), nan=0.0, posinf=0.0, neginf=0.0)
        track = self.resize(track, n_frames) if len(track) else np.zeros(n_frames)
        return fill_unvoiced(track)


def fill_unvoiced(track: NDArray[np.floating]) -> tuple[Array, Array]:
    """(F,) Hz with 0 where unvoiced -> f0 (F,) without gaps, uv (F,)."""
    voiced = np.flatnonzero(track > 0)
    uv = (track > 0).astype(np.float32)
    if len(voiced) == 0:
        return np.zeros(len(track), np.float32), uv
    return np.interp(np.arange(len(track)), voiced, track[voiced]).astype(np.float32), uv


def resize_nearest(track: NDArray[np.floating], n_frames: int) -> NDArray[np.floating]:
    """(K,) -> (n_frames,), each the value at index floor(i * K / n_frames) in float32, as torch computes it."""
    tensor = torch.from_numpy(np.ascontiguousarray(track))[None, None]
    return F.interpolate(tensor, size=n_frames, mode="nearest")[0, 0].numpy()


def resize_linear(track: NDArray[np.floating], n_frames: int, *, keep_edges: bool = True) -> NDArray[np.floating]:
    """(K,) -> (n_frames,) by linear interpolation between voiced frames; unvoiced frames are never mixed in.

    Where one neighbour of a position is unvoiced, ``keep_edges`` takes the nearer of the two; without it such a
    frame is unvoiced, so that a voiced stretch loses up to one frame.
    """
    position = np.arange(n_frames) * (len(track) / n_frames)
    gaps_as_nan = np.where(track > 0, track, np.nan)
    resized = np.nan_to_num(np.interp(position, np.arange(len(track)), gaps_as_nan))
    if keep_edges:
        nearest = track[np.minimum(np.rint(position).astype(int), len(track) - 1)]
        resized = np.where(resized > 0, resized, nearest)
    return resized


def middles(track: NDArray[np.floating]) -> NDArray[np.floating]:
    """(K,) Hz, 0 where unvoiced -> (K - 1,), half-way from each frame to the next; voiced where one of the two is."""
    start, end = track[:-1], track[1:]
    low, high = np.minimum(start, end), np.maximum(start, end)
    glides = (low > 0) & (high < GLIDE_RATIO * low)
    return np.where(glides, np.sqrt(start * end), np.where(start > 0, start, end))


def track_in_windows(
    wav: Array,
    track: Callable[[Array], NDArray[np.floating]],
    *,
    hop_length: int,
    window_frames: int,
    context_frames: int,
) -> NDArray[np.floating]:
    """Track long audio in pieces, so that memory does not grow with its length.

    ``track`` maps (T,) to at least T // hop_length + 1 frames centred on multiples of ``hop_length``, the first axis
    of what it returns. Audio of up to ``window_frames + 2 * context_frames`` frames goes through in one piece; each
    piece of longer audio is given ``context_frames`` more on both sides, whose results are dropped.
    """
    n_frames = len(wav) // hop_length + 1
    if n_frames <= window_frames + 2 * context_frames:
        return track(wav)
    pieces = []
    for start in range(0, n_frames, window_frames):
        end = min(start + window_frames, n_frames)
        first = max(start - context_frames, 0)
        piece = track(wav[first * hop_length : (end + context_frames) * hop_length])
        pieces.append(piece[start - first : end - first])
    return np.concatenate(pieces)

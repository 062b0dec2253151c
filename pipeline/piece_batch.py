"""Pieces of a song that are converted side by side, with everything that was heard in them.

Letters: B pieces, F frames of the longest, D unit channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from modules.units import resize_units
from pipeline.features import Features
from pipeline.melody import frame_positions
from pipeline.pieces import Piece
from pipeline.voice import Voice


@dataclass(frozen=True)
class PieceBatch:
    """Features on the device of the networks, zeros behind the shorter pieces."""

    sources: list[np.ndarray]  # (T_i,) as they were heard
    units: list[Tensor]  # (F_i, D), stretched to frames
    f0: Tensor  # (B, F) Hz, unvoiced stretches interpolated
    uv: Tensor  # (B, F) 1 = voiced
    volume: Tensor  # (B, F) root mean square
    lengths: list[int]  # frames
    times: list[np.ndarray]  # (F_i,) when in the song each frame is, seconds; context lies outside of it
    song_seconds: float

    @classmethod
    def of(  # noqa: PLR0913  what was cut, what was heard in it, and for whom
        cls,
        pieces: Sequence[Piece],
        sources: Sequence[np.ndarray],
        features: Sequence[Features],
        *,
        voice: Voice,
        song_seconds: float,
        device: torch.device,
    ) -> "PieceBatch":
        lengths = [len(item.f0) for item in features]
        mode = voice.unit_interpolate_mode
        units = [resize_units(item.units, n, mode).T.to(device) for item, n in zip(features, lengths, strict=True)]
        f0, uv, volume = (
            pad_sequence([torch.from_numpy(getattr(item, name)) for item in features], batch_first=True).to(device)
            for name in ("f0", "uv", "volume")
        )
        positions = (frame_positions(piece, voice.hop_length) for piece in pieces)
        times = [samples / voice.sample_rate for samples in positions]
        return cls(list(sources), units, f0, uv, volume, lengths, times, song_seconds)

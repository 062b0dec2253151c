"""Masks of padded batches, and training segments cut out of them. B batch, C channels, F frames."""

import torch
from torch import Tensor


def sequence_mask(lengths: Tensor, n_frames: int) -> Tensor:
    """lengths (B,) in frames -> (B, 1, F) bool, True where a frame is real."""
    return (torch.arange(n_frames, device=lengths.device) < lengths[:, None]).unsqueeze(1)


def random_starts(lengths: Tensor, segment_size: int) -> Tensor:
    """Uniform start frames (B,) of segments that end inside clips of `lengths` (B,) frames."""
    n_starts = (lengths - segment_size + 1).clamp(min=1)
    return (torch.rand([len(lengths)], device=lengths.device) * n_starts).long()


def take_segments(x: Tensor, starts: Tensor, size: int) -> Tensor:
    """Cut `size` steps from (B, C, F) at `starts` (B,), one segment of every item: (B, C, size).

    Raises:
        ValueError: `x` is shorter than one segment.
    """
    if x.size(2) < size:
        raise ValueError(f"a segment has {size} steps, but the longest clip of this batch has {x.size(2)}")
    steps = starts[:, None] + torch.arange(size, device=x.device)  # (B, size)
    return x.gather(2, steps[:, None].expand(-1, x.size(1), -1))

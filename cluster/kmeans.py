"""k-means for any number of frames on any device, the one implementation for clusters and for the index's lists.

In torch and not by faiss: both spend their time in one matrix product (`python -m benchmarks.clusters` measures them
side by side), faiss has no GPU in its ordinary package, and two OpenMP runtimes in one process are a crash on macOS.

Letters: N frames, D unit channels, K clusters.
"""

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

LARGEST = 1e30  # squared length of a frame: distances stay finite in float32
SCORES = 1 << 24  # numbers of a block's table of frames against centres: 64 MB
MAX_BLOCK = 16384  # frames
MAX_ITERATIONS = 50
TOLERANCE = 1e-3  # a pass that lowers the mean squared distance by less than this part is the last one
MINIBATCH = 4096  # frames
MINIBATCH_PASSES = 3


class Frames(Protocol):
    """Frames (N, D) in random order, in memory or on disk."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


def nearest(frames: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """For frames (N, D) the numbers (N,) of the nearest of centres (K, D), and the squared distances (N,) to them."""
    half_norms = centres.square().sum(1) / 2
    best = [
        torch.addmm(half_norms, block, centres.T, alpha=-1).min(1) for block in frames.split(_block_size(len(centres)))
    ]
    ids = torch.cat([indices for _, indices in best])
    distances = 2 * torch.cat([scores for scores, _ in best]) + frames.square().sum(1)
    return ids, distances.clamp(min=0)


def kmeans(
    frames: Frames,
    n_clusters: int,
    *,
    device: torch.device,
    seed: int = 1234,
    minibatch: bool = False,
    max_iterations: int = MAX_ITERATIONS,
    description: str = "k-means",
) -> Tensor:
    """Return centres (K, D) float32 on the CPU; K is smaller than ``n_clusters`` where fewer frames differ.

    Lloyd's algorithm (S. Lloyd, "Least squares quantization in PCM", 1982), begun from frames drawn at random. A
    centre that no frame is nearest to moves to one of the frames that are farthest from theirs. Memory does not grow
    with N beyond four bytes a frame.

    Args:
        frames: in random order, since ``minibatch`` takes them as they come.
        minibatch: few passes, in which centres move after each batch (D. Sculley, "Web-scale k-means clustering",
            2010): a fraction of the time for a slightly larger distance.

    Raises:
        ValueError: no frame, or no cluster asked for.
    """
    n_frames = frames.shape[0]
    if n_clusters < 1 or n_frames < 1:
        raise ValueError(f"{n_frames} frames cannot make {n_clusters} clusters")
    centres = _first_centres(frames, n_clusters, seed).to(device)
    passes = min(MINIBATCH_PASSES, max_iterations) if minibatch else max_iterations
    one_pass = _MinibatchPass(len(centres), device) if minibatch else _lloyd_pass
    error = math.inf
    with tqdm(total=passes * n_frames, desc=description, unit="frame", unit_scale=True) as bar:
        for iteration in range(passes):
            distances = one_pass(frames, centres, bar)
            previous, error = error, float(distances.mean())
            bar.set_postfix_str(f"pass {iteration + 1}, mean squared distance {error:.4g}")
            if not minibatch and previous - error <= TOLERANCE * error:
                break
    return centres.cpu()


def _first_centres(frames: Frames, n_clusters: int, seed: int) -> Tensor:
    """Up to K frames that differ: silence repeats, and equal centres would share one cluster."""
    generator = np.random.default_rng(seed)
    start = int(generator.integers(max(1, frames.shape[0] - n_clusters + 1)))
    drawn = np.asarray(frames[start : start + n_clusters], np.float32)
    _, first = np.unique(drawn, axis=0, return_index=True)
    return torch.from_numpy(drawn[np.sort(first)])  # still in random order


def _lloyd_pass(frames: Frames, centres: Tensor, bar: tqdm) -> Tensor:
    """Move ``centres`` (K, D) to the means of their frames; returns the squared distances (N,) from before."""
    sums, counts = torch.zeros_like(centres), centres.new_zeros(len(centres))
    distances = []
    for block in _blocks(frames, _block_size(len(centres)), centres.device):
        ids, squared = nearest(block, centres)
        sums.index_add_(0, ids, block)
        counts += torch.bincount(ids, minlength=len(centres))
        distances.append(squared)
        bar.update(len(block))
    centres.copy_(torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), centres))
    every = torch.cat(distances)
    _refill(centres, torch.nonzero(counts == 0)[:, 0], frames, every)
    return every


class _MinibatchPass:
    """As `_lloyd_pass`, but each batch moves the centres; the counts go on from pass to pass."""

    def __init__(self, n_clusters: int, device: torch.device) -> None:
        self.counts = torch.zeros(n_clusters, device=device)

    def __call__(self, frames: Frames, centres: Tensor, bar: tqdm) -> Tensor:
        distances = []
        for block in _blocks(frames, MINIBATCH, centres.device):
            ids, squared = nearest(block, centres)
            new = torch.bincount(ids, minlength=len(centres)).to(centres)
            self.counts += new
            pull = torch.zeros_like(centres).index_add_(0, ids, block) - new[:, None] * centres
            centres += pull / self.counts[:, None].clamp(min=1)
            distances.append(squared)
            bar.update(len(block))
        every = torch.cat(distances)
        _refill(centres, torch.nonzero(self.counts == 0)[:, 0], frames, every)
        return every


def _refill(centres: Tensor, empty: Tensor, frames: Frames, distances: Tensor) -> None:
    """Move each empty centre to one of the frames farthest from theirs; those that lie on a centre give none."""
    farthest = distances.topk(min(len(empty), len(distances)))
    rows = farthest.indices[farthest.values > 0].tolist()
    for centre, row in zip(empty.tolist(), rows, strict=False):
        centres[centre] = torch.from_numpy(np.array(frames[row : row + 1][0], np.float32)).to(centres)


def _blocks(frames: Frames, size: int, device: torch.device) -> Iterator[Tensor]:
    for start in range(0, frames.shape[0], size):
        yield torch.from_numpy(np.asarray(frames[start : start + size], np.float32)).to(device)


def _block_size(n_clusters: int) -> int:
    return max(1, min(MAX_BLOCK, SCORES // n_clusters))

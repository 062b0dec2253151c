"""A voice's units sorted into lists, so that the nearest ones are found without looking at all of them.

The lists are those of faiss' `IndexIVFFlat` (J. Johnson et al., "Billion-scale similarity search with GPUs", 2017,
section 2), whose files `cluster.index_file` reads and writes; searched in torch, on any device.

Letters: F query frames, N vectors, D unit channels, L lists, P probed lists, K neighbours.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cluster.kmeans import kmeans, nearest

VECTORS_PER_LIST = 39  # as in the reference: fewer make no reliable centre
LISTS_ITERATIONS = 10
QUERIES, SCORES = 1024, 1 << 25  # searched at once, and numbers of their table of queries against vectors: 128 MB


@dataclass(frozen=True)
class FeatureIndex:
    """Vectors (N, D), list after list; ``centres`` (L, D), ``sizes`` (L,) of the lists, how many are searched."""

    centres: Tensor
    sizes: Tensor
    vectors: Tensor
    n_probes: int = 1

    def search(self, queries: Tensor, n_neighbours: int, n_probes: int | None = None) -> tuple[Tensor, Tensor]:
        """The nearest vectors of queries (F, D) in the ``n_probes`` lists with the nearest centres.

        Returns squared distances (F, K), infinite where the lists hold fewer than K vectors, and positions (F, K) in
        ``vectors``, 0 there. K is at most N. Empty lists are passed over: each query has at least one neighbour.
        """
        filled = torch.nonzero(self.sizes)[:, 0]
        n_probes = min(n_probes or self.n_probes, len(filled))
        n_columns = sum(sorted(self.sizes.tolist())[-n_probes:])  # at most: a flat index is one long list
        found = []
        for block in queries.split(max(1, min(QUERIES, SCORES // n_columns))):
            to_centres = torch.cdist(block, self.centres[filled], compute_mode="use_mm_for_euclid_dist")
            lists = filled[to_centres.topk(n_probes, largest=False).indices]  # (F, P)
            found.append(self._search_lists(block, lists, min(n_neighbours, len(self.vectors))))
        distances, positions = (torch.cat(parts) for parts in zip(*found, strict=True))
        return distances, positions

    def _search_lists(self, queries: Tensor, lists: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """As `search`, in the given lists (F, P)."""
        ends = self.sizes[lists].cumsum(1)
        columns = ends - self.sizes[lists]
        scores = self._scores(queries, lists, columns, n_columns=max(k, int(ends[:, -1].max())))
        best = scores.topk(k, largest=False)
        absent = torch.isinf(best.values)
        which = torch.searchsorted(ends, best.indices, right=True).clamp(max=lists.size(1) - 1)
        starts = self.sizes.cumsum(0) - self.sizes
        positions = starts[lists.gather(1, which)] + best.indices - columns.gather(1, which)
        positions = positions.masked_fill(absent, 0)
        # anew, because the scores' differences of large numbers are inexact where a query is in the index itself
        distances = (self.vectors[positions] - queries[:, None]).square().sum(2)
        return distances.masked_fill(absent, torch.inf), positions

    def _scores(self, queries: Tensor, lists: Tensor, columns: Tensor, *, n_columns: int) -> Tensor:
        """Half the squared distances to all vectors of the lists, less a number per query; infinite elsewhere.

        (F, n_columns): the vectors of list p of a query begin at its ``columns`` (F, P). One matrix product per list,
        with all the queries that probe it: gathering the vectors first takes many times as long.
        """
        scores = queries.new_full((len(queries), n_columns), torch.inf)
        order = lists.flatten().argsort()
        numbers, n_queries = lists.flatten()[order].unique_consecutive(return_counts=True)
        sizes, ends = self.sizes.tolist(), self.sizes.cumsum(0).tolist()
        for number, probing in zip(numbers.tolist(), order.split(n_queries.tolist()), strict=True):
            vectors = self.vectors[ends[number] - sizes[number] : ends[number]]
            rows = probing // lists.size(1)
            at = columns.flatten()[probing, None] + torch.arange(len(vectors), device=queries.device)
            half_norms = vectors.square().sum(1) / 2
            scores[rows[:, None], at] = torch.addmm(half_norms, queries[rows], vectors.T, alpha=-1)
        return scores

    def to(self, device: torch.device) -> "FeatureIndex":
        moved = {name: getattr(self, name).to(device) for name in ("centres", "sizes", "vectors")}
        return replace(self, **moved)


def n_lists(n_vectors: int) -> int:
    """How many lists the reference makes of N vectors; one where it fails, below 39."""
    return max(1, min(int(16 * n_vectors**0.5), n_vectors // VECTORS_PER_LIST))


def build_index(vectors: np.ndarray, *, device: torch.device, seed: int, description: str = "lists") -> FeatureIndex:
    """Sort vectors (N, D) in random order into lists around k-means centres."""
    centres = kmeans(
        vectors,
        n_lists(len(vectors)),
        device=device,
        seed=seed,
        max_iterations=LISTS_ITERATIONS,
        description=description,
    )
    table = torch.from_numpy(vectors)
    on_device = centres.to(device)
    ids = torch.cat([nearest(block.to(device), on_device)[0].cpu() for block in table.split(1 << 14)])
    sizes = torch.bincount(ids, minlength=len(centres))
    return FeatureIndex(centres, sizes, table[ids.argsort(stable=True)])

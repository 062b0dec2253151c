"""Self-attention of HuBERT's transformers: plain, or with the gated relative positions of WavLM.

WavLM is Chen et al. 2022, arXiv:2110.13900; its buckets of distances are those of T5 (Raffel et al. 2020,
arXiv:1910.10683). Checked against WavLM's output: tests/golden/wavlmbase+.

Letters: B batch, N frames, D channels, H heads, E channels of one head.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    """Attention of all frames to one another. Where heads were pruned, H * E is less than D."""

    def __init__(self, dim: int, n_heads: int, head_dim: int) -> None:
        super().__init__()
        inner = n_heads * head_dim
        self.n_heads = n_heads
        self.k_proj, self.v_proj, self.q_proj = nn.Linear(dim, inner), nn.Linear(dim, inner), nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, x: Tensor, mask: Tensor | None, positions: Tensor | None) -> Tensor:
        """x (B, N, D), mask (B, 1, 1, N) true at frames that exist or None, positions (H, N, N) -> (B, N, D)."""
        q, k, v = (self.split(proj(x)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.score_mask(x, mask, positions))
        return self.out_proj(y.transpose(1, 2).flatten(2))

    def split(self, x: Tensor) -> Tensor:
        """(B, N, H * E) -> (B, H, N, E)"""
        return x.unflatten(2, (self.n_heads, -1)).transpose(1, 2)

    def score_mask(self, x: Tensor, mask: Tensor | None, positions: Tensor | None) -> Tensor | None:
        """What scaled_dot_product_attention takes as its mask."""
        return mask


class GatedSelfAttention(SelfAttention):
    """Adds to each score what the distance of the two frames is worth to the head, times a gate of the query frame."""

    def __init__(self, dim: int, n_heads: int, head_dim: int) -> None:
        super().__init__(dim, n_heads, head_dim)
        self.grep_linear = nn.Linear(head_dim, 8)
        self.grep_a = nn.Parameter(torch.empty(1, n_heads, 1, 1))

    def score_mask(self, x: Tensor, mask: Tensor | None, positions: Tensor | None) -> Tensor | None:
        assert positions is not None
        bias = self.gate(x) * positions  # (B, H, N, N)
        return bias if mask is None else bias.masked_fill_(~mask, -math.inf)

    def gate(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, H, N, 1); from the layer's own input, before it is projected."""
        sums = self.grep_linear(self.split(x)).unflatten(3, (2, 4)).sum(4)
        update, reset = sums.sigmoid().chunk(2, dim=3)
        return update * (reset * self.grep_a - 1) + 2


class RelativePositions(nn.Embedding):
    """A value for each bucket of distances and each head; all the layers share one table."""

    def __init__(self, n_buckets: int, n_heads: int, max_distance: int) -> None:
        super().__init__(n_buckets, n_heads)
        self.max_distance = max_distance

    def forward(self, n_frames: int) -> Tensor:
        """(H, N queries, N keys)"""
        offsets = torch.arange(1 - n_frames, n_frames, device=self.weight.device)
        values = super().forward(distance_buckets(offsets, self.num_embeddings, self.max_distance)).T  # (H, 2N - 1)
        if torch.jit.is_tracing():  # exported graphs have no views of one length for all
            frames = torch.arange(n_frames, device=self.weight.device)
            return values[:, frames - frames[:, None] + n_frames - 1]
        return values.unfold(1, n_frames, 1).flip(1)  # the first query has no key before it


def distance_buckets(offsets: Tensor, n_buckets: int, max_distance: int) -> Tensor:
    """Bucket of each offset, key minus query in frames: half of them for keys to come.

    Of each half, the first half holds one distance each, the rest grow by a constant factor up to ``max_distance``.
    """
    half, exact, distance = n_buckets // 2, n_buckets // 4, offsets.abs()
    growth = torch.log(distance.clamp(min=1) / exact) / (math.log(max_distance) - math.log(exact))
    far = (exact + growth * (half - exact)).long().clamp(max=half - 1)
    return torch.where(distance < exact, distance, far) + half * (offsets > 0)

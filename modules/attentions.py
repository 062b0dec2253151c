"""Transformers over frames: the prior's encoder (relative positions) and the causal decoders (pitch, flow).

B batch, C channels, F frames, H heads, W window: how many frames on each side have a learnt relative position.
Papers: Vaswani et al. 2017, arXiv:1706.03762; Shaw, Uszkoreit and Vaswani 2018, arXiv:1803.02155 (relative
positions). Attribute names and their order are checkpoint keys and optimizer positions.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.layers import ChannelNorm, gate, weight_norm

WINDOW = 4  # frames
MAX_SCORES = 2**21  # per head; clips above 1448 frames attend block by block, in 160 MB for 20,000 frames
MASKED = -1e4  # score of a frame that does not exist; representable in half precision


class Attention(nn.Module, ABC):
    """Multi-head attention; the subclasses say which frames a frame attends to, and how."""

    margin = 0  # masked frames that are added on both sides of the keys

    def __init__(self, channels: int, n_heads: int, p_dropout: float) -> None:
        super().__init__()
        self.n_heads, self.p_dropout = n_heads, p_dropout
        self.conv_q = nn.Conv1d(channels, channels, 1)
        self.conv_k = nn.Conv1d(channels, channels, 1)
        self.conv_v = nn.Conv1d(channels, channels, 1)
        self.conv_o = nn.Conv1d(channels, channels, 1)
        for conv in (self.conv_q, self.conv_k, self.conv_v):
            nn.init.xavier_uniform_(conv.weight)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, C, F), mask (B, 1, F) -> (B, C, F)."""
        q, k, v = (self._split(conv(x)) for conv in (self.conv_q, self.conv_k, self.conv_v))  # (B, H, F, C / H)
        q = q / q.size(-1) ** 0.5
        # nothing when the margin is 0
        k, v = (F.pad(y, (0, 0, self.margin, self.margin)) for y in (k, v))
        absent = F.pad(mask, (self.margin, self.margin)).unsqueeze(1) == 0  # (B, 1, 1, F + 2 margins)
        n_frames = q.size(2)
        if n_frames * n_frames <= MAX_SCORES:
            heads = self._attend(q, k, v, absent, start=0)
        else:
            size = max(1, MAX_SCORES // n_frames)
            starts = range(0, n_frames, size)
            blocks = [self._attend(q[:, :, i : i + size], k, v, absent, start=i) for i in starts]
            heads = torch.cat(blocks, dim=2)
        return self.conv_o(heads.transpose(2, 3).flatten(1, 2))

    def _split(self, x: Tensor) -> Tensor:
        """(B, C, F) -> (B, H, F, C / H)."""
        return x.reshape(x.size(0), self.n_heads, -1, x.size(2)).transpose(2, 3)

    def _weights(self, scores: Tensor) -> Tensor:
        return F.dropout(scores.softmax(dim=-1), self.p_dropout, self.training)

    @abstractmethod
    def _attend(self, q: Tensor, k: Tensor, v: Tensor, absent: Tensor, *, start: int) -> Tensor:
        """Attention of the queries (B, H, n, C / H) that begin at frame `start` to keys and values, shaped like q."""


class CausalAttention(Attention):
    """Each frame attends to itself and the past. Padding stands at the end, so no real frame ever sees it."""

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, absent: Tensor, *, start: int) -> Tensor:
        n = q.size(2)
        k, v = k[:, :, : start + n], v[:, :, : start + n]
        frames = torch.arange(k.size(2), device=q.device)
        future = frames > frames[start:, None]  # (n, start + n)
        return self._weights((q @ k.transpose(2, 3)).masked_fill(future, MASKED)) @ v


class RelativeAttention(Attention):
    """Each frame attends to all frames; those at most W away also have a learnt key and value for their distance."""

    margin = WINDOW  # so that every query has its whole window

    def __init__(self, channels: int, n_heads: int, p_dropout: float) -> None:
        super().__init__(channels, n_heads, p_dropout)
        width = channels // n_heads
        self.emb_rel_k = nn.Parameter(torch.randn(1, 2 * WINDOW + 1, width) * width**-0.5)
        self.emb_rel_v = nn.Parameter(torch.randn(1, 2 * WINDOW + 1, width) * width**-0.5)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, absent: Tensor, *, start: int) -> Tensor:
        n = q.size(2)
        window = slice(start, start + n + 2 * WINDOW)  # keys that are within W of some query
        by_distance = q @ self.emb_rel_k.transpose(1, 2)  # (B, H, n, 2W + 1)
        scores = q @ k.transpose(2, 3)  # (B, H, n, F + 2W)
        near = scores[..., window]
        near = near + _to_diagonals(by_distance, near)
        scores = torch.cat([scores[..., :start], near, scores[..., window.stop :]], dim=-1)
        weights = self._weights(scores.masked_fill(absent, MASKED))
        by_distance = _from_diagonals(weights[..., window])  # (B, H, n, 2W + 1)
        return weights @ v + by_distance @ self.emb_rel_v


# Reading rows as rows that are one element shorter moves each row one step further to the right.


def _to_diagonals(x: Tensor, like: Tensor) -> Tensor:
    """(B, H, n, 2W + 1) -> (B, H, n, n + 2W) as `like`: column d of row i moves to column i + d, the rest is zero."""
    rows = torch.cat([x, torch.zeros_like(like[..., 2 * WINDOW :])], dim=-1)  # (B, H, n, n + 2W + 1)
    flat = rows.flatten(2)
    return flat[..., : flat.size(2) - like.size(2)].reshape(like.shape)


def _from_diagonals(x: Tensor) -> Tensor:
    """(B, H, n, n + 2W) -> (B, H, n, 2W + 1): the inverse of `_to_diagonals`."""
    n = x.size(2)
    flat = torch.cat([x.flatten(2), torch.zeros_like(x[:, :, 0, :n])], dim=-1)  # (B, H, n * (n + 2W + 1))
    return flat.reshape(*x.shape[:2], n, -1)[..., : 2 * WINDOW + 1]


class FeedForward(nn.Module):
    """Two convolutions with a ReLU between; `causal` ones see no later frame."""

    def __init__(
        self, channels: int, filter_channels: int, kernel_size: int, *, p_dropout: float, causal: bool
    ) -> None:
        super().__init__()
        self.conv_1 = nn.Conv1d(channels, filter_channels, kernel_size)
        self.conv_2 = nn.Conv1d(filter_channels, channels, kernel_size)
        self.drop = nn.Dropout(p_dropout)
        self.padding = (kernel_size - 1, 0) if causal else ((kernel_size - 1) // 2, kernel_size // 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, C, F), mask (B, 1, F) -> (B, C, F)."""
        x = self.drop(F.relu(self.conv_1(F.pad(x * mask, self.padding))))
        return self.conv_2(F.pad(x * mask, self.padding)) * mask


class RelativeEncoder(nn.Module):
    """Layers of relative attention and feed-forward, each followed by its norm."""

    def __init__(
        self,
        channels: int,
        *,
        filter_channels: int,
        n_heads: int,
        n_layers: int,
        kernel_size: int,
        p_dropout: float,
    ) -> None:
        super().__init__()
        self.drop = nn.Dropout(p_dropout)
        layers = range(n_layers)
        self.attn_layers = nn.ModuleList(RelativeAttention(channels, n_heads, p_dropout) for _ in layers)
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(channels) for _ in layers)
        self.ffn_layers = nn.ModuleList(
            FeedForward(channels, filter_channels, kernel_size, p_dropout=p_dropout, causal=False) for _ in layers
        )
        self.norm_layers_2 = nn.ModuleList(ChannelNorm(channels) for _ in layers)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, C, F), mask (B, 1, F) -> (B, C, F)."""
        x = x * mask
        layers = zip(self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2, strict=True)
        for attention, norm_1, feed_forward, norm_2 in layers:
            x = norm_1(x + self.drop(attention(x, mask)))
            x = norm_2(x + self.drop(feed_forward(x, mask)))
        return x * mask


class CausalDecoder(nn.Module):
    """Layers of causal attention and feed-forward, each followed by its norm.

    With `gin_channels` every layer begins with a gate that the speaker conditions (inside the transformer flow); one
    `cond_pre` serves all the layers.
    """

    def __init__(
        self,
        channels: int,
        *,
        filter_channels: int,
        n_heads: int,
        n_layers: int,
        kernel_size: int,
        p_dropout: float,
        gin_channels: int = 0,
    ) -> None:
        super().__init__()
        self.gated = gin_channels > 0
        if self.gated:
            self.cond_pre = nn.Conv1d(channels, 2 * channels, 1)
            self.cond_layer = weight_norm(nn.Conv1d(gin_channels, 2 * channels * n_layers, 1))
        self.drop = nn.Dropout(p_dropout)
        layers = range(n_layers)
        self.self_attn_layers = nn.ModuleList(CausalAttention(channels, n_heads, p_dropout) for _ in layers)
        self.norm_layers_0 = nn.ModuleList(ChannelNorm(channels) for _ in layers)
        self.ffn_layers = nn.ModuleList(
            FeedForward(channels, filter_channels, kernel_size, p_dropout=p_dropout, causal=True) for _ in layers
        )
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(channels) for _ in layers)

    def forward(self, x: Tensor, mask: Tensor, g: Tensor | None = None) -> Tensor:
        """x (B, C, F), mask (B, 1, F), g (B, gin, 1 or F), needed when gated -> (B, C, F)."""
        conditions = self.cond_layer(g).chunk(len(self.ffn_layers), dim=1) if self.gated else ()
        x = x * mask
        layers = zip(self.self_attn_layers, self.norm_layers_0, self.ffn_layers, self.norm_layers_1, strict=True)
        for i, (attention, norm_0, feed_forward, norm_1) in enumerate(layers):
            if self.gated:
                x = gate(self.cond_pre(x) + conditions[i])
            x = norm_0(x + self.drop(attention(x, mask)))
            x = norm_1(x + self.drop(feed_forward(x, mask)))
        return x * mask

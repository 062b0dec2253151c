"""HuBERT (Hsu et al. 2021, arXiv:2106.07447) and its kin up to one of their layers, under the key names of fairseq.

One network serves them all: seven convolutions, positions by a wide convolution, transformer layers.

- HuBERT base, ContentVec (Qian et al. 2022, arXiv:2204.09224) and HuBERT-soft (van Niekerk et al. 2022,
  arXiv:2111.02392): the first convolution is normalised over time; layers normalise after each residual sum.
- HuBERT large: every convolution is normalised over its channels; layers normalise before, and once after the last.
- DPHuBERT (Peng et al. 2023, arXiv:2305.17651): HuBERT base, pruned to other sizes in every layer.
- WavLM (Chen et al. 2022, arXiv:2110.13900): either of the first two, with relative positions in its attention.

Checked against their output: tests/golden/{contentvec,hubertsoft,cnhubertlarge,dphubert,wavlmbase+,wavlm_large}.

Letters: B batch, T samples at 16 kHz, N frames, C channels of the convolutions, D channels of the transformer, H heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vencoder.nets.attention import GatedSelfAttention, RelativePositions, SelfAttention
from vencoder.nets.hubert_sizes import CONV_KERNELS, CONV_STRIDES, HubertSizes, LayerSizes


class NormOverTime(nn.GroupNorm):
    """Normalises each channel of each item over the item's own length: the zeros after a short one must not count."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x (B, C, N), lengths (B,) -> (B, C, N)"""
        if bool((lengths == x.shape[2]).all()):
            return super().forward(x)
        for i, length in enumerate(lengths.tolist()):
            x[i : i + 1, :, :length] = super().forward(x[i : i + 1, :, :length])
        return x


class NormOverChannels(nn.Sequential):
    """Normalises each step; fairseq has transpositions around the norm, which make its key end in ``.1``."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Identity(), nn.LayerNorm(dim))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class FeatureExtractor(nn.Module):
    """Waveform (B, T) -> (B, C, N), one frame in 320 samples; no padding."""

    def __init__(self, sizes: HubertSizes) -> None:
        super().__init__()
        dims, layers = (1, *sizes.conv_dims), []
        for i, (kernel, stride) in enumerate(zip(CONV_KERNELS, CONV_STRIDES, strict=True)):
            layer = nn.Sequential(nn.Conv1d(dims[i], dims[i + 1], kernel, stride, bias=sizes.conv_bias))
            if i == 0 or sizes.kind.norm_each_conv:
                layer.append(nn.Identity())  # fairseq's dropout, which makes the norm's key conv_layers.0.2
                layer.append((NormOverChannels if sizes.kind.norm_each_conv else NormOverTime)(dims[i + 1]))
            layers.append(layer)
        self.conv_layers = nn.ModuleList(layers)
        self.dummy_weight = nn.Parameter(torch.empty(dims[-1])) if sizes.conv_scales else None

    def forward(self, wavs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """wavs (B, T), lengths (B,) in samples -> (B, C, N), lengths (B,) in frames."""
        x = wavs.unsqueeze(1)  # (B, 1, T)
        for (conv, *rest), kernel, stride in zip(self.conv_layers, CONV_KERNELS, CONV_STRIDES, strict=True):
            x, lengths = conv(x), (lengths - kernel) // stride + 1
            for norm in rest[1:]:
                x = norm(x, lengths)
            x = F.gelu(x)
        if self.dummy_weight is not None:
            x = x * self.dummy_weight.unsqueeze(1)
        return x, lengths


class Layer(nn.Module):
    """Attention, then two linear layers, each added to its input; a norm before each, or after each sum."""

    def __init__(self, sizes: HubertSizes, layer: LayerSizes) -> None:
        super().__init__()
        dim, self.norm_first = sizes.dim, sizes.kind.norm_first
        attention = GatedSelfAttention if sizes.n_buckets else SelfAttention
        self.self_attn = attention(dim, layer.n_heads, sizes.head_dim) if layer.n_heads else None
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, layer.ffn_dim) if layer.ffn_dim else None
        self.fc2 = nn.Linear(layer.ffn_dim, dim) if layer.ffn_dim else None
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor | None, positions: Tensor | None) -> Tensor:
        if self.norm_first:
            x = x + self.attend(self.self_attn_layer_norm(x), mask, positions)
            return x + self.feed(self.final_layer_norm(x))
        x = self.self_attn_layer_norm(x + self.attend(x, mask, positions))
        return self.final_layer_norm(x + self.feed(x))

    def attend(self, x: Tensor, mask: Tensor | None, positions: Tensor | None) -> Tensor | float:
        return self.self_attn(x, mask, positions) if self.self_attn is not None else 0.0

    def feed(self, x: Tensor) -> Tensor | float:
        return self.fc2(F.gelu(self.fc1(x))) if self.fc1 is not None and self.fc2 is not None else 0.0


class Transformer(nn.Module):
    """Positions by a convolution over a wide context, then the layers; a norm before them, or after."""

    def __init__(self, sizes: HubertSizes) -> None:
        super().__init__()
        kernel, groups = sizes.position_kernel, sizes.position_groups
        self.norm_first = sizes.kind.norm_first
        self.pos_conv = nn.Sequential(nn.Conv1d(sizes.dim, sizes.dim, kernel, padding=kernel // 2, groups=groups))
        self.layer_norm = nn.LayerNorm(sizes.dim)
        self.layers = nn.ModuleList(Layer(sizes, layer) for layer in sizes.layers)
        self.has_positions = sizes.n_buckets is not None
        if sizes.n_buckets is not None and sizes.kind.max_distance is not None:
            # the first layer's attention has it in WavLM's files, and lends it to all the others
            table = RelativePositions(sizes.n_buckets, sizes.layers[0].n_heads, sizes.kind.max_distance)
            self.layers[0].self_attn.relative_attention_bias = table

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x (B, N, D), lengths (B,) in frames -> (B, N, D)."""
        n_frames, mask, positions = x.shape[1], None, None
        if not bool((lengths == n_frames).all()):
            exists = torch.arange(n_frames, device=x.device) < lengths.unsqueeze(1)  # (B, N)
            x, mask = x * exists.unsqueeze(2), exists[:, None, None, :]
        if self.has_positions:
            positions = self.layers[0].self_attn.relative_attention_bias(n_frames)
        around = self.pos_conv(x.transpose(1, 2))[:, :, :n_frames]  # an even kernel gives one frame too many
        x = x + F.gelu(around).transpose(1, 2)
        if not self.norm_first:
            x = self.layer_norm(x)
        for layer in self.layers:
            x = layer(x, mask, positions)
        return self.layer_norm(x) if self.norm_first else x


class Hubert(nn.Module):
    """A HuBERT up to the last of the layers in ``sizes`` and, where asked for, its final projection."""

    def __init__(self, sizes: HubertSizes) -> None:
        super().__init__()
        self.feature_extractor = FeatureExtractor(sizes)
        self.layer_norm = nn.LayerNorm(sizes.conv_dims[-1])
        self.post_extract_proj = nn.Linear(sizes.conv_dims[-1], sizes.dim)
        self.encoder = Transformer(sizes)
        self.final_proj = nn.Linear(sizes.dim, sizes.projected_dim) if sizes.projected_dim else nn.Identity()

    def forward(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """wavs (B, T) at 16 kHz, each with ``lengths`` (B,) samples -> (B, N, D).

        An item's frames are those that it would have alone, at least 400 samples long.
        """
        x, n_frames = self.feature_extractor(wavs, lengths)
        x = self.post_extract_proj(self.layer_norm(x.transpose(1, 2)))  # (B, N, D)
        return self.final_proj(self.encoder(x, n_frames))

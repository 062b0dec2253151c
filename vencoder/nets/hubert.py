"""HuBERT (Hsu et al. 2021, arXiv:2106.07447) up to one of its layers, under the key names of fairseq.

ContentVec (Qian et al. 2022, arXiv:2204.09224) and HuBERT-soft (van Niekerk et al. 2022, arXiv:2111.02392) have the
same network as HuBERT base: seven convolutions, of which the first is normalised over time, then transformer layers
that normalise after each residual sum. Checked against fairseq's and HuBERT-soft's output: tests/golden/contentvec,
tests/golden/hubertsoft.

Letters: B batch, T samples at 16 kHz, N frames, C channels of the convolutions, D channels of the transformer, H heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONV_KERNELS = (10, 3, 3, 3, 3, 2, 2)  # samples, then steps of the layer before
CONV_STRIDES = (5, 2, 2, 2, 2, 2, 2)  # together 320 samples
HEAD_DIM = 64  # of HuBERT in every size
POSITION = "encoder.pos_conv.0."


@dataclass(frozen=True)
class HubertSizes:
    """Everything that differs between two HuBERTs of this layout."""

    conv_dim: int
    dim: int
    ffn_dim: int
    n_layers: int
    position_kernel: int
    position_groups: int
    projected_dim: int | None = None

    @classmethod
    def of(cls, state: Mapping[str, Tensor], *, n_layers: int, project: bool) -> "HubertSizes":
        """Read the sizes off a state dict. Raises KeyError for one of another network."""
        dim, conv_dim = state["post_extract_proj.weight"].shape
        position = state[POSITION + "weight"]
        return cls(
            conv_dim=conv_dim,
            dim=dim,
            ffn_dim=state["encoder.layers.0.fc1.weight"].shape[0],
            n_layers=n_layers,
            position_kernel=position.shape[2],
            position_groups=dim // position.shape[1],
            projected_dim=state["final_proj.weight"].shape[0] if project else None,
        )


def fold_weight_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace the positional convolution's ``weight_g`` and ``weight_v`` by the weight that they mean."""
    folded = {key: value for key, value in state.items() if key not in (POSITION + "weight_g", POSITION + "weight_v")}
    if len(folded) == len(state) - 2:
        direction = state[POSITION + "weight_v"].float()  # (D, D / groups, kernel)
        length = direction.norm(dim=(0, 1), keepdim=True)  # one for each step of the kernel
        folded[POSITION + "weight"] = direction * (state[POSITION + "weight_g"].float() / length)
    return folded


class FeatureExtractor(nn.Module):
    """Waveform (B, T) -> (B, C, N), one frame in 320 samples; no padding."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        layers = []
        for i, (kernel, stride) in enumerate(zip(CONV_KERNELS, CONV_STRIDES, strict=True)):
            conv = nn.Conv1d(dim if i else 1, dim, kernel, stride, bias=False)
            # fairseq has a dropout at position 1, which makes the norm's key conv_layers.0.2
            layers.append(nn.Sequential(conv) if i else nn.Sequential(conv, nn.Identity(), nn.GroupNorm(dim, dim)))
        self.conv_layers = nn.ModuleList(layers)

    def forward(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        x = wavs.unsqueeze(1)  # (B, 1, T)
        for i, layer in enumerate(self.conv_layers):
            parts = list(layer.children())
            x = parts[0](x)
            if i == 0:
                x = self.normalize_each(x, n_steps(lengths, depth=1), parts[2])
            x = F.gelu(x)
        return x

    @staticmethod
    def normalize_each(x: Tensor, lengths: Tensor, norm: nn.Module) -> Tensor:
        """Normalise each item over its own length: the zeros after a short one must not count."""
        if bool((lengths == x.shape[2]).all()):
            return norm(x)
        for i, length in enumerate(lengths.tolist()):
            x[i : i + 1, :, :length] = norm(x[i : i + 1, :, :length])
        return x


def n_steps(n_samples: Tensor, depth: int = len(CONV_KERNELS)) -> Tensor:
    """Number of steps after the first ``depth`` convolutions, for each of ``n_samples`` (B,)."""
    for kernel, stride in zip(CONV_KERNELS[:depth], CONV_STRIDES[:depth], strict=True):
        n_samples = (n_samples - kernel) // stride + 1
    return n_samples


class SelfAttention(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.k_proj, self.v_proj, self.q_proj = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (B, N, D), mask (B, 1, 1, N) true at frames that exist, or None -> (B, N, D)."""
        q, k, v = (
            proj(x).unflatten(2, (-1, HEAD_DIM)).transpose(1, 2)  # (B, H, N, 64)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Attention, then two linear layers; a norm after each residual sum."""

    def __init__(self, dim: int, ffn_dim: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(dim)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, ffn_dim), nn.Linear(ffn_dim, dim)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.self_attn_layer_norm(x + self.self_attn(x, mask))
        return self.final_layer_norm(x + self.fc2(F.gelu(self.fc1(x))))


class Transformer(nn.Module):
    """Positions by a convolution over a wide context, a norm, then the layers."""

    def __init__(self, sizes: HubertSizes) -> None:
        super().__init__()
        kernel, groups = sizes.position_kernel, sizes.position_groups
        self.pos_conv = nn.Sequential(nn.Conv1d(sizes.dim, sizes.dim, kernel, padding=kernel // 2, groups=groups))
        self.layer_norm = nn.LayerNorm(sizes.dim)
        self.layers = nn.ModuleList(Layer(sizes.dim, sizes.ffn_dim) for _ in range(sizes.n_layers))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x (B, N, D), lengths (B,) in frames -> (B, N, D)."""
        n_frames, mask = x.shape[1], None
        if not bool((lengths == n_frames).all()):
            exists = torch.arange(n_frames, device=x.device) < lengths.unsqueeze(1)  # (B, N)
            x, mask = x * exists.unsqueeze(2), exists[:, None, None, :]
        position = self.pos_conv(x.transpose(1, 2))[:, :, :n_frames]  # an even kernel gives one frame too many
        x = self.layer_norm(x + F.gelu(position).transpose(1, 2))
        for layer in self.layers:
            x = layer(x, mask)
        return x


class Hubert(nn.Module):
    """The first ``n_layers`` layers of HuBERT and, where asked for, its final projection."""

    def __init__(self, sizes: HubertSizes) -> None:
        super().__init__()
        self.feature_extractor = FeatureExtractor(sizes.conv_dim)
        self.layer_norm = nn.LayerNorm(sizes.conv_dim)
        self.post_extract_proj = nn.Linear(sizes.conv_dim, sizes.dim)
        self.encoder = Transformer(sizes)
        self.final_proj = nn.Linear(sizes.dim, sizes.projected_dim) if sizes.projected_dim else nn.Identity()

    def forward(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """wavs (B, T) at 16 kHz, each with ``lengths`` (B,) samples -> (B, N, D).

        An item's frames are those that it would have alone, at least 400 samples long.
        """
        x = self.feature_extractor(wavs, lengths).transpose(1, 2)  # (B, N, C)
        x = self.post_extract_proj(self.layer_norm(x))
        return self.final_proj(self.encoder(x, n_steps(lengths)))

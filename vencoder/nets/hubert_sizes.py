"""What differs between the networks of ``vencoder.nets.hubert``, read off a state dict with fairseq's key names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

CONV_KERNELS = (10, 3, 3, 3, 3, 2, 2)  # samples, then steps of the layer before
CONV_STRIDES = (5, 2, 2, 2, 2, 2, 2)  # together 320 samples
POSITION = "encoder.pos_conv.0."


@dataclass(frozen=True)
class HubertKind:
    """What the tensors of a HuBERT do not show."""

    n_layers: int | None = None  # layers to use; None: all that are there
    project: bool = False  # apply final_proj at the end
    norm_each_conv: bool = False  # over its channels; else only the first, over time
    norm_first: bool = False  # layers normalise before attention and feed-forward; else after the residual sums
    pruned: bool = False  # a layer may lack its attention or its feed-forward
    head_dim: int = 64  # of HuBERT in every size; where there are relative positions, their tensors show it
    max_distance: int | None = None  # of relative positions, in frames; None: there are none


@dataclass(frozen=True)
class LayerSizes:
    n_heads: int  # 0: no attention
    ffn_dim: int  # 0: no feed-forward


@dataclass(frozen=True)
class HubertSizes:
    """Everything that differs between two networks of this family."""

    kind: HubertKind
    conv_dims: tuple[int, ...]
    conv_bias: bool
    conv_scales: bool  # a factor for each channel after the last convolution
    dim: int
    position_kernel: int
    position_groups: int
    head_dim: int
    layers: tuple[LayerSizes, ...]
    n_buckets: int | None  # of relative positions
    projected_dim: int | None

    @classmethod
    def of(cls, state: Mapping[str, Tensor], kind: HubertKind) -> "HubertSizes":
        """Read the sizes off a state dict. Raises ValueError, without the file's name, for one of another network."""
        dim = _shape(state, "post_extract_proj.weight", 2)[0]
        _, position_dim, position_kernel = _shape(state, POSITION + "weight", 3)
        if dim % position_dim:
            raise ValueError(f"{POSITION}weight has groups of {position_dim} channels, which cannot make up {dim}")
        n_buckets, head_dim = _position_sizes(state, kind)
        n_layers = kind.n_layers or _count_layers(state)
        return cls(
            kind=kind,
            conv_dims=tuple(
                _shape(state, f"feature_extractor.conv_layers.{i}.0.weight", 3)[0] for i in range(len(CONV_KERNELS))
            ),
            conv_bias="feature_extractor.conv_layers.0.0.bias" in state,
            conv_scales="feature_extractor.dummy_weight" in state,
            dim=dim,
            position_kernel=position_kernel,
            position_groups=dim // position_dim,
            head_dim=head_dim,
            layers=tuple(_layer_sizes(state, i, head_dim, pruned=kind.pruned) for i in range(n_layers)),
            n_buckets=n_buckets,
            projected_dim=_shape(state, "final_proj.weight", 2)[0] if kind.project else None,
        )


def _shape(state: Mapping[str, Tensor], key: str, n_dimensions: int) -> tuple[int, ...]:
    if key not in state:
        raise ValueError(f"no key {key!r}")
    shape = tuple(state[key].shape)
    if len(shape) != n_dimensions or 0 in shape:
        raise ValueError(f"{key} is {shape}, where {n_dimensions} dimensions above 0 are needed")
    return shape


def _count_layers(state: Mapping[str, Tensor]) -> int:
    """Number of layers that have keys; at least one, so that the first is missed where there is none."""
    return max(1, len({key.split(".")[2] for key in state if re.match(r"encoder\.layers\.[0-9]{1,4}\.", key)}))


def _position_sizes(state: Mapping[str, Tensor], kind: HubertKind) -> tuple[int | None, int]:
    """Number of buckets of relative positions, if there are any, and the channels of one head."""
    if kind.max_distance is None:
        return None, kind.head_dim
    n_buckets = _shape(state, "encoder.layers.0.self_attn.relative_attention_bias.weight", 2)[0]
    if not 1 <= n_buckets // 4 < kind.max_distance:
        raise ValueError(f"{n_buckets} buckets cannot hold distances up to a max_distance of {kind.max_distance}")
    return n_buckets, _shape(state, "encoder.layers.0.self_attn.grep_linear.weight", 2)[1]


def _layer_sizes(state: Mapping[str, Tensor], i: int, head_dim: int, *, pruned: bool) -> LayerSizes:
    prefix, n_heads, ffn_dim = f"encoder.layers.{i}.", 0, 0
    if not pruned or any(key.startswith(prefix + "self_attn.") for key in state):
        rows = _shape(state, prefix + "self_attn.q_proj.weight", 2)[0]
        if rows % head_dim:
            raise ValueError(
                f"{prefix}self_attn.q_proj.weight has {rows} rows, no multiple of a head_dim of {head_dim}"
            )
        n_heads = rows // head_dim
    if not pruned or any(key.startswith((prefix + "fc1.", prefix + "fc2.")) for key in state):
        ffn_dim = _shape(state, prefix + "fc1.weight", 2)[0]
    return LayerSizes(n_heads, ffn_dim)


def fold_weight_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace the positional convolution's ``weight_g`` and ``weight_v`` by the weight that they mean.

    Raises:
        ValueError: their shapes do not belong together.
    """
    halves = {POSITION + "weight_g", POSITION + "weight_v"}
    if not halves <= state.keys() or POSITION + "weight" in state:
        return dict(state)
    kernel = _shape(state, POSITION + "weight_v", 3)[2]
    if _shape(state, POSITION + "weight_g", 3) != (1, 1, kernel):
        raise ValueError(f"{POSITION}weight_g is not one length for each of the {kernel} steps of the kernel")
    direction = state[POSITION + "weight_v"].float()  # (D, D / groups, kernel)
    length = direction.norm(dim=(0, 1), keepdim=True)
    weight = direction * (state[POSITION + "weight_g"].float() / length)
    return {key: value for key, value in state.items() if key not in halves} | {POSITION + "weight": weight}

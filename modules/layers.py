"""Building blocks of the synthesizer and the vocoders. B batch, C channels, F frames."""

import torch
from torch import Tensor, nn


class _WeightNorm(nn.Module):
    """Mixin of a convolution whose `weight` is computed from a direction and a length at every access.

    torch's own deprecated weight_norm keeps the computed weight as an attribute, so that such a module cannot be
    deep-copied, and its successor stores other parameter names than every published checkpoint has.
    """

    weight_g: Tensor
    weight_v: Tensor

    @property
    def weight(self) -> Tensor:
        norm = torch.linalg.vector_norm(self.weight_v, dim=tuple(range(1, self.weight_v.dim())), keepdim=True)
        return self.weight_v * (self.weight_g / norm)


class WeightNormConv1d(_WeightNorm, nn.Conv1d):
    pass


class WeightNormConv2d(_WeightNorm, nn.Conv2d):
    pass


class WeightNormConvTranspose1d(_WeightNorm, nn.ConvTranspose1d):
    pass


_NORMALISED = {
    nn.Conv1d: WeightNormConv1d,
    nn.Conv2d: WeightNormConv2d,
    nn.ConvTranspose1d: WeightNormConvTranspose1d,
}
_PLAIN = {normalised: plain for plain, normalised in _NORMALISED.items()}


def weight_norm(conv: nn.Module) -> nn.Module:
    """Normalise the weight of `conv` along its first axis, also for transposed convolutions; returns `conv` itself.

    The parameters become `weight_g` and `weight_v`, in that order after `bias`, as in every checkpoint of the
    family, whose optimizer states are positional. Initialise `conv.weight` before, not after.
    Paper: Salimans and Kingma 2016, arXiv:1602.07868.

    Raises:
        KeyError: a module that is neither Conv1d, Conv2d nor ConvTranspose1d.
    """
    normalised = _NORMALISED[type(conv)]
    weight = conv.weight.detach()
    norm = torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.dim())), keepdim=True)
    del conv.weight
    conv.weight_g = nn.Parameter(norm)
    conv.weight_v = nn.Parameter(weight.clone())
    conv.__class__ = normalised
    return conv


def remove_weight_norms(module: nn.Module) -> None:
    """Fold every weight normalisation inside `module` into a plain `weight`: faster inference, smaller graphs."""
    for conv in module.modules():
        if isinstance(conv, _WeightNorm):
            weight = conv.weight.detach()
            del conv.weight_g, conv.weight_v
            conv.__class__ = _PLAIN[type(conv)]
            conv.weight = nn.Parameter(weight)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of (B, C, F)."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.layer_norm(x.transpose(1, 2), self.gamma.shape, self.gamma, self.beta, self.eps)
        return x.transpose(1, 2)  # (B, C, F)


class DepthwiseSeparableConv1d(nn.Module):
    """A convolution within each channel, then a 1x1 convolution across them, both weight-normalised."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel_size - 1) // 2
        depth_conv = nn.Conv1d(
            in_channels, in_channels, kernel_size, padding=padding, dilation=dilation, groups=in_channels
        )
        self.depth_conv = weight_norm(depth_conv)
        self.point_conv = weight_norm(nn.Conv1d(in_channels, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.point_conv(self.depth_conv(x))


def gate(x: Tensor) -> Tensor:
    """tanh of the first half of the channels times sigmoid of the second: (B, 2C, F) -> (B, C, F)."""
    a, b = x.chunk(2, dim=1)
    return torch.tanh(a) * torch.sigmoid(b)


class WaveNet(nn.Module):
    """Gated convolutions with residual and skip connections, conditioned on the speaker.

    Paper: van den Oord et al. 2016, arXiv:1609.03499, not causal and not dilated here.
    """

    def __init__(
        self, channels: int, *, kernel_size: int, n_layers: int, gin_channels: int, depthwise: bool = False
    ) -> None:
        super().__init__()
        self.channels, self.n_layers = channels, n_layers
        self.in_layers, self.res_skip_layers = nn.ModuleList(), nn.ModuleList()
        for i in range(n_layers):
            if depthwise:
                self.in_layers.append(DepthwiseSeparableConv1d(channels, 2 * channels, kernel_size))
            else:
                conv = nn.Conv1d(channels, 2 * channels, kernel_size, padding=(kernel_size - 1) // 2)
                self.in_layers.append(weight_norm(conv))
            # the last layer feeds no next one, so it has only skip channels
            out_channels = 2 * channels if i < n_layers - 1 else channels
            self.res_skip_layers.append(weight_norm(nn.Conv1d(channels, out_channels, 1)))
        self.cond_layer = weight_norm(nn.Conv1d(gin_channels, 2 * channels * n_layers, 1))

    def forward(self, x: Tensor, mask: Tensor, g: Tensor) -> Tensor:
        """x (B, C, F), mask (B, 1, F), g (B, gin, 1 or F) -> (B, C, F)."""
        conditions = self.cond_layer(g).chunk(self.n_layers, dim=1)
        skip = torch.zeros_like(x)
        last = self.n_layers - 1
        for i, (in_layer, res_skip_layer) in enumerate(zip(self.in_layers, self.res_skip_layers, strict=True)):
            out = res_skip_layer(gate(in_layer(x) + conditions[i]))
            if i < last:
                x = (x + out[:, : self.channels]) * mask
                out = out[:, self.channels :]
            skip = skip + out
        return skip * mask

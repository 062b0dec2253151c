"""NSF-HiFiGAN generator: latents or mels, with an f0, to a waveform.

One generator serves the synthesizer's decoders "nsf-hifigan" and "nsf-snake-hifigan" (another activation) and the
stand-alone mel vocoder (no speaker). Attribute names and their order are checkpoint keys and optimizer positions.

Symbols: B batch, C channels, F frames, T = F * hop_length samples, gin width of the speaker vector g.
Papers: Kong, Kim and Bae 2020, "HiFi-GAN", arXiv:2010.05646, section 2.2; Wang et al. 2019, arXiv:1904.12088 (source).
Checked against: golden cases synth_default, synth_snake, nsf_hifigan.
"""

import math
from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.layers import weight_norm
from vdecoder.snake import SnakeAlias
from vdecoder.source import Draws, HarmonicSource, MiniSource

LEAKY_SLOPE = 0.1
POST_SLOPE = 0.01  # before conv_post only; PyTorch's default, which every checkpoint was trained with
ACTIVATIONS = ("leaky_relu", "snake")
MINI_STAGE = 1  # the stage behind which the source of mini_nsf enters, at the rate of that stage
OUTPUT_RMS = 0.1  # of an untrained network, full scale 1: about that of sung recordings


def _same_conv(channels: int, kernel_size: int, dilation: int) -> nn.Module:
    """Weight-normed convolution that keeps the length."""
    padding = dilation * (kernel_size - 1) // 2
    return weight_norm(nn.Conv1d(channels, channels, kernel_size, dilation=dilation, padding=padding))


class ResBlock(nn.Module):
    """Residual convolutions; ``convs_per_step`` is 2 for resblock "1" (dilated, then plain) and 1 for resblock "2"."""

    def __init__(
        self, channels: int, kernel_size: int, dilations: Sequence[int], *, convs_per_step: int, snake: bool
    ) -> None:
        super().__init__()
        dilated = nn.ModuleList(_same_conv(channels, kernel_size, dilation) for dilation in dilations)
        self.paired = convs_per_step == 2
        if self.paired:
            self.convs1 = dilated
            self.convs2 = nn.ModuleList(_same_conv(channels, kernel_size, 1) for _ in dilations)
        else:
            self.convs = dilated
        if snake:
            self.activations = nn.ModuleList(SnakeAlias(channels) for _ in range(convs_per_step * len(dilations)))
        self.snake = snake

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        if not self.paired:
            for i, conv in enumerate(self.convs):
                x = x + conv(self._activate(x, i))
            return x
        for i, (first, second) in enumerate(zip(self.convs1, self.convs2, strict=True)):
            y = first(self._activate(x, 2 * i))
            x = x + second(self._activate(y, 2 * i + 1, inplace=True))
        return x

    def _activate(self, x: Tensor, index: int, *, inplace: bool = False) -> Tensor:
        return self.activations[index](x) if self.snake else F.leaky_relu(x, LEAKY_SLOPE, inplace=inplace)


class NSFHiFiGAN(nn.Module):
    """HiFi-GAN whose every up-sampling stage also receives the harmonic source, strided down to its rate.

    With ``mini_nsf`` only one stage does, and the source is a single sine.

    Args:
        sample_rate: Hz of the output.
        inter_channels: channels of the input (latent width, or mel bands).
        resblock: "1" (pairs of convolutions) or "2" (single ones).
        upsample_rates: their product is the hop length in samples.
        upsample_initial_channel: width before the first stage; each stage halves it (integer division).
        gin_channels: width of the speaker vector, 0 for none.
        activation: "leaky_relu" or "snake".
        phase_at_frame_rate: see HarmonicSource; true for the stand-alone vocoder.
        mini_nsf: see MiniSource.
        noise_sigma: standard deviation of noise that is added to what the first convolution makes of the input.

    Raises:
        ValueError: an unknown ``resblock`` or ``activation``, or sizes that do not fit each other.
    """

    def __init__(  # noqa: PLR0913  the fields of config.json
        self,
        *,
        sample_rate: int,
        inter_channels: int,
        resblock: str,
        resblock_kernel_sizes: Sequence[int],
        resblock_dilation_sizes: Sequence[Sequence[int]],
        upsample_rates: Sequence[int],
        upsample_initial_channel: int,
        upsample_kernel_sizes: Sequence[int],
        gin_channels: int = 0,
        activation: str = "leaky_relu",
        phase_at_frame_rate: bool = False,
        mini_nsf: bool = False,
        noise_sigma: float = 0.0,
    ) -> None:
        super().__init__()
        _check(resblock, activation, upsample_rates, upsample_kernel_sizes)
        if mini_nsf and len(upsample_rates) <= MINI_STAGE:
            raise ValueError(f"mini_nsf needs more than {MINI_STAGE} upsample_rates, got {list(upsample_rates)}")
        snake = activation == "snake"
        self.snake, self.n_kernels = snake, len(resblock_kernel_sizes)
        self.hop_length = math.prod(upsample_rates)
        widths = [upsample_initial_channel // 2**i for i in range(len(upsample_rates) + 1)]

        self.mini_nsf, self.noise_sigma = mini_nsf, noise_sigma
        strides = [math.prod(upsample_rates[i + 1 :]) for i in range(len(upsample_rates))]  # output samples per step
        if mini_nsf:
            rate = sample_rate / strides[MINI_STAGE]
            self.mini_source = MiniSource(rate, math.prod(upsample_rates[: MINI_STAGE + 1]))
        else:
            self.m_source = HarmonicSource(sample_rate, self.hop_length, phase_at_frame_rate=phase_at_frame_rate)
            self.noise_convs = nn.ModuleList(map(_source_conv, widths[1:], strides))
        self.conv_pre = weight_norm(nn.Conv1d(inter_channels, upsample_initial_channel, 7, padding=3))
        self.ups = nn.ModuleList(
            weight_norm(nn.ConvTranspose1d(wide, narrow, kernel, rate, padding=(kernel - rate) // 2))
            for wide, narrow, rate, kernel in zip(
                widths[:-1], widths[1:], upsample_rates, upsample_kernel_sizes, strict=True
            )
        )
        self.resblocks = nn.ModuleList(
            ResBlock(width, kernel, dilations, convs_per_step=2 if resblock == "1" else 1, snake=snake)
            for width in widths[1:]
            for kernel, dilations in zip(resblock_kernel_sizes, resblock_dilation_sizes, strict=True)
        )
        if mini_nsf:
            self.source_conv = nn.Conv1d(1, widths[MINI_STAGE + 1], 1)
        if snake:
            self.snakes = nn.ModuleList(map(SnakeAlias, widths[:-1]))
        self.conv_post = weight_norm(nn.Conv1d(widths[-1], 1, 7, padding=3))
        if snake:
            self.snake_post = SnakeAlias(widths[-1])
        if gin_channels:
            self.cond = nn.Conv1d(gin_channels, upsample_initial_channel, 1)

    def forward(
        self,
        x: Tensor,
        f0: Tensor,
        g: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        draws: Draws | None = None,
    ) -> Tensor:
        """x (B, C, F), f0 (B, F) in Hz, g (B, gin, 1 or F) -> waveform (B, 1, T) in [-1, 1].

        The source's random phases and noise are ``draws``, or come from ``generator``, or from torch's global state.
        """
        source = self._source(f0, generator, draws)
        x = self.conv_pre(x)
        if self.noise_sigma > 0:
            x = x + self.noise_sigma * _noise(x, generator)
        if g is not None:
            x = x + self.cond(g)
        for i, (up, source_conv) in enumerate(zip(self.ups, self._source_convs(), strict=True)):
            x = up(self._before_up(x, i))
            x = self._after_up(x if source_conv is None else x + source_conv(source), i)
        return torch.tanh(self.conv_post(self._before_post(x)))

    def _source(self, f0: Tensor, generator: torch.Generator | None = None, draws: Draws | None = None) -> Tensor:
        """(B, 1, T), with ``mini_nsf`` at the rate of its stage."""
        if self.mini_nsf:
            return self.mini_source(f0).to(self.source_conv.weight.dtype)
        return self.m_source(f0, generator=generator, draws=draws)

    def _source_convs(self) -> list[nn.Conv1d | None]:
        """By which convolution each stage receives the source; None where it does not."""
        if self.mini_nsf:
            return [self.source_conv if stage == MINI_STAGE else None for stage in range(len(self.ups))]
        return list(self.noise_convs)

    def _before_up(self, x: Tensor, stage: int) -> Tensor:
        return self.snakes[stage](x) if self.snake else F.leaky_relu(x, LEAKY_SLOPE)

    def _after_up(self, x: Tensor, stage: int) -> Tensor:
        blocks = self.resblocks[stage * self.n_kernels : (stage + 1) * self.n_kernels]
        return reduce(torch.add, (block(x) for block in blocks)) / self.n_kernels

    def _before_post(self, x: Tensor) -> Tensor:
        return self.snake_post(x) if self.snake else F.leaky_relu(x, POST_SLOPE)

    @torch.no_grad()
    def init_gains(self, n_frames: int = 32) -> None:
        """Set the scales of the initial weights by what they do to a signal; call once, before training from nothing.

        With PyTorch's initial weights the latents fade out on their way through the stages and the merged harmonics are
        quiet: for thousands of steps the output follows neither. Here every stage begins with latents and source at
        equal power and the output at OUTPUT_RMS (layer-sequential unit variance: Mishkin and Matas 2016,
        arXiv:1511.06422), and the up-sampling is smooth.
        """
        self.smooth_upsampling()
        device = self.conv_pre.weight.device
        if not self.mini_nsf:
            self.m_source.l_linear.weight.fill_(1.0)
            self.m_source.l_linear.bias.zero_()
        f0 = torch.logspace(math.log10(80), math.log10(800), 4, device=device)[:, None].expand(-1, n_frames)  # Hz
        source = self._source(f0)
        x = self.conv_pre(torch.randn(len(f0), self.conv_pre.in_channels, n_frames, device=device))
        for i, (up, source_conv) in enumerate(zip(self.ups, self._source_convs(), strict=True)):
            latents = up(self._before_up(x, i))
            up.weight_g.div_(latents.std())
            x = latents / latents.std()
            if source_conv is not None:
                source_conv.bias.zero_()
                harmonics = source_conv(source)
                source_conv.weight.div_(harmonics.std())
                x = x + harmonics / harmonics.std()
            x = self._after_up(x, i)
        self.conv_post.weight_g.mul_(OUTPUT_RMS / self.conv_post(self._before_post(x)).std())

    @torch.no_grad()
    def smooth_upsampling(self) -> None:
        """Move the up-sampling kernels to the nearest ones that turn constant latents into a constant.

        All others add a comb at multiples of the frame rate. Young networks use it as noise; in quiet frames it covers
        the sung pitch (measured: 86 Hz heard where 170 Hz was asked, f0 correlation 0.71 against 0.996 without it).
        """
        for up in self.ups:
            _smooth(up)


def _smooth(up: nn.Module) -> None:
    """Give every phase of a transposed convolution the same sum of taps, adding a constant to those of each phase."""
    rate, kernel_size = up.stride[0], up.kernel_size[0]
    weight = up.weight.detach().clone()
    sums = torch.stack([weight[..., phase::rate].sum(-1) for phase in range(rate)], dim=-1)  # (C_in, C_out, rate)
    for phase in range(rate):
        taps = len(range(phase, kernel_size, rate))
        weight[..., phase::rate] += ((sums.mean(-1) - sums[..., phase]) / taps).unsqueeze(-1)
    up.weight_v.copy_(weight)
    up.weight_g.copy_(torch.linalg.vector_norm(weight, dim=(1, 2), keepdim=True))


def _source_conv(channels: int, stride: int) -> nn.Conv1d:
    """Bring the source down to one stage's rate: one output step sees two steps of source samples."""
    if stride == 1:
        return nn.Conv1d(1, channels, 1)
    return nn.Conv1d(1, channels, 2 * stride, stride, padding=(stride + 1) // 2)


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise (B, C, F); from a generator every item of a batch has the same, as if it were alone."""
    if generator is None:
        return torch.randn_like(like)
    return torch.randn(1, *like.shape[1:], generator=generator, device=generator.device).to(like)


def _check(resblock: str, activation: str, rates: Sequence[int], kernel_sizes: Sequence[int]) -> None:
    if resblock not in ("1", "2"):
        raise ValueError(f'resblock must be "1" or "2", got {resblock!r}')
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}; choose one of: {', '.join(ACTIVATIONS)}")
    if len(rates) != len(kernel_sizes):
        raise ValueError(f"{len(rates)} upsample_rates but {len(kernel_sizes)} upsample_kernel_sizes")
    for rate, kernel in zip(rates, kernel_sizes, strict=True):
        # Any other size makes a stage one sample longer or shorter than its source.
        if kernel < rate or (kernel - rate) % 2:
            raise ValueError(
                f"upsample_kernel_sizes: {kernel} does not fit upsample rate {rate}: "
                "it must exceed the rate by an even number"
            )

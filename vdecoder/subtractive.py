"""A vocoder that subtracts: a train of pulses at f0 and noise, each filtered by a spectrum that a network draws.

At the sample rate there are only sums and Fourier transforms, and its pitch is that of the pulses, so it learns in
minutes on a CPU what takes NSF-HiFiGAN days. It sounds like analysis and synthesis, which it is, not like a recording.

Symbols: B batch, M mel bands, F frames, T = F * hop_length samples, N bins of the filters, J = 2F + 1 of their frames.
Papers: Engel et al. 2020, "DDSP", arXiv:2001.04643 (filtered noise); Wu et al. 2022, "DDSP-based singing vocoders",
arXiv:2208.04756 (subtractive harmonics).
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modules.layers import ChannelNorm
from modules.mel_processing import hz_to_mel, mel_filterbank
from vdecoder.mel_format import DEVIATION, MEAN, MelFormat

REFERENCE_HZ = 220.0
KERNEL_SIZE = 5  # frames
LOG_NOISE = -1.0  # of an untrained network: log of noise over pulses
KNEE = 0.8  # full scale is 1
QUIETEST = -14.0  # log magnitude of the filters
LOUDEST = 8.0


class Block(nn.Module):
    """A residual convolution along time: (B, C, F) -> (B, C, F)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.conv = nn.Conv1d(channels, 2 * channels, KERNEL_SIZE, padding=KERNEL_SIZE // 2)
        self.mix = nn.Conv1d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(F.gelu(self.conv(self.norm(x))))


class SubtractiveVocoder(nn.Module):
    """Mel and f0 to a waveform, called as `NSFHiFiGAN` is.

    Args:
        mel: format of the mels; its hop length must be even.
        channels, n_layers: of the network that draws the filters.

    Raises:
        ValueError: an odd hop length, no layer, or a mel band without a frequency.
    """

    def __init__(self, mel: MelFormat, *, channels: int, n_layers: int) -> None:
        super().__init__()
        weights = mel_filterbank(mel.sample_rate, mel.n_fft, mel.n_mels, mel.fmin, mel.fmax)
        if mel.n_mels < 2 or not weights.sum(dim=1).all():
            raise ValueError(
                f"num_mels: {mel.n_mels} bands are too few, or some hold no frequency of n_fft {mel.n_fft}"
            )
        if mel.hop_length % 2 or channels < 1 or n_layers < 1:
            raise ValueError(
                "hop_size must be even, channels and n_layers positive, got"
                f" {mel.hop_length}, {channels} and {n_layers}"
            )
        self.sample_rate, self.hop_length, self.n_mels = mel.sample_rate, mel.hop_length, mel.n_mels
        self.conv_pre = nn.Conv1d(mel.n_mels + 2, channels, KERNEL_SIZE, padding=KERNEL_SIZE // 2)
        self.blocks = nn.ModuleList(Block(channels) for _ in range(n_layers))
        self.norm = ChannelNorm(channels)
        self.conv_post = nn.Conv1d(channels, 2 * mel.n_mels, 1)
        nn.init.zeros_(self.conv_post.weight)  # an untrained network plays the mel as it is
        nn.init.zeros_(self.conv_post.bias)
        self.register_buffer("level", _levels(mel), persistent=False)  # (2, M, 1)
        self.register_buffer("spread", _spread(mel, 2 * mel.hop_length), persistent=False)  # (N, M)
        self.register_buffer("window", torch.hann_window(2 * mel.hop_length), persistent=False)

    def forward(
        self, x: Tensor, f0: Tensor, g: None = None, *, generator: torch.Generator | None = None, draws: Any = None
    ) -> Tensor:
        """x (B, M, F) natural-log mel, f0 (B, F) in Hz, 0 where unvoiced -> waveform (B, 1, T).

        The noise comes from ``generator``, the same for every item of a batch, or from torch's global state. ``g`` and
        ``draws`` are those of `NSFHiFiGAN`: there is no speaker, and no other source.
        """
        filters = self.filters(x, f0).float()  # (B, 2, M, F)
        with torch.autocast(x.device.type, enabled=False):  # a logarithm of half precision is off by a quarter of a dB
            pulses = pulse_train(f0.float(), self.hop_length, self.sample_rate)
            made = self._filtered(pulses, filters[:, 0]) + self._filtered(_noise(pulses, generator), filters[:, 1])
            n_fft = len(self.window)
            wav = torch.istft(made, n_fft, n_fft // 4, window=self.window, length=pulses.shape[1])
        return limited(wav).unsqueeze(1)

    def _filtered(self, wav: Tensor, curve: Tensor) -> Tensor:
        """Spectrum (B, N, J) of wav (B, T) times the magnitudes whose logarithm at the bands is (B, M, F)."""
        n_fft = len(self.window)
        # Zeros at the edges: a single frame is too short to be mirrored.
        options = {"window": self.window, "pad_mode": "constant", "return_complex": True}
        spectrum = torch.stft(wav, n_fft, n_fft // 4, **options)
        return spectrum * (self.spread @ _between(curve)).clamp(QUIETEST, LOUDEST).exp()

    def filters(self, mel: Tensor, f0: Tensor) -> Tensor:
        """Log magnitudes at the mel bands, of pulses and of noise: (B, 2, M, F)."""
        voiced = (f0 > 0).to(mel)
        pitch = (f0.clamp(min=1.0) / REFERENCE_HZ).log() * voiced
        inputs = torch.cat([(mel - MEAN) / DEVIATION, pitch.to(mel).unsqueeze(1), voiced.unsqueeze(1)], dim=1)
        x = self.conv_pre(inputs)
        for block in self.blocks:
            x = block(x)
        change = self.conv_post(self.norm(x)).unflatten(1, (2, self.n_mels))
        return mel.unsqueeze(1) + self.level + change


def limited(wav: Tensor) -> Tensor:
    """wav with what lies beyond KNEE bent into [-1, 1]: pulses are peaky, and clipped they would click."""
    beyond = (wav.abs() - KNEE).clamp(min=0.0)
    room = 1.0 - KNEE
    return wav - wav.sign() * (beyond - room * torch.tanh(beyond / room))


def pulse_train(f0: Tensor, hop_length: int, sample_rate: int) -> Tensor:
    """f0 (B, F) in Hz -> band-limited pulses of height 1 at the multiples of the period (B, T), 0 where f0 is 0.

    f0 glides from the middle of each frame to that of the next.
    """
    held = torch.cat([f0[:, :1], f0, f0[:, -1:]], dim=1)
    start, end = held[:, :-1], held[:, 1:]  # (B, F + 1): from the middle of one frame to that of the next
    start, end = torch.where(start > 0, start, end), torch.where(end > 0, end, start)
    share = (torch.arange(hop_length, device=f0.device) + 0.5) / hop_length
    glide = (start.unsqueeze(2) + (end - start).unsqueeze(2) * share).flatten(1)  # (B, (F + 1) * hop_length)
    glide = glide[:, hop_length // 2 : hop_length // 2 + f0.shape[1] * hop_length]
    # Long sums in float64, which MPS does not have.
    exact = (glide.cpu() if glide.device.type == "mps" else glide).double() / sample_rate
    cycles = exact.cumsum(dim=1)
    offset = (cycles - cycles.round()).to(f0.dtype).to(f0.device)  # cycles from the nearest pulse
    pulses = torch.sinc(offset * sample_rate / glide.clamp(min=1.0))
    return pulses * (f0 > 0).to(f0.dtype).repeat_interleave(hop_length, dim=1)


def _between(curves: Tensor) -> Tensor:
    """(B, M, F) at the middles of frames -> (B, M, J) at every half of a frame, from the beginning to the end."""
    held = torch.cat([curves[..., :1], curves, curves[..., -1:]], dim=2)
    edges = (held[..., :-1] + held[..., 1:]) / 2  # (B, M, F + 1)
    inner = torch.stack([edges[..., :-1], curves], dim=3).flatten(2)
    return torch.cat([inner, edges[..., -1:]], dim=2)


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    if generator is None:
        return torch.randn_like(like)
    return torch.randn(1, like.shape[1], generator=generator, device=generator.device).to(like)


def _levels(mel: MelFormat) -> Tensor:
    """By how much a filter's log magnitude exceeds the log mel of what it is to make: for pulses, for noise.

    A band is the mean magnitude of its bins times the sum of its weights. That of pulses of height 1 is 1 for every
    f0, for their harmonics are as strong as they are apart; that of white noise follows from the window.
    """
    filters = mel_filterbank(mel.sample_rate, mel.n_fft, mel.n_mels, mel.fmin, mel.fmax)
    weights = filters.sum(dim=1).log()  # (M,)
    window = torch.hann_window(mel.win_length)
    noise = (window.square().sum() * torch.pi / 4).sqrt().log()  # mean of Rayleigh's distribution
    return torch.stack([-weights, LOG_NOISE - noise - weights]).unsqueeze(2)


def _spread(mel: MelFormat, n_fft: int) -> Tensor:
    """(N, M): bins from bands by linear interpolation on the mel scale, held beyond the first and the last."""
    bins = np.arange(n_fft // 2 + 1) * mel.sample_rate / n_fft
    position = np.interp(hz_to_mel(bins), hz_to_mel(mel.centres), np.arange(mel.n_mels))
    whole = np.minimum(position.astype(int), mel.n_mels - 2)
    matrix = np.zeros((len(bins), mel.n_mels), np.float32)
    rows = np.arange(len(bins))
    matrix[rows, whole], matrix[rows, whole + 1] = 1 - (position - whole), position - whole
    return torch.from_numpy(matrix)

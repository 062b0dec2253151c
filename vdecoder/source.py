"""Excitation: harmonics and noise, for the synthesizer's decoder and the stand-alone vocoder; for some of these a sine.

Symbols: B batch, F frames, T = F * hop_length samples, H harmonics. f0 is in Hz, 0 or less where unvoiced. Phases are
in cycles (1.0 = 2 pi radians).
Paper: Wang, Takaki and Yamagishi 2019, "Neural source-filter waveform models", arXiv:1904.12088, section III-B.
Checked against: golden cases sinegen and nsf_hifigan.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

SINE_AMPLITUDE = 0.1  # relative to full scale
VOICED_NOISE_STD = 0.003  # added to the sines
UNVOICED_NOISE_STD = SINE_AMPLITUDE / 3  # alone
N_HARMONICS = 9  # the fundamental included


class Draws(NamedTuple):
    """What is random in an excitation; one item serves a whole batch."""

    phases: Tensor  # (1 or B, H) of the sines when they begin, in cycles
    noise: Tensor  # (1 or B, T, 1), standard normal


def draw(
    n_samples: int,
    *,
    batch: int = 1,
    n_harmonics: int = N_HARMONICS,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Draws:
    """Phases and noise for ``n_samples``, from ``generator`` on its device, or from torch's global state."""
    device = device if generator is None else generator.device
    phases = torch.rand((batch, n_harmonics), generator=generator, device=device)
    phases[:, 0] = 0.0  # the fundamental always starts at zero
    return Draws(phases, torch.randn((batch, n_samples, 1), generator=generator, device=device))


class HarmonicSource(nn.Module):
    """Sines at the multiples of f0 with a little noise, noise alone where unvoiced, merged into one channel.

    Args:
        sample_rate: Hz.
        hop_length: samples per f0 frame.
        n_harmonics: number of sines, the fundamental included.
        phase_at_frame_rate: the stand-alone vocoder adds its random initial phases to the *increment* of frame 0, which
            holds for a whole frame; its weights were trained with those detuned first 512 samples.

    Raises:
        ValueError: ``hop_length`` or ``sample_rate`` is not positive.
    """

    def __init__(
        self, sample_rate: int, hop_length: int, n_harmonics: int = N_HARMONICS, *, phase_at_frame_rate: bool = False
    ) -> None:
        super().__init__()
        if hop_length < 1 or sample_rate < 1:
            raise ValueError(f"hop_length and sample_rate must be at least 1, got {hop_length} and {sample_rate}")
        self.sample_rate, self.hop_length, self.n_harmonics = sample_rate, hop_length, n_harmonics
        self.phase_at_frame_rate = phase_at_frame_rate
        self.l_linear = nn.Linear(n_harmonics, 1)

    def cycles(self, f0: Tensor) -> Tensor:
        """f0 (B, F) in Hz -> phase of the fundamental (B, T), modulo 1; the first sample is one increment in."""
        # Only the phase at the start of each frame is a long sum, so only it needs float64 (which MPS does not have).
        # In float32 the sum over samples is off by 2e-3 cycles after 240 s; here the error does not grow with time.
        exact = (f0.cpu() if f0.device.type == "mps" else f0).double() * (self.hop_length / self.sample_rate)
        start = torch.cumsum(exact, dim=1) - exact
        start = (start - start.floor()).to(f0.dtype).to(f0.device)
        steps = torch.arange(1, self.hop_length + 1, device=f0.device, dtype=f0.dtype)
        cycles = start.unsqueeze(2) + (f0 / self.sample_rate).unsqueeze(2) * steps  # (B, F, hop_length)
        return (cycles - cycles.floor()).flatten(1)  # (B, T)

    @torch.no_grad()
    def harmonics(self, f0: Tensor, phases: Tensor) -> Tensor:
        """f0 (B, F) in Hz, initial phases (B, H) in cycles -> sines (B, T, H), zero where unvoiced."""
        multiples = torch.arange(1, self.n_harmonics + 1, device=f0.device, dtype=f0.dtype)
        angles = self.cycles(f0).unsqueeze(2) * multiples  # (B, T, H)
        if self.phase_at_frame_rate:
            steps = torch.arange(1, angles.shape[1] + 1, device=f0.device, dtype=f0.dtype).clamp_(max=self.hop_length)
            angles += phases.unsqueeze(1) * steps.unsqueeze(1)
        else:
            angles += phases.unsqueeze(1)
        # In place: 30 s are 12 million values, and there should be only one copy of them.
        sines = angles.mul_(2 * math.pi).sin_()
        return sines.mul_(SINE_AMPLITUDE * self._voiced(f0))

    def forward(self, f0: Tensor, *, generator: torch.Generator | None = None, draws: Draws | None = None) -> Tensor:
        """f0 (B, F) in Hz -> excitation (B, 1, T) in [-1, 1], in the dtype of the weights.

        The random phases and the noise are ``draws``, or come from ``generator``, or from torch's global state.
        """
        f0 = f0.detach().float()
        if draws is None:
            # From a generator every item of a batch draws the same, as if it were alone.
            batch, n_samples = f0.shape[0] if generator is None else 1, f0.shape[1] * self.hop_length
            draws = draw(n_samples, batch=batch, n_harmonics=self.n_harmonics, generator=generator, device=f0.device)
        weight = self.l_linear.weight
        sines = self.harmonics(f0, draws.phases.to(f0.device)).to(weight.dtype)
        noise = draws.noise.to(sines)
        noise_std = torch.where(self._voiced(f0) > 0, VOICED_NOISE_STD, UNVOICED_NOISE_STD).to(weight.dtype)
        # Independent noise of equal strength on every harmonic, weighted and summed, is one noise of this strength:
        # the same distribution for 1/H of the random numbers.
        noise = noise * noise_std * torch.linalg.vector_norm(weight)
        return torch.tanh(self.l_linear(sines) + noise).transpose(1, 2)  # (B, 1, T)

    def _voiced(self, f0: Tensor) -> Tensor:
        """f0 (B, F) -> 1.0 where voiced (B, T, 1)."""
        return (f0 > 0).to(f0.dtype).repeat_interleave(self.hop_length, dim=1).unsqueeze(2)


class MiniSource(nn.Module):
    """One sine whose f0 glides from frame to frame: the source of openvpi's vocoders with ``mini_nsf``.

    It has no weights, no noise and no notion of voicing: where f0 is 0 the sine stands still.

    Args:
        sample_rate: Hz of the source.
        hop_length: its samples per f0 frame.
    """

    def __init__(self, sample_rate: float, hop_length: int) -> None:
        super().__init__()
        self.sample_rate, self.hop_length = sample_rate, hop_length

    @torch.no_grad()
    def forward(self, f0: Tensor) -> Tensor:
        """f0 (B, F) in Hz -> sine (B, 1, F * hop_length) of amplitude 1; the last frame keeps its f0."""
        # Long sums in float64, as in `HarmonicSource.cycles`.
        f0 = f0.detach().float()
        per_sample = (f0.cpu() if f0.device.type == "mps" else f0).double() / self.sample_rate  # cycles
        glide = torch.cat([per_sample.diff(dim=1), torch.zeros_like(per_sample[:, :1])], dim=1)
        n = torch.arange(1, self.hop_length + 1, device=per_sample.device, dtype=torch.float64)
        cycles = per_sample.unsqueeze(2) * n + glide.unsqueeze(2) * (n * (n - 1) / (2 * self.hop_length))
        start = cycles[..., -1].cumsum(dim=1) - cycles[..., -1]
        cycles = (cycles + start.unsqueeze(2)).flatten(1).unsqueeze(1)
        return torch.sin(2 * math.pi * (cycles - cycles.floor()).to(f0.dtype)).to(f0.device)

"""Content units computed from the audio itself: normalised cepstra, for a start without any download.

The signal chain of a speech recogniser of the time before neural networks, aimed at keeping what is said and dropping
who says it, how high and how loud: a spectral envelope without harmonics, its frequency axis scaled to a generic vocal
tract (vocal tract length normalisation, Lee and Rose 1998, "A frequency warping approach to speaker normalization"),
mel cepstra, mean and variance of the clip taken out (which removes microphone, equaliser and gain), and their slopes.
Not a rival of a trained encoder: docs/cepstral.md says what it is worth.

Frames lie where those of the HuBERT family lie: frame i is the 25 ms around sample ``320 i + 200``.

Letters: T samples, N frames, K bins, M mel bands, C cepstra, W warps, D = 3 C units.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vencoder import cepstral_tables as tables
from vencoder.encoder import HOP_LENGTH, SAMPLE_RATE, SpeechEncoder

N_FFT = 512
N_MELS = 40
N_CEPSTRA = 20
MEL_HERTZ = (60.0, 7000.0)  # the top leaves room for warps, and for recordings that end at 8 kHz
WIDTH_HERTZ = (80.0, 600.0)  # the envelope is averaged over one f0 within these limits
UNVOICED_HERTZ = 200.0
VOICED_CORRELATION = 0.3
LOUD_QUANTILE = 0.95  # of the frames' levels: the clip's level, to which all others are relative
SILENT_DB, SILENT_SLOPE_DB = -35.0, 3.0  # frames below count less and less in the statistics
FLOOR_DB = -50.0  # of a mel band: all that is quieter is the same silence
WARPS = tuple(math.exp(0.025 * step) for step in range(-10, 11))  # 0.78 to 1.28
WARP_SPREAD = 0.1  # standard deviation of log warp expected among people
WARP_FRAMES = 50.0  # neighbouring frames say the same: one second counts as one observation
WARP_NUGGET = 0.05  # added to the variances that the warps are compared by
MAX_WARP_FRAMES = 3000  # frames that choose the warp: one minute is plenty
# Short clips know themselves badly: so many frames of generic statistics are mixed into each clip's own.
PRIOR_FRAMES = 25.0
BLOCK_FRAMES = 3000
SILENCE = 1e-7  # mean power of a bin of the loud frames, full scale 1: less (-90 dB) is digital silence


class CepstralEncoder(SpeechEncoder):
    """Normalised cepstra and their first and second slopes: (T,) at 16 kHz -> (60, N).

    Statistics belong to the whole clip, which is never cut into windows. Digital silence gives zeros; gain, a constant
    offset and a gentle equaliser change next to nothing. Deterministic.
    """

    perturbed_copies = 4  # preprocessing adds this many copies with other timbre: modules/perturb.py

    def __init__(self, device: torch.device | None = None, weights: Path | None = None) -> None:
        if weights is not None:
            raise ValueError(f"the cepstral encoder has no weights file, but {weights} was given")
        super().__init__(dim=3 * N_CEPSTRA, device=device or torch.device("cpu"))
        self.window = torch.hann_window(self.field, device=self.device)
        self.mels = torch.stack([mel_bands(warp) for warp in WARPS]).to(self.device)  # (W, K, M)
        self.cosines = cosine_matrix().to(self.device)  # (M, C)
        self.generic_mean = torch.tensor(tables.MEAN, device=self.device)
        self.generic_variance = torch.tensor(tables.VARIANCE, device=self.device)
        covariance = torch.tensor(tables.COVARIANCE, dtype=torch.float64, device=self.device)
        self.identity = torch.eye(len(covariance), dtype=torch.float64, device=self.device)
        self.precision = torch.linalg.inv(covariance + WARP_NUGGET * self.identity)

    @torch.no_grad()
    def encode_batch(self, wavs16k: Sequence[Tensor | np.ndarray]) -> list[Tensor]:
        """Several clips (T_i,) -> their units (60, N_i), each from its own statistics.

        Raises:
            ValueError: a clip is not one-dimensional, or too short for a single frame.
        """
        return [self._encode_clip(self._checked(wav).to(self.device)) for wav in wavs16k]

    def encode_padded(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """wavs (B, T), zero after each item's ``lengths`` (B,) samples -> (B, 60, N), zeros past an item's end."""
        units = self.encode_batch([wav[: int(n)] for wav, n in zip(wavs, lengths, strict=True)])
        n_frames = self.n_frames(wavs.shape[1])
        return torch.stack([F.pad(u, (0, n_frames - u.shape[1])) for u in units])

    def _encode_clip(self, wav: Tensor) -> Tensor:
        envelope = self._envelope(wav)  # (N, K) power
        level = 10.0 * torch.log10(envelope.mean(dim=1) + 1e-20)  # (N,) dB
        loud = torch.quantile(level[:: 1 + len(level) // 1_000_000], LOUD_QUANTILE)
        if loud < 10.0 * math.log10(SILENCE):
            return torch.zeros(self.dim, len(level), device=self.device)
        envelope = envelope / 10.0 ** (loud / 10.0)
        weight = torch.sigmoid((level - loud - SILENT_DB) / SILENT_SLOPE_DB)  # (N,)
        bands = _log_bands(envelope, self.mels[self._warp(envelope, weight)])
        static = self._normalised(bands @ self.cosines, weight)  # (N, C)
        slope = 2.0 * _slope(static)
        return torch.cat([static, slope, 2.0 * _slope(slope)], dim=1).T.contiguous()  # (D, N)

    def _envelope(self, wav: Tensor) -> Tensor:
        """Power spectrum (N, K) without harmonics, of the pre-emphasised clip; in blocks, to bound the memory."""
        wav = wav - wav.mean()
        wav = torch.cat([wav[:1], wav[1:] - 0.97 * wav[:-1]])
        frames = wav.unfold(0, self.field, HOP_LENGTH)  # (N, field), a view
        power = [torch.fft.rfft(block * self.window, N_FFT).abs().square() for block in frames.split(BLOCK_FRAMES)]
        widths = _median_of_five(torch.cat([_harmonic_spacing(block) for block in power]))
        pairs = zip(power, widths.split(BLOCK_FRAMES), strict=True)
        return torch.cat([_average_over(block, width) for block, width in pairs])

    def _warp(self, envelope: Tensor, weight: Tensor) -> int:
        """Index of the warp under which the clip's cepstra are most likely by the generic covariance.

        The covariance and not the mean, because an equaliser moves only the mean. The likelihood is that of a Gaussian
        with the warp's Jacobian, without which the flattest cepstra would win; people near the middle are likelier.
        """
        step = 1 + (len(weight) - 1) // MAX_WARP_FRAMES
        some, weight = envelope[::step], weight[::step, None]
        observations = weight.sum() * step / WARP_FRAMES
        scores = []
        for warp, mels in zip(WARPS, self.mels, strict=True):
            cepstra = _log_bands(some, mels) @ self.cosines[:, : self.precision.shape[0]]
            centred = cepstra - (cepstra * weight).sum(0) / weight.sum()
            covariance = (centred.T @ (centred * weight) / weight.sum()).double() + WARP_NUGGET * self.identity
            fit = torch.logdet(covariance) - (self.precision * covariance).sum()
            scores.append(observations * fit - (math.log(warp) / WARP_SPREAD) ** 2)
        return int(torch.stack(scores).argmax())

    def _normalised(self, cepstra: Tensor, weight: Tensor) -> Tensor:
        """cepstra (N, C) with mean 0 and variance 1 over the frames that are not silent."""
        total = weight.sum() + PRIOR_FRAMES
        mean = ((cepstra * weight[:, None]).sum(0) + PRIOR_FRAMES * self.generic_mean) / total
        centred = cepstra - mean
        variance = ((centred.square() * weight[:, None]).sum(0) + PRIOR_FRAMES * self.generic_variance) / total
        return centred / variance.sqrt()


def mel_bands(warp: float) -> Tensor:
    """Triangular mel bands (K, M), each of sum 1, on a frequency axis stretched by ``warp``."""
    low, high = (2595.0 * math.log10(1.0 + hertz / 700.0) for hertz in MEL_HERTZ)
    edges = 700.0 * (10.0 ** (torch.linspace(low, high, N_MELS + 2, dtype=torch.float64) / 2595.0) - 1.0) * warp
    hertz = torch.arange(N_FFT // 2 + 1, dtype=torch.float64)[:, None] * SAMPLE_RATE / N_FFT  # (K, 1)
    rise = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    bands = torch.minimum(rise, fall).clamp(min=0.0)
    return (bands / (bands.sum(0) + 1e-9)).float()


def cosine_matrix() -> Tensor:
    """Cosine transform (M, C) from log bands to cepstra 0 to C - 1."""
    band, order = torch.arange(N_MELS, dtype=torch.float64)[:, None], torch.arange(N_CEPSTRA, dtype=torch.float64)
    return (torch.cos(math.pi * order * (band + 0.5) / N_MELS) * math.sqrt(2.0 / N_MELS)).float()


def _log_bands(envelope: Tensor, mels: Tensor) -> Tensor:
    return torch.log(envelope @ mels + 10.0 ** (FLOOR_DB / 10.0))


def _harmonic_spacing(power: Tensor) -> Tensor:
    """f0 guess (N,) in Hz from the autocorrelation of power (N, K), or a fixed width where it is weak.

    Only the width of an average: a wrong octave makes the envelope rougher or smoother, no more.
    """
    shortest, longest = round(SAMPLE_RATE / 1000.0), round(SAMPLE_RATE / WIDTH_HERTZ[0])
    correlation = torch.fft.irfft(power)[:, : longest + 1]
    window = torch.fft.irfft(torch.fft.rfft(torch.hann_window(400, device=power.device), N_FFT).abs().square())
    lags = torch.arange(shortest, longest, device=power.device)
    taper = (window[lags] / window[0]).clamp(min=0.1)  # the window makes long lags small
    # 0.001 per sample of lag: of equal peaks, which a periodic signal has at every multiple, the first
    scores = correlation[:, lags] / (correlation[:, :1] + 1e-12) / taper - 0.001 * lags
    best, index = scores.max(dim=1)
    hertz = SAMPLE_RATE / (index + shortest).float()
    return torch.where(best > VOICED_CORRELATION, hertz, UNVOICED_HERTZ).clamp(*WIDTH_HERTZ)


def _median_of_five(values: Tensor) -> Tensor:
    return F.pad(values[None, None], (2, 2), mode="replicate")[0, 0].unfold(0, 5, 1).median(dim=1).values


def _average_over(power: Tensor, width: Tensor) -> Tensor:
    """power (N, K) averaged over ``width`` (N,) Hz around each bin, mirrored at both ends.

    One harmonic spacing wide, the average holds no harmonics (as in CheapTrick, Morise 2015).
    """
    n_bins = power.shape[1]
    mirrored = torch.cat([power.flip(1)[:, :-1], power, power.flip(1)[:, 1:]], dim=1).double()
    total = F.pad(mirrored.cumsum(dim=1), (1, 0))
    half = (width.double() * N_FFT / SAMPLE_RATE / 2.0)[:, None]  # bins
    centre = torch.arange(n_bins, device=power.device) + n_bins - 0.5

    def total_to(position: Tensor) -> Tensor:
        left = position.floor().long()
        low, high = total.gather(1, left), total.gather(1, left + 1)
        return low + (high - low) * (position - left)

    return ((total_to(centre + half) - total_to(centre - half)) / (2.0 * half)).float().clamp(min=0.0)


def _slope(values: Tensor) -> Tensor:
    """Least-squares slope per frame of values (N, C) over five frames, ends repeated."""
    padded = F.pad(values.T[None], (2, 2), mode="replicate")[0].T
    n = len(values)
    return ((padded[3 : n + 3] - padded[1 : n + 1]) + 2.0 * (padded[4:] - padded[:n])) / 10.0

"""Short-time spectra and mels: the only STFT and the only mel filter bank that networks see and losses are made of.

Two families, which differ in padding, floor and bands, because published weights were trained on both: `spectrogram`
and `mel_spectrogram` for the synthesizer's training, `vocoder_mel` for the mel vocoder and the diffusion model. The
networks that bring front-ends of their own (pitch trackers, Whisper) build them from `stft_power` and `mel_filterbank`.
Not built from these: the bands of `vencoder.cepstral` (each of sum 1, on a stretched axis), because models are trained
on its exact numbers; the STFT of `modules.perturb`, which is inverted again and runs in numpy, in worker processes; the
baselines of `benchmarks.units_probe`, whose published figures belong to bands of height 1.

Symbols: B batch, T samples, F frames, K = n_fft // 2 + 1 frequency bins, M mels.
Checked against: golden cases mel_spec and synth_train; librosa.filters.mel.
"""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK_FRAMES = 4096  # of which the spectrum of `vocoder_mel` is made at once
MEL_FLOOR = 1e-5  # of the linear mel, before the logarithm: -100 dB
TRAINING_EPS, VOCODER_EPS = (
    1e-6,
    1e-9,
)  # added to the power before the root, so that its gradient stays finite at silence

SLANEY_HZ_PER_MEL = 200 / 3  # below SLANEY_BREAK_HZ
SLANEY_BREAK_HZ = 1000.0
SLANEY_LOG_STEP = np.log(6.4) / 27  # natural logarithm per mel above it


def hz_to_mel(hz: np.ndarray | float, *, htk: bool = False) -> np.ndarray:
    """Hz -> mels, on Slaney's scale (linear, then logarithmic above 1 kHz) or HTK's (logarithmic)."""
    hz = np.asarray(hz, dtype=np.float64)
    if htk:
        return 2595.0 * np.log10(1.0 + hz / 700.0)
    above = SLANEY_BREAK_HZ / SLANEY_HZ_PER_MEL + np.log(np.maximum(hz, 1.0) / SLANEY_BREAK_HZ) / SLANEY_LOG_STEP
    return np.where(hz < SLANEY_BREAK_HZ, hz / SLANEY_HZ_PER_MEL, above)


def mel_to_hz(mel: np.ndarray | float, *, htk: bool = False) -> np.ndarray:
    """Mels -> Hz; the inverse of hz_to_mel."""
    mel = np.asarray(mel, dtype=np.float64)
    if htk:
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    break_mel = SLANEY_BREAK_HZ / SLANEY_HZ_PER_MEL
    above = SLANEY_BREAK_HZ * np.exp(SLANEY_LOG_STEP * (mel - break_mel))
    return np.where(mel < break_mel, mel * SLANEY_HZ_PER_MEL, above)


def mel_edges(sample_rate: int, n_mels: int, fmin: float, fmax: float | None, *, htk: bool = False) -> np.ndarray:
    """Where the bands of a mel meet, in Hz (M + 2,): band m rises from edge m to its centre, edge m + 1, and falls.

    Raises:
        ValueError: not 0 <= fmin < fmax <= sample_rate / 2; ``fmax`` None means half the sample rate.
    """
    top = sample_rate / 2 if fmax is None else fmax
    if not 0 <= fmin < top <= sample_rate / 2:
        raise ValueError(f"mel bands need 0 <= fmin < fmax <= {sample_rate / 2:g} Hz, got {fmin:g} and {top:g}")
    return mel_to_hz(np.linspace(hz_to_mel(fmin, htk=htk), hz_to_mel(top, htk=htk), n_mels + 2), htk=htk)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # a tensor made in inference mode and kept could not be trained with
def mel_filterbank(
    sample_rate: int, n_fft: int, n_mels: int, fmin: float = 0.0, fmax: float | None = None, htk: bool = False
) -> Tensor:
    """Triangular filters of equal area (M, K), float32 on the CPU; equal to librosa.filters.mel within 1e-7.

    ``fmin`` and ``fmax`` in Hz; ``fmax`` None means half the sample rate; ``htk`` chooses the mel scale only. The
    result is cached: do not write into it.

    Raises:
        ValueError: as `mel_edges`.
    """
    edges = mel_edges(sample_rate, n_mels, fmin, fmax, htk=htk)
    bins = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)  # (K,) Hz
    width = np.diff(edges)
    distance = bins - edges[:, None]  # (M + 2, K)
    rising, falling = distance[:-2] / width[:-1, None], -distance[2:] / width[1:, None]
    filters = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return torch.from_numpy(filters.astype(np.float32))


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # a tensor made in inference mode and kept could not be trained with
def _filterbank_on(device: torch.device, *arguments: float) -> Tensor:
    return mel_filterbank(*arguments).to(device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # a tensor made in inference mode and kept could not be trained with
def _hann_window(length: int, device: torch.device) -> Tensor:
    return torch.hann_window(length, device=device)


def stft_power(
    wav: Tensor, n_fft: int, hop_length: int, win_length: int | None = None, *, center: bool = False
) -> Tensor:
    """wav (B, T) -> squared magnitudes (B, K, F) under a periodic Hann window of ``win_length`` samples (n_fft).

    ``center`` puts frame 0 around sample 0 (reflected padding of n_fft // 2); else frames start at their first sample
    and the caller pads. Always float32: half-precision waveforms are converted.
    """
    wav = wav.float()
    win_length = win_length or n_fft
    window = _hann_window(win_length, wav.device)
    with torch.autocast(wav.device.type, enabled=False):
        spec = torch.stft(
            wav,
            n_fft,
            hop_length,
            win_length,
            window,
            center=center,
            pad_mode="reflect",
            return_complex=True,
        )
        return spec.real.square() + spec.imag.square()


def dft_kernels(n_fft: int) -> Tensor:
    """Cosines, then sines of every bin under a periodic Hann window (2 K, 1, n_fft): `stft_power_by_convolution`."""
    samples = torch.arange(n_fft, dtype=torch.float64)
    turns = torch.arange(n_fft // 2 + 1, dtype=torch.float64)[:, None] * samples / n_fft
    angles = 2 * torch.pi * (turns % 1)
    window = torch.hann_window(n_fft, dtype=torch.float64)
    return (torch.cat([angles.cos(), angles.sin()]) * window).float().unsqueeze(1)


def stft_power_by_convolution(wav: Tensor, kernels: Tensor, hop_length: int) -> Tensor:
    """The centred `stft_power` of wav (B, T) in operations that every ONNX runtime has, at many times the cost."""
    pad = kernels.size(2) // 2
    wav = F.pad(wav.unsqueeze(1), (pad, pad), mode="reflect")
    real, imaginary = F.conv1d(wav, kernels, stride=hop_length).chunk(2, dim=1)
    return real.square() + imaginary.square()


def apply_mel(spec: Tensor, sample_rate: int, n_fft: int, n_mels: int, *, fmin: float, fmax: float | None) -> Tensor:
    """Spectrum (B, K, F) -> linear mel (B, M, F), Slaney's scale and area."""
    filters = _filterbank_on(spec.device, sample_rate, n_fft, n_mels, fmin, fmax)
    with torch.autocast(spec.device.type, enabled=False):
        return filters @ spec.float()


def log_mel(mel: Tensor) -> Tensor:
    """Natural logarithm of a linear mel, floored at MEL_FLOOR."""
    return mel.clamp(min=MEL_FLOOR).log()


def spectrogram(wav: Tensor, n_fft: int, hop_length: int, win_length: int) -> Tensor:
    """Spectrogram of the synthesizer's training: wav (B, T) in [-1, 1] -> magnitudes (B, K, F), F = T // hop_length.

    Raises:
        ValueError: ``wav`` is too short to be mirrored at its ends.
    """
    pad = (n_fft - hop_length) // 2
    if wav.shape[-1] <= pad:
        raise ValueError(f"{wav.shape[-1]} samples are too few for a spectrogram: need more than {pad}")
    wav = F.pad(wav.unsqueeze(1), (pad, pad), mode="reflect").squeeze(1)
    return (stft_power(wav, n_fft, hop_length, win_length) + TRAINING_EPS).sqrt()


def spec_to_mel(
    spec: Tensor, sample_rate: int, n_fft: int, n_mels: int, *, fmin: float = 0.0, fmax: float | None = None
) -> Tensor:
    """Training spectrogram (B, K, F) -> log mel (B, M, F); zero-padded frames become log(MEL_FLOOR)."""
    return log_mel(apply_mel(spec, sample_rate, n_fft, n_mels, fmin=fmin, fmax=fmax))


def mel_spectrogram(
    wav: Tensor,
    *,
    sample_rate: int,
    n_fft: int,
    hop_length: int,
    win_length: int,
    n_mels: int,
    fmin: float = 0.0,
    fmax: float | None = None,
) -> Tensor:
    """wav (B, T) -> log mel (B, M, F) as `spec_to_mel` of its `spectrogram`."""
    spec = spectrogram(wav, n_fft, hop_length, win_length)
    return spec_to_mel(spec, sample_rate, n_fft, n_mels, fmin=fmin, fmax=fmax)


def vocoder_mel(  # noqa: PLR0913  the mel's format, and two ways to bend it
    wav: Tensor,
    *,
    sample_rate: int,
    n_fft: int,
    hop_length: int,
    win_length: int,
    n_mels: int,
    fmin: float,
    fmax: float | None,
    keyshift: float = 0.0,
    speed: float = 1.0,
) -> Tensor:
    """wav (B, T) -> log mel (B, M, F) of the NSF-HiFiGAN vocoder and of the diffusion model.

    Args:
        keyshift: semitones by which the spectrum is moved (for training augmentation): the window is stretched by the
            same ratio and the bins are read as if it were not.
        speed: frames are ``round(hop_length * speed)`` samples apart.

    Raises:
        ValueError: ``speed`` leaves no sample between the frames.
    """
    ratio = 2.0 ** (keyshift / 12)
    n_fft_new, win_new, hop_new = round(n_fft * ratio), round(win_length * ratio), round(hop_length * speed)
    if hop_new < 1:
        raise ValueError(f"speed must leave at least one sample per frame, got {speed:g}")
    left = (win_new - hop_new) // 2
    right = max((win_new - hop_new + 1) // 2, win_new - wav.shape[-1] - left)
    # Very short inputs cannot be mirrored; zeros then, as the weights' own front-end did.
    mode = "reflect" if right < wav.shape[-1] else "constant"
    wav = F.pad(wav.unsqueeze(1), (left, right), mode=mode).squeeze(1)

    def mel(wav: Tensor) -> Tensor:
        spec = (stft_power(wav, n_fft_new, hop_new, win_new) + VOCODER_EPS).sqrt()
        if keyshift != 0:
            missing = n_fft // 2 + 1 - spec.shape[1]  # a negative pad cuts the highest bins off
            spec = F.pad(spec, (0, 0, 0, missing)) * (win_length / win_new)
        return log_mel(apply_mel(spec, sample_rate, n_fft, n_mels, fmin=fmin, fmax=fmax))

    n_frames = 1 + (wav.shape[-1] - n_fft_new) // hop_new
    # in blocks: the spectrum of long audio is ten times the audio
    starts = range(0, n_frames, BLOCK_FRAMES)
    ends = (min(start + BLOCK_FRAMES, n_frames) for start in starts)
    blocks = [
        mel(wav[:, start * hop_new : (end - 1) * hop_new + n_fft_new]) for start, end in zip(starts, ends, strict=True)
    ]
    return torch.cat(blocks, dim=2)

"""Pairs of copies from the corpus, each through a room, a microphone and noise of its own.

Letters: B pairs, T samples at 16 kHz, N frames of 20 ms.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from modules.perturb import draw_equaliser, equaliser_gain
from scripts.embedded.rendering import FRAME
from vencoder.encoder import HOP_LENGTH, SAMPLE_RATE

SECONDS = (1.2, 6.0)  # of a batch's crops
GAIN_BINS = 257  # where gains over frequency are computed; between them they are interpolated


@dataclass(frozen=True)
class Utterance:
    """wav (V, T) int16, f0 (V, 4 N), phone (4 N,): copies of one utterance; ``voice`` is a number."""

    wav: Tensor
    f0: Tensor
    phone: Tensor
    voice: int


@dataclass(frozen=True)
class Batch:
    """wav (2, B, T); lengths (B,) in samples; per unit frame phone (B, N), log f0 (2, B, N), nan where unvoiced."""

    wav: Tensor
    lengths: Tensor
    phone: Tensor
    log_f0: Tensor
    voice: Tensor


def read_corpus(folder: Path) -> tuple[list[Utterance], list[str]]:
    """All utterances of the shards in ``folder``, and the names of their voices.

    Raises:
        FileNotFoundError: there are none.
    """
    found: list[Utterance] = []
    names: dict[str, int] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as shard:
            wav, f0, phone, frames = (shard.get_tensor(key) for key in ("wav", "f0", "phone", "frames"))
            voices = json.loads(shard.metadata()["voices"])
        start = 0
        for n_frames, voice in zip(frames.tolist(), voices, strict=True):
            here = slice(start, start + n_frames)
            samples = slice(start * FRAME, (start + n_frames) * FRAME)
            number = names.setdefault(_speaker(voice), len(names))
            found.append(Utterance(wav[:, samples], f0[:, here], phone[here], number))
            start += n_frames
    if not found:
        raise FileNotFoundError(f"no shards in {folder}: python -m scripts.embedded.corpus -o {folder}")
    return found, list(names)


def _speaker(voice: str) -> str:
    """The variant of espeak-ng, whatever language it speaks, or the voice of festival."""
    return voice.split("+")[1] if "+" in voice else voice


def draw(corpus: list[Utterance], n_pairs: int, rng: np.random.Generator, device: torch.device) -> Batch:
    """``n_pairs`` random crops of one random length, in two copies each."""
    seconds = float(np.exp(rng.uniform(*np.log(SECONDS))))
    n_pairs = max(2, round(n_pairs * 3.0 / seconds))  # as much audio in every batch
    longest = round(seconds * SAMPLE_RATE / FRAME)  # in frames of 5 ms
    wavs, lengths, phones, contours, voices = [], [], [], [], []
    n_frames = (longest * FRAME - 400) // HOP_LENGTH + 1
    for index in rng.integers(len(corpus), size=n_pairs):
        one = corpus[index]
        length = min(longest, len(one.phone))
        start = int(rng.integers(len(one.phone) - length + 1))
        pair = rng.permutation(len(one.wav))[:2]
        wav = one.wav[pair, start * FRAME : (start + length) * FRAME].float() / 32768.0
        wavs.append(torch.nn.functional.pad(wav, (0, (longest - length) * FRAME)))
        lengths.append(length * FRAME)
        # a unit frame is the 25 ms around sample 320 i + 200
        centres = start + torch.arange(n_frames) * (HOP_LENGTH // FRAME) + 2
        inside = centres < start + length
        centres = centres.clamp(max=len(one.phone) - 1)
        phones.append(torch.where(inside, one.phone[centres].long(), -1))
        contours.append(torch.where(inside, one.f0[pair][:, centres].float(), 0.0))
        voices.append(one.voice)
    f0 = torch.stack(contours, dim=1).to(device)
    ends = torch.tensor(lengths, device=device)
    return Batch(
        wav=disturb(torch.stack(wavs, dim=1).to(device), ends, rng),
        lengths=ends,
        phone=torch.stack(phones).to(device),
        log_f0=torch.where(f0 > 0, f0.clamp(min=1.0).log(), torch.nan),
        voice=torch.tensor(voices, device=device),
    )


def disturb(wav: Tensor, lengths: Tensor, rng: np.random.Generator) -> Tensor:
    """wav (2, B, T), zero after ``lengths`` (B,) samples, which it stays.

    Every item gets an equaliser, room, bandwidth, level over time and noise of its own.
    """
    n_samples = wav.shape[-1]
    n_fft = 2 ** int(np.ceil(np.log2(n_samples + SAMPLE_RATE // 2)))
    gains = np.stack([_gain(rng) for _ in range(wav[..., 0].numel())])
    gain = torch.tensor(gains, dtype=torch.float32, device=wav.device)
    gain = torch.nn.functional.interpolate(gain[:, None], n_fft // 2 + 1, mode="linear", align_corners=True)
    spectrum = torch.fft.rfft(wav, n_fft) * gain.reshape(*wav.shape[:2], -1)
    generator = torch.Generator(wav.device).manual_seed(int(rng.integers(2**31)))
    spectrum = spectrum * torch.fft.rfft(_rooms(wav.shape[:2], rng, generator), n_fft)
    out = torch.fft.irfft(spectrum, n_fft)[..., :n_samples] * _swell(wav.shape, rng, wav.device)
    out = out + _noise(out, rng, generator)
    return out * (torch.arange(n_samples, device=wav.device) < lengths[:, None])


def _gain(rng: np.random.Generator) -> np.ndarray:
    """Amplitude (GAIN_BINS,) of an equaliser, sometimes with a narrow band."""
    hertz = np.linspace(0.0, SAMPLE_RATE / 2, GAIN_BINS)
    decibels = equaliser_gain(hertz, draw_equaliser(rng))
    if rng.uniform() < 0.25:
        decibels -= 48.0 * np.maximum(0.0, np.log2(np.maximum(hertz, 1.0) / rng.uniform(3000.0, 8000.0)))
    if rng.uniform() < 0.15:
        decibels -= 24.0 * np.maximum(0.0, np.log2(rng.uniform(60.0, 300.0) / np.maximum(hertz, 10.0)))
    return 10.0 ** (decibels / 20.0)


def _rooms(shape: torch.Size, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """Impulse responses (2, B, 8000): the direct sound, and for some an exponentially fading tail of noise."""
    times = torch.arange(SAMPLE_RATE // 2, device=generator.device) / SAMPLE_RATE
    decay = torch.tensor(rng.uniform(0.05, 0.6, shape), dtype=torch.float32, device=generator.device)[..., None]
    level = rng.uniform(0.0, 0.5, shape) * (rng.uniform(size=shape) < 0.4)
    tail = torch.randn(*shape, len(times), device=generator.device, generator=generator) * torch.exp(
        -6.9 * times / decay
    )
    tail = tail / tail.square().sum(dim=-1, keepdim=True).sqrt()
    tail = tail * torch.tensor(level, dtype=torch.float32, device=generator.device)[..., None]
    tail[..., 0] = 1.0
    return tail


def _swell(shape: torch.Size, rng: np.random.Generator, device: torch.device) -> Tensor:
    """Gains (2, B, T) that wander by some dB within a second."""
    knots = max(2, shape[-1] // SAMPLE_RATE + 2)
    decibels = rng.normal(0.0, 3.0, (*shape[:2], knots)) * (rng.uniform(size=(*shape[:2], 1)) < 0.5)
    curve = torch.tensor(10.0 ** (decibels / 20.0), dtype=torch.float32, device=device)
    return torch.nn.functional.interpolate(curve, shape[-1], mode="linear", align_corners=True)


def _noise(wav: Tensor, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """Coloured noise like wav (2, B, T), 5 to 60 dB below it."""
    spectrum = torch.fft.rfft(torch.randn(wav.shape, device=wav.device, generator=generator))
    slope = torch.tensor(rng.uniform(0.0, 1.0, wav.shape[:2]), dtype=torch.float32, device=wav.device)[..., None]
    bins = torch.arange(1, spectrum.shape[-1] + 1, device=wav.device)
    noise = torch.fft.irfft(spectrum * bins**-slope, wav.shape[-1])
    below = torch.tensor(
        10.0 ** (-rng.uniform(5.0, 60.0, wav.shape[:2]) / 20.0), dtype=torch.float32, device=wav.device
    )
    level = wav.square().mean(dim=-1, keepdim=True).sqrt() / noise.square().mean(dim=-1, keepdim=True).sqrt()
    return noise * level * below[..., None]

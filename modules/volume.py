"""Loudness per frame, and carrying the loudness envelope of one recording over to another.

Symbols: B batch, T samples, F frames. Checked against: golden cases utils_models and utils_pipeline.
"""

import math

import numpy as np
import torch.nn.functional as F
from torch import Tensor

OUTPUT_RMS_FLOOR = 1e-6  # keeps silent stretches of the output from being divided by zero


def frame_volume(wav: Tensor, hop_length: int) -> Tensor:
    """Root mean square of each frame: wav (..., T) -> (..., F), F = T // hop_length, in full-scale units.

    Each window is one hop long and centred on the first sample of its frame; the ends are mirrored.

    Raises:
        ValueError: ``wav`` has less than one frame.
    """
    n_frames = wav.shape[-1] // hop_length
    if n_frames == 0:
        raise ValueError(f"{wav.shape[-1]} samples are less than one frame of {hop_length}")
    flat = wav.reshape(-1, wav.shape[-1]).float()
    power = F.pad(flat.square(), (hop_length // 2, (hop_length + 1) // 2), mode="reflect")
    power = power[:, : n_frames * hop_length].unflatten(1, (n_frames, hop_length)).mean(dim=2)
    return power.sqrt().view(*wav.shape[:-1], n_frames)


def random_gain(peak: float, rng: np.random.Generator) -> float:
    """Loudness factor 10^U(-1, m) with m at most 1 and so that ``peak`` stays below full scale, as 4.1 draws it."""
    highest = min(1.0, math.log10(1 / (peak + 1e-5)))
    return 10 ** rng.uniform(-1, highest)


def loudness_envelope(wav: Tensor, sample_rate: int) -> Tensor:
    """Root mean square over windows of one second, every half second: wav (T,) -> (1 + T // (sample_rate // 2),).

    Windows are centred on their sample; beyond the ends there is silence.
    """
    hop_length = sample_rate // 2
    n_windows = 1 + wav.shape[-1] // hop_length
    # Two neighbouring half seconds make a window, so each half second is summed once.
    halves = F.pad(wav.float().square(), (hop_length, n_windows * hop_length - wav.shape[-1]))
    sums = halves.unflatten(0, (n_windows + 1, hop_length)).sum(dim=1)
    return ((sums[:-1] + sums[1:]) / (2 * hop_length)).sqrt()


def match_loudness(source: Tensor, source_rate: int, output: Tensor, output_rate: int, rate: float) -> Tensor:
    """Give ``output`` (T,) the loudness envelope of ``source`` (any length and rate, same duration) -> new tensor (T,).

    Args:
        rate: 0 replaces the envelope by the source's, 1 keeps the output's own, values between mix on a log scale.

    Raises:
        ValueError: ``rate`` is outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"loudness envelope rate must be between 0 and 1, got {rate:g}")
    if rate == 1:
        return output.clone()
    wanted, present = (
        F.interpolate(envelope.view(1, 1, -1), size=output.shape[-1], mode="linear").view(-1)
        for envelope in (loudness_envelope(source, source_rate), loudness_envelope(output, output_rate))
    )
    gain = wanted.pow(1 - rate) * present.clamp(min=OUTPUT_RMS_FLOOR).pow(rate - 1)
    return output * gain.to(output.device)

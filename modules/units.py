"""Stretching content units from the encoder's frame rate to that of the synthesizer."""

import torch
from torch import Tensor

MODES = ("left", "nearest")


def resize_units(units: Tensor, n_frames: int, mode: str = "left") -> Tensor:
    """units (D, N) -> (D, F), every output frame a copy of one input frame.

    "left" keeps each input frame until its own end on the new grid has passed, "nearest" is that of torch. They
    differ by single frames, and a model sounds best with the one it was trained on (`data.unit_interpolate_mode`).

    Raises:
        ValueError: unknown mode, or no input frame.
    """
    n_units = units.size(1)
    if n_units == 0:
        raise ValueError("there are no units to stretch: the audio is shorter than one frame of the speech encoder")
    if mode == "nearest":
        return torch.nn.functional.interpolate(units[None], size=n_frames, mode="nearest")[0]
    if mode != "left":
        raise ValueError(f"unknown unit_interpolate_mode {mode!r}; choose one of: {', '.join(MODES)}")
    frames = torch.arange(n_frames, device=units.device)
    # float32 on purpose: exact arithmetic would place some ends one frame elsewhere than where models were trained
    ends = torch.arange(1, n_units + 1, device=units.device) * n_frames / n_units
    source = torch.searchsorted(ends.float(), frames.float(), right=True)
    # at most one step per frame, which matters only when units are shortened
    return units[:, torch.minimum(source, frames).clamp(max=n_units - 1)]

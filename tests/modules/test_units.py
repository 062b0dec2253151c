"""Unit resizing equals the reference's, frame by frame."""

import pytest
import torch

from modules.units import MODES, resize_units
from tests.parity import Case


def golden_sizes() -> list[tuple[str, str, str, int]]:
    sizes = []
    for case, prefix in (("utils_models", "expand_"), ("utils_pipeline", "")):
        for key in Case(case).arrays():
            parts = key.removeprefix(prefix).split("_")
            if key.startswith(prefix) and parts[0] in MODES:
                source = f"expand_in_{parts[1]}_{parts[2]}" if prefix else f"x_{parts[1]}"
                sizes.append((case, source, key, int(parts[2])))
    return sizes


def test_golden_resizing() -> None:
    sizes = golden_sizes()
    assert len(sizes) == 24
    cases = {name: Case(name).arrays() for name in ("utils_models", "utils_pipeline")}
    for case, source, key, n_frames in sizes:
        mode = "left" if "left" in key else "nearest"
        got = resize_units(torch.from_numpy(cases[case][source]), n_frames, mode)
        assert torch.equal(got, torch.from_numpy(cases[case][key])), key


@pytest.mark.parametrize("mode", MODES)
def test_order_and_ends_are_kept(mode: str) -> None:
    indices = resize_units(torch.arange(37.0)[None], 61, mode)[0]
    assert indices[0] == 0 and indices[-1] == 36 and (indices.diff() >= 0).all()


def test_errors() -> None:
    with pytest.raises(ValueError, match="unknown unit_interpolate_mode 'linear'; choose one of: left, nearest"):
        resize_units(torch.zeros(2, 3), 5, "linear")
    with pytest.raises(ValueError, match="shorter than one frame"):
        resize_units(torch.zeros(2, 0), 5)

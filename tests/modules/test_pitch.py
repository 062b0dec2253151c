"""Pitch classes and normalised contours equal the reference's; the one change above 1103 Hz is the stated one."""

import pytest
import torch

from modules.pitch import F0_MAX, F0_MIN, f0_to_coarse, hz_from_lf0, lf0_from_hz, normalize_f0, random_factor
from tests.parity import Case, assert_close


@pytest.fixture(scope="module")
def arrays() -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in Case("utils_models").arrays().items()}


def test_golden_classes(arrays: dict[str, torch.Tensor]) -> None:
    clear = arrays["coarse_margin"] > 1e-4  # not at the border of two classes
    got, expected = f0_to_coarse(arrays["coarse_f0"])[clear], arrays["coarse_out"][clear]
    in_range = arrays["coarse_f0"][clear] < 1103
    assert torch.equal(got[in_range], expected[in_range])
    assert (got[~in_range] == 255).all() and (expected[~in_range] == 0).all()
    # where the reference's class 0 was never trained, 4.0 used 255, as we do
    assert torch.equal(got[~in_range], arrays["coarse_out_v40"][clear][~in_range])


def test_golden_class_table() -> None:
    f0, expected = Case("utils_pipeline").info["misc"]["f0_to_coarse"]
    assert f0_to_coarse(torch.tensor(f0)).tolist() == [255 if bin_ == 0 else bin_ for bin_ in expected]


def test_classes_of_impossible_pitches() -> None:
    f0 = torch.tensor([-5000.0, -1.0, 0.0, F0_MIN, F0_MAX, 1e6])
    assert f0_to_coarse(f0).tolist() == [1, 1, 1, 1, 255, 255]
    assert torch.equal(f0_to_coarse(f0.half()[:-1]), f0_to_coarse(f0[:-1]))


def test_golden_normalised_contour(arrays: dict[str, torch.Tensor]) -> None:
    inputs = arrays["nf_lf0"], arrays["nf_mask"], arrays["nf_uv"]
    assert_close(normalize_f0(*inputs), arrays["nf_out_plain"], max_abs=1e-6)
    assert_close(normalize_f0(*inputs, factor=arrays["nf_factor"]), arrays["nf_out_random"], max_abs=1e-6)


def test_random_factor_range() -> None:
    factor = random_factor(torch.zeros(1000, 1, 2))
    assert factor.shape == (1000, 1) and 0.8 <= factor.min() < 0.82 and 1.18 < factor.max() < 1.2


def test_logarithmic_scale_and_back() -> None:
    f0 = torch.tensor([0.0, 50.0, 440.0, 1100.0])
    assert_close(hz_from_lf0(lf0_from_hz(f0)), f0, max_abs=1e-3)

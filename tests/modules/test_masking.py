import pytest
import torch

from modules.masking import random_starts, sequence_mask, take_segments


def test_mask() -> None:
    assert sequence_mask(torch.tensor([3, 0, 1]), 3).int().tolist() == [[[1, 1, 1]], [[0, 0, 0]], [[1, 0, 0]]]


def test_starts_reach_both_ends_and_stay_inside() -> None:
    starts = random_starts(torch.tensor([10, 4, 3]).repeat(400), 4).view(400, 3)
    assert set(starts[:, 0].tolist()) == set(range(7))
    assert (starts[:, 1:] == 0).all()  # a clip shorter than the segment is padded by the batch


def test_segments() -> None:
    x = torch.arange(24.0).view(2, 2, 6).requires_grad_()
    segments = take_segments(x, torch.tensor([0, 3]), 3)
    assert torch.equal(segments[0], x[0, :, :3]) and torch.equal(segments[1], x[1, :, 3:])
    segments.sum().backward()
    assert x.grad[0, :, 3:].sum() == 0 and x.grad.sum() == 12
    with pytest.raises(ValueError, match="a segment has 7 steps"):
        take_segments(x, torch.tensor([0, 0]), 7)

"""The benchmark tells norm from attention: each alone, where there is nothing to differ, differs by nothing."""

import pytest
import torch

from benchmarks import windows
from tests.parity import Case, assert_close
from vencoder.contentvec import ContentVec

WAV = torch.cat([torch.randn(20000) * 0.1, torch.randn(28000) * 0.01])


@pytest.fixture
def encoder() -> ContentVec:
    return ContentVec(Case("contentvec_files").folder / "contentvec_tiny.pt", torch.device("cpu"), layer=2)


def test_statistics_of_the_whole_clip_are_those_of_its_norm(encoder):
    whole = encoder.encode(WAV)
    with windows.fixed_norm(encoder, WAV):
        assert_close(encoder.encode(WAV), whole, max_abs=1e-5)
    with windows.fixed_norm(encoder, WAV[:24000]), pytest.raises(AssertionError):
        assert_close(encoder.encode(WAV), whole, max_abs=1e-2)
    assert_close(encoder.encode(WAV), whole, max_abs=0)


@torch.no_grad()
def test_a_window_that_holds_the_clip_makes_no_difference(encoder):
    assert_close(windows.norm_in_windows(encoder, WAV), encoder.encode(WAV), max_abs=1e-5)


@torch.no_grad()
def test_gain_of_the_norm(encoder):
    """Two windows: one with all that is loud, in 62 of its 78 frames; one that is 20 dB quieter."""
    with windows.windows_of(encoder, 80, 3):
        gains = windows.norm_gains(encoder, WAV).mean(dim=1)
    assert encoder.max_frames == 1500
    assert gains.tolist() == pytest.approx([-2.8, 16.3], abs=0.5)


def test_rows(encoder):
    lines = list(windows.rows(encoder, WAV, [(80, 3)]))
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[:3] for row in cells] == [
        ["whole", "–", "–"],
        *(["80", "3", what] for what in ("both", "attention", "norm")),
    ]
    assert float(cells[0][3]) == 0 and float(cells[0][5]) == 1
    assert all(0 < float(row[3]) < 1 for row in cells[1:])


def test_sharper_attention_scores(encoder):
    layer = encoder.net.encoder.layers[1].self_attn
    before = layer.q_proj(torch.ones(64))
    windows.sharpen(encoder, 4.0)
    assert_close(layer.q_proj(torch.ones(64)), 4 * before, max_abs=1e-6)

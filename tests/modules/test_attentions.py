"""Attention against plain formulas: relative positions by their definition, blocks against the whole."""

import pytest
import torch

from modules import attentions
from modules.attentions import WINDOW, CausalAttention, CausalDecoder, RelativeAttention, RelativeEncoder
from tests.parity import assert_close

SIZES = {"filter_channels": 12, "n_heads": 2, "n_layers": 2, "kernel_size": 3, "p_dropout": 0.1}


def relative_attention_by_definition(net: RelativeAttention, x: torch.Tensor) -> torch.Tensor:
    """One clip (1, C, F), one frame after the other."""
    n_frames, width = x.size(2), x.size(1) // net.n_heads
    q, k, v = (conv(x)[0].view(net.n_heads, width, n_frames) for conv in (net.conv_q, net.conv_k, net.conv_v))
    out = torch.zeros(net.n_heads, width, n_frames)
    for h in range(net.n_heads):
        for i in range(n_frames):
            distances = torch.arange(n_frames) - i
            near = (distances.abs() <= WINDOW).float()[:, None]
            table = (distances.clamp(-WINDOW, WINDOW) + WINDOW).long()
            keys = k[h].T + near * net.emb_rel_k[0, table]
            weights = (keys @ q[h, :, i] / width**0.5).softmax(0)
            out[h, :, i] = weights @ (v[h].T + near * net.emb_rel_v[0, table])
    return net.conv_o(out.reshape(1, -1, n_frames))


@pytest.mark.parametrize("n_frames", [1, 3, 15])
def test_relative_attention_is_its_definition(n_frames: int) -> None:
    net, x = RelativeAttention(8, 2, 0.0), torch.randn(1, 8, n_frames)
    expected = relative_attention_by_definition(net, x)
    assert_close(net(x, torch.ones(1, 1, n_frames)), expected, max_abs=1e-5)


@pytest.mark.parametrize("kind", [RelativeAttention, CausalAttention])
def test_long_clips_in_blocks_equal_the_whole(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    net, x, mask = kind(8, 2, 0.0), torch.randn(2, 8, 23), torch.ones(2, 1, 23)
    mask[1, :, 17:] = 0
    whole = net(x, mask)
    monkeypatch.setattr(attentions, "MAX_SCORES", 5 * 23)
    assert_close(net(x, mask), whole, max_abs=1e-5)


def test_causal_decoder_does_not_see_the_future() -> None:
    net = CausalDecoder(8, **SIZES, gin_channels=4).eval()
    x, g = torch.randn(1, 8, 12), torch.randn(1, 4, 1)
    changed = x.clone()
    changed[..., 7:] += 1
    mask = torch.ones(1, 1, 12)
    assert_close(net(changed, mask, g)[..., :7], net(x, mask, g)[..., :7], max_abs=1e-6)


def test_encoder_ignores_padding() -> None:
    net = RelativeEncoder(8, **SIZES).eval()
    x, mask = torch.randn(1, 8, 12), torch.ones(1, 1, 12)
    mask[..., 7:] = 0
    padded = net(x, mask)
    assert_close(padded[..., :7], net(x[..., :7], mask[..., :7]), max_abs=1e-5)
    assert (padded[..., 7:] == 0).all()

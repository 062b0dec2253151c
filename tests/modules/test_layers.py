"""Weight normalisation keeps the values, names and order of published checkpoints, and can be copied and undone."""

import copy
import io

import pytest
import torch
from torch import nn

from modules.layers import ChannelNorm, WaveNet, remove_weight_norms, weight_norm
from tests.parity import assert_close

CONVS = [
    (lambda: nn.Conv1d(4, 6, 3, padding=1), (2, 4, 9)),
    (lambda: nn.Conv1d(4, 8, 5, groups=4, bias=False), (2, 4, 9)),
    (lambda: nn.Conv2d(4, 6, (3, 1), (2, 1)), (2, 4, 9, 3)),
    (lambda: nn.ConvTranspose1d(4, 6, 8, 4, padding=2), (2, 4, 9)),
]


@pytest.mark.parametrize(("make", "shape"), CONVS)
def test_weight_norm(make, shape) -> None:
    conv, x = make(), torch.randn(shape)
    plain, expected = conv.weight.detach().clone(), conv(x).detach()
    assert weight_norm(conv) is conv
    assert list(conv.state_dict()) == [*(["bias"] if conv.bias is not None else []), "weight_g", "weight_v"]
    assert conv.weight_g.shape == (plain.size(0), *[1] * (plain.dim() - 1))
    assert_close(conv(x), expected, max_abs=1e-5)

    with torch.no_grad():
        conv.weight_v.mul_(3.0)  # the direction alone changes nothing
        assert_close(conv(x), expected, max_abs=1e-5)
        conv.weight_g.mul_(2.0)
        assert_close(conv.weight, 2 * plain, max_abs=1e-5)

    twin = copy.deepcopy(conv)  # also after a forward pass with gradients
    file = io.BytesIO()
    torch.save(conv, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    remove_weight_norms(twin)
    assert type(twin) is type(make()) and set(twin.state_dict()) == set(make().state_dict())
    assert_close(twin(x), conv(x), max_abs=1e-5)
    assert torch.equal(loaded(x), conv(x))


def test_gradient_equals_that_of_torch() -> None:
    x = torch.randn(2, 4, 9)
    ours, theirs = nn.Conv1d(4, 6, 3), nn.Conv1d(4, 6, 3)
    theirs.load_state_dict(ours.state_dict())
    weight_norm(ours)
    theirs = nn.utils.parametrizations.weight_norm(theirs)
    for conv in (ours, theirs):
        conv(x).square().sum().backward()
    original = theirs.parametrizations.weight
    assert_close(ours.weight_g.grad, original.original0.grad, max_abs=1e-4)
    assert_close(ours.weight_v.grad, original.original1.grad, max_abs=1e-4)


def test_weight_norm_refuses_other_layers() -> None:
    with pytest.raises(KeyError):
        weight_norm(nn.Linear(2, 2))


def test_channel_norm() -> None:
    x = ChannelNorm(8)(torch.randn(2, 8, 5) * 3 + 1)
    assert_close(x.mean(1), torch.zeros(2, 5), max_abs=1e-5)
    assert_close(x.var(1, unbiased=False), torch.ones(2, 5), max_abs=1e-3)


@pytest.mark.parametrize("depthwise", [False, True])
def test_wavenet_ignores_padding(depthwise: bool) -> None:
    net = WaveNet(8, kernel_size=5, n_layers=3, gin_channels=4, depthwise=depthwise)
    x, g, mask = torch.randn(1, 8, 12), torch.randn(1, 4, 1), torch.ones(1, 1, 12)
    mask[..., 7:] = 0
    assert_close(net(x * mask, mask, g)[..., :7], net(x[..., :7], mask[..., :7], g), max_abs=1e-5)

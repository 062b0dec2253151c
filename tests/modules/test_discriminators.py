"""Discriminators: scores, feature maps and gradients of the reference, and smaller networks of the same form."""

import json

import numpy as np
import pytest
import torch

from modules.discriminators import MultiPeriodDiscriminator
from modules.losses import discriminator_loss
from tests.parity import Case, assert_close


def golden_inputs(case: Case) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Arrays of the case, and the real slices (B, 1, T) that its discriminators saw."""
    arrays = {key: torch.from_numpy(value) for key, value in case.arrays().items()}
    starts = (arrays["ids_slice"] * 512).tolist()
    wavs = arrays["y_int16"].float() / 32768
    return arrays, torch.stack([wav[:, start : start + 10240] for wav, start in zip(wavs, starts, strict=True)])


def golden_net(case: Case) -> MultiPeriodDiscriminator:
    net, state = MultiPeriodDiscriminator(), case.state_dict("discriminator")
    assert list(net.state_dict()) == list(state)
    net.load_state_dict(state)
    return net


def test_golden_scores_and_feature_maps() -> None:
    case = Case("synth_train")
    arrays, y = golden_inputs(case)
    scores = golden_net(case).requires_grad_(False)(y, arrays["y_hat"])
    details = json.loads((case.folder / "details.json").read_text(encoding="utf-8"))
    for side, letter, judged, maps in (("real", "r", *scores[::2]), ("gen", "g", *scores[1::2])):
        for i, score in enumerate(judged):
            assert_close(score, arrays[f"disc_{letter}_{i}"], max_abs=1e-5)
        for expected, got in zip(details["feature_maps"][side], maps, strict=True):
            assert [list(x.shape) for x in got] == [x["shape"] for x in expected]
            for x, numbers in zip(got, expected, strict=True):
                assert x.mean().item() == pytest.approx(numbers["mean"], abs=1e-5)
                assert_close(x.flatten()[:16], numbers["first16"], max_abs=1e-5)


@pytest.mark.slow
def test_golden_gradients() -> None:
    case = Case("synth_train")
    net = golden_net(case)
    arrays, y = golden_inputs(case)
    real, fake, _, _ = net(y, arrays["y_hat"])
    discriminator_loss(real, fake)[0].backward()
    details = json.loads((case.folder / "details.json").read_text(encoding="utf-8"))
    expected = details["grad_norm_loss_disc_all"]
    got = {key: parameter.grad.norm().item() for key, parameter in net.named_parameters()}
    assert got.keys() == expected.keys()
    limit = 1e-4 * max(expected.values())
    large = [key for key, value in expected.items() if value > limit]
    np.testing.assert_allclose([got[k] for k in large], [expected[k] for k in large], rtol=2e-3)


def test_smaller_network_has_the_same_form() -> None:
    small, full = MultiPeriodDiscriminator(base_channels=8), MultiPeriodDiscriminator()
    assert list(small.state_dict()) == list(full.state_dict())
    sizes = [sum(p.numel() for p in net.parameters()) for net in (small, full)]
    assert sizes[0] < sizes[1] / 15
    strides = [[conv.stride for d in net.discriminators for conv in d.convs] for net in (small, full)]
    assert strides[0] == strides[1]


def test_any_length_and_both_ways_agree() -> None:
    net = MultiPeriodDiscriminator(base_channels=8).requires_grad_(False)
    y, y_hat = torch.randn(2, 1, 1237), torch.randn(2, 1, 1237)
    together, apart = net(y, y_hat), net(y, y_hat.clone().requires_grad_())
    for left, right in zip(together[:2], apart[:2], strict=True):
        for a, b in zip(left, right, strict=True):
            assert_close(a, b, max_abs=1e-5)
    assert not apart[0][0].requires_grad and apart[1][0].requires_grad


def test_spectral_norm_runs() -> None:
    net = MultiPeriodDiscriminator(use_spectral_norm=True, base_channels=8)
    scores = net(torch.randn(1, 1, 600), torch.randn(1, 1, 600))[0]
    assert len(scores) == 6 and all(torch.isfinite(score).all() for score in scores)


@pytest.mark.parametrize("base_channels", [0, 4, 12])
def test_width_that_cannot_be_grouped(base_channels: int) -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        MultiPeriodDiscriminator(base_channels=base_channels)

"""One generator, three uses: each must equal the reference's own."""

import pytest
import torch

from modules.layers import remove_weight_norms
from tests.parity import Case, assert_close
from vdecoder import DECODERS
from vdecoder.nsf_hifigan import NSFHiFiGAN
from vdecoder.snake import SnakeAlias, lowpass_filter

SHAPE_KEYS = (
    *("resblock", "resblock_kernel_sizes", "resblock_dilation_sizes", "upsample_rates"),
    *("upsample_initial_channel", "upsample_kernel_sizes"),
)
SMALL = {
    "sample_rate": 16000,
    "inter_channels": 6,
    "resblock": "1",
    "resblock_kernel_sizes": [3, 5],
    "resblock_dilation_sizes": [[1, 3], [1, 2]],
    "upsample_rates": [5, 4],
    "upsample_initial_channel": 16,
    "upsample_kernel_sizes": [11, 8],
    "gin_channels": 3,
}


def test_golden_stand_alone(zero_noise: None) -> None:
    case = Case("nsf_hifigan")
    shape = {key: case.info["config"][key] for key in SHAPE_KEYS}
    net = NSFHiFiGAN(sample_rate=44100, inter_channels=128, phase_at_frame_rate=True, **shape)
    state = case.state_dict()
    assert list(net.state_dict()) == list(state)
    net.load_state_dict(state)
    arrays = {key: torch.from_numpy(value) for key, value in case.arrays().items()}
    with torch.no_grad():
        assert_close(net.m_source(arrays["f0"]).transpose(1, 2), arrays["source"], max_abs=1e-5)
        assert_close(net(arrays["mel"], arrays["f0"]), arrays["wav"], max_abs=1e-4)
        remove_weight_norms(net)
        assert_close(net(arrays["mel"], arrays["f0_interp"]), arrays["wav_f0_interp"], max_abs=1e-4)


def test_golden_snake_decoder(zero_noise: None) -> None:
    case = Case("synth_snake")
    config = case.info["model_config"]
    shape = {key: config[key] for key in (*SHAPE_KEYS, "inter_channels", "gin_channels")}
    net = DECODERS.build("nsf-snake-hifigan", sample_rate=44100, **shape)
    state = case.state_dict()
    own = {key.removeprefix("dec."): value for key, value in state.items() if key.startswith("dec.")}
    result = net.load_state_dict(own, strict=False)
    assert not result.unexpected_keys and all(key.endswith(".filter") for key in result.missing_keys)
    arrays = {key: torch.from_numpy(value) for key, value in case.arrays().items()}
    g = state["emb_g.weight"][case.info["speaker"]["g"][0][0]].view(1, -1, 1)
    with torch.no_grad():
        assert_close(net(arrays["z"], arrays["f0"], g), arrays["wav_a"], max_abs=1e-4)


@pytest.mark.parametrize("resblock", ["1", "2"])
@pytest.mark.parametrize("activation", ["leaky_relu", "snake"])
def test_length_and_batch(zero_noise: None, resblock: str, activation: str) -> None:
    net = NSFHiFiGAN(**SMALL | {"resblock": resblock, "activation": activation})
    x, f0, g = torch.ones(3, 6, 7) * torch.arange(1, 4).view(3, 1, 1), torch.full((3, 7), 200.0), torch.ones(3, 3, 1)
    together = net(x, f0, g)
    assert together.shape == (3, 1, 7 * 20)
    alone = torch.cat([net(x[i : i + 1], f0[i : i + 1], g[i : i + 1]) for i in range(3)])
    assert_close(together, alone, max_abs=1e-6)
    per_frame = net(x, f0, g.expand(3, 3, 7))
    assert_close(per_frame, together, max_abs=1e-6)


def test_resblock_2_has_the_published_keys() -> None:
    keys = NSFHiFiGAN(**SMALL | {"resblock": "2"}).state_dict()
    assert "resblocks.3.convs.1.weight_g" in keys and not any("convs1" in key for key in keys)


def test_init_gains_lets_latents_and_source_through() -> None:
    net = NSFHiFiGAN(**SMALL)
    net.init_gains()
    z, f0 = torch.randn(2, net.conv_pre.in_channels, 64), torch.full((2, 64), 200.0)
    with torch.no_grad():
        plain, other_z, other_f0 = net(z, f0), net(torch.randn_like(z), f0), net(z, 1.5 * f0)
    assert 0.05 < plain.std() < 0.2
    for other in (other_z, other_f0):
        assert (plain - other).std() > 0.3 * plain.std()


def test_init_gains_upsamples_constants_to_constants() -> None:
    net = NSFHiFiGAN(**SMALL)
    net.init_gains()
    with torch.no_grad():
        for up in net.ups:
            out = up(torch.randn(1, up.in_channels, 1).expand(-1, -1, 9))[..., 3 * up.stride[0] : -3 * up.stride[0]]
            torch.testing.assert_close(out, out[..., :1].expand_as(out), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resblock": "3"}, 'resblock must be "1" or "2"'),
        ({"activation": "gelu"}, "choose one of: leaky_relu, snake"),
        ({"upsample_kernel_sizes": [10, 8]}, "10 does not fit upsample rate 5"),
        ({"upsample_kernel_sizes": [11]}, "2 upsample_rates but 1 upsample_kernel_sizes"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NSFHiFiGAN(**SMALL | change)


def test_unknown_decoder_lists_the_known() -> None:
    with pytest.raises(ValueError, match="choose one of: nsf-hifigan, nsf-snake-hifigan"):
        DECODERS.build("hifigan")


def test_snake_keeps_low_frequencies_and_constants() -> None:
    assert lowpass_filter().sum() == pytest.approx(1.0)
    snake = SnakeAlias(2)
    torch.nn.init.constant_(snake.act.alpha, -40.0)  # the periodic part vanishes: up and down must cancel
    x = torch.sin(torch.arange(400) * 0.05).expand(1, 2, 400)
    with torch.no_grad():
        assert_close(snake(x)[..., 8:-8], x[..., 8:-8], max_abs=2e-3)
        assert_close(snake(torch.full((1, 2, 40), 0.3)), torch.full((1, 2, 40), 0.3), max_abs=1e-6)

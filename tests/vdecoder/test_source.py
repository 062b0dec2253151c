"""The excitation: equal to the reference's sines, to a closed form, and to itself however long the song is."""

import math

import numpy as np
import pytest
import torch

from tests.parity import Case, assert_close
from vdecoder.source import SINE_AMPLITUDE, UNVOICED_NOISE_STD, VOICED_NOISE_STD, HarmonicSource, draw

SAMPLE_RATE, HOP = 44100, 512


def make_source(**kwargs) -> HarmonicSource:
    return HarmonicSource(SAMPLE_RATE, HOP, **kwargs)


@pytest.mark.parametrize("variant", ["synth", "nsf"])
@pytest.mark.parametrize("phases", ["zero", "phase"])
def test_golden_sines(variant: str, phases: str) -> None:
    arrays = {key: torch.from_numpy(value) for key, value in Case("sinegen").arrays().items()}
    initial = arrays["phase"].clone() if phases == "phase" else torch.zeros(1, 9)
    initial[:, 0] = 0
    sines = make_source(phase_at_frame_rate=variant == "nsf").harmonics(arrays["f0"], initial)
    assert_close(sines[:, :, [0, 4, 8]], arrays[f"{variant}_{phases}_h1_5_9"], max_abs=5e-5)
    assert_close(sines[:, 1400:1700], arrays[f"{variant}_{phases}_all_win"], max_abs=5e-5)


@pytest.mark.parametrize("f0_hz", [55.0, 440.0, 1100.0])
def test_constant_pitch_matches_closed_form(f0_hz: float) -> None:
    sines = make_source().harmonics(torch.full((1, 8), f0_hz), torch.zeros(1, 9))[0].numpy()
    seconds = np.arange(1, 8 * HOP + 1) / SAMPLE_RATE
    expected = SINE_AMPLITUDE * np.sin(2 * math.pi * f0_hz * seconds[:, None] * np.arange(1, 10))
    np.testing.assert_allclose(sines, expected, rtol=0, atol=1e-5)


def test_phase_stays_exact_over_five_minutes() -> None:
    f0 = 440.3 + 200 * torch.sin(torch.arange(300 * SAMPLE_RATE // HOP) / 37)
    cycles = make_source().cycles(f0[None])[0]
    exact = torch.cumsum(f0.double().repeat_interleave(HOP) / SAMPLE_RATE, dim=0)
    error = (cycles.double() - exact + 0.5).remainder(1.0) - 0.5
    assert error.abs().max() < 2e-6


def test_phase_is_continuous_across_frames_and_unvoiced_gaps() -> None:
    f0 = torch.tensor([[100.0, 900.0, 0.0, 0.0, 900.0, -30.0, 250.0]])
    cycles = make_source().cycles(f0)[0].double()
    steps = torch.diff(cycles).remainder(1.0)
    expected = (f0[0].double() / SAMPLE_RATE).repeat_interleave(HOP)[1:].remainder(1.0)
    assert ((steps - expected + 0.5).remainder(1.0) - 0.5).abs().max() < 2e-6


def test_noise_has_the_stated_strength() -> None:
    source = make_source()
    torch.nn.init.constant_(source.l_linear.weight, 1.0)
    torch.nn.init.zeros_(source.l_linear.bias)
    unvoiced = source(torch.zeros(1, 200)).detach()
    assert unvoiced.atanh().std() == pytest.approx(UNVOICED_NOISE_STD * 3, rel=0.02)  # sqrt(9 harmonics)
    f0 = torch.full((1, 200), 300.0)
    with_noise = source(f0, generator=torch.Generator().manual_seed(5)).detach().atanh()
    phases = torch.rand(1, 9, generator=torch.Generator().manual_seed(5))
    phases[:, 0] = 0
    noise = with_noise[0, 0] - source.harmonics(f0, phases)[0].sum(dim=1)
    assert noise.std() == pytest.approx(VOICED_NOISE_STD * 3, rel=0.02)


def test_generator_replaces_the_global_state() -> None:
    source, f0 = make_source(), torch.full((2, 4), 220.0)
    before = torch.get_rng_state()
    first = source(f0, generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, source(f0, generator=torch.Generator().manual_seed(1)))
    assert not torch.equal(first, source(f0, generator=torch.Generator().manual_seed(2)))


def test_draws_may_be_given_and_longer_ones_begin_alike() -> None:
    source, f0 = make_source(), torch.full((2, 4), 220.0)
    draws = draw(4 * HOP, generator=torch.Generator().manual_seed(1))
    assert torch.equal(source(f0, draws=draws), source(f0, generator=torch.Generator().manual_seed(1)))
    longer = draw(9 * HOP, generator=torch.Generator().manual_seed(1))  # what exported models hold serves every length
    assert torch.equal(longer.phases, draws.phases) and torch.equal(longer.noise[:, : 4 * HOP], draws.noise)


def test_merge_layer_is_trained() -> None:
    source = make_source()
    source(torch.tensor([[200.0, 0.0]])).square().sum().backward()
    assert source.l_linear.weight.grad.abs().min() > 0


def test_half_precision_weights_keep_the_phase() -> None:
    source, f0 = make_source(), torch.full((1, 400), 431.7)
    full = source(f0, generator=torch.Generator().manual_seed(1))
    half = source.half()(f0.half().float(), generator=torch.Generator().manual_seed(1))
    assert half.dtype == torch.float16
    exact = source.float()(f0.half().float(), generator=torch.Generator().manual_seed(1))
    assert_close(half.float(), exact, max_abs=2e-3)
    assert full.shape == half.shape


def test_bad_hop_is_refused() -> None:
    with pytest.raises(ValueError, match="hop_length and sample_rate must be at least 1"):
        HarmonicSource(SAMPLE_RATE, 0)

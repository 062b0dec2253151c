"""Samplers against what can be solved by hand, how often they ask the network, and what they refuse."""

import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from diffusion.samplers import FLOW_SAMPLERS, SAMPLERS, evaluations
from diffusion.schedule import Schedule
from tests.parity import assert_close

SCHEDULE = Schedule(1000)
MEL = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(2, 1, 3, 4)


def perfect(x: Tensor, step: float) -> Tensor:
    """The noise in x when the mel under it is known."""
    level = SCHEDULE.level(step)
    return (x - level.alpha * MEL) / level.sigma


def noisy(step: int) -> Tensor:
    level, noise = SCHEDULE.level(step), torch.randn(MEL.shape, generator=torch.Generator().manual_seed(5))
    return level.alpha * MEL + level.sigma * noise


def counted(network):
    calls = []

    def count(x: Tensor, step: float) -> Tensor:
        calls.append(float(step))
        return network(x, step)

    return count, calls


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("k_step", [100, 1000])
def test_a_perfect_network_gives_the_mel(name, k_step):
    speedup = 1 if name == "naive" else 10
    got = SAMPLERS.build(name, k_step=k_step, speedup=speedup).sample(perfect, noisy(k_step - 1), SCHEDULE)
    end = SCHEDULE.level(0)
    noise_left = (got - end.alpha * MEL) / end.sigma
    # all stop at step 0, where the noise is a hundredth of the mel; DDIM and PNDM began with that of a higher step
    assert_close(got, MEL, max_abs=0.06)
    assert noise_left.abs().max() < 5


@pytest.mark.parametrize("name", ["ddim", "pndm", "dpm-solver", "dpm-solver++", "unipc"])
def test_a_wrong_but_constant_mel_is_reached_exactly(name):
    """With a constant prediction of mel and noise all of these follow one curve, in however many steps."""
    noise = torch.randn_like(MEL)
    start, end = (90 if name in ("ddim", "pndm") else 99), SCHEDULE.level(0)
    level = SCHEDULE.level(start)
    got = SAMPLERS.build(name, k_step=100, speedup=10).sample(
        lambda x, step: noise, level.alpha * MEL + level.sigma * noise, SCHEDULE
    )
    assert_close(got, end.alpha * MEL + end.sigma * noise, max_abs=1e-10)


def gaussian(x: Tensor, step: float, spread: float = 0.3) -> Tensor:
    """The noise that is expected in x when mels are normal around MEL: the exact network of such data."""
    level = SCHEDULE.level(step)
    variance = (level.alpha * spread) ** 2 + level.sigma**2
    return level.sigma * (x - level.alpha * MEL) / variance


def exact_end(x: Tensor, first: int, spread: float = 0.3) -> Tensor:
    """Where the flow of `gaussian` carries x to: as many standard deviations from the mean as before."""
    start, end = SCHEDULE.level(first), SCHEDULE.level(0)
    deviations = [math.hypot(level.alpha * spread, level.sigma) for level in (start, end)]
    return end.alpha * MEL + (x - start.alpha * MEL) * deviations[1] / deviations[0]


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpm-solver", 2), ("dpm-solver++", 2), ("unipc", 2)])
def test_the_order_of_the_samplers(name, order):
    """Twice as many steps halve the error of a first-order sampler, and quarter that of one of second order."""
    errors = []
    for speedup in (10, 20):
        first = 1000 - speedup if name == "ddim" else 999
        x = noisy(first)
        got = SAMPLERS.build(name, k_step=1000, speedup=speedup).sample(gaussian, x, SCHEDULE)
        errors.append(float((got - exact_end(x, first)).abs().max()))
    assert order - 0.5 < math.log2(errors[1] / errors[0]) < order + 0.8  # the corrector of unipc does better


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(("k_step", "speedup"), [(100, 10), (95, 10), (99, 20), (1000, 50), (7, 3), (30, 1)])
def test_evaluations_are_counted_right(name, k_step, speedup):
    if name == "naive":
        speedup = 1
    network, calls = counted(perfect)
    SAMPLERS.build(name, k_step=k_step, speedup=speedup).sample(network, noisy(k_step - 1), SCHEDULE)
    assert len(calls) == evaluations(name, k_step=k_step, speedup=speedup)
    assert max(calls) <= k_step - 1 and min(calls) >= 0


def test_evaluations_of_the_documented_settings():
    counts = {name: evaluations(name, k_step=100, speedup=10) for name in SAMPLERS if name != "naive"}
    assert counts == {"ddim": 9, "pndm": 10, "dpm-solver": 10, "dpm-solver++": 10, "unipc": 10}
    assert evaluations("naive", k_step=100, speedup=1) == 100
    assert {name: evaluations(name, k_step=300, speedup=30) for name in FLOW_SAMPLERS} == {"euler": 10, "rk4": 40}


@pytest.mark.parametrize(
    ("name", "k_step", "speedup", "message"),
    [
        (
            "unipc",
            19,
            10,
            "k_step 19 at speedup 10 leaves 1 steps, and sampler unipc needs at least 2: lower the speedup",
        ),
        (
            "ddim",
            10,
            10,
            "k_step 10 at speedup 10 leaves 0 steps, and sampler ddim needs at least 1: lower the speedup",
        ),
        ("pndm", 5, 10, "sampler pndm needs at least 1: lower the speedup or raise k_step"),
        ("dpm-solver++", 9, 10, "leaves 0 steps, and sampler dpm-solver[+][+] needs at least 1"),
        ("euler", 5, 10, "sampler euler needs at least 1"),
        ("ddim", 100, 0, "speedup must be at least 1, got 0"),
        ("ddim", 0, 1, "k_step must be at least 1, got 0"),
        ("naive", 100, 10, "sampler naive takes every step: set the speedup to 1, not 10, or choose another"),
        (
            "heun",
            100,
            10,
            "unknown sampler 'heun'; choose one of: ddim, pndm, dpm-solver, dpm-solver[+][+], unipc, naive",
        ),
    ],
)
def test_what_cannot_be_sampled(name, k_step, speedup, message):
    with pytest.raises(ValueError, match=message):
        evaluations(name, k_step=k_step, speedup=speedup)


def test_a_schedule_of_one_step():
    with pytest.raises(ValueError, match="timesteps: must be at least 2, got 1"):
        Schedule(1)


@pytest.mark.parametrize("name", FLOW_SAMPLERS)
@pytest.mark.parametrize(("k_step", "speedup"), [(1000, 100), (300, 30), (300, 300), (100, 7)])
def test_a_straight_flow_is_followed_exactly(name, k_step, speedup):
    """From x_t = (1 - t) noise + t mel, at the velocity mel - noise, the mel is reached in however many steps."""
    noise = torch.randn_like(MEL)
    t = 1 - k_step / 1000
    x = (1 - t) * noise + t * MEL
    got = FLOW_SAMPLERS.build(name, k_step=k_step, speedup=speedup).sample(lambda x, step: MEL - noise, x, SCHEDULE)
    assert_close(got, MEL, max_abs=1e-12)


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("rk4", 4)])
def test_the_order_of_the_solvers(name, order):
    """dx/dt = x - 3 t from time 0.2 to 1, whose solution is known: halving the step divides the error by 2 ** order."""
    start = 0.2
    times, x = [], torch.tensor([0.7], dtype=torch.float64)

    def velocity(x: Tensor, step: float) -> Tensor:
        times.append(1 - step / 1000)
        return x - 3 * times[-1]

    def solution(t: float) -> float:
        return 3 * t + 3 + (0.7 - 3 * start - 3) * math.exp(t - start)

    errors = []
    for n_steps in (8, 16):
        got = FLOW_SAMPLERS.build(name, k_step=800, speedup=800 // n_steps).sample(velocity, x, SCHEDULE)
        errors.append(abs(got.item() - solution(1)))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)
    assert min(times) == pytest.approx(start) and max(times) <= 1 + 1e-9


def test_the_table_is_read_without_torch():
    script = "import sys; from diffusion.samplers import SAMPLERS; print('torch' in sys.modules, len(SAMPLERS))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "6"]

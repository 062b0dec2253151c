"""Numbers of the reference: its schedule, its denoiser, every sampler, and the training loss."""

import json
import re

import pytest
import torch
from torch import Tensor

from diffusion import Unit2Mel
from diffusion.schedule import Schedule
from tests.parity import Case, assert_close

CASE = Case("diffusion")
ARRAYS = {key: torch.from_numpy(value) for key, value in CASE.arrays().items()}
RUN = re.compile(
    r"mel_(?P<single>single_)?(full|shallow(?P<k_step>\d+))_(s(?P<speedup>\d+)_)?(?P<method>[^_]+)(_(?P<how>\w+))?"
)
RUNS = [name for name in ARRAYS if RUN.fullmatch(name)]
SPEAKERS = {
    None: {"spk_id": torch.tensor([[1]])},
    "spkmixdict": {"spk_mix_dict": {0: 0.2, 2: 0.8}},
    "aug2p5": {"spk_id": torch.tensor([[1]]), "aug_shift": torch.tensor([[2.5]])},
    "perframe_mix": {"spk_id": ARRAYS["spk_mix"]},
}


def build(component: str, **changes) -> Unit2Mel:
    sizes = CASE.info["config"]["model"] | {"n_spk": 1 if component == "single" else 3} | changes
    kind = sizes.pop("type")
    model = Unit2Mel(768, out_dims=128, model_type=kind, **sizes)
    weights, kept = CASE.state_dict(component), CASE.info["weights"][component]["kept_buffers"]
    missing, surplus = model.load_state_dict(weights, strict=False)
    assert (sorted(missing), surplus) == (sorted(kept), [])
    return model.eval()


@pytest.fixture(scope="module")
def models() -> dict[str, Unit2Mel]:
    return {component: build(component) for component in ("model", "single")}


def injected(noise: Tensor):
    """The reference's draws: this first, then nothing."""
    draws = [noise]
    return lambda like: draws.pop() if draws else torch.zeros_like(like)


def test_there_are_runs_of_every_sampler():
    assert {RUN.fullmatch(name)["method"] for name in RUNS} == {
        *("ddim", "pndm", "dpm-solver", "dpm-solver++", "unipc", "naive")
    }
    assert len(RUNS) == sum(name.startswith("mel_") for name in ARRAYS)


@pytest.mark.parametrize(("component", "file"), [("model", "keys.json"), ("single", "keys_single.json")])
def test_keys_are_those_of_checkpoints_in_their_order(models, component, file):
    expected = json.loads((CASE.folder / file).read_text(encoding="utf-8"))
    state = models[component].state_dict()
    assert [
        [key, list(value.shape), str(value.dtype).removeprefix("torch.")] for key, value in state.items()
    ] == expected


def test_the_schedule():
    check, tables = CASE.info["schedule_check"], Schedule(1000).tables()
    for name in check.keys() - {"index"}:
        expected = torch.tensor(check[name])
        torch.testing.assert_close(tables[name][check["index"]], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("step", [0, 37.5, 999])
def test_the_denoiser(models, step):
    denoiser = models["model"].decoder.denoise_fn
    got = denoiser(ARRAYS["x_t"], torch.tensor([float(step)]), ARRAYS["cond"])
    assert_close(got, ARRAYS[f"denoise_t{step}"], max_abs=1e-5)


def test_the_conditions(models):
    got = models["model"].condition(ARRAYS["units"], ARRAYS["f0"], ARRAYS["vol"], **SPEAKERS[None])
    assert_close(got, ARRAYS["cond_spk1"], max_abs=1e-5)


def test_the_noisy_mel(models):
    decoder = models["model"].decoder
    x = decoder.noisy(decoder._normalised(ARRAYS["gt_mel"]), torch.tensor([99]), ARRAYS["noise"])
    assert_close(x, ARRAYS["q_sample_99"], max_abs=1e-6)


@pytest.mark.parametrize("name", RUNS)
def test_runs(models, name):
    run, expected = RUN.fullmatch(name), ARRAYS[name]
    model = models["single" if run["single"] else "model"]
    speaker = {} if run["single"] else SPEAKERS[run["how"]]
    spec = ARRAYS["gt_mel"] if run["k_step"] else None
    plan = model.plan(
        method=None if run["method"] == "naive" else run["method"],
        speedup=int(run["speedup"] or 1),
        k_step=int(run["k_step"]) if run["k_step"] else None,
        shallow=spec is not None,
    )
    cond = model.condition(ARRAYS["units"], ARRAYS["f0"], ARRAYS["vol"], **speaker)
    got = model.infer(cond, plan, gt_spec=spec, draw=injected(ARRAYS["noise"]))
    limit = 1e-5 * float(expected.abs().max())
    assert_close(got, expected, max_abs=limit)


def test_the_call_of_the_reference(models, monkeypatch):
    monkeypatch.setattr(torch, "randn_like", injected(ARRAYS["noise"]))
    got = models["model"](
        *(ARRAYS["units"], ARRAYS["f0"], ARRAYS["vol"], torch.tensor([[1]]), None, None, ARRAYS["gt_mel"]),
        infer=True,
        infer_speedup=10,
        method="dpm-solver++",
        k_step=100,
        use_tqdm=False,
    )
    assert_close(got, ARRAYS["mel_shallow100_s10_dpm-solver++"], max_abs=1e-4)


def test_a_model_of_shallow_steps_gives_the_same_mel():
    model = build("single", k_step_max=200)
    plan = model.plan(method="dpm-solver++", speedup=10, k_step=100, shallow=True)
    cond = model.condition(ARRAYS["units"], ARRAYS["f0"], ARRAYS["vol"])
    got = model.infer(cond, plan, gt_spec=ARRAYS["gt_mel"], draw=injected(ARRAYS["noise"]))
    assert_close(got, ARRAYS["mel_single_shallow100_s10_dpm-solver++"], max_abs=1e-4)


def training_batch(model: Unit2Mel) -> tuple[Tensor, Tensor]:
    units, f0, volume, mel = (ARRAYS[key] for key in ("units", "f0", "vol", "gt_mel"))
    cond = model.condition(
        torch.cat([units, units.flip(1)]),
        torch.cat([f0, 1.1 * f0]),
        torch.cat([volume, volume]),
        spk_id=torch.tensor([[1], [2]]),
        aug_shift=torch.tensor([[0.0], [-3.2]]),
    )
    return cond, torch.cat([mel, mel.flip(1)])


def test_the_training_loss(models, monkeypatch):
    model, noise = models["model"], torch.cat([ARRAYS["noise"], ARRAYS["x_t"]])
    cond, mel = training_batch(model)
    loss = model.loss(cond, mel, step=torch.tensor([37, 612]), noise=noise)
    assert_close(loss, ARRAYS["train_loss"][0], max_abs=1e-5)
    monkeypatch.setattr(torch, "randn_like", lambda like: noise)
    monkeypatch.setattr(torch, "randint", lambda low, high, size, device: torch.tensor([37, 612]))
    assert_close(model.loss(cond, mel), loss, max_abs=0)

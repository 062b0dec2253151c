"""Unit2Mel: conditions, batches of different lengths, noise, what is refused."""

import pytest
import torch

from diffusion import Unit2Mel
from diffusion.samplers import FLOW_SAMPLERS, SAMPLERS
from diffusion.unit2mel import seeded_noise
from tests.diffusion import tiny
from tests.parity import assert_close

LENGTHS = [20, 7, 13, 1]
METHODS = [("Diffusion", name) for name in SAMPLERS] + [("RectifiedFlow", name) for name in FLOW_SAMPLERS]


def voices(batch: int) -> dict[str, torch.Tensor]:
    return {"spk_id": torch.arange(batch) % 3, "aug_shift": torch.linspace(-4, 4, batch)}


@pytest.mark.parametrize(("kind", "method"), METHODS)
@pytest.mark.parametrize("shallow", [True, False])
def test_a_batch_equals_its_items_one_by_one(kind, method, shallow):
    model = tiny.model(model_type=kind, timesteps=200)
    clips, mel = tiny.inputs(len(LENGTHS))
    plan = model.plan(method=method, speedup=1 if method == "naive" else 10, k_step=40, shallow=shallow)
    cond = model.condition(*clips, **voices(len(LENGTHS)))
    spec = mel if shallow else None
    lengths = torch.tensor(LENGTHS)
    together = model.infer(cond, plan, gt_spec=spec, lengths=lengths, draw=seeded_noise(3, LENGTHS))
    for i, length in enumerate(LENGTHS):
        item = slice(i, i + 1), slice(0, length)
        alone = model.infer(cond[item], plan, gt_spec=mel[item] if shallow else None, draw=seeded_noise(3, [length]))
        limit = 1e-5 * max(1.0, float(alone.abs().max()))
        assert_close(together[item], alone, max_abs=limit, mean_abs=limit)
        assert not together[i, length:].any()


@pytest.mark.parametrize("kind", ["Diffusion", "RectifiedFlow"])
def test_the_loss_of_a_padded_batch_is_the_mean_over_real_frames(kind):
    model = tiny.model(model_type=kind)
    clips, mel = tiny.inputs(2)
    cond = model.condition(*clips, **voices(2))
    step, noise = torch.tensor([5, 400]), torch.randn(2, 1, 8, 20)
    together = model.loss(cond, mel, lengths=torch.tensor([20, 8]), step=step, noise=noise)
    first = model.loss(cond[:1], mel[:1], step=step[:1], noise=noise[:1])
    second = model.loss(cond[1:, :8], mel[1:, :8], step=step[1:], noise=noise[1:, ..., :8])
    assert_close(together, (20 * first + 8 * second) / 28, max_abs=1e-5)


def test_padding_gets_no_gradient():
    model = tiny.model()
    clips, mel = tiny.inputs(1)
    clips.units.requires_grad_()
    model.loss(model.condition(*clips, **voices(1)), mel, lengths=torch.tensor([12])).backward()
    assert clips.units.grad[:, :12].any() and not clips.units.grad[:, 12:].any()


def test_speakers_by_id_by_constant_mix_and_frame_by_frame():
    model = tiny.model()
    clips, _ = tiny.inputs(2)
    weights = torch.tensor([0.2, 0.5, 0.3])
    constant = model.condition(*clips, spk_mix_dict={0: 0.2, 1: 0.5, 2: 0.3})
    for mix in (weights.expand(20, 3), weights.expand(2, 20, 3)):
        assert_close(model.condition(*clips, spk_id=mix), constant, max_abs=1e-6)
    each = torch.rand(2, 20, 3).softmax(dim=2)
    together = model.condition(*clips, spk_id=each)
    for i in range(2):
        alone = model.condition(*(clip[i : i + 1] for clip in clips), spk_id=each[i])
        assert_close(together[i : i + 1], alone, max_abs=1e-6)
    one_hot = torch.zeros(20, 2)
    one_hot[:10, 0] = one_hot[10:, 1] = 1
    switched = model.condition(*clips, spk_id=one_hot)
    first, second = (model.condition(*clips, spk_id=torch.tensor([[i]])) for i in (0, 1))
    assert_close(switched, torch.cat([first[:, :10], second[:, 10:]], dim=1), max_abs=1e-6)
    each = model.condition(*clips, spk_id=torch.tensor([0, 1]))
    assert_close(each, torch.stack([first[0], second[1]]), max_abs=0)


def test_shifts_by_number_and_by_item():
    model = tiny.model()
    clips, _ = tiny.inputs(2)
    speaker = {"spk_id": torch.tensor([0])}
    by_number = [model.condition(*clips, **speaker, aug_shift=shift) for shift in (2.5, -1)]
    by_item = model.condition(*clips, **speaker, aug_shift=torch.tensor([2.5, -1]))
    assert_close(by_item, torch.stack([by_number[0][0], by_number[1][1]]), max_abs=0)
    without = model.condition(*clips, **speaker)
    assert_close(model.condition(*clips, **speaker, aug_shift=0), without, max_abs=0)


def test_conditions_that_do_not_fit_the_model():
    clips, _ = tiny.inputs()
    model = tiny.model()
    with pytest.raises(ValueError, match="this model has 3 speakers: choose by spk_id or spk_mix_dict"):
        model.condition(*clips)
    for unknown in ({"spk_id": torch.tensor([[3]])}, {"spk_mix_dict": {3: 1.0}}, {"spk_id": torch.ones(20, 4)}):
        with pytest.raises(ValueError, match="unknown speaker id 3: this model has ids 0 to 2"):
            model.condition(*clips, **unknown)
    with pytest.raises(ValueError, match="trained with use_pitch_aug false"):
        tiny.model(use_pitch_aug=False).condition(*clips, spk_id=torch.tensor([0]), aug_shift=1)


def test_a_single_speaker_needs_no_id():
    model = tiny.model(n_spk=1)
    clips, _ = tiny.inputs()
    assert torch.equal(model.condition(*clips), model.condition(*clips, spk_id=torch.tensor([[0]])))


def test_models_of_shallow_steps_say_what_they_cannot_do():
    for model in (tiny.model(k_step_max=200), tiny.model(k_step_max=200, model_type="RectifiedFlow")):
        method = next(iter(model.decoder.samplers))
        with pytest.raises(
            ValueError, match=r"at most 200 of 1000 steps .* cannot make one from nothing: .* not with -od"
        ):
            model.plan(method=method, speedup=10, k_step=None, shallow=False)
        with pytest.raises(ValueError, match=r"k_step 300 is more than the 200 steps .*: use -ks 200 or less"):
            model.plan(method=method, speedup=10, k_step=300, shallow=True)
        assert model.plan(method=method, speedup=10, k_step=None, shallow=True).sampler.k_step == 200


@pytest.mark.parametrize("k_step_max", [0, None, 1000, 2000])
def test_a_model_of_all_steps(k_step_max):
    model = tiny.model(k_step_max=k_step_max)
    assert model.decoder.k_step_max == 1000
    assert (
        model.plan(method="ddim", speedup=50, k_step=100, shallow=False).sampler.k_step == 1000
    )  # -ks is for shallow runs


def test_every_step_means_the_plain_sampler():
    model = tiny.model()
    for method, speedup in ((None, 10), ("unipc", 1), ("naive", 1)):
        plan = model.plan(method=method, speedup=speedup, k_step=30, shallow=True)
        assert (plan.sampler.name, plan.sampler.evaluations) == ("naive", 30)
    flow = tiny.model(model_type="RectifiedFlow")
    assert flow.plan(method="rk4", speedup=1, k_step=30, shallow=True).sampler.evaluations == 120


def test_a_sampler_of_the_other_kind():
    with pytest.raises(ValueError, match="unknown sampler for rectified flow 'dpm-solver'; choose one of: euler, rk4"):
        tiny.model(model_type="RectifiedFlow").plan(method="dpm-solver", speedup=10, k_step=100, shallow=True)


def test_a_plan_that_does_not_fit_the_mel():
    model = tiny.model()
    clips, mel = tiny.inputs()
    cond = model.condition(*clips, **voices(1))
    for shallow, spec in ((True, None), (False, mel)):
        plan = model.plan(method="ddim", speedup=50, k_step=100, shallow=shallow)
        with pytest.raises(ValueError, match="a mel to start from belongs to a shallow plan, and to no other"):
            model.infer(cond, plan, gt_spec=spec)


def test_the_call_of_the_reference_trains_and_infers():
    model = tiny.model()
    clips, mel = tiny.inputs()
    loss = model(*clips, torch.tensor([[1]]), None, None, mel, infer=False)
    loss.backward()
    assert loss.ndim == 0 and model.unit_embed.weight.grad.any()
    with pytest.raises(ValueError, match="the loss needs gt_spec"):
        model(*clips, torch.tensor([[1]]), infer=False)
    made = model(*clips, torch.tensor([[1]]), gt_spec=mel, infer_speedup=50, k_step=100, use_tqdm=False)
    assert made.shape == mel.shape and not made.requires_grad


@pytest.mark.parametrize("shallow", [True, False])
def test_under_autocast_only_the_network_is_of_half_precision(shallow):
    model = tiny.model()
    clips, mel = tiny.inputs()
    plan = model.plan(method="dpm-solver++", speedup=20, k_step=100, shallow=shallow)
    spec = mel if shallow else None

    @torch.no_grad()
    def run() -> list[torch.Tensor]:
        cond = model.condition(*clips, **voices(1))
        mel_made = model.infer(cond, plan, gt_spec=spec, draw=seeded_noise(1, [20]))
        return [mel_made, model.loss(cond, mel, noise=torch.zeros(1, 1, 8, 20), step=torch.tensor([500]))]

    exact = run()
    with torch.autocast("cpu", torch.bfloat16):
        half = run()
    for a, b in zip(half, exact, strict=True):
        assert a.dtype == torch.float32
        assert_close(a, b, max_abs=0.03 * float(b.abs().max()))


def test_progress_counts_the_evaluations_of_the_plan(capsys):
    model = tiny.model()
    clips, mel = tiny.inputs()
    plan, seen = model.plan(method="pndm", speedup=10, k_step=100, shallow=True), []
    model.infer(model.condition(*clips, **voices(1)), plan, gt_spec=mel, progress=lambda: seen.append(1))
    assert len(seen) == plan.sampler.evaluations
    model(*clips, torch.tensor([[1]]), gt_spec=mel, k_step=100, method="pndm")
    assert f"{plan.sampler.evaluations}/{plan.sampler.evaluations}" in capsys.readouterr().err


def test_seeded_noise_leaves_the_global_generator_alone():
    before, like = torch.get_rng_state(), torch.zeros(2, 1, 3, 5)
    draw, again = seeded_noise(4, [5, 2]), seeded_noise(4, [5, 2])
    first = draw(like)
    assert torch.equal(first, again(like)) and not torch.equal(first, draw(like))
    assert not first[1, ..., 2:].any() and first[1, ..., :2].all()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["Diffusion", "RectifiedFlow"])
def test_training_learns_a_constant_mel(kind):
    """The loss begins at about 1, the variance of the noise; a tiny network halves it in a second."""
    clips, mel = tiny.inputs(8)
    mel = torch.full_like(mel, -4)
    model = Unit2Mel(**{**tiny.SIZES, **tiny.NETWORK, "n_spk": 1}, model_type=kind)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(100):
        loss = model(*clips, gt_spec=mel, infer=False)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(1, abs=0.2)
    assert sum(losses[-20:]) / 20 < 0.5


def test_sizes_that_no_network_can_have():
    with pytest.raises(ValueError, match="n_chans must be even and at least 4, got 7"):
        tiny.model(n_chans=7)
    with pytest.raises(ValueError, match="unknown model_type 'CombSub'; choose one of: Diffusion, RectifiedFlow"):
        tiny.model(model_type="CombSub")


def test_a_temperature_scales_the_same_noise():
    like = torch.empty(2, 1, 8, 7)
    warm, cool, cold = (seeded_noise(3, [7, 5], temperature=t)(like) for t in (1.0, 0.5, 0.0))
    assert_close(cool, warm / 2, max_abs=0)
    assert warm[0].std() > 0.5 and not cold.any()

"""Training losses equal the reference's numbers."""

import pytest
import torch

from modules.losses import discriminator_loss, feature_loss, generator_loss, kl_loss, stft_loss
from tests.parity import Case


@pytest.fixture(scope="module")
def case() -> Case:
    return Case("synth_train")


@pytest.fixture(scope="module")
def arrays(case: Case) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in case.arrays().items()}


def test_golden_adversarial_losses(case: Case, arrays: dict[str, torch.Tensor]) -> None:
    losses = case.info["losses"]
    real, fake = ([arrays[f"disc_{letter}_{i}"] for i in range(6)] for letter in "rg")
    total, real_parts, fake_parts = discriminator_loss(real, fake)
    assert total.item() == pytest.approx(losses["loss_disc_all"], rel=1e-5)
    assert [x.item() for x in real_parts] == pytest.approx(losses["losses_disc_r"], rel=1e-5)
    assert [x.item() for x in fake_parts] == pytest.approx(losses["losses_disc_g"], rel=1e-5)
    total, parts = generator_loss(fake)
    assert total.item() == pytest.approx(losses["loss_gen"], rel=1e-5)
    assert [x.item() for x in parts] == pytest.approx(losses["losses_gen"], rel=1e-5)


def test_golden_kl(case: Case, arrays: dict[str, torch.Tensor]) -> None:
    latents = [arrays[key] for key in ("z_p", "logs_q", "m_p", "logs_p", "spec_mask")]
    assert kl_loss(*latents).item() == pytest.approx(case.info["losses"]["loss_kl"], rel=1e-4)


def test_kl_ignores_padding_and_vanishes_for_equal_distributions() -> None:
    mask = torch.ones(2, 1, 50)
    mask[1, :, 20:] = 0
    z, m, logs = torch.randn(2, 4, 50), torch.randn(2, 4, 50), torch.zeros(2, 4, 50)
    loss = kl_loss(z, logs, m, logs, mask)
    spoiled = torch.where(mask.bool(), z, 1e3)
    assert kl_loss(spoiled, logs, m, logs, mask).item() == pytest.approx(loss.item())
    samples = torch.randn(1, 4, 20000)
    equal = kl_loss(
        samples, torch.zeros_like(samples), torch.zeros_like(samples), torch.zeros_like(samples), samples[:, :1] * 0 + 1
    )
    assert abs(equal.item()) < 0.1


def test_feature_loss_moves_only_the_generated_side() -> None:
    real, fake = torch.zeros(2, 3, requires_grad=True), torch.full((2, 3), 0.5, requires_grad=True)
    loss = feature_loss([[real], [real]], [[fake], [fake]])
    assert loss.item() == pytest.approx(2 * (0.5 + 0.5))
    loss.backward()
    assert real.grad is None and fake.grad is not None


def test_losses_are_float32_under_half_precision() -> None:
    scores = [torch.ones(2, 4, dtype=torch.bfloat16)]
    assert generator_loss(scores)[0].dtype == torch.float32
    assert discriminator_loss(scores, scores)[0].dtype == torch.float32


def test_stft_loss_hears_a_wrong_pitch_at_high_harmonics() -> None:
    t = torch.arange(16384) / 44100
    comb = {hz: sum(torch.sin(2 * torch.pi * k * hz * t) for k in range(20, 60)) / 80 for hz in (200.0, 206.0)}
    right, wrong = comb[200.0][None], comb[206.0][None]
    assert stft_loss(right, right) == 0
    assert stft_loss(right, -right) < 1e-4  # no phase
    assert stft_loss(right, wrong) > 10 * stft_loss(right, 1.05 * right)
    assert stft_loss(right, torch.zeros_like(right)).isfinite()
    assert stft_loss(right[:, :1024], wrong[:, :1024]) > 0  # shorter than the longest window

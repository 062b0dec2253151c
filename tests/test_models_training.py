"""One training step on recipe weights: outputs, losses and every gradient norm equal the reference's."""

import json
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import MultiPeriodDiscriminator, SynthesizerTrn, TrainingOutput
from modules.losses import discriminator_loss, feature_loss, generator_loss, kl_loss
from modules.masking import take_segments
from modules.mel_processing import mel_spectrogram, spec_to_mel, spectrogram
from tests.parity import Case, assert_close

HOP, SEGMENT_FRAMES = 512, 20
STFT = {"n_fft": 2048, "hop_length": HOP, "win_length": 2048}
MEL = {"sample_rate": 44100, "n_fft": 2048, "n_mels": 80, "fmin": 0.0, "fmax": 22050.0}


class Step:
    """The losses of one step, and the gradient norm of every parameter."""

    def __init__(self, case: Case) -> None:
        arrays = {key: torch.from_numpy(value) for key, value in case.arrays().items()}
        net = SynthesizerTrn(1025, SEGMENT_FRAMES, **case.info["model_config"]).eval()
        net.load_state_dict(case.state_dict("model"))
        net_d = MultiPeriodDiscriminator(use_spectral_norm=False).eval()
        net_d.load_state_dict(case.state_dict("discriminator"))

        wav = arrays["y_int16"].float() / 32768
        lengths = torch.tensor(case.info["inputs"]["lengths"])
        spec = torch.zeros(2, 1025, 22)
        for i, length in enumerate(lengths.tolist()):
            spec[i, :, :length] = spectrogram(wav[i, :, : length * HOP], **STFT)[0]
        self.out: TrainingOutput = net(
            arrays["c"],
            arrays["f0"],
            arrays["uv"],
            spec,
            torch.tensor(case.info["inputs"]["speaker"])[:, None],
            lengths,
            lengths,
            arrays["vol"],
        )
        y = take_segments(wav, self.out.starts * HOP, SEGMENT_FRAMES * HOP)
        y_hat = self.out.audio

        real, fake, _, _ = net_d(y, y_hat.detach())
        self.losses = {"loss_disc_all": discriminator_loss(real, fake)[0]}
        self.losses["loss_disc_all"].backward()
        self.discriminator_norms = gradient_norms(net_d)

        self.y_mel = take_segments(spec_to_mel(spec, **MEL), self.out.starts, SEGMENT_FRAMES)
        self.y_hat_mel = mel_spectrogram(y_hat.squeeze(1), **STFT | MEL)
        self.real, self.fake, real_maps, fake_maps = net_d(y, y_hat)
        latents = self.out.latents
        generator = {
            "loss_gen": generator_loss(self.fake)[0],
            "loss_fm": feature_loss(real_maps, fake_maps),
            "loss_mel": 45 * F.l1_loss(self.y_mel, self.y_hat_mel),
            "loss_kl": kl_loss(latents.z_p, latents.logs_q, latents.m_p, latents.logs_p, self.out.mask),
            "loss_lf0": F.mse_loss(self.out.pred_lf0, self.out.lf0),
        }
        self.losses |= generator | {"loss_gen_all": sum(generator.values())}
        self.losses["loss_gen_all"].backward()
        self.generator_norms = gradient_norms(net)


def gradient_norms(net: nn.Module) -> dict[str, float | None]:
    return {key: None if x.grad is None else float(x.grad.norm()) for key, x in net.named_parameters()}


@pytest.fixture(scope="module")
def case() -> Case:
    return Case("synth_train")


@pytest.fixture(scope="module")
def step(case: Case) -> Iterator[Step]:
    arrays = {key: torch.from_numpy(value) for key, value in case.arrays().items()}

    def rand(*shape: int | list[int], **_: object) -> Tensor:
        if shape == ([2],):  # where the segments start
            return torch.full((2,), 0.5)
        return (arrays["lf0_factor"] - 0.8) / 0.4 if shape == (2, 1) else torch.zeros(shape[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", rand)
        patch.setattr(torch, "randn", lambda *shape, **_: torch.zeros(*shape))
        patch.setattr(torch, "randn_like", lambda _: arrays["noise_zq"])
        yield Step(case)


def test_golden_outputs(case: Case, step: Step) -> None:
    arrays = case.arrays()
    assert_close(step.out.audio, arrays["y_hat"], max_abs=1e-4)
    for key, latent in step.out.latents._asdict().items():
        assert_close(latent, arrays[key], max_abs=1e-4)
    for key in ("pred_lf0", "norm_lf0", "lf0"):
        assert_close(getattr(step.out, key), arrays[key], max_abs=1e-5)
    assert step.out.starts.tolist() == arrays["ids_slice"].tolist()
    assert step.out.mask.tolist() == arrays["spec_mask"].tolist()
    assert_close(step.y_mel, arrays["y_mel"], max_abs=2e-3, mean_abs=1e-4)
    assert_close(step.y_hat_mel, arrays["y_hat_mel"], max_abs=2e-3, mean_abs=1e-4)
    for i in range(6):
        assert_close(step.real[i], arrays[f"disc_r_{i}"], max_abs=1e-4)
        assert_close(step.fake[i], arrays[f"disc_g_{i}"], max_abs=1e-4)


def test_golden_losses(case: Case, step: Step) -> None:
    for key, loss in step.losses.items():
        assert loss.item() == pytest.approx(case.info["losses"][key], rel=1e-4), key


@pytest.mark.parametrize("side", ["discriminator", "generator"])
def test_golden_gradients(side: str, case: Case, step: Step) -> None:
    details = json.loads((case.folder / "details.json").read_text())
    expected = details["grad_norm_loss_gen_all" if side == "generator" else "grad_norm_loss_disc_all"]
    norms = step.generator_norms if side == "generator" else step.discriminator_norms
    assert list(norms) == list(expected)  # also the order of the optimizer's states
    largest = max(norm for norm in expected.values() if norm is not None)
    for key, norm in expected.items():
        if norm is None:
            assert norms[key] is None, key
        elif norm > 1e-4 * largest:  # smaller ones, such as the bias of attention keys, are rounding noise
            assert norms[key] == pytest.approx(norm, rel=2e-3), key

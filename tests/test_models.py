"""Every variant of the synthesizer equals the reference's numbers; a batch equals its items, and no state leaks."""

import copy
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from common.config import ModelConfig
from models import SynthesizerTrn
from modules.layers import remove_weight_norms
from tests.parity import Case, assert_close

CASES = [
    "synth_default",
    "synth_vol",
    "synth_snake",
    "synth_transflow",
    "synth_transflow_shared",
    "synth_flow_shared",
    "synth_depthwise",
    "synth_tiny",
    "synth_legacy40",
    "synth_spkmix",
]
SMALL: dict[str, Any] = {
    "inter_channels": 16,
    "hidden_channels": 16,
    "filter_channels": 24,
    "n_heads": 2,
    "n_layers": 2,
    "kernel_size": 3,
    "p_dropout": 0.1,
    "resblock": "1",
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]],
    "upsample_rates": [4, 4],
    "upsample_initial_channel": 16,
    "upsample_kernel_sizes": [8, 8],
    "gin_channels": 8,
    "ssl_dim": 12,
    "n_speakers": 5,
}
HOP = 16


def small_net(**changes: Any) -> SynthesizerTrn:
    net = SynthesizerTrn(33, 4, **SMALL | changes).eval()
    for name, parameter in net.named_parameters():
        if name.startswith("flow.") and ".post." in name:  # zero at first, which would make the flow the identity
            torch.nn.init.normal_(parameter, std=0.3)
    return net


def small_inputs(batch: int = 3, n_frames: int = 20) -> dict[str, Tensor]:
    uv = (torch.rand(batch, n_frames) > 0.3).float()
    f0 = 200 + 100 * torch.rand(batch, n_frames)
    return {"c": torch.randn(batch, 12, n_frames), "f0": f0, "uv": uv, "g": torch.arange(batch)[:, None]}


def capture_latents(net: SynthesizerTrn) -> dict[str, Tensor]:
    """Filled by the next call of infer."""
    seen: dict[str, Tensor] = {}
    net.enc_p.register_forward_hook(lambda _, x, out: seen.update(x_enc_in=x[0], m_p=out[0], logs_p=out[1]))
    net.flow.register_forward_hook(lambda _, x, out: seen.update(z=out))
    return seen


def parameter_keys(case: Case, keys: list) -> list[str]:
    """Order of an optimizer's positional states: shared tensors count once, where they first appear."""
    weights = case.info["weights"]["model"]
    first = {weights["aliases"].get(key, key): key for key, *_ in reversed(keys)}
    return [key for key, *_ in keys if key in first.values() and key not in weights["kept_buffers"]]


@pytest.mark.parametrize("name", CASES)
def test_golden_inference(name: str, zero_noise: None) -> None:
    case = Case(name)
    arrays = {key: torch.from_numpy(value) for key, value in case.arrays().items()}
    net = SynthesizerTrn(1025, 20, **case.info["model_config"]).eval()
    keys = json.loads((case.folder / "keys.json").read_text())
    assert [[key, list(x.shape), str(x.dtype).removeprefix("torch.")] for key, x in net.state_dict().items()] == keys
    assert [key for key, _ in net.named_parameters()] == parameter_keys(case, keys)
    kept = case.info["weights"]["model"]["kept_buffers"]  # constants that the network itself builds
    own = {key: value for key, value in net.state_dict().items() if key in kept}
    net.load_state_dict(case.state_dict() | own)

    if "spk_mix" in arrays:
        net.EnableCharacterMix(arrays["spk_mix"].size(1), "cpu")
        g = arrays["spk_mix"]
    else:
        g = torch.tensor(case.info["speaker"]["g"])
    for i, run in enumerate(case.info["runs"]):
        latents = capture_latents(net) if i == 0 else {}
        predict_f0 = run.get("predict_f0", False)
        audio, f0 = net.infer(
            arrays["c"],
            arrays["f0"],
            arrays["uv"],
            g,
            noice_scale=run["noice_scale"],
            predict_f0=predict_f0,
            vol=None if run.get("novol") else arrays.get("vol"),
            noise=arrays["noise_zp"] if run.get("noise") else None,
        )
        assert_close(audio, arrays[f"wav_{run['name']}"], max_abs=5e-4 if predict_f0 else 1e-4)
        if predict_f0:
            assert_close(f0, arrays[f"f0_pred_{run['name']}"], max_abs=2e-3)
        for key, latent in latents.items():
            assert_close(latent, arrays[key], max_abs=1e-4 * float(arrays[key].abs().max()))


@pytest.mark.parametrize("predict_f0", [False, True])
@pytest.mark.parametrize("transformer", [False, True])
def test_batch_equals_single_items(predict_f0: bool, transformer: bool) -> None:
    net = small_net(use_transformer_flow=transformer, vol_embedding=True)
    inputs = small_inputs() | {"vol": torch.rand(3, 20)}
    lengths = torch.tensor([20, 13, 7])
    audio, f0 = net.infer(**inputs, predict_f0=predict_f0, c_lengths=lengths)
    assert audio.shape == (3, 1, 20 * HOP) and f0.shape == (3, 20)
    together, _ = net.infer(**inputs, predict_f0=predict_f0)
    for i, length in enumerate(lengths.tolist()):
        item = {key: x[i : i + 1] if key == "g" else x[i : i + 1, ..., :length] for key, x in inputs.items()}
        alone, alone_f0 = net.infer(**item, predict_f0=predict_f0)
        assert_close(audio[i : i + 1, :, : length * HOP], alone, max_abs=1e-5)
        assert_close(f0[i : i + 1, :length], alone_f0, max_abs=1e-3)
        assert (audio[i, :, length * HOP :] == 0).all()
        if length == 20:
            assert_close(together[i : i + 1], alone, max_abs=1e-5)


def test_infer_is_repeatable_and_leaves_the_global_generator_alone() -> None:
    net, inputs = small_net(), small_inputs(1)
    state = torch.get_rng_state()
    first, _ = net.infer(**inputs)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(7)
    assert torch.equal(net.infer(**inputs)[0], first)
    assert not torch.equal(net.infer(**inputs, seed=1)[0], first)
    assert not torch.equal(net.infer(**inputs, noice_scale=1.0)[0], first)


def test_mix_of_one_speaker_is_that_speaker() -> None:
    net, inputs = small_net(), small_inputs(1)
    net.EnableCharacterMix(3, "cpu")
    inputs["g"] = torch.tensor([[2]])
    expected, _ = net.infer(**inputs)
    mixed, _ = net.infer(**inputs | {"g": torch.tensor([[0.0, 0.0, 1.0]]).expand(20, 3)})
    assert_close(mixed, expected, max_abs=1e-5)
    lengths = torch.tensor([11])
    shorter, _ = net.infer(**inputs | {"g": torch.tensor([[0.0, 0.0, 1.0]]).expand(20, 3)}, c_lengths=lengths)
    assert_close(shorter, net.infer(**inputs, c_lengths=lengths)[0], max_abs=1e-5)


@pytest.mark.parametrize("predict_f0", [False, True])
@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"use_transformer_flow": True},
        {"use_depthwise_conv": True, "flow_share_parameter": True},
        {"vocoder_name": "nsf-snake-hifigan", "vol_embedding": True},
    ],
)
def test_mixes_of_a_batch(variant: dict[str, Any], predict_f0: bool) -> None:
    net, inputs = small_net(**variant), small_inputs() | {"vol": torch.rand(3, 20)}
    net.EnableCharacterMix(4)
    one_hot = torch.eye(4)[:3]  # speakers 0, 1, 2, as small_inputs has them
    lengths = torch.tensor([20, 13, 7])
    expected, expected_f0 = net.infer(**inputs, predict_f0=predict_f0, c_lengths=lengths)
    for frames in (1, 20):  # the same in all frames, and one row per frame
        mixed, f0 = net.infer(
            **inputs | {"g": one_hot[:, None].expand(3, frames, 4)}, predict_f0=predict_f0, c_lengths=lengths
        )
        assert_close(mixed, expected, max_abs=1e-5)
        assert_close(f0, expected_f0, max_abs=1e-3)

    weights = torch.rand(3, 20, 4).softmax(dim=2)
    mixed, f0 = net.infer(**inputs | {"g": weights}, predict_f0=predict_f0, c_lengths=lengths)
    for i, length in enumerate(lengths.tolist()):  # a piece alone is the same, given by (F, S) or (1, F, S)
        item = {key: x[i : i + 1, ..., :length] for key, x in inputs.items() if key != "g"}
        for g in (weights[i, :length], weights[i : i + 1, :length]):
            alone, alone_f0 = net.infer(**item, g=g, predict_f0=predict_f0)
            assert_close(mixed[i : i + 1, :, : length * HOP], alone, max_abs=1e-5)
            assert_close(f0[i : i + 1, :length], alone_f0, max_abs=1e-3)
    behind = torch.arange(20) >= lengths[:, None]  # what stands behind an item's end changes nothing
    padded, _ = net.infer(
        **inputs | {"g": weights.masked_fill(behind[..., None], 0)}, predict_f0=predict_f0, c_lengths=lengths
    )
    assert_close(padded, mixed, max_abs=1e-5)
    same = net.infer(**inputs | {"g": weights[0]}, predict_f0=predict_f0)[0]  # one timeline for all items
    assert_close(
        same, net.infer(**inputs | {"g": weights[:1].expand(3, 20, 4)}, predict_f0=predict_f0)[0], max_abs=1e-5
    )


def test_volume_none_adds_nothing() -> None:
    net, inputs = small_net(vol_embedding=True), small_inputs(1)
    silent, _ = net.infer(**inputs, vol=torch.zeros(1, 20))
    torch.nn.init.zeros_(net.emb_vol.bias)
    assert not torch.equal(silent, net.infer(**inputs)[0])
    assert torch.equal(net.infer(**inputs, vol=torch.zeros(1, 20))[0], net.infer(**inputs)[0])


def test_model_without_pitch_predictor() -> None:
    net, inputs = small_net(use_automatic_f0_prediction=False), small_inputs(2)
    assert not any(key.startswith("f0_decoder") for key in net.state_dict())
    assert net.infer(**inputs)[0].shape == (2, 1, 20 * HOP)
    with pytest.raises(ValueError, match="cannot predict f0.*without -a"):
        net.infer(**inputs, predict_f0=True)
    lengths = torch.tensor([20, 9])
    out = net(**inputs, spec=torch.rand(2, 33, 20), c_lengths=lengths, spec_lengths=lengths)
    assert torch.equal(out.pred_lf0, out.lf0)


def test_folding_weight_norms_changes_nothing() -> None:
    net, inputs = small_net(use_depthwise_conv=True, flow_share_parameter=True), small_inputs(1)
    expected, _ = net.infer(**inputs)
    folded = copy.deepcopy(net)
    remove_weight_norms(folded)
    assert not any("weight_g" in key for key in folded.state_dict())
    assert_close(folded.infer(**inputs)[0], expected, max_abs=1e-5)
    assert torch.equal(net.infer(**inputs)[0], expected)


def test_depthwise_model_leaves_later_models_alone() -> None:
    small_net(use_depthwise_conv=True)
    assert "enc_q.enc.in_layers.0.weight_v" in small_net().state_dict()


def test_half_precision_weights() -> None:
    net, inputs = small_net().bfloat16(), small_inputs(1)
    inputs["c"] = inputs["c"].bfloat16()
    audio, f0 = net.infer(**inputs, predict_f0=True)
    assert audio.dtype == torch.bfloat16 and torch.isfinite(audio).all() and f0.dtype == torch.float32


class LatentGraph(torch.nn.Module):
    """The part of `infer` before the decoder, with every input a tensor."""

    def __init__(self, net: SynthesizerTrn) -> None:
        super().__init__()
        self.net = net

    def forward(self, c: Tensor, f0: Tensor, uv: Tensor, g: Tensor, noise: Tensor) -> Tensor:
        mask, g = torch.ones_like(c[:, :1]), self.net.speaker_vector(g)
        x = self.net._content(c, uv, mask, None)
        m_p, logs_p = self.net.enc_p(x, mask, self.net._predict_f0(x, f0, uv, mask, g))
        return self.net.flow(m_p + noise * torch.exp(logs_p), mask, g, reverse=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("transformer", [False, True])
def test_traced_graph_serves_other_lengths(transformer: bool, tmp_path: Path) -> None:
    onnxruntime, _ = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
    net = small_net(use_transformer_flow=transformer)
    remove_weight_norms(net)
    graph = LatentGraph(net).eval()

    def inputs(n_frames: int) -> dict[str, Tensor]:
        return small_inputs(1, n_frames) | {"noise": torch.randn(1, 16, n_frames)}

    example, path = inputs(9), tmp_path / "latents.onnx"
    axes = {key: {x.dim() - 1: "frames"} for key, x in example.items() if key != "g"}
    names = list(example)
    torch.onnx.export(
        graph, tuple(example.values()), path, input_names=names, dynamic_axes=axes, opset_version=16, dynamo=False
    )
    session = onnxruntime.InferenceSession(path)
    for n_frames in (4, 31):
        example = inputs(n_frames)
        got = session.run(None, {key: x.numpy() for key, x in example.items()})[0]
        assert_close(got, graph(**example), max_abs=1e-4)


def test_unknown_options_are_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        small_net(speaker_embedding=False, use_spectral_norm=False, n_layers_q=3, speech_encoder="vec768l12")
        SynthesizerTrn(33, 4, **asdict(ModelConfig(**SMALL)))
        assert not caplog.records
        small_net(warp_drive=True)
    assert "warp_drive" in caplog.text


def test_wrong_speakers_are_refused() -> None:
    net, inputs = small_net(), small_inputs(1)
    weights = torch.full((20, 3), 1 / 3)
    with pytest.raises(ValueError, match="EnableCharacterMix"):
        net.infer(**inputs | {"g": weights})
    with pytest.raises(ValueError, match="cannot mix 6 speakers: the model has 5"):
        net.EnableCharacterMix(6)


def test_too_short_clips_are_refused() -> None:
    inputs = small_inputs(2, n_frames=3)
    lengths = torch.tensor([3, 3])
    with pytest.raises(ValueError, match="a segment has 4 steps, but the longest clip of this batch has 3"):
        small_net()(**inputs, spec=torch.rand(2, 33, 3), c_lengths=lengths, spec_lengths=lengths)

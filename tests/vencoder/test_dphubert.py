"""DPHuBERT equals the reference's output without dropout; its settings must agree with its tensors."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import vencoder
from common.registry import NotAvailableError
from tests.parity import Case, assert_close
from tests.vencoder.small_files import CPU, check_batches, cut_off, halved, saved, small_state
from vencoder.dphubert import DPHubert

CASE = Case("dphubert")


def small(n: int) -> int:
    """A dimension of the golden case made small, the same way wherever it occurs."""
    if n <= 10:
        return n
    return {768: 32, 48: 2, 128: 16}.get(n) or (n // 16 if n % 64 == 0 else n // 10)


def state(**changes) -> dict:
    """The small network, heads of 4; keys that are None are left out."""
    whole = small_state("dphubert", small) | changes
    return {key: value for key, value in whole.items() if value is not None}


def config(**changes) -> dict:
    whole = CASE.info["config"] | {
        "extractor_conv_layer_config": [
            [small(c), k, s] for c, k, s in CASE.info["config"]["extractor_conv_layer_config"]
        ],
        "encoder_embed_dim": 32,
        "encoder_pos_conv_kernel": 16,
        "encoder_head_dim": 4,
        "encoder_ff_interm_features": [small(n) for n in CASE.info["config"]["encoder_ff_interm_features"]],
    }
    return {key: value for key, value in (whole | changes).items() if value is not ...}


def built(tmp_path: Path, tensors: dict, settings: object) -> DPHubert:
    content = {"state_dict": tensors, "config": settings, "distill_linear_projs": {"0.weight": torch.zeros(2, 2)}}
    return DPHubert(saved(tmp_path / "pruned.pth", content), CPU)


def test_golden(tmp_path):
    arrays = CASE.arrays()
    content = {"state_dict": CASE.recipe(), "config": CASE.info["config"], "distill_linear_projs": {}}
    encoder = vencoder.build("dphubert", "cpu", saved(tmp_path / "pruned.pth", content))
    assert encoder.dim == vencoder.SPEECH_ENCODERS["dphubert"].dim
    units_b, units_a = encoder.encode_batch([arrays["wav_b"], arrays["wav_a"]])
    assert_close(units_a[::2], arrays["units_a"][0], max_abs=2e-5)
    assert_close(units_b[::8], arrays["units_b"][0], max_abs=2e-5)


def test_batches(tmp_path):
    check_batches(built(tmp_path, state(), config()))


def test_half_precision_file(tmp_path):
    wav = torch.randn(8000) * 0.1
    units = built(tmp_path, halved(state()), config()).encode(wav)
    assert units.dtype == torch.float32
    assert_close(units, built(tmp_path, state(), config()).encode(wav), max_abs=0.02)


def test_channel_scales_are_used(tmp_path):
    wav, key = torch.randn(4000), "feature_extractor.dummy_weight"
    expected = built(tmp_path, state(), config()).encode(wav)
    ones = built(tmp_path, state(**{key: torch.ones(31)}), config()).encode(wav)
    assert not torch.allclose(ones, expected, atol=1e-3)
    assert torch.equal(built(tmp_path, state(**{key: None}), config()).encode(wav), ones)


def test_a_layer_without_feed_forward(tmp_path):
    """What is left out counts as zero: the same as a feed-forward whose last layer is all zeros."""
    wav, dense = torch.randn(4000), "encoder.transformer.layers.4.feed_forward."
    names = [dense + name for name in ("output_dense.weight", "output_dense.bias")]
    zeroed = built(tmp_path, state(**{name: torch.zeros_like(state()[name]) for name in names}), config())
    gone = dict.fromkeys([*names, dense + "intermediate_dense.weight", dense + "intermediate_dense.bias"])
    used = [i != 4 for i in range(12)]
    pruned = built(tmp_path, state(**gone), config(encoder_use_feed_forward=used))
    assert_close(pruned.encode(wav), zeroed.encode(wav), max_abs=1e-6)


def test_normalized_waveform(tmp_path):
    wav = torch.randn(4000) * 0.2 + 0.1
    expected = built(tmp_path, state(), config()).encode(F.layer_norm(wav, wav.shape))
    assert_close(built(tmp_path, state(), config(normalize_waveform=True)).encode(wav), expected, max_abs=1e-6)


def test_the_pruned_wavlm_is_not_read_yet(tmp_path):
    with pytest.raises(NotAvailableError, match=r"pruned\.pth is DPWavLM.*python -m common\.pretrained get dphubert"):
        built(tmp_path, state(), config(encoder_remaining_heads=[[0, 1]] * 12))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_head_dim": ...}, "setting encoder_head_dim is missing in its config"),
        ({"encoder_head_dim": "4"}, "setting encoder_head_dim must be a whole number from 1 to 2147483647, got '4'"),
        ({"encoder_head_dim": 0}, "setting encoder_head_dim must be a whole number from 1 .*, got 0"),
        ({"encoder_head_dim": True}, "setting encoder_head_dim must be a whole number from 1 .*, got True"),
        ({"encoder_head_dim": 2}, r"setting encoder_num_heads\[0\] must be 6, got 3"),
        ({"encoder_head_dim": 10**6}, "q_proj.weight has 12 rows, no multiple of a head_dim of 1000000"),
        ({"encoder_head_dim": 10**5000}, "setting encoder_head_dim must be .* got a number that is too long to show"),
        ({"encoder_layer_norm_first": None}, "setting encoder_layer_norm_first must be True or False, got None"),
        ({"normalize_waveform": 1}, "setting normalize_waveform must be True or False, got 1"),
        ({"extractor_mode": "layer_norm"}, "setting extractor_mode must be 'group_norm', got 'layer_norm'"),
        ({"extractor_conv_layer_config": 7}, "setting extractor_conv_layer_config must be a list of 7 values, got 7"),
        ({"extractor_conv_layer_config": [[7, 10, 5]]}, "setting extractor_conv_layer_config must be a list of 7 val"),
        (
            {"extractor_conv_layer_config": [[10**12, 10, 5], *config()["extractor_conv_layer_config"][1:]]},
            r"setting extractor_conv_layer_config\[0\]\[0\] must be 7, got 1000000000000",
        ),
        (
            {"extractor_conv_layer_config": [[7, 10, 4], *config()["extractor_conv_layer_config"][1:]]},
            r"setting extractor_conv_layer_config\[0\]\[2\] must be 5, got 4",
        ),
        ({"extractor_conv_bias": True}, "setting extractor_conv_bias must be False, got True"),
        ({"encoder_embed_dim": 10**12}, "setting encoder_embed_dim must be 32, got 1000000000000"),
        ({"encoder_embed_dim": 32.0}, r"setting encoder_embed_dim must be 32, got 32\.0"),
        ({"encoder_num_layers": 10**9}, "setting encoder_num_layers must be 12, got 1000000000"),
        ({"encoder_pos_conv_groups": 0}, "setting encoder_pos_conv_groups must be 16, got 0"),
        ({"encoder_use_attention": [True] * 12}, r"setting encoder_use_attention\[2\] must be False, got True"),
        ({"encoder_use_feed_forward": [True] * 11}, "setting encoder_use_feed_forward must be a list of 12 values"),
        ({"encoder_num_heads": "abcdefghijkl"}, "setting encoder_num_heads must be a list of 12 values, got 'abc"),
        ({"encoder_ff_interm_features": [57] * 12}, r"setting encoder_ff_interm_features\[1\] must be 61, got 57"),
    ],
)
def test_settings_that_do_not_fit(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        built(tmp_path, state(), config(**changes))
    assert "pruned.pth" in str(error.value)


LAYER = "encoder.transformer.layers.0."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({LAYER + "final_layer_norm.bias": None}, r"1 keys are missing: encoder\.layers\.0\.final_layer_norm\.bias"),
        ({LAYER + "attention.k_proj.bias": None}, r"1 keys are missing: encoder\.layers\.0\.self_attn\.k_proj\.bias"),
        ({LAYER + "attention.q_proj.weight": None}, r"no key 'encoder\.layers\.0\.self_attn\.q_proj\.weight'"),
        ({"aux.weight": torch.zeros(2, 2)}, r"1 keys are unknown: aux\.weight"),
        ({"feature_extractor.dummy_weight": torch.zeros(30)}, r"dummy_weight is \(30,\).*\(31,\)"),
        ({"encoder.feature_projection.projection.weight": torch.zeros(32)}, r"post_extract_proj\.weight is \(32,\)"),
    ],
)
def test_keys_and_shapes_that_do_not_fit(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        built(tmp_path, state(**changes), config())
    assert "pruned.pth (keys as fairseq names them)" in str(error.value)


def test_a_file_of_another_kind(tmp_path):
    with pytest.raises(ValueError, match="is not a checkpoint of DPHuBERT: it has no table of tensors called 'state"):
        vencoder.build("dphubert", "cpu", Case("contentvec_files").folder / "contentvec_tiny.pt")
    with pytest.raises(
        ValueError, match="is not a checkpoint of DPHuBERT: it has no table of settings called 'config'"
    ):
        built(tmp_path, state(), None)
    with pytest.raises(ValueError, match=r"no key 'post_extract_proj\.weight'; it has weight \(2,\)"):
        built(tmp_path, {"weight": torch.zeros(2)}, config())
    path = saved(tmp_path / "pruned.pth", {"state_dict": state(), "config": config()})
    with pytest.raises(ValueError, match=r"cut_off\.pt is damaged, cut off"):
        DPHubert(cut_off(path), CPU)

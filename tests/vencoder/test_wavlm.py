"""WavLM base+ equals the reference's output, and one built as WavLM-Large is that of transformers."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import vencoder
from tests.parity import Case, assert_close
from tests.vencoder.small_files import CPU, check_batches, cut_off, halved, saved
from vencoder.encoder import SpeechEncoder
from vencoder.wavlm import WavLM

LARGE = Case("wavlm_large")  # as WavLM-Large is built, but small


def state(**changes) -> dict:
    """The small network; keys that are None are left out."""
    return {key: value for key, value in (LARGE.recipe() | changes).items() if value is not None}


def config(**changes) -> dict:
    """Its settings; those that are ... are left out."""
    return {key: value for key, value in (LARGE.info["config"] | changes).items() if value is not ...}


def built(tmp_path: Path, tensors: dict, settings: object) -> WavLM:
    return WavLM(saved(tmp_path / "wavlm.pt", {"cfg": settings, "model": tensors}), CPU)


def post_norm() -> tuple[dict, dict]:
    """Tensors and settings of a network built as base+ is: one norm over time, no normalised input."""
    tensors = {
        key.replace("conv_layers.0.2.1.", "conv_layers.0.2."): value
        for key, value in state().items()
        if ".2.1." not in key or "conv_layers.0." in key
    }
    return tensors, config(extractor_mode="default", layer_norm_first=False, normalize=False)


def test_golden(tmp_path):
    case = Case("wavlmbase+")
    arrays, content = case.arrays(), {"cfg": case.info["config"], "model": case.recipe()}
    encoder = vencoder.build("wavlmbase+", "cpu", saved(tmp_path / "wavlm.pt", content))
    assert encoder.dim == vencoder.SPEECH_ENCODERS["wavlmbase+"].dim
    units_b, units_a = encoder.encode_batch([arrays["wav_b"], arrays["wav_a"]])
    assert_close(units_a[::2], arrays["units_a"][0], max_abs=2e-5)
    assert_close(units_b[::8], arrays["units_b"][0], max_abs=2e-5)


def test_built_as_wavlm_large(tmp_path):
    arrays, encoder = LARGE.arrays(), built(tmp_path, state(), config())
    assert encoder.dim == 32
    assert_close(encoder.encode(arrays["wav"]), arrays["units"][0], max_abs=2e-5)


@pytest.mark.parametrize("file", [(state(), config(normalize=False)), post_norm()], ids=["large", "base"])
def test_batches(file, tmp_path):
    check_batches(built(tmp_path, *file))


def test_the_whole_clip_is_normalized(tmp_path, monkeypatch):
    """Also a clip that is cut into windows, of which one is much quieter than the other."""
    encoder = built(tmp_path, state(), config())
    plain = built(tmp_path, state(), config(normalize=False))
    wav = torch.cat([torch.randn(30000), torch.randn(30000) * 0.01]) + 0.2
    other = torch.randn(5000)
    monkeypatch.setattr(SpeechEncoder, "max_frames", 100)
    monkeypatch.setattr(SpeechEncoder, "context_frames", 10)
    for got, clip in zip(encoder.encode_batch([wav, other]), (wav, other), strict=True):
        assert_close(got, plain.encode(F.layer_norm(clip, clip.shape)), max_abs=1e-5)
    assert_close(encoder.encode(wav.numpy() * 0.1), encoder.encode(wav), max_abs=2e-3)


def test_a_clip_that_is_too_short(tmp_path):
    with pytest.raises(ValueError, match="0 samples at 16 kHz are too short"):
        built(tmp_path, state(), config()).encode(torch.zeros(0))


def test_half_precision_file(tmp_path):
    wav = torch.randn(8000) * 0.1
    units = built(tmp_path, halved(state()), config()).encode(wav)
    assert units.dtype == torch.float32
    assert_close(units, built(tmp_path, state(), config()).encode(wav), max_abs=0.05)


def test_settings_that_tensors_show_may_be_absent(tmp_path):
    wav = torch.randn(4000)
    needed = ("extractor_mode", "layer_norm_first", "normalize", "max_distance")
    bare = {name: config()[name] for name in needed}
    assert torch.equal(built(tmp_path, state(), bare).encode(wav), built(tmp_path, state(), config()).encode(wav))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalize": ...}, "setting normalize is missing in its config"),
        ({"normalize": "no"}, "setting normalize must be True or False, got 'no'"),
        ({"layer_norm_first": 1}, "setting layer_norm_first must be True or False, got 1"),
        ({"extractor_mode": "batch"}, "setting extractor_mode must be 'default' or 'layer_norm', got 'batch'"),
        ({"extractor_mode": "default"}, r"keys are missing: feature_extractor\.conv_layers\.0\.2\.weight"),
        ({"relative_position_embedding": False}, "setting relative_position_embedding must be True, got False"),
        ({"gru_rel_pos": False}, "setting gru_rel_pos must be True, got False"),
        ({"activation_fn": "relu"}, "setting activation_fn must be 'gelu', got 'relu'"),
        ({"max_distance": 800.0}, r"setting max_distance must be a whole number from 1 to 2147483647, got 800\.0"),
        ({"max_distance": 8}, "32 buckets cannot hold distances up to a max_distance of 8"),
        ({"max_distance": 0}, "setting max_distance must be a whole number from 1 .*, got 0"),
        ({"num_buckets": 320}, "setting num_buckets must be 32, got 320"),
        ({"encoder_layers": 10**9}, "setting encoder_layers must be 3, got 1000000000"),
        ({"encoder_attention_heads": 0}, "setting encoder_attention_heads must be 4, got 0"),
        ({"encoder_embed_dim": 10**12}, "setting encoder_embed_dim must be 32, got 1000000000000"),
        ({"encoder_ffn_embed_dim": [48]}, r"setting encoder_ffn_embed_dim must be 48, got \[48\]"),
        ({"conv_bias": True}, "setting conv_bias must be False, got True"),
        ({"conv_pos": 128}, "setting conv_pos must be 16, got 128"),
        ({"conv_feature_layers": "[(16,10,5)] * 7"}, r"must be '\[\(16,10,5\)\] \+ .*', got '\[\(16,10,5\)\] \* 7'"),
        ({"conv_feature_layers": "__import__('os').system('touch x')"}, "setting conv_feature_layers must be"),
    ],
)
def test_settings_that_do_not_fit(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        built(tmp_path, state(), config(**changes))
    assert "wavlm.pt" in str(error.value)


FIRST = "encoder.layers.0.self_attn."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({FIRST + "grep_a": None}, r"1 keys are missing: encoder\.layers\.0\.self_attn\.grep_a"),
        ({FIRST + "relative_attention_bias.weight": None}, r"no key '.*relative_attention_bias\.weight'"),
        ({FIRST + "relative_attention_bias.weight": torch.zeros(3, 4)}, "3 buckets cannot hold distances"),
        ({FIRST + "relative_attention_bias.weight": torch.zeros(32, 5)}, r"weight is \(32, 5\).*\(32, 4\)"),
        ({FIRST + "grep_linear.weight": torch.zeros(8, 4)}, r"grep_a is \(1, 4, 1, 1\).*\(1, 8, 1, 1\)"),
        ({"encoder.layers.1.self_attn.relative_attention_bias.weight": torch.zeros(32, 4)}, "1 keys are unknown"),
        ({"encoder.layers.2.foo": torch.zeros(1)}, r"1 keys are unknown: encoder\.layers\.2\.foo"),
    ],
)
def test_keys_and_shapes_that_do_not_fit(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        built(tmp_path, state(**changes), config())
    assert "wavlm.pt" in str(error.value)


def test_a_file_of_another_kind(tmp_path):
    contentvec = Case("contentvec_files").folder / "contentvec_tiny.pt"
    with pytest.raises(ValueError, match=r"contentvec_tiny\.pt: setting extractor_mode is missing in its config"):
        vencoder.build("wavlmbase+", "cpu", contentvec)
    with pytest.raises(ValueError, match="is not a checkpoint of WavLM: it has no table of settings called 'cfg'"):
        built(tmp_path, state(), None)
    with pytest.raises(ValueError, match="is not a checkpoint of WavLM: it has no table of tensors called 'model'"):
        WavLM(saved(tmp_path / "a.pt", [1]), CPU)
    with pytest.raises(ValueError, match=r"keys are unknown: encoder\.layers\.0\.self_attn\.grep_a"):
        vencoder.build("cnhubertlarge", "cpu", saved(tmp_path / "a.pt", {"model": wide(state())}))
    with pytest.raises(ValueError, match=r"cut_off\.pt is damaged, cut off"):
        WavLM(cut_off(saved(tmp_path / "wavlm.pt", {"cfg": config(), "model": state()})), CPU)


def wide(tensors: dict) -> dict:
    """The same with query projections of one head of HuBERT, so that what else differs is met."""
    return tensors | {f"encoder.layers.{i}.self_attn.q_proj.weight": torch.zeros(64, 32) for i in range(3)}

"""ContentVec and HuBERT-soft equal the reference's output; batches and windows change nothing; files are checked."""

from pathlib import Path

import pytest
import torch

import vencoder
from common.unpickle import UnsafePickleError
from tests.parity import Case, assert_close
from tests.vencoder.small_files import CPU, check_batches
from vencoder.contentvec import ContentVec
from vencoder.encoder import SpeechEncoder
from vencoder.hubertsoft import to_fairseq_keys

TINY = Case("contentvec_files")


@pytest.fixture(scope="module")
def contentvec_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("contentvec") / "contentvec.pt"
    torch.save({"args": None, "model": Case("contentvec").recipe()}, path)
    return path


def tiny(name: str = "contentvec_tiny.pt", **kwargs) -> ContentVec:
    return ContentVec(TINY.folder / name, CPU, **({"layer": 2} | kwargs))


def edited(tmp_path: Path, **changes) -> Path:
    """A copy of the small checkpoint whose model lacks the keys that are None and has the others."""
    from common.unpickle import read_file

    model = read_file(TINY.folder / "contentvec_tiny.pt")["model"] | changes
    torch.save({"model": {key: value for key, value in model.items() if value is not None}}, tmp_path / "edited.pt")
    return tmp_path / "edited.pt"


@pytest.mark.parametrize(("name", "steps"), [("vec256l9", (1, 1)), ("vec768l12", (2, 8))])
def test_contentvec(name, steps, contentvec_file):
    arrays = Case("contentvec").arrays()
    encoder = vencoder.build(name, "cpu", contentvec_file)
    assert encoder.dim == vencoder.SPEECH_ENCODERS[name].dim
    units = encoder.encode_batch([arrays["wav_a"], arrays["wav_b"]])
    for got, clip, step in zip(units, "ab", steps, strict=True):
        assert_close(got[::step], arrays[f"{name}_{clip}"][0], max_abs=2e-4)


def test_hubertsoft(tmp_path):
    case = Case("hubertsoft")
    arrays, state = case.arrays(), case.recipe()
    torch.save(state, tmp_path / "soft.pt")
    encoder = vencoder.build("hubertsoft", "cpu", tmp_path / "soft.pt")
    units_b, units_a = encoder.encode_batch([arrays["wav_b"], arrays["wav_a"]])
    assert_close(units_a, arrays["units_a"][0], max_abs=2e-4)
    assert_close(units_b[::2], arrays["units_b"][0], max_abs=2e-4)
    assert (
        to_fairseq_keys({f"module.{key}": value for key, value in state.items()}).keys()
        == to_fairseq_keys(state).keys()
    )


@pytest.mark.parametrize("name", ["contentvec_tiny.pt", "contentvec_tiny_legacy.pt", "contentvec_tiny_omegaconf.pt"])
def test_checkpoint_files_of_fairseq(name):
    arrays = TINY.arrays()
    assert_close(tiny(name).encode(arrays["wav"]), arrays["l2"][0], max_abs=1e-4)
    assert_close(tiny(name, layer=1, project=True).encode(arrays["wav"]), arrays["final_proj_l1"][0], max_abs=1e-4)


@pytest.mark.parametrize("name", ["contentvec_evil.pt", "contentvec_evil_legacy.pt"])
def test_booby_trapped_checkpoints(name):
    marker = Path("/tmp/pwned_marker")
    marker.unlink(missing_ok=True)
    with pytest.raises(UnsafePickleError, match=name):
        tiny(name)
    assert not marker.exists()


def test_half_precision_file(tmp_path):
    wav = TINY.arrays()["wav"]
    half = {key: value.half() for key, value in tiny().net.state_dict().items()}
    del half["encoder.pos_conv.0.weight"]
    units = ContentVec(edited(tmp_path, **half), CPU, layer=2).encode(wav)
    assert units.dtype == torch.float32
    assert_close(units, tiny().encode(wav), max_abs=0.05)


def test_batches():
    check_batches(tiny())


def test_layers_above_are_not_built():
    assert len(tiny(layer=1).net.encoder.layers) == 1


def test_long_audio_in_windows(monkeypatch):
    """The first norm and the attention see the window and not the clip, so frames differ a little, and align."""
    encoder = tiny()
    wav = torch.randn(16000 * 12) * 0.1
    whole = encoder.encode(wav)
    monkeypatch.setattr(SpeechEncoder, "max_frames", 400)
    windowed = encoder.encode(wav)
    assert windowed.shape == whole.shape == (64, encoder.n_frames(len(wav)))
    assert torch.nn.functional.cosine_similarity(whole, windowed, dim=0).min() > 0.99


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder.layers.1.fc1.bias": None}, r"1 keys are missing: encoder\.layers\.1\.fc1\.bias"),
        ({"encoder.foo": torch.zeros(1)}, r"1 keys are unknown: encoder\.foo"),
        ({"layer_norm.bias": torch.zeros(17)}, r"layer_norm\.bias is \(17,\).*\(16,\)"),
        ({"post_extract_proj.weight": None}, r"no key 'post_extract_proj\.weight'; it has feature_extractor"),
        ({"encoder.pos_conv.0.weight_g": None}, r"no key 'encoder\.pos_conv\.0\.weight'"),
        (
            {"encoder.pos_conv.0.weight_g": torch.zeros(64, 1, 1)},
            "weight_g is not one length for each of the 128 steps",
        ),
        ({"encoder.pos_conv.0.weight_v": torch.zeros(64)}, r"weight_v is \(64,\), where 3 dimensions above 0"),
        ({"encoder.pos_conv.0.weight_v": torch.zeros(64, 5, 128)}, "groups of 5 channels, which cannot make up 64"),
        # a transformer of a million channels would take terabytes
        ({"post_extract_proj.weight": torch.zeros(10**6, 16)}, r"layer_norm\.weight is \(64,\).*\(1000000,\)"),
    ],
)
def test_a_file_of_another_network(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        ContentVec(edited(tmp_path, **changes), CPU, layer=2)
    assert "edited.pt" in str(error.value)


def test_a_file_of_another_kind(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="no table of tensors called 'model'"):
        vencoder.build("vec768l12", "cpu", tmp_path / "a.pt")
    with pytest.raises(ValueError, match="is not the HuBERT that was expected"):
        vencoder.build("hubertsoft", "cpu", tmp_path / "a.pt")
    torch.save([1], tmp_path / "a.pt")
    with pytest.raises(ValueError, match="is not the file of HuBERT-soft"):
        vencoder.build("hubertsoft", "cpu", tmp_path / "a.pt")

"""Whisper's encoder equals the reference's output, in windows where the reference stretches; files are checked."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import vencoder
from common.unpickle import UnsafePickleError
from tests.parity import Case, assert_close
from tests.vencoder.small_files import CPU, cut_off, halved, saved, small_state
from vencoder.nets.whisper import WhisperEncoder, WhisperSizes, log_mel
from vencoder.whisper import WhisperPPG, read_sizes

SMALL = {1024: 32, 4096: 128, 1500: 50}  # one second instead of 30
DIMS = {"n_mels": 80, "n_audio_ctx": 50, "n_audio_state": 32, "n_audio_head": 4, "n_audio_layer": 4}
CASES = ("whisper-ppg", "whisper-ppg-large")


def content(dims: dict[str, Any] | None = None, **changes) -> dict:
    """A small file; dims and tensors that are None are left out."""
    state = small_state("whisper-ppg", lambda n: SMALL.get(n, n)) | changes
    described = DIMS | {"n_vocab": 200, "n_text_ctx": 16} | (dims or {})
    return {
        "dims": {key: value for key, value in described.items() if value is not None},
        "model_state_dict": {key: value for key, value in state.items() if value is not None},
    }


def built(tmp_path: Path, made_of: object = None) -> WhisperPPG:
    return WhisperPPG(saved(tmp_path / "medium.pt", made_of or content()), CPU)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> WhisperPPG:
    return built(tmp_path_factory.mktemp("whisper"))


@pytest.mark.parametrize(("name", "step"), [("whisper-ppg", 4), ("whisper-ppg-large", 5)])
def test_golden(name, step, tmp_path):
    case = Case(name)
    arrays = case.arrays()
    file = {"dims": case.info["config"], "model_state_dict": case.recipe()}
    encoder = vencoder.build(name, "cpu", saved(tmp_path / "whisper.pt", file))
    assert encoder.dim == vencoder.SPEECH_ENCODERS[name].dim
    assert_close(encoder.encode(arrays["wav"])[::step], arrays["ppg"][0], max_abs=2e-5)


@pytest.mark.parametrize("name", CASES)
def test_mel_equals_the_reference(name):
    arrays = Case(name).arrays()
    wav = torch.from_numpy(arrays["wav"])
    mel = log_mel(F.pad(wav, (0, 480000 - len(wav))).unsqueeze(0), 80)[0]
    assert mel.shape == (80, 3000)
    assert_close(mel[:, : arrays["mel_head"].shape[1]], arrays["mel_head"], max_abs=1e-5)
    assert_close(mel[:, -1], arrays["mel_last"], max_abs=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_every_key_of_the_real_files_is_known(name):
    case = Case(name)
    keys = json.loads((case.folder / "full_keys.json").read_text(encoding="utf-8"))
    tensors = {key: torch.empty(shape, device="meta") for key, shape, _ in keys if key.startswith("encoder.")}
    state = {key.removeprefix("encoder."): value for key, value in tensors.items()}
    sizes = read_sizes(case.info["real_dims"], state, Path("full_keys.json"))
    with torch.device("meta"):
        own = WhisperEncoder(sizes).state_dict()
    assert {key: value.shape for key, value in own.items()} == {key: value.shape for key, value in state.items()}
    assert sizes.n_audio_state == vencoder.SPEECH_ENCODERS[name].dim and sizes.n_audio_ctx == 1500


def test_a_frame_for_every_320_samples(small):
    assert [small.encode(torch.randn(n)).shape[1] for n in (320, 639, 640, 16000, 16319, 16320)] == [
        *(1, 1, 2),
        *(50, 50, 51),
    ]
    with pytest.raises(ValueError, match="319 samples at 16 kHz are too short to encode: 320 are needed"):
        small.encode(torch.zeros(319))


def test_batch_equals_one_by_one(small):
    wavs = [torch.randn(n) * scale for n, scale in ((16000, 0.1), (320, 1.0), (9999, 0.01), (50000, 0.3))]
    small.batch_frames = {"cpu": 200}
    for wav, got in zip(wavs, small.encode_batch(wavs), strict=True):
        assert_close(got, small.encode(wav), max_abs=1e-5)


def test_loudness_of_another_item_changes_nothing(small):
    """The floor of a mel lies below the loudest value of its own item."""
    quiet, loud = torch.randn(8000) * 1e-5, torch.randn(8000)
    assert_close(small.encode_batch([quiet, loud])[0], small.encode(quiet), max_abs=1e-5)


def test_batches_are_bounded_by_what_is_computed(small, monkeypatch):
    """A short clip costs as much as one second: of twenty, four go through at once."""
    shapes = []
    forward = small.net.forward
    monkeypatch.setattr(small.net, "forward", lambda mel: shapes.append(tuple(mel.shape)) or forward(mel))
    small.batch_frames = {"cpu": 200}
    small.encode_batch([torch.randn(1000 + n) for n in range(20)])
    assert shapes == [(4, 80, 100)] * 5


def test_long_audio_in_whole_windows(small):
    """4.1 stretches what it hears of the first 30 s; here a frame is what its own window says."""
    wav = torch.randn(16000 * 3 + 100) * 0.1
    units = small.encode(wav)
    assert units.shape == (32, 150)
    assert_close(units[:, :40], small.encode(wav[:16000])[:, :40], max_abs=1e-5)
    assert_close(units[:, -40:], small.encode(wav[100 * 320 : 150 * 320])[:, -40:], max_abs=1e-5)
    with pytest.raises(AssertionError):
        assert_close(units[:, 50:60], small.encode(wav[:16000])[:, :10], max_abs=1e-2)


def test_what_is_less_than_a_frame_too_long_is_cut(small):
    wav = torch.randn(16000 + 319)
    assert torch.equal(small.encode(wav), small.encode(wav[:16000]))


def test_half_precision_file(small, tmp_path):
    file = content()
    units = built(tmp_path, file | {"model_state_dict": halved(file["model_state_dict"])}).encode(torch.ones(3200))
    assert units.dtype == torch.float32
    assert_close(units, small.encode(torch.ones(3200)), max_abs=0.02)


def test_positions_are_those_of_the_file(small, tmp_path):
    moved = built(tmp_path, content(**{"encoder.positional_embedding": torch.ones(50, 32)}))
    wav = torch.randn(3200)
    with pytest.raises(AssertionError):
        assert_close(moved.encode(wav), small.encode(wav), max_abs=1e-2)


def test_large_v3_has_more_mel_bands(tmp_path, caplog):
    wider = content({"n_mels": 128}, **{"encoder.conv1.weight": torch.randn(32, 128, 3)})
    units = built(tmp_path, wider).encode(torch.randn(3200))
    assert units.shape == (32, 10) and bool(units.isfinite().all())
    assert "medium.pt is a large-v3 or one made from it: models need the Whisper they were trained with" in caplog.text


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ({"n_audio_head": None}, r"medium\.pt: dims: setting n_audio_head is missing"),
        ({"n_audio_head": 0}, r"medium\.pt: dims: setting n_audio_head must be a whole number from 1 to 999, got 0"),
        ({"n_audio_head": 5}, r"medium\.pt: dims: 5 heads \(n_audio_head\) cannot share the 32 channels"),
        (
            {"n_audio_ctx": 1500},
            r"medium\.pt: dims, compared with the tensors: setting n_audio_ctx must be 50, got 1500",
        ),
        ({"n_mels": 128}, r"setting n_mels must be 80, got 128"),
        ({"n_audio_state": "32"}, r"setting n_audio_state must be 32, got '32'"),
        ({"n_audio_layer": 10**9}, r"setting n_audio_layer must be 4, got 1000000000"),
    ],
)
def test_dims_that_do_not_describe_the_tensors(dims, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        built(tmp_path, content(dims))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder.ln_post.bias": None}, r"medium\.pt.*\n.*1 keys are missing: ln_post\.bias"),
        ({"encoder.foo": torch.zeros(1)}, r"medium\.pt.*\n.*1 keys are unknown: foo"),
        ({"foo": torch.zeros(1)}, r"medium\.pt is no Whisper: it has keys such as foo"),
        ({"encoder.conv2.bias": torch.zeros(3)}, r"conv2\.bias is \(3,\).*\(32,\)"),
        (
            {"encoder.positional_embedding": None},
            r"medium\.pt is not the Whisper that was expected: no tensor positional_embedding of 2 dimensions",
        ),
        ({"encoder.conv1.weight": torch.zeros(3)}, "no tensor conv1.weight of 3 dimensions"),
    ],
)
def test_a_file_of_another_network(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        built(tmp_path, content(**changes))


def test_a_decoder_is_not_needed(small, tmp_path):
    file = content()
    file["model_state_dict"] = {key: v for key, v in file["model_state_dict"].items() if key.startswith("encoder.")}
    wav = torch.randn(3200)
    assert torch.equal(built(tmp_path, file).encode(wav), small.encode(wav))


def test_a_file_of_another_kind(tmp_path):
    with pytest.raises(ValueError, match=r"medium\.pt is not a checkpoint of Whisper: .* 'model_state_dict'"):
        built(tmp_path, {"model": {"weight": torch.zeros(2)}})
    with pytest.raises(ValueError, match=r"medium\.pt is not a checkpoint of Whisper: .* settings called 'dims'"):
        built(tmp_path, {"model_state_dict": content()["model_state_dict"]})
    with pytest.raises(ValueError, match=r"cut_off\.pt"):
        WhisperPPG(cut_off(saved(tmp_path / "medium.pt", content())), CPU)


def test_a_file_that_would_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit",))

    with pytest.raises(UnsafePickleError, match=r"medium\.pt"):
        built(tmp_path, content() | {"evil": Evil()})


def test_sizes_are_read_off_the_tensors(small):
    assert asdict(WhisperSizes.of(small.net.state_dict(), 4)) == DIMS

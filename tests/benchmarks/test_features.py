"""The benchmark's own work: what is measured, what a table says of it, and stand-ins that are what they stand for."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import vencoder
from benchmarks import features, stand_ins
from common import audio, pretrained
from modules.f0 import F0_PREDICTORS
from tests.parity import Case, assert_close
from vencoder.contentvec import ContentVec
from vencoder.onnx import OnnxEncoder

CPU = torch.device("cpu")
TINY = Case("contentvec_files").folder / "contentvec_tiny.pt"


@pytest.fixture
def song(tmp_path) -> Path:
    audio.save(tmp_path / "song.wav", np.sin(np.arange(44100) * 0.03).astype(np.float32) * 0.5, 44100)
    return tmp_path / "song.wav"


@pytest.mark.parametrize("name", ["cepstral", "pm"])
def test_measure(name, song, monkeypatch):
    monkeypatch.setattr(features, "LEAST_SECONDS", 0.01)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    found = features.measure_here(features.parse_args([name, "--audio", str(song), "--lengths", "3", "0.5"]))
    assert len(found["speeds"]) == 2 and min(found["speeds"]) > 1


def test_peak_memory_is_that_of_this_process():
    before = features.peak_memory(CPU)
    grown = torch.ones(int(2 * before * 1e6) // 4)
    assert len(grown) * 4e-6 <= features.peak_memory(CPU) < 4 * before


def test_longer_clips_are_left_out_after_a_slow_one(song, monkeypatch):
    given = []
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(features, "build", lambda *_: (given.append, 16000))
    monkeypatch.setattr(features, "time_of", lambda run, clips, device: run(clips) or 10.0)
    args = ["cepstral", "--audio", str(song), "--lengths", "2", "20", "60", "--limit", "9", "--clips", "5"]
    found = features.measure_here(features.parse_args(args))
    assert found["speeds"] == [1.0, None, None]
    assert [[len(clip) for clip in clips] for clips in given] == [[16000], [32000] * 5]


def test_what_cannot_be_built_is_a_row(song, monkeypatch):
    absent = FileNotFoundError("it is missing\nget it")
    monkeypatch.setattr(features, "build", lambda *_: (_ for _ in ()).throw(absent))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    assert features.measure_here(features.parse_args(["pm"])) == {"error": "it is missing\nget it"}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"speeds": [12.3, 1.234, None], "memory": 345.2}, "| `pm` | none | 12 | 1.23 | - | 345 |"),
        ({"speeds": [1000.0], "memory": 7.4}, "| `pm` | none | 1000 | 7 |"),
        ({"error": "it is missing\nget it"}, "| `pm` | it is missing |"),
    ],
)
def test_rows(found, expected, tmp_path, monkeypatch):
    def measure(command: list[str]) -> tuple[float, float]:
        args = features.parse_args(command[3:])
        assert args.names == ["pm"] and args.threads == 2 and args.device == "cpu"
        args.write.write_text(json.dumps(found))
        return 1.0, 9999.0

    monkeypatch.setattr(features, "measure", measure)
    assert features.row("pm", features.parse_args(["--threads", "2"]), tmp_path) == expected


def test_unknown_names(capsys):
    with pytest.raises(SystemExit, match="2"):
        features.parse_args(["vec768", "pm"])
    assert "unknown: vec768; known are: vec768l12, " in capsys.readouterr().err


def test_every_large_file_has_a_stand_in():
    needed = {entry.weights for table in (vencoder.SPEECH_ENCODERS, F0_PREDICTORS) for entry in table.values()}
    made = {*stand_ins.LAYOUTS, *stand_ins.EXPORTS}
    assert made <= set(pretrained.FILES)
    others = {"fcpe", "embedded", "dspitch-some", None}  # inside packages or the repository, or not measured
    assert needed - others <= made


def test_exported_stand_ins_are_the_same_network(tmp_path):
    encoder = ContentVec(TINY, CPU, layer=2)
    exported = OnnxEncoder(stand_ins.export(encoder, tmp_path / "tiny.onnx"), CPU, dim=64)
    for n_samples in (400, 16000, 23456):
        wav = torch.randn(n_samples) * 0.1
        assert_close(exported.encode(wav), encoder.encode(wav), max_abs=2e-5)


def test_stand_ins_have_the_layout_of_their_files(monkeypatch):
    monkeypatch.setattr(stand_ins, "make_tensor", lambda key, shape, seed: torch.empty(shape, device="meta"))
    monkeypatch.setattr(torch, "zeros", lambda shape: torch.empty(shape, device="meta"))
    made = {name: stand_ins._content(layout) for name, layout in stand_ins.LAYOUTS.items()}
    whisper = made["whisper-ppg-large"]
    assert whisper["dims"]["n_audio_layer"] == 32 and len(whisper["model_state_dict"]) == 1259
    assert whisper["model_state_dict"]["encoder.conv1.weight"].dtype == torch.float16
    assert made["cnhubertlarge"]["model"]["layer_norm.weight"].dtype == torch.float32
    assert {"state_dict", "config"} == set(made["dphubert"]) and {"model", "cfg"} == set(made["wavlmbase+"])

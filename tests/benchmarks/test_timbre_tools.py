"""The benchmark's own measures, and a run of it on a tiny model."""

import numpy as np
import pytest

from benchmarks import base_model, timbre_tools
from common import audio
from pipeline.pitch_range import PitchRange
from tests.pipeline.tiny_model import SAMPLE_RATE, sung, write_model
from tests.synthetic import sing

RATE = 8000


def test_a_crescendo_is_what_the_envelope_differs_by():
    wav = np.full(8 * RATE, 0.5, np.float32)
    louder = timbre_tools.crescendo(wav)
    assert 20 * np.log10(louder[0] / louder[-1]) == pytest.approx(-20, abs=0.01)
    assert timbre_tools.envelope_difference(wav, 0.1 * wav, RATE) == pytest.approx(0, abs=1e-4)
    evenly = np.std(np.linspace(-20, 0, 17))  # half seconds of an even rise
    assert timbre_tools.envelope_difference(wav, louder, RATE) == pytest.approx(evenly, rel=0.1)


def test_share_within_a_range_two_semitones_wider():
    limits = PitchRange(200.0, 250.0, 300.0)
    f0_hz = np.array([170.0, 180.0, 250.0, 330.0, 340.0])
    assert timbre_tools.share_within(f0_hz, limits) == pytest.approx(3 / 5)


def test_a_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("common.packaged.find_spec", lambda _: None)
    model, config = write_model(tmp_path / "logs")
    for name in ("anna", "bob"):
        (tmp_path / "data" / name).mkdir(parents=True)
        audio.save(tmp_path / "data" / name / "1.wav", sing(220, 1.0), SAMPLE_RATE)
    audio.save(tmp_path / "song.wav", sung(1.2), SAMPLE_RATE)
    shared = ["-m", str(model), "-c", str(config), "--recordings", str(tmp_path / "data")]
    monkeypatch.setattr(timbre_tools, "RATES", (0.0, 1.0))
    arguments = [*shared, "--songs", str(tmp_path / "song.wav"), "-f0p", "dio"]
    assert timbre_tools.main(arguments) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| song")]
    assert len([row for row in rows if "crescendo" in row]) == 2
    assert base_model.main([*shared, "--songs", str(tmp_path / "song.wav"), "-f0p", "dio"]) == 0
    assert "| G_5: song_0key_anna_sovits_dio |" in capsys.readouterr().out

"""The benchmark's own work: who is given which signals, what the tables say, where they are written."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import pitch, pitch_runs
from benchmarks.pitch_runs import Result, Run, build_runs, measure, middle_part
from benchmarks.pitch_signals import Signal

ROOT = Path(__file__).resolve().parents[2]
F0 = np.array([0.0, 100.0, 100.0, 100.0, 100.0])


def made(group: str, seconds: float) -> Signal:
    return Signal(f"{seconds:g} s", group, np.zeros(round(seconds * 44100), np.float32), F0)


class Echo:
    """Knows the truth, times ``factor`` in one frame."""

    instant = 0.0

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.calls = factor, 0

    def compute_f0_uv(self, wav):
        self.calls += 1
        f0 = np.where(F0 > 0, F0, 100.0)
        f0[1] *= self.factor
        return f0, (F0 > 0).astype(np.float32)


def measured(runs: list[Run]) -> Result:
    signals = [made("voices", 1.0), made("voices", 2.0), made("voices", 1.0), made("song", 3.0)]
    return measure(signals, runs, {"rmvpe": "weights missing"}, slow_seconds=3.0)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(2.0, [1, 3]), (3.0, [0, 1, 3]), (4.0, [0, 1, 2, 3]), (0.0, [1, 3])],
)
def test_slow_predictors_get_the_middle_of_each_group(seconds, expected):
    signals = [made("voices", 1.0), made("voices", 2.0), made("voices", 1.0), made("song", 3.0)]
    assert middle_part(signals, seconds) == expected


def test_slow_predictors_have_tables_of_their_own():
    quick, slow = Echo(2.0), Echo()
    runs = [Run("pm", (50.0, 1100.0), quick), Run("crepe", (50.0, 1100.0), slow)]
    text = pitch.report(measured(runs), "python -m benchmarks.pitch")
    assert (quick.calls, slow.calls) == (4, 3)
    whole, part = text.split("**The part that crepe was given: 3 signals, 6 s, range: default**")
    assert "`crepe`" not in whole
    assert "| song | 75.0 (25.0) | 100.0 (0.0) |" in part
    assert "| `crepe` | default | 100.0 | 0.0 | 0.0 | 0.0 | 0.0 | 100.0 |" in part


def test_tables_have_a_row_per_group_and_their_mean():
    text = pitch.report(measured([Run("pm", (50.0, 1100.0), Echo(2.0))]), "python -m benchmarks.pitch --seed 1")
    assert text.startswith("`python -m benchmarks.pitch --seed 1`: 4 signals, 7 s.\n")
    assert "Not measured: `rmvpe` (weights missing)." in text
    for row in ("| signals | `pm` |", "| voices | 75.0 (25.0) |", "| song | 75.0 (25.0) |", "| mean | 75.0 (25.0) |"):
        assert row in text
    assert "| `pm` | default | 75.0 | 25.0 | 0.0 | 0.0 | 0.0 | 80.0 |" in text


def test_a_predictor_that_cannot_be_built_is_named_with_its_reason(monkeypatch):
    def build(name, *args, **kwargs):
        if name == "rmvpe":
            raise FileNotFoundError("pretrain/rmvpe.pt is missing")
        if name == "fcpe" and kwargs["f0_max"] > 1500:
            raise ValueError("fcpe goes up to 1500 Hz")
        return Echo()

    monkeypatch.setattr(pitch_runs.f0_predictors, "build", build)
    default, wide = (50.0, 1100.0), (40.0, 2000.0)
    runs, absent = build_runs(["rmvpe", "fcpe", "pm", "crepe"], [default, wide], "cpu")
    assert [(run.name, run.f0_range) for run in runs] == [
        *(("fcpe", default), ("pm", default), ("pm", wide)),
        ("crepe", wide),  # slow: once
    ]
    assert absent["rmvpe"] == "weights missing"
    assert "fcpe goes up to 1500 Hz" in absent["fcpe"]


def test_the_command_measures_and_writes(tmp_path, capsys):
    document, scores = tmp_path / "pitch.md", tmp_path / "scores.json"
    document.write_text("before\n<!-- table:pitch -->\nold\n<!-- /table -->\nafter\n", encoding="utf-8")
    argv = ["--predictors", "pm", "--groups", "octave jumps", "--write", str(document), "--json", str(scores)]
    assert pitch.main(argv) == 0
    text = document.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- table:pitch -->\n`python -m benchmarks.pitch --predictors pm --groups")
    assert text.endswith("|\n<!-- /table -->\nafter\n") and "old" not in text
    assert capsys.readouterr().out.strip() in text
    runs = json.loads(scores.read_text(encoding="utf-8"))["runs"]
    assert [(run["predictor"], run["f0_max"]) for run in runs] == [("pm", 1100.0), ("pm", 2000.0)]
    assert runs[0]["groups"]["octave jumps"] == runs[0]["groups"]["mean"]
    assert [each["name"] for each in runs[0]["signals"]][0] == "82.4 and 164.8 Hz"
    assert 0.5 < runs[0]["groups"]["mean"]["accuracy"] < 1.0  # Praat takes jumps that are quick for octave errors


def test_a_document_without_a_place_is_refused_before_anything_is_measured(tmp_path, capsys):
    document = tmp_path / "pitch.md"
    document.write_text("<!-- table:encoders -->\n<!-- /table -->\n", encoding="utf-8")
    assert pitch.main(["--write", str(document)]) == 1
    assert "has no place for the tables: add <!-- table:pitch --> and <!-- /table --> lines" in capsys.readouterr().err


def test_the_mean_leaves_tones_out():
    signals = [made("pure tones", 1.0), made("voices", 1.0)]
    tracks = {0: (np.zeros(5), np.zeros(5)), 1: (np.full(5, 100.0), (F0 > 0).astype(np.float32))}
    run = Run("pm", (50.0, 1100.0), Echo(), tracks=tracks)
    found = Result(signals, [run], {}, []).by_group(run, [0, 1])
    assert found["pure tones"].accuracy == 0.0
    assert found["mean"] == found["voices"]


def test_a_measure_without_frames_is_a_dash_and_null():
    signal = Signal("voiced", "voices", np.zeros(44100, np.float32), np.full(5, 100.0))
    result = measure([signal], [Run("pm", (50.0, 1100.0), Echo())], {}, slow_seconds=0.0)
    assert pitch.as_json(result)["runs"][0]["groups"]["mean"]["false_alarms"] is None
    assert "| 20.0 | – | 80.0 |" in pitch.report(result, "")


def test_the_document_has_a_place_for_the_tables():
    assert "python -m benchmarks.pitch" in pitch.check_place(ROOT / "docs" / "pitch.md")

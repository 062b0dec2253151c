"""evaluate.py as a user calls it: the table, the JSON, the page, checkpoints that are ranked, what is said when not."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

import evaluate
from common import audio
from pipeline.measures import BY_KEY
from tests.pipeline.tiny_model import SAMPLE_RATE, write_model
from tests.synthetic import sing

VOID = {"meta", "br", "img"}
QUICK = ["--measure_f0", "pm"]


class Page(HTMLParser):
    """Tags that were opened and not closed, addresses, and all the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[tuple[str, str]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.sources += [(tag, value) for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(autouse=True)
def no_packages(monkeypatch):
    """As for somebody who installed no optional package: quick, and the same everywhere."""
    monkeypatch.setattr("common.packaged.find_spec", lambda _: None)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    song = sing(220, 1.5)
    for folder in ("raw", "results", "dataset_raw/anna"):
        (tmp_path / folder).mkdir(parents=True)
    audio.save("raw/歌 é&.flac", song, SAMPLE_RATE)
    audio.save("results/歌 é&_0key_anna_sovits_pm.flac", 0.5 * song, SAMPLE_RATE)
    audio.save("results/歌 é&_2key_anna_sovits_pm.flac", sing(220 * 2 ** (2 / 12), 1.5), SAMPLE_RATE)
    audio.save("dataset_raw/anna/1.flac", song, SAMPLE_RATE)
    return tmp_path


def test_table_numbers_and_page(home, capsys):
    code = evaluate.main(["--sources", "raw", "--conversions", "results", "--targets", "dataset_raw/anna", *QUICK])
    assert code == 0
    text = capsys.readouterr().out
    assert "| 歌 é&_0key_anna_sovits_pm | 1.000 | 0 ct | 0.0% |" in text
    assert "– [1]" in text and "[1] the package resemblyzer is not installed: pip install --no-deps Resemblyzer" in text
    assert "| mean |" in text
    found = json.loads(Path("evaluation/evaluation.json").read_text(encoding="utf-8"))
    assert found.keys() == {"format", "settings", "measures", "rows", "failed", "verdict"}
    assert found["format"] == 1 and found["verdict"] is None and found["failed"] == []
    assert found["settings"] == {
        **{"f0_predictor": "pm", "targets": ["dataset_raw/anna"], "references": None},
        **{"transcripts": None, "warp": True},
    }
    first, second = found["rows"]
    assert first.keys() == {
        *("source", "conversion", "speaker", "transpose", "checkpoint", "measures", "not_measured", "remarks"),
    }
    assert first["measures"].keys() == found["measures"].keys() == BY_KEY.keys()
    assert first["measures"]["f0_rmse_cents"] < 0.1 and first["measures"]["to_target"] is None
    assert second["transpose"] == 2 and second["measures"]["f0_rmse_cents"] < 5
    page = Page(Path("evaluation/evaluation.html"))
    assert page.open == []
    assert "歌 é&_2key_anna_sovits_pm" in page.text and "resemblyzer is not installed" in page.text
    pictures = [address for tag, address in page.sources if tag == "img"]
    assert len(pictures) == 2 and all(address.startswith("data:image/png;base64,iVBOR") for address in pictures)
    players = [address for tag, address in page.sources if tag == "audio"]
    assert len(players) == 4 and all((home / "evaluation" / unquote(address)).is_file() for address in players)
    assert not any(address.startswith("http") for _, address in page.sources)


def test_embedded_audio_needs_no_files(home, capsys):
    names = ["--sources", "raw", "--conversions", "results", "--out", "out/here", "--embed_audio", *QUICK]
    assert evaluate.main([*names, "-s", "anna"]) == 0
    assert "WARNING without effect here: --spk_list" in capsys.readouterr().err
    addresses = [address for _, address in Page(Path("out/here/evaluation.html")).sources]
    assert all(address.startswith("data:") for address in addresses)
    assert sum(address.startswith("data:audio/flac;base64,ZkxhQ") for address in addresses) == 4


def test_what_cannot_be_evaluated_is_listed_and_the_exit_code_says_so(home, capsys):
    Path("results/broken_0key_anna_sovits_pm.flac").write_bytes(b"fLaC")
    shutil.copy("results/broken_0key_anna_sovits_pm.flac", "results/歌 é&_3key_anna_sovits_pm.flac")
    assert evaluate.main(["--sources", "raw", "nosong", "--conversions", "results", *QUICK]) == 1
    messages = capsys.readouterr().err
    assert "ERROR nosong: no such song" in messages
    assert "its name begins with that of no source" in messages and "not readable as audio" in messages
    found = json.loads(Path("evaluation/evaluation.json").read_text(encoding="utf-8"))
    assert len(found["rows"]) == 2 and len(found["failed"]) == 3
    assert "Not evaluated" in Page(Path("evaluation/evaluation.html")).text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --conversions, to measure them, or --checkpoints"),
        (["--conversions", "results", "--checkpoints", "x"], "give either --conversions"),
        (["--conversions", "results", "--targets", "none"], "--targets none: no such folder"),
        (["--conversions", "results", "--in_order"], "one conversion per song, got 2 for 1"),
        (["--checkpoints", "logs/44k/G_*.pth"], "--checkpoints logs/44k/G_*.pth: no such model"),
    ],
)
def test_commands_that_cannot_be_meant(home, capsys, arguments, message):
    assert evaluate.main(["--sources", "raw", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not Path("evaluation").exists()


def test_checkpoints_are_ranked(home, capsys):
    model, _ = write_model(home / "logs/44k")
    shutil.copy(model, model.with_name("G_10.pth"))
    model.with_name("G_20.pth").write_bytes(b"damaged")
    arguments = ["--checkpoints", "logs/44k/G_*.pth", "-c", "logs/44k/config.json", "--songs", "raw", "-t", "2"]
    assert evaluate.main([*arguments, "-s", "anna", "-f0p", "dio", "-d", "cpu", *QUICK]) == 1
    text, messages = capsys.readouterr()
    assert "ERROR G_20: logs/44k/G_20.pth is damaged" in messages
    found = json.loads(Path("evaluation/evaluation.json").read_text(encoding="utf-8"))
    assert [row["checkpoint"] for row in found["rows"]] == ["G_5", "G_10"]
    for row in found["rows"]:
        assert row["conversion"] == f"evaluation/conversions/{row['checkpoint']}/歌 é&_2key_anna_sovits_dio.flac"
        assert Path(row["conversion"]).is_file()
        assert row["measures"]["real_time_factor"] > 0
    standings = found["verdict"]["standings"]
    assert [(each["checkpoint"], each["mean_rank"]) for each in standings] == [("G_5", 1.5), ("G_10", 1.5)]
    assert "**keep G_5: mean rank 1.50 (melody 1.5)" in text and "listen to both" in text
    assert "The rule: ranks, 1 the best, for voice" in text
    assert "keep G_5" in Page(Path("evaluation/evaluation.html")).text


def test_songs_of_one_name_and_speakers_by_id(home):
    """No conversion is written over another, and an id means the recordings of whom it belongs to."""
    write_model(home / "logs/44k")
    audio.save("raw/b/歌 é&.flac", sing(300, 1.5), SAMPLE_RATE)
    arguments = ["--checkpoints", "logs/44k/G_5.pth", "--songs", "raw", "-s", "0", "anna", "--targets", "dataset_raw"]
    assert evaluate.main([*arguments, "-f0p", "dio", "-d", "cpu", *QUICK]) == 0
    rows = json.loads(Path("evaluation/evaluation.json").read_text(encoding="utf-8"))["rows"]
    conversions = [Path(row["conversion"]) for row in rows]
    assert {path.name for path in conversions} == {f"歌 é&{n}_0key_anna_sovits_dio.flac" for n in ("", "_2")}
    assert conversions[0].read_bytes() != conversions[1].read_bytes()
    assert [row["speaker"] for row in rows] == ["anna", "anna"]
    assert all("resemblyzer" in row["not_measured"]["to_target"] for row in rows)  # the folder was found


def test_what_was_measured_stays_where_checkpoints_cannot_be_ranked(home, capsys):
    """No melody in the song, no packages: there is nothing to rank by."""
    model, _ = write_model(home / "logs/44k")
    shutil.copy(model, model.with_name("G_10.pth"))
    audio.save("raw/noise.wav", 0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE), SAMPLE_RATE)
    arguments = ["--checkpoints", "logs/44k/G_*.pth", "--songs", "noise", "-s", "anna", "-f0p", "dio", "-d", "cpu"]
    assert evaluate.main([*arguments, *QUICK]) == 1
    text, messages = capsys.readouterr()
    assert "ERROR no verdict: nothing that checkpoints are ranked by was measured for any of them" in messages
    assert "| G_10: noise_0key_anna_sovits_dio |" in text
    assert len(json.loads(Path("evaluation/evaluation.json").read_text(encoding="utf-8"))["rows"]) == 2


def test_an_unknown_speaker_is_told_for_each_checkpoint(home, capsys):
    write_model(home / "logs/44k")
    assert evaluate.main(["--checkpoints", "logs/44k/G_5.pth", "--songs", "raw", "-s", "carl", *QUICK]) == 1
    assert "ERROR G_5: unknown speaker 'carl': this model knows anna (id 0), bob (id 1)" in capsys.readouterr().err


def test_the_table_is_printed_before_anything_is_written(home, capsys):
    Path("taken").write_text("no folder")
    assert evaluate.main(["--sources", "raw", "--conversions", "results", "--out", "taken", *QUICK]) == 1
    text, messages = capsys.readouterr()
    assert "| mean |" in text and "ERROR" in messages and Path("taken").read_text() == "no folder"

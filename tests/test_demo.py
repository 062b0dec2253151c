"""The demo and the benchmark of the small models, but for the training: what they refuse, what they make of results."""

import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import embedded
from common import audio
from demo import road as demo_road
from demo import run as demo
from demo.road import Road
from pipeline.measures import Evaluation, Row
from tests.synthetic import RATE, sing


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    audio.save(tmp_path / "in/anna/1.wav", sing(220.0, 0.5), RATE)
    audio.save(tmp_path / "song.wav", sing(220.0, 0.5), RATE)
    audio.save(tmp_path / "more/Song.wav", sing(220.0, 0.5), RATE)
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("arguments", "minutes", "message"),
    [
        (["--recordings", "nowhere"], "1", "no folder .*nowhere: --recordings names"),
        (["--recordings", "in", "--songs", "none.wav"], "1", "no song .*none.wav"),
        (["--recordings", "in", "--songs", "song.wav", "more/Song.wav"], "1", "two of the songs have one name"),
        (["--recordings", "in", "--songs", "song.wav"], "soon", "DEMO_MINUTES must be a number above 0, got 'soon'"),
        (["--recordings", "in", "--songs", "song.wav"], "nan", "DEMO_MINUTES must be a number above 0, got 'nan'"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_deleted(  # noqa: PLR0913
    recordings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments, minutes, message
) -> None:
    deleted: list[object] = []
    monkeypatch.setattr(demo.shutil, "rmtree", lambda *a, **kw: deleted.append(a))
    monkeypatch.setenv("DEMO_MINUTES", minutes)
    monkeypatch.chdir(recordings.parent)
    assert demo.main(arguments) == 1
    assert not deleted
    assert re.search(message, capsys.readouterr().err)


def test_recordings_that_would_be_deleted_are_refused() -> None:
    place = demo.ROOT / demo.WORK / "x"
    place.mkdir(parents=True, exist_ok=True)
    assert "which each run deletes" in demo.find_problem(place, [], "1")


@pytest.mark.parametrize(
    ("correlation", "remarks", "good"),
    [(0.95, [], True), (0.5, [], False), (None, [], False), (0.95, ["short"], False)],
)
def test_every_result_has_to_follow_its_song(correlation, remarks, good) -> None:
    values = {} if correlation is None else {"f0_correlation": correlation}
    fine = Row(Path("a"), Path("b"), "anna", 0.0, values={"f0_correlation": 0.99})
    row = Row(Path("a"), Path("c"), "anna", 0.0, values=values, remarks=remarks)
    assert demo.follows_the_songs(Evaluation([fine, row])) is good
    assert not demo.follows_the_songs(Evaluation([fine], [("c", "unreadable")]))


def test_a_road_knows_its_results_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []
    monkeypatch.setattr(demo_road, "run", lambda _title, script, *arguments: commands.append((script, arguments)))
    monkeypatch.setattr(demo_road, "ROOT", tmp_path)
    walk = Road(Path("in"), Path("work"), "demo")
    with pytest.raises(SystemExit, match="no model was trained"):
        walk.convert([Path("/s/song.wav")], ["anna"])
    for step in (9, 10):
        (tmp_path / "logs/demo/diffusion").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"logs/demo/diffusion/model_{step}.pt").touch()
    results = walk.convert([Path("/s/song.wav")], ["anna", "b:ob"], transpose=-2, options=["--articulation", 0.5])
    assert [path.name for path in results] == ["song_-2key_anna_diff_auto.flac", "song_-2key_b_ob_diff_auto.flac"]
    script, arguments = commands[-1]
    assert script == "inference_main.py" and Path("logs/demo/diffusion/model_10.pt") in arguments
    assert arguments[arguments.index("--articulation") + 1] == 0.5


def test_a_failing_script_ends_the_road() -> None:
    with pytest.raises(SystemExit, match="resample.py failed with exit code"):
        demo_road.run("1", "resample.py", "--no-such-option")


def test_the_benchmark_compares_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Each voice is trained once and sings once with each set of options, to a folder of its own."""
    song = tmp_path / "song.wav"
    audio.save(song, sing(200.0, 1.0).astype(np.float32), RATE)
    (tmp_path / "in/anna").mkdir(parents=True)
    command = ["--recordings", str(tmp_path / "in"), "--songs", str(song)]
    walks = []

    class Walk:
        results, recordings = Path("results"), tmp_path / "in"
        prepare = train = staticmethod(lambda *_: walks.append("trained") if _ else None)

    def sung(voice, road, songs, options):
        walks.append((road.results.as_posix(), options))
        return [" ".join([voice, *options])]

    monkeypatch.setattr(embedded, "alone", lambda voice, args: Walk())
    monkeypatch.setattr(embedded, "replace", lambda road, results: SimpleNamespace(results=results))
    monkeypatch.setattr(embedded, "songs_rows", sung)
    assert list(embedded.rows(embedded.parse_args([*command, "--compare=--articulation 0 -ft 0.1"])))[2:] == [
        *("anna", "anna --articulation 0 -ft 0.1")
    ]
    assert walks == [
        "trained",
        ("results/0", []),
        ("results/1", ["--articulation", "0", "-ft", "0.1"]),
    ]
    for wrong, message in (
        *(("-t 3", "cannot compare trans"), ("--articulation", "expected one argument")),
        *(("--timbre_match 2", "must lie between 0 and 1"), ("--seed '3", "No closing quotation")),
    ):
        with pytest.raises(SystemExit):
            embedded.parse_args([*command, f"--compare={wrong}"])
        assert message in capsys.readouterr().err


def test_pauses_are_where_the_song_rests() -> None:
    song = np.concatenate([sing(200.0, 1.0), np.zeros(RATE), sing(200.0, 1.0)]).astype(np.float32)
    hum = 0.01 * np.sin(2 * np.pi * 100 * np.arange(len(song)) / RATE).astype(np.float32)
    expected = 20 * math.log10(0.01 / math.sqrt(2) / audio.peak(song + hum))
    assert embedded.pause_level(song, song + hum) == pytest.approx(expected, abs=0.5)
    assert embedded.pause_level(song, song) < -150
    assert math.isnan(embedded.pause_level(song[:RATE], song[:RATE])) and math.isnan(
        embedded.pause_level(song, song[:9])
    )


def test_words_are_counted_over_all_sentences(tmp_path: Path) -> None:
    class Deaf:
        def words(self, wav: np.ndarray, sample_rate: int) -> list[str]:
            return ["one", "two"]

    table, clips = tmp_path / "texts.tsv", [tmp_path / "lj/1.wav", tmp_path / "lj/2.wav"]
    for clip in clips:
        audio.save(clip, sing(220.0, 0.2), RATE)
    table.write_text("lj/1\tOne, two\nlj/2\tone two\tthree four five six\n", encoding="utf-8")
    texts = embedded.read_texts(table, clips)
    assert embedded.word_error(clips, texts, Deaf()) == pytest.approx(4 / 8)
    with pytest.raises(ValueError, match="has no text of lj/3"):
        embedded.read_texts(table, [tmp_path / "lj/3.wav"])

"""The evaluator on recordings whose numbers are known, and odd ones."""

import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from common import audio
from pipeline.evaluation import SAMPLE_RATE, EvaluationOptions, Evaluator, evaluate_files, find_targets
from pipeline.evaluation_pairs import Pair
from pipeline.measures import BY_KEY
from tests.synthetic import sing

QUICK = EvaluationOptions(f0_predictor="pm", pictures=False)
SONG = sing(220, 2.0)


@pytest.fixture(autouse=True)
def no_networks(monkeypatch):
    """What a speaker and a quality are here: the first numbers of the audio, the peak."""

    class Encoder:
        def embed(self, wav, sample_rate):
            if len(wav) < 0.8 * sample_rate:
                raise ValueError("too little for a speaker embedding")
            if audio.is_silent(wav):
                raise ValueError("silent")
            spectrum = np.abs(np.fft.rfft(wav[: sample_rate // 2]))[:2000]
            return spectrum / np.linalg.norm(spectrum)

    class Predictor:
        def predict(self, wav, sample_rate):
            return type("Quality", (), {"overall": float(audio.peak(wav))})

    monkeypatch.setattr("pipeline.evaluation.SpeakerEncoder", Encoder)
    monkeypatch.setattr("pipeline.evaluation.QualityPredictor", Predictor)


def measure(tmp_path: Path, result: np.ndarray, *, source: np.ndarray = SONG, options=QUICK, **pair):
    audio.save(tmp_path / "song.wav", source, SAMPLE_RATE, "FLOAT")
    audio.save(tmp_path / "song_0key_anna_sovits_pm.wav", result, SAMPLE_RATE, "FLOAT")
    paths = tmp_path / "song.wav", tmp_path / "song_0key_anna_sovits_pm.wav"
    row = Evaluator(options).measure(Pair(*paths, **({"speaker": "anna"} | pair)))
    assert row.values.keys() | row.missing.keys() == BY_KEY.keys() and not row.values.keys() & row.missing.keys()
    return row


def test_the_song_itself(tmp_path):
    row = measure(tmp_path, SONG)
    for key in ("f0_correlation", "loudness_correlation", "to_source"):
        assert row.values[key] == pytest.approx(1)
    assert {key for key in row.values if row.values[key] == 0} == {
        *("f0_rmse_cents", "off_pitch", "gross_pitch_error", "fine_cents", "voicing_error"),
    }
    assert row.values["quality"] == row.values["quality_source"] == pytest.approx(0.5)
    assert row.remarks == []
    assert row.missing == {
        "to_target": "no recordings of the target: --targets dataset_raw/NAME",
        "mcd": "no recording of the target singing this song: --references FOLDER",
        "word_error": "nobody said what is sung: --transcripts FILE, or --transcripts source",
        "real_time_factor": "only a conversion that is made here can be timed: --checkpoints",
    }


def test_the_transposition_is_expected(tmp_path):
    higher = sing(220 * 2 ** (4 / 12), 2.0)
    assert measure(tmp_path, higher, transpose=4.0).values["f0_rmse_cents"] < 5
    assert measure(tmp_path, higher).values["f0_rmse_cents"] == pytest.approx(400, abs=5)


def test_a_melody_of_the_models_own_is_not_compared(tmp_path):
    row = measure(tmp_path, SONG, transpose=None)
    assert row.missing["f0_rmse_cents"] == row.missing["voicing_error"] == "sung with -a: the melody is the model's own"
    assert "loudness_correlation" in row.values


def test_different_lengths_are_said(tmp_path):
    row = measure(tmp_path, SONG[: SAMPLE_RATE * 3 // 2])
    assert row.values["f0_rmse_cents"] < 1
    assert row.remarks == ["lasts 1.50 s, its source 2.00 s: melody and loudness are compared over the common part"]


@pytest.mark.parametrize("odd", ["silence", "noise", "short", "a few samples"])
@pytest.mark.parametrize("side", ["source", "result"])
def test_odd_recordings_leave_dashes_with_reasons(tmp_path, odd, side):
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE).astype(np.float32)
    wav = {"silence": 0 * SONG, "noise": noise, "short": SONG[: SAMPLE_RATE // 4], "a few samples": SONG[:20]}[odd]
    options = EvaluationOptions(f0_predictor="pm", references=tmp_path)
    row = measure(
        tmp_path, SONG if side == "source" else wav, source=wav if side == "source" else SONG, options=options
    )
    assert all(math.isfinite(value) for value in row.values.values())
    expected = {
        "silence": ("f0_correlation", "fewer than two frames are voiced"),
        "noise": ("f0_correlation", "fewer than two frames are voiced"),
        "short": ("to_source", "too little"),
        "a few samples": ("loudness_correlation", "less than one frame"),
    }[odd]
    assert expected[1] in row.missing[expected[0]]
    assert row.picture.startswith(b"\x89PNG") or "no picture" in row.remarks[-1]


def test_stereo_at_another_rate_under_a_name_in_another_script(tmp_path):
    import soundfile  # writes what common.audio does not: two channels

    wav = audio.resample(SONG, SAMPLE_RATE, 96000)
    source, result = tmp_path / "歌 é.wav", tmp_path / "歌 é_0key_アンナ_sovits_pm.flac"
    soundfile.write(source, np.stack([wav, wav], axis=1), 96000)
    audio.save(result, SONG, SAMPLE_RATE)
    evaluation = evaluate_files([str(source)], [str(tmp_path / "*.flac")], QUICK)
    assert not evaluation.failed
    assert evaluation.rows[0].speaker == "アンナ"
    assert evaluation.rows[0].values["f0_rmse_cents"] < 1


def test_a_voice_is_compared_with_its_own_folder(tmp_path):
    for name, hz in (("anna", 220), ("bob", 110)):
        (tmp_path / "data" / name).mkdir(parents=True)
        audio.save(tmp_path / "data" / name / "1.wav", sing(hz, 2.0), SAMPLE_RATE)
        audio.save(tmp_path / "data" / name / "2.wav", sing(hz, 0.3), SAMPLE_RATE)  # too short: passed over
    options = EvaluationOptions((tmp_path / "data",), f0_predictor="pm", pictures=False)
    anna = measure(tmp_path, SONG, options=options).values["to_target"]
    bob = measure(tmp_path, SONG, options=options, speaker="bob").values["to_target"]
    assert anna > bob + 0.1
    missing = measure(tmp_path, SONG, options=options, speaker="carl").missing["to_target"]
    assert missing == "--targets holds no folder of 'carl'; it has anna, bob"
    missing = measure(tmp_path, SONG, options=options, speaker=None).missing["to_target"]
    assert "whom the conversion's name does not tell" in missing
    alone = EvaluationOptions((tmp_path / "data/anna",), f0_predictor="pm", pictures=False)
    assert measure(tmp_path, SONG, options=alone, speaker=None).values["to_target"] == pytest.approx(anna)


def test_targets_that_hold_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_targets((tmp_path / "none",))
    with pytest.raises(ValueError, match="neither it nor a folder in it holds audio"):
        find_targets((tmp_path,))
    folders = tmp_path / "a/anna", tmp_path / "b/anna"
    for folder in folders:
        folder.mkdir(parents=True)
        audio.save(folder / "1.wav", SONG, SAMPLE_RATE)
    assert find_targets((folders[0], tmp_path / "a")) == {"anna": folders[0]}
    with pytest.raises(ValueError, match=r"--targets: .*a.anna and .*b.anna are called alike: rename one"):
        find_targets(folders)
    audio.save(tmp_path / "short.wav", SONG[:1000], SAMPLE_RATE)
    row = measure(tmp_path, SONG, options=EvaluationOptions((tmp_path,), f0_predictor="pm"), speaker=tmp_path.name)
    assert "to_target" in row.values  # measure() wrote longer ones beside it


def test_a_parallel_recording(tmp_path):
    (tmp_path / "sung").mkdir()
    options = EvaluationOptions(references=tmp_path / "sung", f0_predictor="pm", pictures=False)
    assert (
        "holds no file called song_0key_anna_sovits_pm or song"
        in measure(tmp_path, SONG, options=options).missing["mcd"]
    )
    audio.save(tmp_path / "sung/song.wav", SONG, SAMPLE_RATE, "FLOAT")
    assert measure(tmp_path, SONG, options=options).values["mcd"] == pytest.approx(0, abs=1e-6)
    assert measure(tmp_path, sing(220, 2.0, seed=3), options=options).values["mcd"] > 1
    with pytest.raises(FileNotFoundError, match="--references .*: no such folder"):
        Evaluator(EvaluationOptions(references=tmp_path / "none"))


def test_words_are_counted_against_a_transcript(tmp_path, monkeypatch):
    class Recogniser:
        def words(self, wav, sample_rate):
            return ["so", "la"] if len(wav) == len(SONG) else ["so", "fa"]

    monkeypatch.setattr("pipeline.evaluation.Recogniser", Recogniser)
    table = tmp_path / "words.tsv"
    table.write_text("other\tdo\nsong.wav\tSo, fa mi.\n", encoding="utf-8")
    options = EvaluationOptions(transcripts=str(table), f0_predictor="pm", pictures=False)
    assert measure(tmp_path, SONG, options=options).values["word_error"] == pytest.approx(2 / 3)
    heard = EvaluationOptions(transcripts="source", f0_predictor="pm", pictures=False)
    assert measure(tmp_path, SONG[:-100], options=heard).values["word_error"] == 0.5
    table.write_text("other\tdo\n", encoding="utf-8")
    assert "has no line for song" in measure(tmp_path, SONG, options=options).missing["word_error"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"song so la\n", "line 1 has no tab"), (b"song\t\xff\n", "not a UTF-8 text file"), (None, "no such file")],
)
def test_transcripts_that_are_none(tmp_path, content, message):
    if content is not None:
        (tmp_path / "words.tsv").write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        Evaluator(EvaluationOptions(transcripts=str(tmp_path / "words.tsv")))


def test_a_bad_file_does_not_stop_the_rest(tmp_path):
    audio.save(tmp_path / "song.wav", SONG, SAMPLE_RATE)
    audio.save(tmp_path / "song_0key_b_sovits_pm.wav", SONG, SAMPLE_RATE)
    (tmp_path / "song_0key_a_sovits_pm.wav").write_bytes(b"no audio")
    names = [str(tmp_path / "*.wav"), str(tmp_path / "none.wav")]
    evaluation = evaluate_files([str(tmp_path / "song.wav")], names, QUICK)
    assert [row.speaker for row in evaluation.rows] == ["b"]
    reasons = dict(evaluation.failed)
    assert "no such song" in reasons[str(tmp_path / "none.wav")]
    assert "not readable as audio" in reasons[str(tmp_path / "song_0key_a_sovits_pm.wav")]


def test_songs_are_no_conversions_of_themselves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    audio.save(tmp_path / "raw/song.wav", SONG, SAMPLE_RATE)
    for name in ("raw", str(tmp_path / "raw/song.wav")):
        with pytest.raises(ValueError, match="--conversions names the songs themselves and nothing else"):
            evaluate_files(["raw/song.wav"], [name], QUICK)


def test_missing_packages_are_dashes_with_a_command(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr("common.packaged.find_spec", lambda _: None)
    row = measure(tmp_path, SONG)
    assert row.missing["to_source"] == "the package resemblyzer is not installed: pip install --no-deps Resemblyzer"
    assert row.missing["quality"] == "the package speechmos is not installed: pip install --no-deps speechmos"


@pytest.mark.skipif(find_spec("torchfcpe") is None, reason="torchfcpe is not installed")
def test_the_default_tracker_hears_the_song(tmp_path):
    row = measure(tmp_path, SONG, options=EvaluationOptions(pictures=False))
    assert row.values["f0_rmse_cents"] == 0

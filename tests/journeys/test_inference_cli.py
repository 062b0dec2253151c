"""inference_main.py as a user calls it: names, songs x transpositions x speakers, bad songs, what is not there yet."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import inference_main
from common import audio
from pipeline.batch_conversion import result_name
from pipeline.conversion import Converter
from pipeline.conversion_options import ConversionOptions
from pipeline.melody_csv import read_csv
from pipeline.pitch_comparison import track_pitch
from pipeline.pitch_range import PitchRange
from pipeline.rendering import Target
from pipeline.speakers import write_pitch_ranges
from tests.pipeline.midi_files import note, write
from tests.pipeline.tiny_diffusion import write_diffusion, write_vocoder
from tests.pipeline.tiny_model import SAMPLE_RATE, silence, sung, write_model

# Short and long name, default: those of 4.1.
OPTIONS = {
    "-m --model_path": "logs/44k/G_37600.pth",
    "-c --config_path": "logs/44k/config.json",
    "-cl --clip": 0,
    "-n --clean_names": ["君の知らない物語-src.wav"],
    "-t --trans": [0],
    "-s --spk_list": ["buyizi"],
    "-a --auto_predict_f0": False,
    "-cm --cluster_model_path": "",
    "-cr --cluster_infer_ratio": 0,
    "-lg --linear_gradient": 0,
    "-f0p --f0_predictor": "pm",
    "-eh --enhance": False,
    "-shd --shallow_diffusion": False,
    "-usm --use_spk_mix": False,
    "-lea --loudness_envelope_adjustment": 1,
    "-fr --feature_retrieval": False,
    "-dm --diffusion_model_path": "logs/44k/diffusion/model_0.pt",
    "-dc --diffusion_config_path": "logs/44k/diffusion/config.yaml",
    "-ks --k_step": 100,
    "-se --second_encoding": False,
    "-od --only_diffusion": False,
    "-sd --slice_db": -40,
    "-d --device": None,
    "-ns --noice_scale": 0.4,
    "-p --pad_seconds": 0.5,
    "-wf --wav_format": "flac",
    "-lgr --linear_gradient_retain": 0.75,
    "-eak --enhancer_adaptive_key": 0,
    "-ft --f0_filter_threshold": 0.05,
}
MODEL = ["-m", "logs/44k/G_5.pth", "-c", "logs/44k/config.json", "-d", "cpu", "-f0p", "dio"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder / "logs/44k")
    write_pitch_ranges(folder / "logs/44k", {"anna": PitchRange(180.0, 220.0, 300.0), "bob": PitchRange(80, 110, 140)})
    return folder


@pytest.fixture
def home(model, tmp_path, monkeypatch):
    """A working folder with a model and an empty raw/."""
    (tmp_path / "logs").symlink_to(model / "logs")
    (tmp_path / "raw").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def results(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "results").glob("*"))


def test_options_are_those_of_4_1():
    args = vars(inference_main.parse_args([]))
    for names, default in OPTIONS.items():
        short, long = names.split()
        name = {"noice_scale": "noise_scale"}.get(long[2:], long[2:])
        value = args.pop(name)
        assert (value.as_posix() if isinstance(value, Path) else value) == default, names
        given = [] if default is False else ["pm" if name == "f0_predictor" else "1"]
        parsed = [getattr(inference_main.parse_args([option, *given]), name) for option in (short, long)]
        assert parsed[0] == parsed[1] != (default if name != "f0_predictor" and default not in (1, [1]) else None)
    assert set(args) == {
        *("f0_min", "f0_max", "seed", "in_dir", "out_dir", "f0_export", "f0_import", "f0_only", "spk_mix"),
        *("retrieval_neighbours", "retrieval_probes", "sampler", "speedup", "temperature", "articulation"),
        *("timbre_match", "vocoder"),
        "keyshift",
    }


def test_songs_times_transpositions_times_speakers(home, capsys):
    audio.save(home / "raw/one.wav", sung(1.0), SAMPLE_RATE)
    audio.save(home / "raw/two songs é.flac", sung(0.8, sample_rate=22050), 22050)
    code = inference_main.main(
        [*MODEL, "-n", "one.wav", "two songs é", "-t", "0", "-5", "-s", "anna", "1", "-wf", "wav"]
    )
    assert code == 0
    assert results(home) == sorted(
        f"{song}_{key}key_{speaker}_sovits_dio.wav"
        for song in ("one", "two songs é")
        for key in (0, -5)
        for speaker in ("anna", "bob")
    )
    lengths = {name[:3]: audio.info(home / "results" / name).n_samples for name in results(home)}
    assert lengths == {"one": 44100, "two": round(0.8 * 44100)}
    wavs = [audio.load(home / "results" / name, SAMPLE_RATE) for name in results(home)]
    assert len({wav.tobytes() for wav in wavs}) == len(wavs)
    said = capsys.readouterr().err
    assert "-t 0 for bob: the ranges do not meet: try -t -12" in said and "-t 0 for anna" not in said


def test_bad_songs_never_stop_the_rest(home, capsys):
    (home / "raw/corrupt.wav").write_bytes(b"RIFF" + bytes(100))
    (home / "raw/empty.wav").touch()
    audio.save(home / "raw/nothing.wav", silence(0.0), SAMPLE_RATE)
    audio.save(home / "raw/silent.wav", silence(1.0), SAMPLE_RATE)
    audio.save(home / "raw/tiny.wav", sung(1.0)[:100], SAMPLE_RATE)
    audio.save(home / "raw/good.wav", sung(0.7), SAMPLE_RATE)
    assert inference_main.main([*MODEL, "-n", "missing", ".", "-s", "anna"]) == 1
    assert results(home) == [f"{name}_0key_anna_sovits_dio.flac" for name in ("good", "silent", "tiny")]
    assert not audio.load(home / "results/silent_0key_anna_sovits_dio.flac", SAMPLE_RATE).any()
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ERROR")]
    assert [text.removeprefix("ERROR ").split(":")[0] for text in errors] == [
        "missing",
        "raw/corrupt.wav",
        "raw/empty.wav",
        "raw/nothing.wav",
    ]
    assert "no such song: raw/ holds" in errors[0] and "0 bytes" in errors[2] and "no samples" in errors[3]


def test_an_existing_result_is_replaced_and_auto_is_named(home):
    audio.save(home / "raw/one.wav", sung(0.6), SAMPLE_RATE)
    (home / "results").mkdir()
    (home / "results/one_auto_anna_sovits_dio.flac").write_text("old")
    assert inference_main.main([*MODEL, "-n", "one", "-s", "anna", "-a", "-wf", "FLAC"]) == 0
    assert audio.info(home / "results/one_auto_anna_sovits_dio.flac").n_samples == round(0.6 * 44100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["-eh"],
            "nsf_hifigan/model: run python -m common.pretrained get nsf-hifigan, or name another file",
        ),
        (["-shd"], "no configuration logs/44k/diffusion/config.yaml"),
        (["-od"], "no configuration logs/44k/diffusion/config.yaml: it lies beside the diffusion model"),
        (["-usm"], "spk_mix_map"),
        (["--spk_mix", "mix.csv"], "mix.csv"),
        (["-cr", "0.5"], "kmeans_10000.pt"),
        (["-cr", "0.5", "-fr"], "feature_and_index.pkl"),
        (["-cr", "1.5"], "cluster_infer_ratio (-cr) must lie between 0 and 1"),
        (["-shd", "-ks", "0"], "k_step (-ks) must be at least 1"),
        (["-a", "-od"], "auto_predict_f0 (-a) needs the synthesizer"),
        (["-s", "carol"], "unknown speaker 'carol': this model knows anna (id 0), bob (id 1)"),
        (["-s", "7"], "unknown speaker '7'"),
        (["-m", "logs/44k/G_1.pth"], "no model logs/44k/G_1.pth; in that folder there are: G_5.pth"),
        (["-c", "none.json"], "no configuration none.json: train.py writes it"),
        (["-d", "cuda:99"], "'cuda:99' was asked for"),
        (["-wf", "xyz"], "cannot write 'xyz' files"),
        (["-p", "-1"], "pad_seconds (-p) must not be negative"),
        (["-lg", "3", "-cl", "2"], "linear_gradient (-lg) must lie between"),
        (["-f0p", "rmvpe"], "rmvpe.pt is missing"),
        (["--f0_export", "song.txt"], "--f0_export song.txt: it must end in .csv, or be a folder"),
        (["--f0_export", "raw/one.wav/x.csv"], "--f0_export: the folder raw/one.wav cannot be made: "),
        (["--f0_import", "song.csv"], "--f0_import song.csv: no such file"),
        (["--f0_import", "raw/one.wav"], "--f0_import raw/one.wav: it must end in .csv, .mid, .midi, or be a folder"),
        (["-a", "--f0_export", "new"], "-a and --f0_export exclude one another: with -a the model makes a melody"),
        (["-a", "--f0_import", "raw"], "-a and --f0_import exclude one another: with -a the model makes a melody"),
        (["--f0_only"], "--f0_only writes melodies and nothing else: say where to with --f0_export"),
        (["--f0_only", "--f0_export", "new", "-a"], "-a and --f0_export exclude one another"),
        (["--f0_only", "--f0_export", "new", "-d", "cuda:99"], "'cuda:99' was asked for"),
        (["--f0_only", "--f0_export", "new", "-c", "none.json"], "no configuration none.json: train.py writes it"),
        (["--f0_only", "--f0_export", "new", "-f0p", "rmvpe"], "rmvpe.pt is missing"),
    ],
)
def test_errors_before_any_song(home, capsys, arguments, message):
    audio.save(home / "raw/one.wav", sung(0.6), SAMPLE_RATE)
    assert inference_main.main([*MODEL, "-n", "one", "-s", "anna", *arguments]) == 1
    assert message in capsys.readouterr().err and not (home / "results").exists()


def test_a_melody_is_seen_changed_and_sung(home, capsys):
    song = np.concatenate([silence(0.3), sung(1.5), silence(0.3)])
    audio.save(home / "raw/歌 é.wav", song, SAMPLE_RATE)
    asked = [*MODEL, "-n", "歌 é", "-s", "anna", "-wf", "wav", "-ns", "0"]
    only = ["-c", "logs/44k/config.json", "-f0p", "dio", "-n", "歌 é", "--f0_only", "--f0_export"]
    assert inference_main.main([*only, "only/é.csv"]) == 0  # names no model, no speaker
    assert not (home / "results").exists()
    assert inference_main.main([*asked, "--f0_export", "é.csv"]) == 0
    assert (home / "only/é.csv").read_bytes() == (home / "é.csv").read_bytes()
    assert (home / "é.png").is_file() and "written: é.png" in capsys.readouterr().err
    assert inference_main.main([*asked, "-ft", "0.1", "--f0_import", "é.csv"]) == 0
    assert "-f0p, -ft have no effect: --f0_import gives the melody" in capsys.readouterr().err
    tracked, imported = (home / f"results/歌 é_0key_anna_sovits_{name}.wav" for name in ("dio", "csv"))
    assert tracked.read_bytes() == imported.read_bytes()
    # As a spreadsheet of another country saves it, a fifth higher.
    head, *rows = (home / "é.csv").read_text(encoding="utf-8").splitlines()
    cells = [row.split(",") for row in rows]
    edited = [";".join([time, f"{1.5 * float(f0):.3f}", voiced]).replace(".", ",") for time, f0, voiced in cells]
    (home / "é.csv").write_text("\r\n".join(["\ufeff" + head.replace(",", ";"), *edited]), encoding="utf-8")
    assert inference_main.main([*asked, "-t", "0", "-12", "--f0_import", "é.csv"]) == 0
    for key, expected in ((0, 330.0), (-12, 165.0)):
        result = audio.load(home / f"results/歌 é_{key}key_anna_sovits_csv.wav", SAMPLE_RATE)
        pitch = track_pitch(result, SAMPLE_RATE, predictor="harvest")
        assert np.median(pitch.f0[pitch.uv > 0]) == pytest.approx(expected, rel=0.01)
    assert "range of the song (low / median / high): 330 Hz E4" in capsys.readouterr().err


def test_a_song_is_sung_from_notes(home, capsys):
    audio.save(home / "raw/one.wav", np.concatenate([silence(0.2), sung(1.8)]), SAMPLE_RATE)
    write(home / "one.mid", [*note(64, 0, 2), *note(67, 2, 4)])
    only = [*MODEL, "-n", "one", "--f0_only", "--f0_export", "notes", "--f0_import", "one.mid"]
    assert inference_main.main(only) == 0
    melody = read_csv(home / "notes/one.csv", 2.0)
    assert set(np.round(melody.voiced_hz)) >= {330.0, 392.0} and not melody.f0[melody.seconds < 0.15].any()
    assert inference_main.main([*MODEL, "-n", "one", "-s", "bob", "--f0_import", "one.mid"]) == 0
    assert results(home) == ["one_0key_bob_sovits_mid.flac"]
    assert "melody from one.mid" in capsys.readouterr().err


def test_melodies_of_several_songs(home, capsys):
    (home / "raw/b").mkdir()
    for i, name in enumerate(("a.wav", "b/a.flac", "c.wav")):
        audio.save(home / "raw" / name, sung(0.6 + 0.1 * i), SAMPLE_RATE)
    asked = [*MODEL, "-n", "a", "b/a", "c", "missing", "-s", "anna"]
    assert inference_main.main([*asked, "--f0_export", "all.csv"]) == 1
    assert "--f0_export all.csv: one file is for one song, and there are 3: name a folder" in capsys.readouterr().err
    assert inference_main.main([*asked, "--f0_export", "all", "--f0_only"]) == 1  # one name means no song
    names = sorted(path.name for path in (home / "all").glob("*.csv"))
    assert names == ["a.csv", "a_2.csv", "c.csv"] and not (home / "results").exists()
    assert len({(home / "all" / name).read_bytes() for name in names}) == 3
    (home / "all/c.csv").unlink()
    (home / "all/a.csv").write_text("time,f0\n0,a\n")
    assert inference_main.main([*asked, "--f0_import", "all"]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ERROR")][-3:]
    assert errors[1] == "ERROR raw/a.wav: all/a.csv, line 2: f0 is no number: 'a'"
    assert errors[2] == "ERROR raw/c.wav: all holds no melody for it: none of c.csv, c.mid, c.midi"
    assert results(home) == ["a_2_0key_anna_sovits_csv.flac"]


def test_a_table_that_was_edited_is_kept_when_it_is_exported_anew(home, capsys):
    audio.save(home / "raw/one.wav", sung(0.6), SAMPLE_RATE)
    asked = [*MODEL, "-n", "one", "--f0_only", "--f0_export", "one.csv"]
    (home / "one.csv").write_text("edited")
    assert inference_main.main(asked) == inference_main.main(asked) == 0
    assert [path.read_text() for path in home.glob("one.csv.bak-*")] == ["edited"]
    assert "one.csv was there and differs: kept as one.csv.bak-" in capsys.readouterr().err


def test_advice_never_stops_a_conversion(home, capsys, monkeypatch):
    def broken(*_):
        raise RuntimeError("damaged weights")

    monkeypatch.setattr("pipeline.batch_conversion.pitch_range", broken)
    audio.save(home / "raw/one.wav", sung(0.6), SAMPLE_RATE)
    assert inference_main.main([*MODEL, "-n", "one", "-s", "anna", "-lg", "0.5", "-ks", "50"]) == 0
    said = capsys.readouterr().err
    assert "range of the song is not known, so no transposition is suggested: RuntimeError: damaged weights" in said
    assert "-lg has no effect without -cl" in said and "--k_step has no effect: it needs -shd" in said
    monkeypatch.setattr("pipeline.batch_conversion.tracker", lambda _: None)
    assert inference_main.main([*MODEL, "-n", "one", "-s", "anna"]) == 0
    assert "range" not in capsys.readouterr().err


@pytest.mark.parametrize(("speaker", "shown"), [("a/b", "a_b"), ('<c:|>"?*\\', "_c_______"), ("señor 歌", "señor 歌")])
def test_results_have_names_that_any_system_can_write(model, speaker, shown):
    converter = Converter(model / "logs/44k/G_5.pth", model / "logs/44k/config.json", device="cpu")
    converter.voice = dataclasses.replace(converter.voice, speakers={speaker: 0})
    name = result_name(converter, "one", Target(0, 0.0), options=ConversionOptions(f0_predictor="dio"))
    assert name == f"one_0key_{shown}_sovits_dio"


def test_as_a_process(home):
    wav = np.stack([sung(1.0, sample_rate=96000), silence(1.0, 96000)], axis=1)  # (T, 2)
    soundfile.write(home / "raw/stereo.flac", wav, 96000, subtype="PCM_24")
    script = Path(inference_main.__file__)
    run = subprocess.run(
        [sys.executable, str(script), *MODEL, "-n", "stereo", "-s", "bob"], capture_output=True, text=True, cwd=home
    )
    assert run.returncode == 0, run.stderr
    assert "range of the song" in run.stderr and "range of bob in the recordings" in run.stderr
    assert audio.info(home / "results/stereo_0key_bob_sovits_dio.flac").n_samples == 44100


@pytest.fixture
def diffusion(home: Path) -> list[str]:
    """Arguments that name a diffusion model in a folder of its own."""
    vocoder = write_vocoder(home / "vocoder")
    model, config = write_diffusion(home / "diffusion é", vocoder=vocoder)
    return ["-dm", str(model), "-dc", str(config)]


def test_diffusion_refines_or_sings_alone(home, diffusion, capsys):
    audio.save(home / "raw/one.wav", sung(0.8), SAMPLE_RATE)
    asked = ["-n", "one", "-s", "bob", "-d", "cpu", "-f0p", "dio", *diffusion]
    assert inference_main.main([*asked, *MODEL[:4], "-shd", "-ks", "30", "--sampler", "ddim", "--speedup", "5"]) == 0
    assert "DDIM" not in capsys.readouterr().err
    # no synthesizer is read
    assert (
        inference_main.main([*asked, "-m", "none.pth", "-c", "none.json", "-od", "--speedup", "200", "-ks", "9"]) == 0
    )
    said = capsys.readouterr().err
    assert "--k_step has no effect: -od takes all the steps of its model" in said
    assert results(home) == ["one_0key_bob_diff_dio.flac", "one_0key_bob_sovdiff_dio.flac"]
    wavs = [audio.load(home / "results" / name, SAMPLE_RATE) for name in results(home)]
    assert {len(wav) for wav in wavs} == {round(0.8 * SAMPLE_RATE)} and np.abs(wavs[0] - wavs[1]).max() > 1e-3
    only = ["-n", "one", "-od", *diffusion[2:], "-f0p", "dio", "--f0_only", "--f0_export", "one.csv"]
    assert inference_main.main(only) == 0 and (home / "one.csv").is_file()


def test_the_enhancer_is_off_beside_diffusion(home, diffusion, capsys):
    audio.save(home / "raw/one.wav", sung(0.8), SAMPLE_RATE)
    asked = [*MODEL, "-n", "one", "-s", "bob", "-wf", "wav"]
    assert inference_main.main([*asked, "-eh", "--vocoder", "vocoder/model"]) == 0
    enhanced = audio.load(home / "results/one_0key_bob_sovits_dio.wav", SAMPLE_RATE)
    assert inference_main.main(asked) == 0
    plain = audio.load(home / "results/one_0key_bob_sovits_dio.wav", SAMPLE_RATE)
    assert len(enhanced) == len(plain) and np.abs(enhanced - plain).max() > 1e-3
    shallow = [*asked, *diffusion, "-shd", "-ks", "20"]
    assert inference_main.main(shallow) == 0
    refined = audio.load(home / "results/one_0key_bob_sovdiff_dio.wav", SAMPLE_RATE)
    assert "-eh is off" not in capsys.readouterr().err
    assert inference_main.main([*shallow, "-eh"]) == 0
    assert "-eh is off: diffusion has the last word" in capsys.readouterr().err
    again = audio.load(home / "results/one_0key_bob_sovdiff_dio.wav", SAMPLE_RATE)
    np.testing.assert_array_equal(again, refined)

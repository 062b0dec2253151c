"""resample.py: golden samples, odd inputs, running twice."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

import resample
from common import audio
from modules import f0
from pipeline.pitch_range import note_name, tracker
from pipeline.recordings import RECORD
from tests.parity import Case

RATE = 44100


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sing(seconds: float, rate: int = RATE, level: float = 0.5) -> np.ndarray:
    """A 220 Hz tone with overtones."""
    t = np.arange(round(seconds * rate)) / rate
    return level * sum(np.sin(2 * np.pi * 220 * k * t) / (2 * k) for k in range(1, 6))


def put(name: str, wav: np.ndarray, rate: int = RATE, **options) -> Path:
    path = Path("dataset_raw") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wav, rate, **options)
    return path


def run(*options: str) -> int:
    return resample.main(["--num_processes", "1", *options])


def clips(speaker: str = "a") -> list[str]:
    return sorted(path.name for path in (Path("dataset/44k") / speaker).glob("*.wav"))


@pytest.mark.parametrize("skip", [False, True])
def test_golden(skip: bool) -> None:
    case = Case("resample")
    arrays = case.arrays() | case.arrays("out_skip.npz")
    for name, entry in case.info["inputs"].items():
        put(f"a/{name}.wav", arrays[f"in_{name}"], entry["sr"], subtype="FLOAT")
    assert run(*(["--skip_loudnorm"] if skip else [])) == 0
    for name in case.info["inputs"]:
        got, rate = soundfile.read(f"dataset/44k/a/{name}.wav", dtype="int16")
        expected = arrays[f"out_skip_{name}" if skip else f"out_{name}"]
        assert rate == RATE and got.shape == expected.shape
        assert np.abs(got.astype(int) - expected).max() <= 2


def test_defaults_are_those_of_4_1() -> None:
    args = resample.parse_args([])
    assert (args.sr2, args.in_dir, args.out_dir2) == (44100, Path("./dataset_raw"), Path("./dataset/44k"))
    assert args.skip_loudnorm is False


def test_odd_files_do_not_stop_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    speaker = "Ünï cödé 名"
    put(f"{speaker}/good one.flac", np.stack([sing(1), sing(1) * 0.5], axis=1))
    put(f"{speaker}/silent.wav", np.zeros(RATE))
    put(f"{speaker}/short.wav", sing(0.1))
    put(f"{speaker}/nan.wav", np.full(RATE, np.nan), subtype="FLOAT")
    folder = Path("dataset_raw") / speaker
    (folder / "empty.wav").write_bytes(b"")
    (folder / "corrupt.wav").write_bytes(bytes(range(256)) * 9)
    (folder / "song.m4a").write_bytes(b"x")
    (folder / "notes.txt").write_text("not audio")
    put("loose.wav", sing(1))
    assert run() == 1
    assert clips(speaker) == ["good one.wav"]
    printed = capsys.readouterr().out
    for name, reason in {
        "silent.wav": "silence: it never reaches -60 dB",
        "short.wav": "too short",
        "nan.wav": "NaN",
        "empty.wav": "empty (0 bytes)",
        "corrupt.wav": "not readable as audio",
        "song.m4a": "convert it to wav or flac",
        "loose.wav": "not in a speaker's folder",
    }.items():
        assert any(name in line and reason in line for line in printed.splitlines()), name
    assert "notes.txt" not in printed
    assert "220 Hz A3" in printed


@pytest.mark.skipif(os.name == "nt", reason="names are always text there")
def test_a_name_that_is_not_text_costs_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    put("a/good.wav", sing(1))
    name = Path(os.fsdecode(b"dataset_raw/a/caf\xe9.wav"))
    try:
        name.write_bytes(Path("dataset_raw/a/good.wav").read_bytes())
    except OSError:
        pytest.skip("this file system has only names that are text")
    assert run() == 1
    assert clips() == ["good.wav"]
    printed = capsys.readouterr().out
    assert "the name is not valid text: rename" in printed and "Traceback" not in printed


def test_a_bug_costs_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    put("a/x.wav", sing(1))
    monkeypatch.setattr("pipeline.resampling.trim", lambda wav: wav["oops"])
    assert run() == 1
    rejected = capsys.readouterr().out.splitlines()[-1]
    assert rejected.startswith(f"  {Path('dataset_raw/a/x.wav')}: IndexError: ")


def test_good_recordings_give_no_warnings(capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("a/x.wav", "a/y.wav", "b/z.wav"):
        put(name, sing(1))
    tracker.cache_clear()
    for processes in ("1", "2"):
        assert resample.main(["--num_processes", processes]) == 0
    printed = capfd.readouterr().err
    assert "WARNING" not in printed and "beyond full scale" not in printed and "torchfcpe" not in printed


def test_the_tracker_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/x.wav", "b/x.wav", "c/x.wav"):
        put(name, sing(1))
    built, build = [], f0.build
    monkeypatch.setattr(f0, "build", lambda *args, **options: built.append(args) or build(*args, **options))
    tracker.cache_clear()
    assert run() == 0
    assert built == [("fcpe",)]


def test_no_tracker_no_ranges_but_the_clips(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("fcpe_c_v001.pt is damaged")

    for name in ("a/x.wav", "b/x.wav"):
        put(name, sing(1))
    monkeypatch.setattr(f0, "build", broken)
    tracker.cache_clear()
    try:
        assert run() == 0
    finally:
        tracker.cache_clear()
    printed = capsys.readouterr()
    assert printed.out.count("none found") == 2 and "rejected" not in printed.out
    assert printed.err.count("WARNING no pitch ranges: fcpe_c_v001.pt is damaged") == 1


def test_what_a_killed_run_left_is_removed() -> None:
    put("a/x.wav", sing(1))
    Path("dataset/44k/a").mkdir(parents=True)
    Path("dataset/44k/a/.x.wav.4711.part").write_bytes(b"half")
    assert run() == 0
    assert os.listdir("dataset/44k/a").count(".x.wav.4711.part") == 0


def test_any_rate_depth_and_format() -> None:
    put("a/u8.wav", sing(1, 8000), 8000, subtype="PCM_U8")
    put("a/f64.wav", sing(1, 96000), 96000, subtype="DOUBLE")
    put("a/24.flac", sing(1, 48000), 48000, subtype="PCM_24")
    put("a/v.ogg", sing(1, 32000), 32000)
    put("a/m.mp3", sing(1))
    assert run() == 0
    for name in clips():
        info = audio.info(f"dataset/44k/a/{name}")
        assert (info.sample_rate, info.channels) == (RATE, 1)
        assert info.seconds == pytest.approx(1, abs=0.1)
    assert len(clips()) == 5


def test_same_stem_gets_a_number_and_keeps_it() -> None:
    put("a/x.wav", sing(1, level=0.1))
    put("a/sub/x.wav", sing(2))
    assert run() == 0
    lengths = {name: audio.info(f"dataset/44k/a/{name}").seconds for name in clips()}
    assert set(lengths) == {"x.wav", "x_2.wav"}
    put("a/X.flac", sing(3))  # sorts before x.wav
    assert run() == 0
    assert clips() == ["X_3.wav", "x.wav", "x_2.wav"]
    assert {name: audio.info(f"dataset/44k/a/{name}").seconds for name in lengths} == lengths


def test_slicing_and_running_again() -> None:
    phrase = np.concatenate([sing(1), np.zeros(RATE // 2)])
    options = ("--slice", "--slice_min", "2", "--slice_max", "4")
    put("a/long.wav", np.tile(phrase, 9))
    put("a/brief.wav", sing(1))
    assert run(*options) == 0
    first = clips()
    assert first[0] == "brief_000.wav" and len(first) >= 3
    assert all(2 <= audio.info(f"dataset/44k/a/{name}").seconds <= 4 for name in first[1:])
    assert run(*options) == 0
    assert clips() == first
    Path("dataset/44k/a/long_000.wav.f0.npy").write_bytes(b"cache")
    Path("dataset/44k/a/own.wav").write_bytes(b"not ours")
    assert run() == 0
    assert clips() == ["brief.wav", "long.wav", "own.wav"]  # clips of the other way of cutting are gone
    assert not Path("dataset/44k/a/long_000.wav.f0.npy").exists()


def test_clips_stay_when_the_recording_is_gone_or_broken() -> None:
    gone, broken = put("a/gone.wav", sing(1)), put("a/broken.wav", sing(1))
    assert run() == 0
    gone.unlink()
    broken.write_bytes(b"")
    put("a/new.wav", sing(1))
    assert run() == 1
    assert clips() == ["broken.wav", "gone.wav", "new.wav"]


def test_several_processes_give_the_same() -> None:
    for name in "xyz":
        put(f"a/{name}.wav", sing(1))
    assert run() == 0
    before = {name: Path(f"dataset/44k/a/{name}").read_bytes() for name in clips()}
    assert resample.main(["--num_processes", "2"]) == 0
    assert {name: Path(f"dataset/44k/a/{name}").read_bytes() for name in clips()} == before


@pytest.mark.parametrize(
    ("prepare", "options", "message"),
    [
        (lambda: None, (), "no such folder: put recordings into dataset_raw/speaker_name/"),
        (lambda: put("loose.wav", sing(1)), (), "no recordings in dataset_raw"),
        (lambda: put("a/x.wav", sing(1)), ("--out_dir2", "dataset_raw/44k"), "would be taken for recordings"),
        (lambda: put("a/x.wav", sing(1)), ("--slice", "--slice_max", "8"), "at least twice --slice_min"),
    ],
)
def test_errors(prepare, options, message, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture) -> None:
    prepare()
    assert run(*options) == 1
    assert message in capsys.readouterr().err + caplog.text


def test_damaged_record_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    put("a/x.wav", sing(1))
    Path("dataset/44k/a").mkdir(parents=True)
    Path("dataset/44k/a", RECORD).write_text("{")
    assert run() == 1
    assert RECORD in capsys.readouterr().err


def test_note_names() -> None:
    assert [note_name(hz) for hz in (440, 261.63, 98.0, 27.5, 1108.73)] == ["A4", "C4", "G2", "A0", "C#6"]

"""preprocess_hubert_f0.py: resumable, stale caches redone, a bad clip never stops the rest."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import preprocess_hubert_f0 as script
from common import audio
from common.formats import F0, FINGERPRINT, UNITS, UNITS_AUG, VOLUME, beside
from pipeline import caches, features, preprocessing
from pipeline.features import FeatureSettings
from pipeline.preprocessing import extract_dataset
from tests.synthetic import RATE, sing, write_config

ALL = (UNITS, UNITS_AUG, F0, VOLUME, FINGERPRINT)


def settings(encoder: str = "cepstral", predictor: str = "dio", **changes) -> FeatureSettings:
    return FeatureSettings(encoder, predictor, sample_rate=RATE, hop_length=512, **changes)


@pytest.fixture
def dataset(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("anna/1.wav", "anna/señora 2.wav", "bob/3.wav")):
        audio.save(Path("dataset/44k") / name, sing(110.0 * (i + 1), 0.5, seed=i), RATE)
    return Path("dataset/44k")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.wav.*"))}


def times(folder: Path) -> dict[str, int]:
    return {path.as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*.wav.*")}


def extract(folder, **changes):
    return extract_dataset(folder, settings(**changes), device="cpu")


def test_caches_are_written_once(dataset):
    report = extract(dataset)
    assert (report.done, report.skipped, report.failed) == (3, 0, [])
    assert report.seconds == pytest.approx(1.5)
    assert set(contents(dataset)) == {
        f"{name}{suffix}" for name in ("anna/1.wav", "anna/señora 2.wav", "bob/3.wav") for suffix in ALL
    }
    before = times(dataset)
    report = extract(dataset)
    assert (report.done, report.skipped) == (0, 3)
    assert times(dataset) == before


def test_stale_caches_are_redone(dataset):
    extract(dataset)
    first = contents(dataset)
    audio.save(dataset / "bob/3.wav", sing(200.0, 0.6), RATE)
    beside(dataset / "anna/1.wav", VOLUME).unlink()
    report = extract(dataset)
    assert (report.done, report.skipped) == (2, 1)
    second = contents(dataset)
    assert second[f"anna/1.wav{UNITS}"] == first[f"anna/1.wav{UNITS}"]
    assert second[f"bob/3.wav{UNITS}"] != first[f"bob/3.wav{UNITS}"]
    before = times(dataset)
    assert extract(dataset, predictor="pm").done == 3
    after = times(dataset)
    redone = {name for name in before if after[name] != before[name]}
    assert {name.partition(".wav")[2] for name in redone} == {F0, VOLUME, FINGERPRINT}  # the units stay
    assert extract(dataset, predictor="pm", f0_max=800.0).done == 3
    assert extract(dataset, predictor="pm", f0_max=800.0).done == 0


def test_touched_clips_are_read_once_more_only(dataset, monkeypatch):
    extract(dataset)
    clip = dataset / "bob/3.wav"
    os.utime(clip, (0, 0))
    assert extract(dataset).skipped == 3
    monkeypatch.setattr(caches.hashlib, "file_digest", None)  # nothing is hashed any more
    assert extract(dataset).skipped == 3


def test_missing_copies_and_another_seed_make_units_stale(dataset):
    extract(dataset)
    first = contents(dataset)
    beside(dataset / "bob/3.wav", UNITS_AUG).unlink()
    assert extract(dataset).done == 1
    assert contents(dataset) == first
    assert extract_dataset(dataset, settings(), device="cpu", seed=2).done == 3
    assert contents(dataset)[f"bob/3.wav{UNITS_AUG}"] != first[f"bob/3.wav{UNITS_AUG}"]


def run_and_die(batch: list[Path]) -> list[preprocessing.Outcome]:
    """Stands in for the pool's job in each process: one clip is too much for it."""
    if any(clip.name == "huge.wav" for clip in batch):
        os._exit(9)
    return preprocessing._run(batch)


@pytest.mark.slow
def test_a_killed_process_costs_its_clip_only(dataset, monkeypatch):
    audio.save(dataset / "anna/huge.wav", sing(200.0, 0.5), RATE)
    monkeypatch.setattr(preprocessing, "_run", run_and_die)
    report = extract_dataset(dataset, settings(), device="cpu", num_processes=2)
    assert [(clip.name, "was killed" in problem) for clip, problem in report.failed] == [("huge.wav", True)]
    assert report.done == 3
    assert len(list(dataset.rglob(f"*{FINGERPRINT}"))) == 3


def test_copies_of_another_encoder_are_removed(dataset, monkeypatch):
    extract(dataset)

    class Other:
        perturbed_copies = 0

        def encode_batch(self, wavs):
            return [torch.ones(7, len(wav) // 320) for wav in wavs]

    monkeypatch.setattr(features.vencoder, "build", lambda name, device: Other())
    assert extract(dataset, encoder="hubertsoft").done == 3
    assert not list(dataset.rglob(f"*{UNITS_AUG}"))
    assert caches.read_units(dataset / "bob/3.wav").shape == (1, 7, 25)


def test_a_killed_run_is_resumed(dataset, monkeypatch):
    calls = []
    write = preprocessing.write_caches

    def killed(clip, *args):
        if calls:
            raise KeyboardInterrupt
        calls.append(clip)
        write(clip, *args)

    monkeypatch.setattr(preprocessing, "write_caches", killed)
    with pytest.raises(KeyboardInterrupt):
        extract(dataset)
    monkeypatch.setattr(preprocessing, "write_caches", write)
    (dataset / "anna/.1.wav.soft.pt.99.part").touch()
    report = extract(dataset)
    assert (report.done, report.skipped) == (2, 1)
    assert not list(dataset.rglob(".*.part"))


def add_bad_clips(folder: Path) -> dict[str, str]:
    """Bad clips among the good ones, and what is said of each."""
    whole = (folder / "bob/3.wav").read_bytes()
    (folder / "bob/corrupt.wav").write_bytes(b"RIFF\x10\x00\x00\x00junk" + whole[100:300])
    (folder / "bob/empty.wav").touch()
    audio.save(folder / "bob/silent.wav", np.zeros(RATE, np.float32), RATE)
    audio.save(folder / "anna/short.wav", sing(200.0, 0.005), RATE)
    soundfile.write(folder / "anna/nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    return {
        "corrupt.wav": "not readable as audio",
        "empty.wav": "the file is empty",
        "silent.wav": "silence",
        "short.wav": "too short",
        "nan.wav": "NaN",
    }


def check_bad_clips(report, expected: dict[str, str]) -> None:
    assert report.done == 3
    problems = {clip.name: problem for clip, problem in report.failed}
    assert problems.keys() == expected.keys()
    for name, text in expected.items():
        assert text in problems[name], problems[name]
        assert name not in problems[name]  # the caller prints it


def test_bad_clips_are_listed_and_never_stop_the_rest(dataset):
    expected = add_bad_clips(dataset)
    check_bad_clips(extract(dataset), expected)


def test_two_processes_do_the_same(dataset):
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as each of two processes on two cores has; sums depend on it in the last bit
    extract(dataset)
    torch.set_num_threads(n_threads)
    alone = contents(dataset)
    for path in dataset.rglob("*.wav.*"):
        path.unlink()
    expected = add_bad_clips(dataset)
    check_bad_clips(extract_dataset(dataset, settings(), device="cpu", num_processes=2), expected)
    together = contents(dataset)
    assert together.keys() == alone.keys()
    assert [name for name in alone if together[name] != alone[name]] == []


def test_missing_weights_are_told_before_the_start(dataset):
    with pytest.raises(FileNotFoundError, match=r"is missing; needed by.*common.pretrained get"):
        extract(dataset, encoder="hubertsoft")
    with pytest.raises(FileNotFoundError, match=r"DPHuBERT-sp0\.75\.pth is missing"):
        extract(dataset, encoder="dphubert")
    assert contents(dataset) == {}


@pytest.mark.slow
def test_missing_weights_are_told_by_several_processes(dataset):
    with pytest.raises(FileNotFoundError, match=r"is missing; needed by.*common.pretrained get"):
        extract_dataset(dataset, settings("hubertsoft"), device="cpu", num_processes=2)


def test_work_is_shared_out():
    lengths = {f"{i}.wav": seconds for i, seconds in enumerate((20, 20, 20, 20, 100, 5, 5))}

    class Info:
        def __init__(self, path):
            self.seconds = lengths[path.name]

    clips = [Path(name) for name in lengths]
    original, preprocessing.audio.info = preprocessing.audio.info, Info
    try:
        batches = preprocessing._batches(clips, 1)
        assert [[lengths[clip.name] for clip in batch] for batch in batches] == [[20, 20, 20], [20], [100], [5, 5]]
        assert max(map(len, preprocessing._batches(clips[:4], 4))) == 1
        assert preprocessing._batches([], 2) == []
    finally:
        preprocessing.audio.info = original


def test_the_command_line(dataset, capsys):
    config = write_config(Path("configs/config.json"))
    assert script.main(["--f0_predictor", "dio", "-d", "cpu"]) == 0
    assert "3 clips extracted, 0 up to date, 0 failed" in (err := capsys.readouterr().err)
    assert "next: python train.py -c configs/config.json -m 44k" in err.replace(os.sep, "/")
    add_bad_clips(dataset)
    assert script.main(["--f0_predictor", "dio", "-c", str(config)]) == 1
    err = capsys.readouterr().err
    assert "0 clips extracted, 3 up to date, 5 failed" in err
    assert "silent.wav: silence" in err and "next:" not in err
    assert script.main(["--in_dir", "nowhere"]) == 1
    assert "no wav under nowhere: run python resample.py first" in capsys.readouterr().err
    assert script.main(["--use_diff"]) == 1
    assert "no configuration configs/diffusion.yaml: run python preprocess_flist_config.py" in capsys.readouterr().err
    assert script.main(["-d", "cuda:7"]) == 1
    assert "'cuda:7' was asked for" in capsys.readouterr().err


LONG = """
import sys
from pathlib import Path
from pipeline.features import FeatureSettings
from pipeline.preprocessing import extract_dataset
from vdecoder.mel_format import MelFormat
settings = FeatureSettings("cepstral", "dio", sample_rate=44100, hop_length=512)
mels = MelFormat(44100, 128, 2048, 512, 2048, 40, 16000)
report = extract_dataset(Path(sys.argv[1]), settings, mel_format=mels, device="cpu")
assert report.done == 1, report
# not ru_maxrss, which a process inherits from the one that started it
print(int(next(line.split()[1] for line in Path("/proc/self/status").open() if line.startswith("VmHWM"))) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="only Linux tells the peak there")
def test_ten_minutes_stay_in_bounded_memory(tmp_path):
    audio.save(tmp_path / "a/long.wav", np.tile(sing(200.0, 10.0), 60), RATE)
    run = subprocess.run(
        [sys.executable, "-c", LONG, str(tmp_path)],
        **{"capture_output": True, "text": True, "check": True, "cwd": Path(__file__).parents[2]},
    )
    megabytes = float(run.stdout.split()[-1])
    assert megabytes < 2000, megabytes  # 1,330 measured

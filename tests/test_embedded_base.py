"""What makes the base model of the embedded encoder: its recordings, its start, its validation clips, its schedule."""

from pathlib import Path

import numpy as np
import pytest
import pyworld
import torch

from common import audio, checkpoint
from models import MultiPeriodDiscriminator, SynthesizerTrn
from scripts import make_base
from scripts.embedded import base_corpus, base_start, engines, train_base
from tests.synthetic import RATE, sing, tiny_config, write_config

VOICES = ("anna", "señor bob")
EMBEDDED = {"speech_encoder": "embedded", "ssl_dim": 256}


def median_f0(wav: np.ndarray, rate: int) -> float:
    f0, _ = pyworld.dio(wav.astype(np.float64), rate, f0_floor=45.0, f0_ceil=1200.0)
    return float(np.median(f0[f0 > 0]))


@pytest.mark.parametrize("ratio", [0.6, 1.0, 1.7])
def test_moved_pitch_keeps_length_and_formants(ratio: float) -> None:
    def brightness(of: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(of)) ** 2
        return float(np.average(np.fft.rfftfreq(len(of), 1 / 22050), weights=power))

    wav = sing(200.0, 1.5, rate=22050)
    moved = base_corpus.move_pitch(wav, 22050, ratio)
    assert moved.shape == wav.shape and np.abs(moved).max() <= 1.0
    assert median_f0(moved, 22050) == pytest.approx(ratio * median_f0(wav, 22050), rel=0.03)
    assert brightness(moved) == pytest.approx(brightness(wav), rel=0.2)


@pytest.mark.parametrize(("f0_hz", "octave", "edge"), [(100.0, 0.5, 60.0), (600.0, 2.0, 1000.0)])
def test_moved_pitch_stays_in_the_range(f0_hz: float, octave: float, edge: float) -> None:
    moved = base_corpus.move_pitch(sing(f0_hz, 1.0, rate=22050), 22050, octave)
    assert median_f0(moved, 22050) == pytest.approx(edge, rel=0.05)


def test_singing_holds_vowels_on_notes() -> None:
    spoken = np.concatenate([sing(200.0, 0.6, rate=22050), np.zeros(11025, np.float32)])
    rng = np.random.default_rng(3)
    songs = [base_corpus.sing(spoken, 22050, rng) for _ in range(4)]
    for song in songs:
        held = len(song) - 11025
        assert 1.5 * 0.6 < held / 22050 < 6.2 * 0.6 and np.abs(song).max() <= 1.0
        assert np.abs(song[-8000:]).max() < 0.02, "a pause is not held"
        assert 60 <= median_f0(song, 22050) <= 700
    assert len({round(median_f0(song, 22050)) for song in songs}) == 4


def test_speed_moves_pitch_and_length() -> None:
    wav = sing(200.0, 1.0, rate=22050)
    faster = base_corpus.change_speed(wav, 22050, 1.4)
    assert len(faster) == pytest.approx(len(wav) / 1.4, abs=1)
    assert median_f0(faster, 22050) == pytest.approx(1.4 * median_f0(wav, 22050), rel=0.03)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    for voice, f0_hz in (("anna", 220.0), ("señor bob", 110.0)):
        audio.save(tmp_path / f"in/{voice}/1.wav", sing(f0_hz, 0.8), RATE)
        (tmp_path / f"in/{voice}/notes.txt").write_text("no audio")
    return tmp_path / "in"


def test_corpus_is_the_voices_and_their_variants_and_depends_on_the_seed_only(recordings: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("again", 0), ("other", 1)):
        command = ["-i", recordings, "-o", tmp_path / name, "--clips", 1, "--sentences", 0, "--seed", seed]
        assert base_corpus.main([str(part) for part in command]) == 0
    found = {
        path.relative_to(tmp_path / "a").as_posix(): path for path in (tmp_path / "a").rglob("*.*") if path.is_file()
    }
    voices = {Path(name).parent.name for name in found}
    assert voices == {f"{voice}{kind}" for voice in VOICES for kind in ("", "_x0.70", "_x0.85", "_x1.18", "_x1.40")}
    assert sorted(name for name in found if name.startswith("anna/")) == [
        *("anna/1.wav", "anna/1_moved-1.00.flac", "anna/1_sung.flac")
    ]
    assert found["anna/1.wav"].read_bytes() == (recordings / "anna/1.wav").read_bytes()
    for name, path in found.items():
        assert np.array_equal(audio.load(path, RATE), audio.load(tmp_path / "again" / name, RATE)), name


def test_corpus_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in/anna").mkdir(parents=True)
    command = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--sentences", "0"]
    assert base_corpus.main(command) == 1
    assert "anna: no recording that can be read" in capsys.readouterr().err


def test_flite_reads_made_up_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []

    def speak(voice: str, text: str) -> tuple[np.ndarray, list]:
        said.append((voice, text))
        return sing(120.0, 0.5, rate=16000), []

    monkeypatch.setattr(engines, "flite_phones", speak)
    assert base_corpus.read_aloud("rms", tmp_path, n_sentences=3, seed=0) == 6
    assert {voice for voice, _ in said} == {"rms"}
    assert len({text for _, text in said}) == len(list((tmp_path / "flite_rms").glob("???.flac"))) == 3
    assert len(list((tmp_path / "flite_rms").glob("???_sung.flac"))) == 3


@pytest.fixture
def donor(tmp_path: Path) -> Path:
    """A base pair for the cepstral encoder, with two voices."""
    config = tiny_config()
    torch.manual_seed(5)
    generator = SynthesizerTrn(config.data.filter_length // 2 + 1, 8, **config.as_dict()["model"])
    discriminator = MultiPeriodDiscriminator(base_channels=config.train.discriminator_channels)
    pair = checkpoint.pair_at(tmp_path / "donor", 0)
    pair.generator.parent.mkdir()
    for net, path in ((generator, pair.generator), (discriminator, pair.discriminator)):
        checkpoint.save(path, {"model": net.state_dict(), "iteration": 0, "optimizer": None, "learning_rate": 1e-4})
    return tmp_path / "donor"


@pytest.fixture
def filelists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("train", "val"):
        path = tmp_path / f"filelists/{name}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"44k/anna/{name}.wav\n", encoding="utf-8")


@pytest.mark.usefixtures("filelists")
def test_start_copies_what_fits(donor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spk = {"anna_x0.70": 0, "bob": 1, "new": 2}
    config = write_config(tmp_path / "config.json", model=EMBEDDED | {"n_speakers": 3}, spk=spk)
    command = ["--base", str(donor), "--voices", "anna", "bob", "-c", str(config), "-o", str(tmp_path / "start")]
    assert base_start.main(command) == 0
    old, new = (checkpoint.read_model(folder / "G_0.pth")[0] for folder in (donor, tmp_path / "start"))
    differing = {key for key in new if old[key].shape != new[key].shape or not torch.equal(old[key], new[key])}
    assert differing == {"pre.weight", "emb_g.weight"}
    assert new["pre.weight"].shape[1] == 256
    assert torch.equal(new["emb_g.weight"][1], old["emb_g.weight"][1])
    assert not any(torch.equal(row, other) for row in new["emb_g.weight"][[0, 2]] for other in old["emb_g.weight"])
    old, new = (checkpoint.read_model(folder / "D_0.pth")[0] for folder in (donor, tmp_path / "start"))
    assert all(torch.equal(old[key], new[key]) for key in new)
    said = capsys.readouterr().err
    assert "copied, anew: pre.weight\n" in said and "rows of anna, bob copied, anew: anna_x0.70, new\n" in said


@pytest.mark.usefixtures("filelists")
def test_start_needs_a_name_for_each_voice(donor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path / "config.json", model=EMBEDDED)
    command = ["--base", str(donor), "--voices", "bob", "-c", str(config), "-o", str(tmp_path / "start")]
    assert base_start.main(command) == 1
    assert "has 2 voices of 16 numbers, --voices names 1" in capsys.readouterr().err
    assert not (tmp_path / "start").exists()


def test_a_base_pair_is_made_of_a_trained_one(donor: Path, tmp_path: Path, capsys) -> None:
    """Half precision, step 0, nothing of the optimizer; what is no pair is said."""
    assert make_base.main(["-m", str(donor / "G_0.pth"), "-o", str(tmp_path / "out")]) == 0
    for name in ("G_0.pth", "D_0.pth"):
        state, extra = checkpoint.read_model(tmp_path / "out" / name)
        theirs, _ = checkpoint.read_model(donor / name)
        assert all(torch.equal(value, theirs[key].half()) for key, value in state.items() if value.is_floating_point())
        assert extra["iteration"] == 0 and not extra.get("optimizer")
    for wrong, text in (("G_7.pth", "G_7.pth"), ("mine.pth", "is no G_<step>.pth: name one")):
        assert make_base.main(["-m", str(donor / wrong), "-o", str(tmp_path / "out")]) == 1
        assert text in capsys.readouterr().err


def test_validation_recordings_are_heard_in_no_form(tmp_path: Path) -> None:
    train, val = tmp_path / "train.txt", tmp_path / "val.txt"
    train.write_text(
        "k/a/1.wav\nk/a/1_moved-0.50.wav\nk/a/2_moved+0.10.wav\nk/a/2_sung.wav\nk/a/3.wav\nk/a/3_sung.wav\nk/a_x0.70/2.wav\nk/a_x0.70/2_moved+0.10.wav\n"
        "k/a_x0.70/3.wav\nk/flite_rms/000.wav\nk/b/7.wav\n"
    )
    val.write_text("k/a/1_moved+0.90.wav\nk/a/2.wav\nk/a_x0.70/1.wav\nk/b_x1.40/8.wav\n")
    for _ in range(2):  # going on changes nothing
        base_start.hold_out(train, val)
        assert val.read_text().split() == ["k/a/2.wav", "k/b/7.wav"]
        kept = "a/1 a/1_moved+0.90 a/1_moved-0.50 a/3 a/3_sung a_x0.70/1 a_x0.70/3 b_x1.40/8 flite_rms/000"
        assert train.read_text().split() == [f"k/{name}.wav" for name in kept.split()]


def test_schedule_goes_on_in_the_phase_of_the_step() -> None:
    config = tiny_config(model=EMBEDDED)
    ends, configs = zip(*train_base.phases_left(config, steps=1000, done=0, bf16=True), strict=True)
    assert list(ends) == sorted(ends) and ends[-1] == 1000
    weights = [one.train.c_kl for one in configs]
    assert weights == sorted(weights) and weights[-1] == 1.0
    assert configs[0].train.discriminator_start >= ends[0] and configs[-1].train.discriminator_start == 0
    assert configs[0].train.fp16_run and configs[0].train.half_type == "bf16" and not configs[-1].train.fp16_run
    assert all(one.model == config.model and one.data == config.data for one in configs)
    later = list(train_base.phases_left(config, steps=1000, done=ends[1], bf16=False))
    assert [end for end, _ in later] == list(ends[2:]) and not any(one.train.fp16_run for _, one in later)
    assert not list(train_base.phases_left(config, steps=1000, done=1000, bf16=False))


def test_training_needs_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["-c", str(tmp_path / "none.json"), "--start", str(tmp_path), "--folder", str(tmp_path / "logs")]
    assert train_base.main(command) == 1
    assert "none.json" in capsys.readouterr().err
    assert not (tmp_path / "logs").exists()

"""Mels beside a clip: those of the vocoder, of plain files, those of 4.1 too, stale ones redone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import preprocess_hubert_f0 as script
from common import audio
from common.formats import AUG_MEL, AUG_VOLUME, MEL, MEL_FINGERPRINT, UNITS, beside
from modules.volume import frame_volume, random_gain
from pipeline import mel_caches
from pipeline.caches import copy_seed
from pipeline.features import FeatureSettings
from pipeline.mel_caches import make_mels, read_aug, read_mel
from pipeline.preprocessing import extract_dataset
from tests.parity import Case, assert_close
from tests.pipeline.small_refiner import FORMAT, write_clip_mels, write_refiner, write_vocoder
from tests.synthetic import RATE, sing, write_config
from vdecoder import build_vocoder
from vdecoder.mel_format import MelFormat, read_mel_format

OPENVPI = MelFormat(RATE, 128, 2048, 512, 2048, 40, 16000)
SETTINGS = FeatureSettings("cepstral", "dio", sample_rate=RATE, hop_length=512)
ALL = (MEL, AUG_MEL, AUG_VOLUME, MEL_FINGERPRINT)


@pytest.fixture
def dataset(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("anna/1.wav", "anna/señora 2.wav", "bob/3.wav")):
        audio.save(Path("dataset/44k") / name, sing(110.0 * (i + 1), 0.5, seed=i), RATE)
    return Path("dataset/44k")


@pytest.fixture
def clip(tmp_path) -> Path:
    path = tmp_path / "a b.wav"
    audio.save(path, sing(200.0, 0.6), RATE)
    write_clip_mels(path)
    return path


def extract(folder: Path, mel_format: MelFormat | None = FORMAT, **options):
    return extract_dataset(folder, SETTINGS, mel_format=mel_format, device="cpu", **options)


def times(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*.wav.*")}


# ---- numbers


def test_golden_mels(monkeypatch):
    case = Case("preprocess")
    stored, drawn = case.arrays(), case.info["augmentation"]

    class Drawn:
        """The draws of the reference, in their order."""

        def __init__(self) -> None:
            self.values = iter((drawn["log10_vol_shift"], drawn["keyshift"]))

        def uniform(self, low: float, high: float) -> float:
            value = next(self.values)
            assert low <= value <= high
            return value

    monkeypatch.setattr(mel_caches.np.random, "default_rng", lambda seed: Drawn())
    mels = make_mels(stored["wav_one"], OPENVPI, seed=0)
    assert_close(mels.mel[:, ::2], stored["mel_every2"], max_abs=1e-4)
    assert_close(mels.aug_mel[:, ::2], stored["aug_mel_every2"], max_abs=1e-4)
    assert mels.aug_shift == pytest.approx(float(stored["aug_keyshift"]), abs=1e-6)
    assert_close(mels.aug_volume, stored["aug_vol"], max_abs=1e-6)


def test_mels_are_those_of_the_vocoder_of_the_clip_as_it_is_read_back(tmp_path, dataset):
    write_vocoder(tmp_path / "vocoder")
    vocoder = build_vocoder("nsf-hifigan", tmp_path / "vocoder/model", "cpu")
    assert extract(dataset).done == 3
    for path in dataset.rglob("*.wav"):
        wav = torch.from_numpy(audio.load(path, RATE))
        n_frames = len(wav) // 512
        mel = read_mel(path)
        assert mel.shape == (n_frames, 16) and mel.dtype == np.float32
        assert_close(mel, vocoder.extract(wav[None])[0].T, max_abs=1e-6)
        aug_mel, shift, volume = read_aug(path)
        source = json.loads(beside(path, MEL_FINGERPRINT).read_text())
        gain = random_gain(float(wav.abs().max()), np.random.default_rng(copy_seed(source["seed"], source["audio"])))
        assert -5 <= shift <= 5
        assert_close(aug_mel, vocoder.extract(wav[None] * gain, keyshift=shift)[0].T, max_abs=1e-6)
        assert_close(volume, frame_volume(wav * gain, 512), max_abs=1e-6)


def test_shifts_and_gains_are_spread_out():
    drawn = [make_mels(sing(200.0, 0.1), FORMAT, seed) for seed in range(60)]
    shifts = [mels.aug_shift for mels in drawn]
    assert min(shifts) < -4 and max(shifts) > 4 and abs(np.mean(shifts)) < 1
    gains = (
        np.array([mels.aug_volume.mean() for mels in drawn])
        / frame_volume(torch.from_numpy(sing(200.0, 0.1)), 512).mean().item()
    )
    assert gains.min() < 0.13 and gains.max() > 1.5  # the peak of 0.5 may become full scale


# ---- files


def test_nothing_is_pickled(clip):
    assert np.load(beside(clip, MEL), allow_pickle=False).shape == (51, 16)
    record = np.load(beside(clip, AUG_MEL), allow_pickle=False)
    assert record.dtype.names == ("mel", "keyshift") and record["mel"].shape == (51, 16)
    assert np.load(beside(clip, AUG_VOLUME), allow_pickle=False).shape == (51,)


def test_mels_of_4_1_are_read(clip):
    aug_mel, _, volume = read_aug(clip)
    pair = np.empty(2, dtype=object)
    pair[:] = [aug_mel, 3.25]
    np.save(beside(clip, AUG_MEL), pair)
    beside(clip, MEL_FINGERPRINT).unlink()
    theirs, shift, _ = read_aug(clip)
    assert shift == 3.25
    np.testing.assert_array_equal(theirs, aug_mel)


def test_damaged_files_are_named(clip):
    for suffix, read in ((MEL, read_mel), (AUG_MEL, read_aug), (AUG_VOLUME, read_aug)):
        path = beside(clip, suffix)
        whole = path.read_bytes()
        for content in (b"", whole[: len(whole) // 2], b"nonsense"):
            path.write_bytes(content)
            with pytest.raises(
                ValueError, match="is damaged, cut off.*: delete it and run python preprocess_hubert_f0.py --use_diff"
            ):
                read(clip)
        path.unlink()
        with pytest.raises(FileNotFoundError, match=f"no mels for .*{suffix} is missing.: run .*f0.py --use_diff"):
            read(clip)
        path.write_bytes(whole)
    np.save(beside(clip, MEL), np.zeros(5))
    with pytest.raises(ValueError, match=r"a b.wav.mel.npy holds no mel \(F, M\): delete it and run"):
        read_mel(clip)
    for array, text in (
        (np.zeros((5, 16), np.float32), "holds no pair of mel and shift"),
        (np.array([np.zeros((5, 16)), "high"], dtype=object), "holds no shift in semitones"),
        (np.array([[1.0], 2.0], dtype=object), "holds no mel"),
    ):
        np.save(beside(clip, AUG_MEL), array)
        with pytest.raises(ValueError, match=text):
            read_aug(clip)


# ---- stale and fresh


def test_mels_are_written_once_and_are_no_matter_of_the_other_features(dataset):
    assert extract(dataset, None).done == 3
    features = times(dataset)
    assert not list(dataset.rglob(f"*{MEL}"))
    assert extract(dataset).done == 3
    both = times(dataset)
    assert {name: both[name] for name in features} == features
    assert {name.partition(".wav")[2] for name in both.keys() - features.keys()} == set(ALL)
    report = extract(dataset)
    assert (report.done, report.skipped) == (0, 3)
    assert extract(dataset, None).skipped == 3
    assert times(dataset) == both


def test_stale_mels_are_redone(dataset):
    extract(dataset)
    before = times(dataset)
    audio.save(dataset / "bob/3.wav", sing(200.0, 0.6), RATE)
    beside(dataset / "anna/1.wav", AUG_VOLUME).unlink()
    assert extract(dataset).done == 2
    after = times(dataset)
    assert after[f"anna/1.wav{UNITS}"] == before[f"anna/1.wav{UNITS}"]
    assert len(read_mel(dataset / "bob/3.wav")) == int(0.6 * RATE) // 512
    assert extract(dataset, replace(FORMAT, fmax=15000.0)).done == 3
    assert extract(dataset, replace(FORMAT, fmax=15000.0)).done == 0
    first = read_aug(dataset / "bob/3.wav")[1]
    assert extract(dataset, seed=2).done == 3
    assert read_aug(dataset / "bob/3.wav")[1] != first


def test_a_clip_whose_mels_are_half_written_is_redone(dataset, monkeypatch):
    write = mel_caches.write_json

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(mel_caches, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        extract(dataset)
    monkeypatch.setattr(mel_caches, "write_json", write)
    assert extract(dataset).done == 3


def test_the_same_in_two_processes(dataset):
    extract(dataset)
    alone = {path: read_aug(path) for path in dataset.rglob("*.wav")}
    for path in dataset.rglob("*.wav.*"):
        path.unlink()
    assert extract(dataset, num_processes=2).done == 3
    for path, (mel, shift, volume) in alone.items():
        together = read_aug(path)
        assert together[1] == shift
        assert_close(together[0], mel, max_abs=1e-5)
        assert_close(together[2], volume, max_abs=1e-6)


# ---- the command line


def test_the_command_line(dataset, capsys):
    write_config(Path("configs/config.json"))
    write_refiner()
    arguments = ["--use_diff", "--f0_predictor", "dio", "-d", "cpu"]
    assert script.main(arguments) == 1
    error = capsys.readouterr().err
    assert "it says how the mels of the vocoder are made" in error
    assert "python -m common.pretrained get nsf-hifigan" in error
    assert "set vocoder.ckpt to pretrain/embedded/subtractive/model.ckpt" in error
    assert not list(dataset.rglob("*.wav.*"))
    write_vocoder(Path("pretrain/tiny"), weights=False)  # its config is enough
    assert script.main(arguments) == 0
    assert "and: python train_diff.py -c configs/diffusion.yaml" in capsys.readouterr().err
    assert len(list(dataset.rglob(f"*{MEL}"))) == 3


@pytest.mark.parametrize(
    ("changes", "vocoder", "text"),
    [
        ({"data": {"encoder": "vec768l12", "encoder_out_channels": 768}}, {}, "has vec768l12 for data.encoder, but"),
        ({}, {"hop_size": 256}, "makes mels of 44100 Hz, 256 samples per frame; the data are of 44100 Hz, 512"),
        ({}, {"num_mels": "many"}, "num_mels must be a number above 0"),
        ({"vocoder": {"type": "wavenet"}}, {}, "vocoder.type: unknown 'wavenet'"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(dataset, capsys, changes, vocoder, text):
    write_config(Path("configs/config.json"))
    write_refiner(**changes)
    write_vocoder(Path("pretrain/tiny"), weights=False, **vocoder)
    assert script.main(["--use_diff", "--f0_predictor", "dio"]) == 1
    assert text in capsys.readouterr().err
    assert not list(dataset.rglob("*.wav.*"))


def test_a_config_without_a_key_of_the_mels(tmp_path):
    (tmp_path / "config.json").write_text('{"num_mels": 128, "fmin": 0}', encoding="utf-8")
    with pytest.raises(ValueError, match="config.json: missing sampling_rate, n_fft, hop_size, win_size, fmax"):
        read_mel_format(tmp_path / "model")

"""Clips for the diffusion model: windows, changed copies, short clips, caches in memory, and what is refused."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from common import audio
from common.formats import AUG_MEL, MEL, MEL_FINGERPRINT, VOLUME, beside
from pipeline.caches import read_f0, read_units, read_volume
from pipeline.dataset import DatasetError
from pipeline.diffusion_dataset import collate_mels, load_mel_datasets
from pipeline.mel_caches import read_aug, read_mel
from pipeline.sampling import BatchSampler, ClipKey
from tests.pipeline.small_refiner import FORMAT, N_MELS, refiner_config, write_clip_mels, write_refiner_dataset
from tests.synthetic import RATE, sing, tiny_config, write_clip
from vdecoder.mel_format import MelFormat

WINDOW = 25  # frames of data.duration 0.3 s


@pytest.fixture(scope="module")
def dataset_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("refiner")
    write_refiner_dataset(folder)
    return folder


@pytest.fixture
def in_tmp(dataset_folder, tmp_path, monkeypatch) -> Path:
    for name in ("dataset", "filelists"):
        (tmp_path / name).symlink_to(dataset_folder / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def own_dataset(tmp_path, monkeypatch) -> Path:
    """A dataset that may be spoilt."""
    monkeypatch.chdir(tmp_path)
    write_refiner_dataset(tmp_path, lengths=(30, 40))
    return tmp_path / "dataset/44k"


def load(**changes):
    return load_mel_datasets(refiner_config(**changes), n_mels=N_MELS, mel_format=FORMAT)


def refused(**changes) -> str:
    with pytest.raises(DatasetError) as caught:
        load(**changes)
    return str(caught.value)


def index_of(dataset, name: str) -> int:
    return dataset.clips.index(Path(f"dataset/44k/{name}.wav"))


# ---- what a clip is


@pytest.mark.parametrize("use_pitch_aug", [True, False])
def test_half_of_the_clips_are_moved_as_a_whole(in_tmp, use_pitch_aug):
    training, validation = load(model={"use_pitch_aug": use_pitch_aug}, train={"cache_fp16": False})
    i = index_of(training, "anna/2")
    path = training.clips[i]
    clean = read_mel(path), 0.0, read_volume(path)
    moved = read_aug(path)
    f0, n_moved, starts = read_f0(path)[0], 0, set()
    for epoch in range(100):
        clip = training[ClipKey(epoch, i)]
        mel, shift, volume = moved if clip.shift else clean
        n_moved += bool(clip.shift)
        assert clip.shift == pytest.approx(shift) and len(clip.mel) == WINDOW
        (start,) = [s for s in range(60 - WINDOW + 1) if np.array_equal(mel[s : s + WINDOW], clip.mel.numpy())]
        starts.add(start)
        window = slice(start, start + WINDOW)
        np.testing.assert_allclose(clip.f0, f0[window] * 2 ** (shift / 12), rtol=1e-6)
        np.testing.assert_array_equal(clip.volume, volume[window])
    assert 30 < n_moved < 70 if use_pitch_aug else n_moved == 0
    assert len(starts) > 20
    assert {validation[ClipKey(epoch, 0)].shift for epoch in range(20)} == {0.0}


def test_units_are_those_of_the_same_frames_and_of_the_copies_too(in_tmp):
    training, validation = load(train={"cache_fp16": False})
    i = index_of(training, "bob/2")
    units = read_units(training.clips[i])
    variants = set()
    for epoch in range(40):
        clip = training[ClipKey(epoch, i)]
        variant = round(float(clip.units.mean() - units[0].mean()))
        variants.add(variant)
        assert clip.units.shape == (WINDOW, 60)
        assert all(any(torch.equal(frame, unit) for unit in units[variant].T) for frame in clip.units)
    assert variants == {0, 1, 2}
    whole = validation[ClipKey(0, 0)].units
    expected = torch.nn.functional.interpolate(read_units(validation.clips[0])[:1], size=len(whole), mode="nearest")
    assert torch.equal(whole, expected[0].T)


def test_a_clip_shorter_than_the_window_is_taken_whole_and_masked(in_tmp):
    training, _ = load()
    short, long = index_of(training, "anna/3"), index_of(training, "anna/2")
    batch = collate_mels([training[ClipKey(1, i)] for i in (short, long)])
    assert batch.lengths.tolist() == [16, WINDOW]
    assert batch.mel.shape == (2, WINDOW, N_MELS) and batch.units.shape == (2, WINDOW, 60)
    assert batch.f0.shape == batch.volume.shape == (2, WINDOW, 1)
    assert batch.mel[0, 16:].abs().max() == 0 and batch.mel[0, :16].abs().min() > 0
    assert batch.speaker.tolist() == [0, 0]
    assert training.window_lengths[short] == 16


def test_draws_depend_on_seed_epoch_and_clip_alone(in_tmp):
    def batches(n_workers: int, **train):
        training, _ = load(train={"cache_all_data": False} | train)
        sampler = BatchSampler(training.window_lengths, batch_size=2, seed=1)
        loader = DataLoader(training, batch_sampler=sampler, collate_fn=collate_mels, num_workers=n_workers)
        sampler.start(3)
        return list(loader)

    alone, together, cached, other = batches(0), batches(2), batches(0, cache_all_data=True), batches(0, seed=9)
    assert all(torch.equal(a.mel, b.mel) and a.names == b.names for a, b in zip(alone, together, strict=True))
    assert all(torch.equal(a.mel, b.mel) for a, b in zip(alone, cached, strict=True))
    assert any(not torch.equal(a.shift, b.shift) for a, b in zip(alone, other, strict=True))


def test_cached_clips_are_read_once_and_halves_are_near(own_dataset):
    exact, half = (load(train={"cache_fp16": value})[0] for value in (False, True))
    whole = [exact[ClipKey(1, i)] for i in range(2)]
    for i in range(2):
        assert half[ClipKey(1, i)].mel.dtype == torch.float32
    for path in own_dataset.rglob("*.npy"):
        path.unlink()
    for i, clip in enumerate(whole):
        assert torch.equal(exact[ClipKey(1, i)].mel, clip.mel)
        torch.testing.assert_close(half[ClipKey(1, i)].mel, clip.mel, atol=0.01, rtol=0)
        assert half.cache[i].units.dtype == torch.float16


def test_uncached_clips_are_read_every_time(own_dataset):
    training, validation = load(train={"cache_all_data": False})
    training[ClipKey(1, 0)]
    for path in own_dataset.rglob(f"*{MEL}"):
        path.unlink()
    for dataset in (training, validation):
        with pytest.raises(FileNotFoundError, match="no mels for"):
            dataset[ClipKey(1, 0)]


def test_a_cache_on_an_absent_device_is_refused(in_tmp):
    with pytest.raises(ValueError, match="train.cache_device: device 'cuda:9' was asked for"):
        load(train={"cache_device": "cuda:9"})


# ---- what is left out, and what is refused


def test_clips_of_no_whole_frame_are_left_out_with_a_line(own_dataset, caplog):
    audio.save(own_dataset / "anna/tick.wav", sing(200.0, 0.01), RATE)
    with open("filelists/train.txt", "a") as file:
        file.write("dataset/44k/anna/tick.wav\n")
    caplog.set_level(logging.WARNING)
    training, _ = load()
    assert len(training) == 2
    assert "left out, shorter than one frame: dataset/44k/anna/tick.wav" in caplog.text
    Path("filelists/train.txt").write_text("dataset/44k/anna/tick.wav\n")
    with pytest.raises(DatasetError, match="no clip of filelists/train.txt is long enough: add recordings"):
        load()


def test_missing_and_damaged_mels_name_the_command(own_dataset):
    beside(own_dataset / "anna/1.wav", MEL).unlink()
    beside(own_dataset / "bob/1.wav", AUG_MEL).write_bytes(b"nonsense")
    text = refused()
    assert "2 of 3 clips cannot be used" in text
    assert "no mels for dataset/44k/anna/1.wav (1.wav.mel.npy is missing): run" in text
    assert "run python preprocess_hubert_f0.py --use_diff" in text
    assert "1.wav.aug_mel.npy is damaged, cut off" in text
    beside(own_dataset / "anna/0.wav", VOLUME).unlink()
    assert "0.wav.vol.npy is missing" in refused()


def test_the_changed_copy_is_not_needed_without_pitch_augmentation(own_dataset):
    for path in own_dataset.rglob(f"*{AUG_MEL}"):
        path.unlink()
    assert len(load(model={"use_pitch_aug": False})[0]) == 2


def test_mels_of_another_vocoder(own_dataset):
    clip = own_dataset / "anna/1.wav"
    write_clip_mels(clip, MelFormat(RATE, N_MELS, 2048, 512, 2048, 0, 22050))
    assert "anna/1.wav has mels of another vocoder than vocoder.ckpt names: run python preproc" in refused()
    beside(clip, MEL_FINGERPRINT).unlink()
    np.save(beside(clip, MEL), np.zeros((40, 80), np.float32))
    assert "anna/1.wav has mels of 80 bands, those of the vocoder have 16: run python preproc" in refused()


def test_mels_of_other_audio(own_dataset):
    clip, digest_of = own_dataset / "anna/1.wav", beside(own_dataset / "anna/1.wav", MEL_FINGERPRINT)
    before = digest_of.read_text()
    write_clip(clip, tiny_config(), n_frames=40, seed=7)
    digest_of.write_text(before)
    assert "anna/1.wav was changed after its mels were made: run python preprocess_hubert_f0.py --use_diff" in refused()
    digest_of.unlink()  # as another tool leaves it
    np.save(beside(clip, MEL), np.zeros((33, N_MELS), np.float32))
    assert "anna/1.wav has 40 frames, its features 33: run python preprocess_hubert_f0.py --use_diff" in refused()


def test_other_encoders_and_unknown_speakers(own_dataset):
    assert "has units of cepstral, the config wants vec256l9" in refused(
        data={"encoder": "vec256l9", "encoder_out_channels": 256}
    )
    assert "anna/1.wav is of no speaker of the config: run python preprocess_flist_config.py again" in refused(
        spk={"bob": 0, "carl": 1}
    )


def test_filelists_that_are_missing(in_tmp):
    with pytest.raises(FileNotFoundError, match="no filelist other.txt: run python preprocess_flist_config.py"):
        load(data={"training_files": "other.txt"})

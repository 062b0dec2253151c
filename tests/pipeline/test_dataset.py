"""Clips to batches: every draw is a function of seed, epoch and clip; all that cannot be trained on is told first."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from common import audio
from common.formats import F0, FINGERPRINT, UNITS, UNITS_AUG, VOLUME, beside
from modules.units import resize_units
from modules.volume import random_gain
from pipeline import dataset
from pipeline.caches import fingerprint, read_units, write_caches
from pipeline.dataset import ClipDataset, DatasetError, collate, load_datasets, read_filelist
from pipeline.features import Features
from pipeline.sampling import BatchSampler, ClipKey
from tests.parity import Case, assert_close
from tests.synthetic import HOP, RATE, settings, sing, tiny_config, write_clip, write_dataset


@pytest.fixture
def in_tmp(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def config():
    return tiny_config(model={"vol_embedding": True}, train={"vol_aug": True})


@pytest.fixture
def training(in_tmp, config) -> ClipDataset:
    write_dataset(in_tmp, config)
    return load_datasets(config)[0]


def same(a, b) -> bool:
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in zip(a, b, strict=True))


# ---- windows, augmentation, collation


def test_a_clip_depends_on_seed_epoch_and_number_alone(training):
    drawn = [training[ClipKey(epoch, clip)] for epoch in (1, 2, 3) for clip in range(len(training))]
    again = [training[ClipKey(epoch, clip)] for epoch in (1, 2, 3) for clip in range(len(training))]
    for a, b in zip(drawn, again, strict=True):
        assert same(vars(a).values(), vars(b).values())
    first, second = training[ClipKey(1, 1)], training[ClipKey(2, 1)]
    assert not torch.equal(first.f0, second.f0)  # another window


def test_windows_are_aligned(training, config):
    """Units, f0, audio and volume of a window are those of the same frames of the clip."""
    for epoch in range(1, 6):
        clip = training[ClipKey(epoch, 3)]
        path = Path(clip.name)
        whole = audio.load_native(path)[0]
        n_frames = training.n_frames[3]
        assert len(clip.f0) == config.train.window_frames == clip.units.shape[1] == len(clip.wav) // HOP
        stored = np.load(beside(path, F0))[0]
        start = int(np.flatnonzero(stored == clip.f0[0].item())[0])
        np.testing.assert_array_equal(clip.f0, stored[start : start + len(clip.f0)])
        gain = (clip.volume / 0.1).numpy()
        assert np.ptp(gain) < 1e-6
        cut = whole[start * HOP : (start + len(clip.f0)) * HOP]
        np.testing.assert_allclose(clip.wav, cut * gain[0], atol=1e-6)
        variants = [
            resize_units(units, n_frames, "nearest")[:, start : start + len(clip.f0)] for units in read_units(path)
        ]
        assert any(torch.equal(clip.units, variant) for variant in variants)


def test_loudness_changes_half_of_the_time_and_never_clips(training):
    gains = [float(training[ClipKey(epoch, 0)].volume[0] / 0.1) for epoch in range(120)]
    changed = [gain for gain in gains if gain != pytest.approx(1.0)]
    assert 40 < len(changed) < 80
    assert min(changed) < 0.15 and max(changed) > 1.5
    assert all(float(training[ClipKey(epoch, 0)].wav.abs().max()) <= 1.0 for epoch in range(40))


def test_random_gain_is_that_of_4_1():
    rng = np.random.default_rng(0)
    quiet = np.log10([random_gain(0.001, rng) for _ in range(500)])
    assert (quiet >= -1).all() and (quiet <= 1).all() and quiet.max() > 0.9
    loud = np.array([random_gain(0.5, rng) for _ in range(500)])
    assert loud.max() <= 1 / 0.5 and loud.min() >= 0.1


def test_units_come_from_the_clip_or_from_its_copies(training):
    variants = {int(read_units(Path(training.clips[0]))[i].mean().round()) for i in range(3)}
    seen = {int(training[ClipKey(epoch, 0)].units.mean().round()) for epoch in range(40)}
    assert seen == variants == {0, 1, 2}


def test_validation_clips_come_whole_and_clean(in_tmp, config, monkeypatch):
    write_dataset(in_tmp, config)
    validation = load_datasets(config)[1]
    clip = validation[ClipKey(0, 0)]
    assert len(clip.f0) == 30 and clip.volume.unique().tolist() == [pytest.approx(0.1)]
    assert all(int(validation[ClipKey(epoch, 0)].units.mean().round()) == 0 for epoch in range(20))
    monkeypatch.setattr(dataset, "VALIDATION_SECONDS", 0.2)  # 17 frames
    long = ClipDataset(validation.clips, validation.n_frames, config, training=False)
    long.window_lengths = [17, 17]
    assert len(long[ClipKey(0, 0)].f0) == 17


def test_clips_in_memory_are_the_same(in_tmp, config):
    write_dataset(in_tmp, config)
    from_disk = load_datasets(config)[0]
    in_memory = load_datasets(tiny_config(model={"vol_embedding": True}, train={"vol_aug": True, "all_in_mem": True}))[
        0
    ]
    for key in (ClipKey(1, 0), ClipKey(1, 3), ClipKey(2, 3), ClipKey(1, 3)):
        assert same(vars(from_disk[key]).values(), vars(in_memory[key]).values())
    for path in Path("dataset").rglob("*.wav*"):
        path.unlink()
    assert len(in_memory[ClipKey(5, 3)].wav) == 24 * HOP


def test_collation(training):
    clips = [training[ClipKey(1, clip)] for clip in (2, 3, 0)]  # 20, 24 and 24 frames
    batch = collate(clips)
    assert batch.lengths.tolist() == [24, 24, 20]
    assert batch.units.shape == (3, 60, 24) and batch.wav.shape == (3, 1, 24 * HOP) and batch.volume.shape == (3, 24)
    assert batch.speaker.tolist() == [[0], [0], [0]] and batch.names[2].endswith("anna/3.wav")
    assert batch.units.is_contiguous()
    for padded in (batch.units[2, :, 20:], batch.f0[2, 20:], batch.uv[2, 20:], batch.wav[2, :, 20 * HOP :]):
        assert not padded.any()
    assert same(batch.to(torch.device("cpu")), batch)


def test_golden_loader(in_tmp):
    """Lengths, order and resized units of the reference's loader and collate."""
    case = Case("preprocess")
    arrays, loader = case.arrays(), case.info["loader"]
    config = tiny_config(model={"vol_embedding": True}, train={"window_frames": 790}, spk={"alice": 0, "bob": 1})
    clips = [Path(item["file"]) for item in loader["get_audio"]]
    for clip, item in zip(clips, loader["get_audio"], strict=True):
        n_frames, n_units = item["f0"][0], item["raw_units_frames"]
        wav = arrays.get(f"wav_{clip.stem}")
        audio.save(clip, np.zeros(n_frames * HOP + 100, np.float32) if wav is None else wav, RATE)
        ramp = np.linspace(0, 1, n_frames, dtype=np.float32)
        f0 = arrays["loader_two_f0"] if clip.stem == "two" else ramp
        units = torch.arange(n_units, dtype=torch.float32).expand(60, -1)
        write_caches(clip, Features(units, f0, np.ones_like(ramp), ramp), None, fingerprint(clip, settings(config)))
    Path("filelists").mkdir()
    Path("filelists/train.txt").write_text("".join(f"{clip.as_posix()}\n" for clip in clips))
    Path("filelists/val.txt").write_text(f"{clips[0].as_posix()}\n")
    training = load_datasets(config)[0]
    items = [training[ClipKey(1, i)] for i in range(4)]
    for got, expected in zip(items, loader["sliced"], strict=True):
        assert (len(got.f0), len(got.wav)) == (expected["frames"], expected["audio"])
    two = items[0]
    assert two.f0[0].item() == pytest.approx(loader["sliced"][0]["f0_first"])
    assert_close(two.f0, arrays["loader_two_f0"], max_abs=1e-4)
    assert two.wav.abs().max().item() == pytest.approx(loader["sliced"][0]["audio_abs_max"])
    # The units of the reference are features; which of them a frame takes is what is compared.
    reference = arrays["loader_two_c_idx0"]
    steps = np.flatnonzero(np.diff(reference)) + 1
    np.testing.assert_array_equal(np.flatnonzero(np.diff(two.units[0].numpy())) + 1, steps)
    batch = collate(items)
    assert batch.lengths.tolist() == loader["collate_lengths"]
    assert batch.speaker.flatten().tolist() == loader["collate_spk"]
    assert [list(batch.f0.shape), list(batch.wav.shape)] == [loader["collate_shapes"][1], loader["collate_shapes"][3]]


# ---- sampling


def keys(sampler, epoch: int, first: int = 0) -> list[list[ClipKey]]:
    sampler.start(epoch, first)
    return list(sampler)


def test_every_epoch_is_shuffled_anew_and_whole():
    lengths = list(range(30, 73))
    sampler = BatchSampler(lengths, batch_size=4, seed=7)
    first, second = keys(sampler, 1), keys(sampler, 2)
    for batches, epoch in ((first, 1), (second, 2)):
        assert sorted(key.clip for batch in batches for key in batch) == list(range(43))
        assert {key.epoch for batch in batches for key in batch} == {epoch}
        assert len(batches) == len(sampler) == 11
        assert all(len(batch) <= 4 for batch in batches)
    assert first == keys(sampler, 1) != [[ClipKey(1, key.clip) for key in batch] for batch in second]
    assert keys(BatchSampler(lengths, batch_size=4, seed=8), 1) != first


def test_batches_hold_clips_of_similar_length():
    lengths = np.random.default_rng(0).integers(20, 800, 400).tolist()
    sampler = BatchSampler(lengths, batch_size=4, seed=7)
    padding = [
        max(found) * len(found) - sum(found) for b in keys(sampler, 1) if (found := [lengths[k.clip] for k in b])
    ]
    assert sum(padding) < 0.1 * sum(lengths)


def test_an_epoch_goes_on_where_it_stopped():
    sampler = BatchSampler([20] * 21, batch_size=2, seed=7)
    whole = keys(sampler, 3)
    assert keys(sampler, 3, first=4) == whole[4:]
    assert keys(sampler, 3, first=11) == keys(sampler, 3, first=99) == []


@pytest.mark.parametrize("world_size", [2, 3, 8])
def test_processes_share_an_epoch_evenly(world_size):
    samplers = [BatchSampler([20] * 9, batch_size=2, seed=7, rank=r, world_size=world_size) for r in range(world_size)]
    shares = [keys(sampler, 1) for sampler in samplers]
    assert {len(share) for share in shares} == {len(samplers[0])}
    assert {key.clip for share in shares for batch in share for key in batch} == set(range(9))
    alone = keys(BatchSampler([20] * 9, batch_size=2, seed=7), 1)
    assert [share[0] for share in shares][: len(alone)] == alone[:world_size]


def test_loader_processes_change_nothing(training):
    def batches(workers: int):
        sampler = BatchSampler(training.window_lengths, batch_size=2, seed=1)
        return list(DataLoader(training, batch_sampler=sampler, collate_fn=collate, num_workers=workers))

    for here, there in zip(batches(0), batches(2), strict=True):
        assert same(here, there)


# ---- what cannot be trained on


def test_all_problems_of_both_lists_come_at_once(in_tmp):
    config = tiny_config(model={"vol_embedding": True})
    write_dataset(in_tmp, config, lengths=(30, 31, 32, 33, 34, 35, 36, 37))
    anna, bob = Path("dataset/44k/anna"), Path("dataset/44k/bob")
    for suffix in (UNITS, F0, FINGERPRINT):
        beside(anna / "1.wav", suffix).unlink()
    beside(anna / "2.wav", VOLUME).unlink()
    audio.save(anna / "3.wav", sing(200.0, 0.5, rate=48000), 48000)
    (anna / "4.wav").unlink()
    audio.save(anna / "5.wav", sing(333.0, 33.2 * HOP / RATE), RATE)
    write_clip(bob / "0.wav", config, n_frames=7)
    other = tiny_config(model={"vol_embedding": True, "speech_encoder": "vec256l9", "ssl_dim": 256})
    write_clip(bob / "1.wav", other, n_frames=31)
    write_clip(bob / "2.wav", other, n_frames=31)
    beside(bob / "2.wav", FINGERPRINT).unlink()
    np.save(beside(bob / "3.wav", F0), np.zeros((2, 12), np.float32))
    beside(bob / "4.wav", UNITS).write_bytes(b"PK\x03\x04 cut off")
    write_clip(in_tmp / "dataset/44k/carl/0.wav", config, n_frames=30)
    with open("filelists/train.txt", "a") as file:
        file.write("dataset/44k/carl/0.wav\n")
    with pytest.raises(DatasetError) as caught:
        load_datasets(config)
    again = "run python preprocess_hubert_f0.py"
    for text in (
        "11 of 17 clips cannot be used",
        f"no features for dataset/44k/anna/1.wav (1.wav.soft.pt is missing): {again}",
        f"no features for dataset/44k/anna/2.wav (2.wav.vol.npy is missing): {again}",
        "dataset/44k/anna/3.wav is 1 x 48000 Hz, not mono 44100 Hz: run python resample.py",
        "dataset/44k/anna/4.wav: no such audio file",
        f"dataset/44k/anna/5.wav was changed after its features were extracted: {again}",
        "dataset/44k/bob/0.wav is too short: 7 frames, 8 are needed (train.segment_size): delete it and run python",
        f"dataset/44k/bob/1.wav has units of vec256l9, the config wants cepstral: {again}",
        f"dataset/44k/bob/2.wav has units of 256 channels, the config wants 60: {again}",
        f"dataset/44k/bob/3.wav has 33 frames, its features 12: {again}",
        "dataset/44k/bob/4.wav.soft.pt is damaged, cut off",
        "dataset/44k/carl/0.wav is of no speaker of the config: run python preprocess_flist_config.py again",
    ):
        assert text in str(caught.value), text


def test_a_folder_named_like_an_id_is_no_speaker(in_tmp):
    config = tiny_config()
    write_clip(in_tmp / "1/a.wav", config, n_frames=30)
    with pytest.raises(DatasetError, match="of no speaker of the config"):
        dataset.check_clips([Path("1/a.wav")], config)


def test_long_lists_of_problems_are_cut(in_tmp):
    with pytest.raises(DatasetError) as caught:
        dataset.check_clips([Path(f"{i}.wav") for i in range(50)], tiny_config())
    assert "50 of 50 clips" in str(caught.value) and str(caught.value).endswith("... and 30 more")


def test_filelists(in_tmp):
    path = Path("train.txt")
    with pytest.raises(FileNotFoundError, match="no filelist train.txt: run python preprocess_flist_config.py"):
        read_filelist(path)
    path.write_text("\n \n")
    with pytest.raises(DatasetError, match="train.txt names no clip"):
        read_filelist(path)
    path.write_text("d/señora 1.wav\r\n\nd/2.wav", encoding="utf-8-sig")
    assert read_filelist(path) == [Path("d/señora 1.wav"), Path("d/2.wav")]


def test_caches_of_4_1_can_be_trained_on(in_tmp, caplog):
    caplog.set_level(logging.WARNING)
    config = tiny_config()
    write_dataset(in_tmp, config)
    for path in [*Path("dataset").rglob(f"*{FINGERPRINT}"), *Path("dataset").rglob(f"*{UNITS_AUG}")]:
        path.unlink()
    for path in Path("dataset").rglob(f"*{F0}"):
        f0, uv = np.load(path)
        np.save(path, np.asanyarray((f0.tolist(), uv.tolist()), dtype=object))
    training = load_datasets(config)[0]
    assert training[ClipKey(1, 0)].units.shape == (60, 24)
    assert not caplog.records

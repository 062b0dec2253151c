"""The audio door: any format, rate and width in; mono float32 out; one clear error for whatever cannot be read."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from common import audio, formats

RATE = 44100


def tone(seconds: float = 0.5, hz: float = 440.0, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        *[("a.wav", subtype, tolerance) for subtype, tolerance in (("PCM_16", 4e-5), ("PCM_24", 2e-7), ("FLOAT", 0))],
        *[("a.wav", "PCM_U8", 8e-3), ("a.flac", "PCM_24", 2e-7), ("a.AIFF", "PCM_16", 4e-5)],
        *[("a.ogg", "VORBIS", 0.05), ("a.mp3", "MPEG_LAYER_III", 0.05)],
    ],
)
def test_formats(tmp_path, name, subtype, tolerance):
    wav = tone()
    soundfile.write(tmp_path / name, wav, RATE, subtype=subtype)
    got, rate = audio.load_native(tmp_path / name)
    assert (got.dtype, rate, got.shape) == (np.float32, RATE, wav.shape)
    assert np.abs(got - wav).max() <= tolerance
    assert audio.is_audio(tmp_path / name)


def test_channels_are_averaged(tmp_path):
    left, right = tone(), tone(hz=660.0)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(audio.load(tmp_path / "a.wav", RATE), (left + right) / 2, atol=1e-7)
    assert audio.info(tmp_path / "a.wav") == audio.AudioInfo(RATE, len(left), 2)
    assert audio.info(tmp_path / "a.wav").seconds == 0.5
    np.testing.assert_allclose(audio.load_part(tmp_path / "a.wav", 100, 50), ((left + right) / 2)[100:150], atol=1e-7)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000, 96000])
def test_a_resampled_file_equals_the_resampled_array(tmp_path, rate, monkeypatch):
    monkeypatch.setattr(audio, "BLOCK_SECONDS", 0.05)
    monkeypatch.setattr(soundfile.SoundFile, "blocks", _whole_blocks(soundfile.SoundFile.blocks))
    wav = tone(rate=rate)
    soundfile.write(tmp_path / "a.wav", wav, rate, subtype="FLOAT")
    got = audio.load(tmp_path / "a.wav", RATE)
    assert len(got) == audio.resampled_length(len(wav), rate, RATE) == RATE // 2
    np.testing.assert_allclose(got, audio.resample(wav, rate, RATE), atol=2e-5)
    middle = slice(2000, -2000)
    np.testing.assert_allclose(got[middle], tone()[middle], atol=1e-3)


def _whole_blocks(blocks):
    """BLOCK_SECONDS of a test may be a fraction; sizes are whole."""
    return lambda self, size, **options: blocks(self, int(size), **options)


def test_resample_keeps_the_instant():
    assert audio.resampled_length(1, 44100, 16000) == 0
    assert audio.resampled_length(3, 2, 1) == 2  # 1.5 is rounded up
    wav = tone()
    assert audio.resample(wav, RATE, RATE) is wav
    assert audio.resample(wav.astype(np.float64), RATE, 16000).dtype == np.float32


def bad_files(folder):
    soundfile.write(folder / "good.flac", np.random.default_rng(0).uniform(-0.1, 0.1, 3 * RATE), RATE)
    (folder / "cut.flac").write_bytes((folder / "good.flac").read_bytes()[:100_000])
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("this is no audio at all, whatever its name says")
    (folder / "headerless.raw").write_bytes(b"0" * 1000)
    soundfile.write(folder / "none.wav", np.zeros(0, np.float32), RATE)
    soundfile.write(folder / "nan.wav", np.array([0.1, np.nan, 0.2], np.float32), RATE, subtype="FLOAT")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.wav", "no such audio file"),
        ("empty.wav", "the file is empty"),
        ("text.wav", "not readable as audio"),
        ("headerless.raw", "not readable as audio"),
        ("cut.flac", "damaged audio"),
        ("none.wav", "holds no samples"),
        ("nan.wav", "NaN or infinite"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, message):
    bad_files(tmp_path)
    for rate in (RATE, 16000):
        with pytest.raises(audio.AudioError, match=message) as caught:
            audio.load(tmp_path / name, rate)
        assert name in str(caught.value)


def test_a_long_file_costs_its_mono_result(tmp_path, monkeypatch):
    import tracemalloc

    wav = np.zeros((60 * RATE, 2), np.int16)
    soundfile.write(tmp_path / "a.wav", wav, RATE)
    monkeypatch.setattr(audio, "BLOCK_SECONDS", 5)
    tracemalloc.start()
    audio.load_native(tmp_path / "a.wav")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 60 * RATE * 4  # the parts and the whole, but never the stereo file


def test_saving(tmp_path, caplog):
    wav = tone()
    for name in ("a.wav", "a.flac", "deep/a.ogg"):
        audio.save(tmp_path / name, wav, RATE)
        assert audio.info(tmp_path / name) == audio.AudioInfo(RATE, len(wav), 1)
    audio.save(tmp_path / "f.wav", 2 * wav, RATE, subtype="FLOAT")
    assert not caplog.records
    assert audio.load(tmp_path / "f.wav", RATE).max() > 0.99
    caplog.set_level(logging.WARNING)
    audio.save(tmp_path / "c.wav", 4 * wav, RATE)
    assert "c.wav" in caplog.text and "clipped" in caplog.text
    assert audio.load(tmp_path / "c.wav", RATE).min() == -1.0
    assert not [path for path in tmp_path.rglob("*") if ".part" in path.name]


def test_a_failed_save_leaves_the_old_file(tmp_path):
    audio.save(tmp_path / "a.wav", tone(), RATE)
    before = (tmp_path / "a.wav").read_bytes()
    with pytest.raises((ValueError, soundfile.LibsndfileError)):
        audio.save(tmp_path / "a.wav", tone(), RATE, subtype="VORBIS")
    assert (tmp_path / "a.wav").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_integers_are_never_beyond_full_scale(tmp_path, caplog):
    audio.save(tmp_path / "a.wav", np.array([-32768, 0, 32767], np.int16), RATE)
    assert not caplog.records
    np.testing.assert_array_equal(soundfile.read(tmp_path / "a.wav", dtype="int16")[0], [-32768, 0, 32767])


def test_a_half_written_file_is_one_that_is_cleaned_up(tmp_path):
    with audio.writer(tmp_path / "a.flac", RATE) as write:
        write(tone())
        (part,) = os.listdir(tmp_path)
        assert part == f".a.flac.{os.getpid()}{formats.PART}"
        formats.remove_parts(tmp_path / "deep")
    assert os.listdir(tmp_path) == ["a.flac"]
    with pytest.raises((TypeError, ValueError)), audio.writer(tmp_path / "a.tune", RATE):
        pass
    assert os.listdir(tmp_path) == ["a.flac"]


@pytest.mark.skipif(os.name == "nt", reason="has no such limit")
@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_full_disk_is_named(tmp_path, name):
    import resource

    wav = np.random.default_rng(0).uniform(-1, 1, 500_000).astype(np.float32)
    audio.save(tmp_path / name, tone(), RATE)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        with pytest.raises(OSError, match=f"{name}: cannot be written .*disk full"):
            audio.save(tmp_path / name, wav, RATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == [name] and len(audio.load(tmp_path / name, RATE)) == len(tone())


def test_a_part_of_a_damaged_file(tmp_path):
    bad_files(tmp_path)
    audio.load_part(tmp_path / "cut.flac", 0, 1000)
    for start, n_samples in ((2 * RATE, 1000), (0, 3 * RATE), (4 * RATE, 10)):
        with pytest.raises(audio.AudioError, match="cut.flac: damaged audio"):
            audio.load_part(tmp_path / "cut.flac", start, n_samples)
    assert len(audio.load_part(tmp_path / "good.flac", 3 * RATE - 10, 100)) == 10


def test_silence():
    quiet = np.full(100, 10 ** (audio.SILENCE_DB / 20), np.float32)
    assert audio.is_silent(-0.99 * quiet) and audio.is_silent(quiet[:0])
    assert not audio.is_silent(-1.01 * quiet) and not audio.is_silent(1.01 * quiet)


@pytest.mark.skipif(os.name == "nt", reason="names are always text there")
def test_a_name_that_is_not_text(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    try:
        path.write_bytes(b"RIFF")
    except OSError:
        pytest.skip("this file system has only names that are text")
    with pytest.raises(audio.AudioError, match="the name is not valid text: rename"):
        audio.load(path, RATE)


def test_names():
    assert [audio.is_audio(Path(n)) for n in ("a.WAV", "a.mp3", "a.opus", "._a.wav", "a.txt", "a.raw")] == [
        *(True, True, True, False, False, False)
    ]

"""Chunk boundaries are those of the reference to the sample; training clips have the wanted lengths."""

import numpy as np
import pytest

from common import audio
from modules.slicing import Chunk, cut_clips, frame_rms, slice_at_silences, trim
from tests.parity import Case, assert_close

RATE = 8000


def expected_chunks(stored: dict) -> list[Chunk]:
    """The chunks of a case.json; the reference's empty silent chunks, which it drops later, are not in our list."""
    chunks = []
    for entry in stored.values():
        start, end = map(int, entry["split_time"].split(","))
        chunks.append(Chunk(start, end, entry["slice"]))
    return [chunk for chunk in chunks if chunk.end > chunk.start]


def tones(pattern: list, rate: int = RATE) -> np.ndarray:
    """A 200 Hz sine on the int16 grid whose amplitude follows [seconds, amplitude] pairs."""
    amplitude = np.concatenate([np.full(round(seconds * rate), level) for seconds, level in pattern])
    sine = np.sin(2 * np.pi * 200 * np.arange(len(amplitude)) / rate)
    return (np.round(amplitude * sine * 32768) / 32768).astype(np.float32)


def slicer_signal(name: str) -> tuple[np.ndarray, int, dict]:
    """Audio, rate and options of one result of the case "slicer"."""
    case = Case("slicer")
    if name.startswith("audio_"):
        return *audio.load_native(case.folder / f"{name[:7]}.flac"), {}
    wav, rate = audio.load_native(case.folder / "audio.flac")
    if name == "first_240_samples":
        return wav[:240], rate, {}
    if name.startswith("stereo"):
        left = wav[: 14 * rate]
        return (left + np.roll(left, 50) * np.float32(0.5)) / 2, rate, {}
    options = {"threshold_db": float(name[2:5])}
    return wav, rate, options | ({"min_length": 2.0} if name.endswith("minlen2000") else {})


@pytest.mark.parametrize("name", Case("slicer").info["results"])
def test_golden_slicer(name: str) -> None:
    wav, rate, options = slicer_signal(name)
    assert slice_at_silences(wav, rate, **options) == expected_chunks(Case("slicer").info["results"][name])


def test_golden_rms() -> None:
    wav, _ = audio.load_native(Case("slicer").folder / "audio.flac")
    assert_close(frame_rms(wav, window=3528, hop=882), Case("slicer").arrays()["rms"], max_abs=1e-7)


@pytest.mark.parametrize("name", Case("utils_pipeline").info["slicer"])
@pytest.mark.parametrize("threshold", ["-40", "-30"])
def test_golden_patterns(name: str, threshold: str) -> None:
    case = Case("utils_pipeline").info["slicer"][name]
    got = slice_at_silences(tones(case["pattern_seconds_amplitude"]), RATE, threshold_db=float(threshold))
    assert got == expected_chunks(case["result"][threshold]["chunks"])


def test_golden_e2e() -> None:
    case = Case("e2e")
    for file, array, chunks in (("io.npz", "wav", "chunks"), ("wav2.npz", "wav2", "chunks_wav2")):
        assert slice_at_silences(case.arrays(file)[array], 44100) == expected_chunks(case.info[chunks])


@pytest.mark.parametrize("seed", range(5))
def test_chunks_cover_the_recording_without_gap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wav = tones([[rng.uniform(0.1, 12), rng.choice([0, 0, 0.5])] for _ in range(12)])
    chunks = slice_at_silences(wav, RATE)
    assert [c.start for c in chunks] == [0, *(c.end for c in chunks[:-1])]
    assert chunks[-1].end == len(wav)
    silent = [wav[c.start : c.end] for c in chunks if c.is_silent]
    assert all(np.abs(part).max() < 0.01 for part in silent)


def test_trim_keeps_the_loud_part() -> None:
    wav = np.concatenate([np.zeros(RATE), tones([[1, 0.5]]), np.zeros(2 * RATE)]).astype(np.float32)
    kept = trim(wav)
    assert RATE <= len(kept) <= RATE + 4096
    assert np.abs(kept).max() == np.abs(wav).max()


def test_clips_are_cut_in_pauses() -> None:
    wav = tones([[4, 0.5], [0.5, 0]] * 10)
    clips = cut_clips(wav, RATE)
    assert all(5 <= len(clip) / RATE <= 15 for clip in clips)
    for clip in clips:
        assert np.abs(clip[:80]).max() == 0 or clip is clips[0]
        assert np.abs(clip[-80:]).max() == 0


def test_clips_of_a_phrase_without_pause_meet_the_lengths() -> None:
    clips = cut_clips(tones([[47.3, 0.5]]), RATE, min_seconds=2, max_seconds=6)
    assert all(2 <= len(clip) / RATE <= 6 for clip in clips)
    assert sum(map(len, clips)) == round(47.3 * RATE)


def test_long_pauses_are_shortened() -> None:
    (clip,) = cut_clips(tones([[3, 0.5], [20, 0], [3, 0.5], [9, 0]]), RATE)
    assert 6.9 <= len(clip) / RATE <= 7.6  # half a second stays at either side of the pause, and at the end


def test_silence_gives_no_clip() -> None:
    assert cut_clips(np.zeros(20 * RATE, dtype=np.float32), RATE) == []


def test_impossible_lengths() -> None:
    with pytest.raises(ValueError, match="at least twice"):
        cut_clips(np.zeros(RATE, dtype=np.float32), RATE, min_seconds=5, max_seconds=8)

"""The signals sound at the f0 that is stated for them, at the frame for which it is stated."""

from functools import cache

import numpy as np
import pytest

from benchmarks import pitch_signals
from benchmarks.pitch_signals import GROUPS, Signal, in_room, signals, with_noise
from benchmarks.pitch_voices import Manner, Note, NothingVoicedError, resing, sing
from common import audio
from tests.benchmarks.periodicity import HOP_LENGTH, SAMPLE_RATE, autocorrelation, cents, inner_frames, local_f0


@cache
def first(group: str) -> Signal:
    return next(iter(signals(groups=[group])))


def errors(signal: Signal, *, shift: int = 0, margin: int = 4, periods: float = 3.0) -> np.ndarray:
    """Cents between the audio about some frames and the f0 stated for the frames ``shift`` later."""
    frames = inner_frames(signal.f0, margin)
    return np.array(
        [
            cents(local_f0(signal.wav, i * HOP_LENGTH, signal.f0[i], periods=periods), signal.f0[i + shift])
            for i in frames[:: max(len(frames) // 25, 1)]
        ]
    )


def named(group: str, part: str) -> Signal:
    return next(signal for signal in signals(groups=[group]) if signal.name.startswith(part))


@pytest.mark.parametrize(
    ("group", "hz"),
    [
        ("pure tones", 55),
        ("harmonic tones", 110),
        ("no fundamental", 110),
        ("pure tones", 880),
        ("harmonic tones", 2000),
    ],
)
def test_tones_have_the_stated_pitch(group, hz):
    assert np.abs(errors(named(group, f"{hz} Hz"))).max() < 4


def test_a_missing_fundamental_is_missing():
    with_it, without = (named(group, "220 Hz").wav[20000:30000] for group in ("harmonic tones", "no fundamental"))
    levels = [np.abs(np.fft.rfft(wav * np.hanning(10000)))[round(220 / 4.41)] for wav in (with_it, without)]
    assert levels[1] < 1e-3 * levels[0]


@pytest.mark.parametrize("index", range(4))
def test_glides_have_the_stated_pitch_at_the_stated_time(index):
    glide = list(signals(groups=["glides"]))[index]
    assert np.abs(errors(glide)).max() < 8
    # 2 s for two to three octaves: within one frame of 11.6 ms they go 10 to 21 cents
    assert np.abs(errors(glide, shift=1)).mean() > 8 < np.abs(errors(glide, shift=-1)).mean()


@pytest.mark.parametrize("name", ["98 Hz, 50", "196 Hz, 100", "440 Hz, 100", "784 Hz, 100"])
def test_vibrato_has_the_stated_pitch_at_the_stated_time(name):
    vibrato = named("vibrato", name)
    right, early, late = (np.abs(errors(vibrato, shift=shift)).mean() for shift in (0, 1, -1))
    assert right < 4
    assert right < early and right < late


def test_octave_jumps_are_where_they_are_stated():
    jumps = named("octave jumps", "261.6")
    inside = [i for i in inner_frames(jumps.f0, 4) if np.ptp(jumps.f0[i - 4 : i + 5]) == 0]
    assert {round(jumps.f0[i]) for i in inside} == {262, 523}
    for i in inside[::8]:
        assert abs(cents(local_f0(jumps.wav, i * HOP_LENGTH, jumps.f0[i]), jumps.f0[i])) < 4


@pytest.mark.parametrize(
    ("group", "part"),
    [("voices", "tenor"), ("bass", "60-90"), ("soprano", "700"), ("above 1 kHz", "1200"), ("consonants", "middle")],
)
def test_voices_sing_at_the_stated_pitch(group, part):
    error = np.abs(errors(named(group, part), margin=6))
    assert np.median(error) < 6
    assert np.mean(error < 30) > 0.9  # vowels that change within the window move the correlation


def test_a_sung_vibrato_is_aligned_within_a_frame():
    rng = np.random.default_rng(0)
    wav, track = sing([Note(0, 0.1, ""), Note(220, 1.5, "a"), Note(0, 0.1, "")], Manner(vibrato_cents=100), rng)
    sung = Signal("vibrato", "test", *pitch_signals.framed(wav, track))
    right, early, late = (np.abs(errors(sung, shift=shift)).mean() for shift in (0, 1, -1))
    assert right < 5 and right < early and right < late


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_recordings_are_sung_again_at_the_stated_pitch(ratio):
    song = first("song" if ratio == 1 else f"song x{ratio:g}")
    error = np.abs(errors(song, margin=5, periods=2.0))
    assert np.median(error) < 10
    assert np.mean(error < 50) > 0.9


def test_transposing_a_recording_changes_nothing_but_the_pitch():
    once, twice = first("song"), first("song x2")
    np.testing.assert_array_equal(once.f0 > 0, twice.f0 > 0)
    np.testing.assert_allclose(twice.f0, 2 * once.f0, rtol=1e-6)


def test_rests_and_consonants_are_not_periodic():
    sung = named("consonants", "low")
    unvoiced = inner_frames(np.where(sung.f0 > 0, 0.0, 1.0), 4)
    voiced = inner_frames(sung.f0, 4)

    def periodicity(frame: int) -> float:
        lags = range(SAMPLE_RATE // 250, SAMPLE_RATE // 80, 3)
        return max(autocorrelation(sung.wav, frame * HOP_LENGTH, lag, 800) for lag in lags)

    assert np.median([periodicity(i) for i in unvoiced]) < 0.6
    assert np.median([periodicity(i) for i in voiced]) > 0.9


def test_creaky_pulses_come_in_pairs_at_the_stated_mean_rate():
    rng = np.random.default_rng(0)
    notes, manner = [Note(120, 1.0, "a")], Manner(vibrato_cents=0, drift_cents=0, subharmonic=0.08, alternation=0.2)
    wav, track = sing(notes, manner, rng)
    pair = 2 * SAMPLE_RATE / 120
    centres = range(SAMPLE_RATE // 4, SAMPLE_RATE * 3 // 4, 4000)
    single = [autocorrelation(wav, centre, round(pair / 2), 1500) for centre in centres]
    double = [autocorrelation(wav, centre, round(pair), 1500) for centre in centres]
    assert min(double) > 0.95 > max(single)
    found = [local_f0(wav, centre, 60.0) for centre in centres]
    assert np.abs([cents(hz, 60.0) for hz in found]).max() < 10
    np.testing.assert_allclose(track.f0, 120.0)


def test_noise_has_the_stated_level():
    rng = np.random.default_rng(0)
    wav, f0 = rng.standard_normal(HOP_LENGTH * 100).astype(np.float32), np.repeat([0.0, 200.0], 50)
    wav[: 50 * HOP_LENGTH] = 0
    noisy = with_noise(wav, f0, 3 * rng.standard_normal(len(wav)), 10.0)
    added = np.mean((noisy - wav) ** 2)
    assert 10 * np.log10(np.mean(wav[50 * HOP_LENGTH :] ** 2) / added) == pytest.approx(10.0, abs=0.01)


def test_a_room_dies_away_by_60_db_in_its_time():
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[0] = 1.0
    wet = in_room(click, 0.8, np.random.default_rng(0))
    assert wet.argmax() == 0
    direct, tail = wet[0] ** 2, np.sum(wet[1:] ** 2)
    assert 10 * np.log10(direct / tail) == pytest.approx(3.0, abs=0.1)
    levels = [10 * np.log10(np.mean(wet[start : start + 2000] ** 2)) for start in (2000, 2000 + int(0.4 * SAMPLE_RATE))]
    assert levels[0] - levels[1] == pytest.approx(30.0, abs=1.0)


@pytest.mark.parametrize("group", ["vibrato", "creaky"])
def test_a_seed_gives_the_same_signals_and_another_one_others(group):
    one, again, other = (next(iter(signals(seed, [group]))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.wav, again.wav)
    np.testing.assert_array_equal(one.f0, again.f0)
    assert not np.array_equal(one.wav[: len(other.wav)], other.wav[: len(one.wav)])


def test_groups_come_in_their_order_and_unknown_ones_are_named():
    found = [signal.group for signal in signals(groups=["glides", "pure tones"])]
    assert list(dict.fromkeys(found)) == ["pure tones", "glides"]
    with pytest.raises(ValueError, match="unknown group 'whistle'; choose from: pure tones, harm"):
        next(iter(signals(groups=["whistle"])))


def test_a_folder_of_recordings_is_a_group_of_its_own(tmp_path):
    audio.save(tmp_path / "a.wav", first("bass").wav, SAMPLE_RATE)
    audio.save(tmp_path / "noise.wav", 1e-3 * np.random.default_rng(0).standard_normal(20000), SAMPLE_RATE)
    found = list(signals(groups=["glides"], recordings=tmp_path))
    assert [signal.group for signal in found].count("recordings") == 1
    assert found[-1].name == "a from 0.0 s"


def test_a_folder_without_recordings_and_a_recording_without_voice_are_said(tmp_path):
    with pytest.raises(ValueError, match="no recordings in"):
        list(signals(groups=[], recordings=tmp_path))
    with pytest.raises(NothingVoicedError, match="nothing in it is voiced"):
        resing(np.random.default_rng(0).standard_normal(20000))


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_every_signal_is_well_formed(group):
    names = []
    for signal in signals(groups=[group]):
        names.append(signal.name)
        assert signal.wav.dtype == np.float32 and np.isfinite(signal.wav).all()
        assert (0.003 if group == "quiet" else 0.1) < np.abs(signal.wav).max() < 1.5
        assert len(signal.f0) == len(signal.wav) // HOP_LENGTH
        voiced = signal.f0[signal.f0 > 0]
        assert 0.2 < len(voiced) / len(signal.f0) < 0.9
        assert voiced.min() > 35 and voiced.max() < 2100
        assert 1.0 < signal.seconds < 4.0
    assert names and len(set(names)) == len(names)

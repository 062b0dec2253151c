"""``auto``: the vote and the path step by step, then the whole against its members, on sounds whose pitch is known."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from common import pretrained
from modules import f0
from modules.f0 import auto, salience
from modules.f0.auto import Vote
from tests.modules.f0.tones import HOP_LENGTH, SAMPLE_RATE, cents, harmonic_tone

MEMBERS = ["pm", "dio", "harvest", "fcpe"]
PITCHES = 55 * 2 ** (np.arange(240) / auto.BINS_PER_OCTAVE)  # (P,) Hz
FALLING = [1 / k for k in range(1, 12)]


@pytest.fixture(scope="module")
def predictor():
    return f0.build("auto", device="cpu")


def path_in_hz(votes, pitches=PITCHES):
    gain = sum(auto.ballot(vote, pitches) for vote in votes)
    path = auto.best_path(gain)
    return auto.exact(path, votes, gain, pitches)


def constant(hz, gain, n_frames=20):
    return Vote(np.full(n_frames, float(hz)), np.full(n_frames, float(gain)))


def test_a_vote_counts_whole_nearby_and_not_at_all_further_away():
    pitches = 220 * 2 ** (np.array([-125, -75, -25, 0, 25, 100, 1200]) / 1200)
    counted = auto.ballot(Vote(np.array([220.0, 0.0]), np.array([4.0, 0.0])), pitches)
    np.testing.assert_allclose(counted, [[0, 2, 4, 4, 4, 1, 0], [0] * 7], atol=1e-6)


def test_two_voters_outvote_an_octave_error():
    votes = [constant(220, 4), constant(221, 4), constant(110, 6)]
    assert cents(path_in_hz(votes), 220).max() < 10


def test_a_short_octave_error_is_no_detour_worth_its_jumps():
    vote = constant(220, 6)
    vote.f0[8:10] = 440
    other = constant(220, 3)
    assert cents(path_in_hz([vote, other]), 220).max() < 1
    vote.f0[8:], vote.gain[8:] = 440, 6  # a leap of the melody
    found = path_in_hz([vote, other])
    assert cents(found[:8], 220).max() < 1 and cents(found[8:], 440).max() < 1


def test_a_glide_is_followed_and_its_value_is_the_voters_own():
    hz = np.geomspace(100, 200, 40)
    np.testing.assert_allclose(path_in_hz([Vote(hz, np.full(40, 8.0))]), hz, rtol=1e-9)


def test_weak_votes_leave_a_frame_unvoiced():
    vote = constant(220, auto.UNVOICED_GAIN + 1)
    vote.gain[10:] = auto.UNVOICED_GAIN - 1
    np.testing.assert_array_equal(path_in_hz([vote]) > 0, np.arange(20) < 10)
    assert not path_in_hz([constant(0, 0)]).any()


def test_without_a_vote_near_the_path_the_strengths_parabola_decides():
    offset = 0.3  # bins by which the top of the strengths lies above a bin
    strength = np.tile(1 - 0.01 * (np.arange(240) - 100 - offset) ** 2, (5, 1))
    found = auto.exact(np.full(5, 100), [constant(500, 4, 5)], strength, PITCHES)
    np.testing.assert_allclose(found, PITCHES[100] * 2 ** (offset / auto.BINS_PER_OCTAVE), rtol=1e-9)


def test_votes_at_other_times_are_interpolated_within_a_semitone():
    vote = Vote(np.array([100.0, 104.0, 208.0, 0.0, 300.0]), np.array([1.0, 2, 3, 0, 5]))
    seconds = np.array([0.0, 0.5, 0.9, 1.0, 1.4, 1.6, 2.4, 2.6, 3.6, 4.4, 4.6, 9.0])
    found = auto.at(seconds, vote, first=0.0, step=1.0)
    near = np.sqrt(100 * 104.0)
    np.testing.assert_allclose(found.f0[:9], [100, near, 103.6, 104, 104, 208, 208, 0, 300], rtol=1e-4)
    np.testing.assert_array_equal(found.gain, [1, 1, 2, 2, 2, 3, 3, 0, 5, 5, 0, 0])
    later = auto.at(seconds + 0.25, vote, first=0.25, step=1.0)
    np.testing.assert_allclose(later.f0, found.f0)
    nothing = auto.at(seconds, Vote(np.zeros(0), np.zeros(0)), first=0.0, step=1.0)
    assert nothing.f0.shape == nothing.gain.shape == seconds.shape and not nothing.gain.any()


@pytest.mark.parametrize("hz", [41.2, 55.0, 82.4, 220.0, 523.3, 1046.5, 1318.5, 1760.0])
def test_tone(predictor, hz):
    wav = harmonic_tone(hz, 0.4)
    f0_hz, uv = predictor.compute_f0_uv(wav)
    assert len(f0_hz) == len(wav) // HOP_LENGTH
    assert uv[5:-5].all()
    assert cents(f0_hz[5:-5], hz).max() < 12


def test_vibrato_is_followed_to_a_few_cents(predictor):
    hz = 330 * 2 ** (0.8 / 12 * np.sin(2 * np.pi * 6 * np.arange(SAMPLE_RATE) / SAMPLE_RATE))
    f0_hz, _ = predictor.compute_f0_uv(harmonic_tone(hz, 1.0))
    error = cents(f0_hz, hz[HOP_LENGTH // 2 :: HOP_LENGTH][: len(f0_hz)])[5:-5]
    assert np.median(error) < 3 and error.max() < 15


def sung(hz, amplitudes=FALLING, *, alternation=0.0):
    """(T,): harmonics of these amplitudes at ``hz`` (T,), every other period louder, faint noise."""
    phase = 2 * np.pi * np.cumsum(hz) / SAMPLE_RATE
    wav = sum(amplitude * np.sin(k * phase + k * k) for k, amplitude in enumerate(amplitudes, start=1))
    wav = 0.1 * wav * (1 + alternation * np.sin(phase / 2))
    return (wav + 1e-4 * np.random.default_rng(0).standard_normal(len(wav))).astype(np.float32)


def octave_traps():
    """wav (T,) and pitch (T,) of sounds that one tracker or another hears octaves off."""
    wave = 2 ** (0.4 / 12 * np.sin(2 * np.pi * 5.5 * np.arange(SAMPLE_RATE) / SAMPLE_RATE))
    leaps = np.where(np.arange(SAMPLE_RATE) % 17640 < 8820, 220.0, 440.0)
    yield sung(leaps), leaps
    yield sung(200 * wave, [0.1, 1, 0.1, 0.1, 0.05]), 200 * wave  # the second harmonic rules
    yield sung(220 * wave, alternation=0.12), 220 * wave  # nearly 110 Hz
    yield sung(110 * wave, [0.02, *FALLING[1:]]), 110 * wave  # hardly a fundamental
    yield sung(1300 * wave, [1, 0.4, 0.2, 0.1]), 1300 * wave


def octave_errors(made):
    """Mean share of frames that are an octave or more off."""
    shares = []
    for wav, hz in octave_traps():
        f0_hz, _ = made.compute_f0_uv(wav)
        error = cents(np.maximum(f0_hz, 1), hz[HOP_LENGTH // 2 :: HOP_LENGTH][: len(f0_hz)])[8:-8]
        shares.append(np.mean((error > 1100) & (error < 3700)))
    return np.mean(shares)


def test_fewer_octave_errors_than_any_member(predictor):
    theirs = {name: octave_errors(f0.build(name, device="cpu")) for name in MEMBERS}
    assert min(theirs.values()) > 0.1  # each falls into some trap
    assert octave_errors(predictor) < 0.01


def test_silence_and_noise_are_unvoiced(predictor):
    noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32)
    for wav in (np.zeros(SAMPLE_RATE, np.float32), np.full(SAMPLE_RATE, 1e-6, np.float32), 1e-4 * noise, 0.1 * noise):
        assert predictor.compute_f0_uv(wav)[1].mean() < 0.02


def test_a_pause_is_unvoiced(predictor):
    wav = harmonic_tone(200.0, 1.2)
    wav[17640:35280] = 1e-4 * np.random.default_rng(0).standard_normal(17640)
    _, uv = predictor.compute_f0_uv(wav)
    assert uv[3:32].all() and not uv[38:65].any() and uv[72:-3].all()


@pytest.mark.parametrize("length", [0, 1, 300, 511, 512, 1000, 2700, 5000])
def test_short_audio(predictor, length):
    for n_frames in (None, 1, 3):
        f0_hz, uv = predictor.compute_f0_uv(harmonic_tone(220.0, length / SAMPLE_RATE), n_frames)
        assert len(f0_hz) == len(uv) == (length // HOP_LENGTH if n_frames is None else n_frames)
        assert np.isfinite(f0_hz).all()


def test_frames_stay_in_their_places_whatever_their_number(predictor):
    wav = harmonic_tone(np.geomspace(200, 400, SAMPLE_RATE // 2), 0.5)
    whole, _ = predictor.compute_f0_uv(wav)
    for n_frames in (len(whole) - 3, len(whole) + 1):
        found, _ = predictor.compute_f0_uv(wav, n_frames)
        shared = min(n_frames, len(whole))
        np.testing.assert_array_equal(found[:shared], whole[:shared])


def test_two_runs_are_equal(predictor):
    wav = sung(np.full(SAMPLE_RATE // 2, 220.0))
    np.testing.assert_array_equal(predictor.compute_f0_uv(wav), predictor.compute_f0_uv(wav))


@pytest.mark.parametrize(("sample_rate", "hop_length"), [(16000, 160), (48000, 480), (22050, 300)])
def test_other_rates(sample_rate, hop_length):
    made = f0.build("auto", sample_rate, hop_length, device="cpu")
    phase = 2 * np.pi * 220.0 * np.arange(sample_rate // 2) / sample_rate
    wav = sum(np.sin(k * phase) / k for k in range(1, 9)).astype(np.float32)
    f0_hz, uv = made.compute_f0_uv(wav)
    assert len(f0_hz) == len(wav) // hop_length
    assert uv[8:-8].all() and cents(f0_hz[8:-8], 220.0).max() < 5


def test_long_audio_in_windows_equals_the_whole_and_bounds_memory(predictor, monkeypatch):
    wav = sung(150 * 2 ** np.linspace(0, 2, 3 * SAMPLE_RATE))
    whole = predictor.raw_f0(wav)
    monkeypatch.setattr(auto, "WINDOW_SECONDS", 1.0)
    monkeypatch.setattr(auto, "CONTEXT_SECONDS", 0.5)
    longest, track = [], predictor._track
    monkeypatch.setattr(predictor, "_track", lambda piece: longest.append(len(piece)) or track(piece))
    pieces = predictor.raw_f0(wav)
    assert max(longest) <= 2 * SAMPLE_RATE and len(longest) == 4
    assert len(pieces) == len(whole)
    assert np.mean(cents(np.maximum(pieces, 1), np.maximum(whole, 1)) < 3) > 0.98


def test_the_range_may_be_narrowed_and_widened():
    low = f0.build("auto", device="cpu", f0_max=300.0)
    assert low.compute_f0_uv(harmonic_tone(440.0, 0.4))[0].max() < 310
    wide = f0.build("auto", device="cpu", f0_min=25.0, f0_max=2100.0)
    for hz in (27.5, 2050.0):
        f0_hz, uv = wide.compute_f0_uv(harmonic_tone(hz, 0.6))
        assert uv[12:-12].all() and cents(f0_hz[12:-12], hz).max() < 50


@pytest.mark.parametrize("ends", [{"f0_min": 10.0}, {"f0_max": 2500.0}])
def test_a_range_beyond_the_members_is_refused(ends):
    with pytest.raises(ValueError, match="auto tracks 20 to 2100 Hz, f0_min is .* and f0_max"):
        f0.build("auto", device="cpu", **ends)


class Perfect(f0.predictor.F0Predictor):
    """Stands for rmvpe: hears 300 Hz always."""

    def raw_f0(self, wav):
        raise AssertionError("auto reads networks, and does not track with them")

    def read(self, wav, factor=1.0):
        n_frames = len(wav) * 100 // SAMPLE_RATE + 1
        return salience.Reading(np.full(n_frames, 300.0), np.ones(n_frames))


@pytest.mark.parametrize("there", [False, True])
def test_rmvpe_joins_when_its_weights_are_there(monkeypatch, tmp_path, caplog, there):
    monkeypatch.setitem(pretrained.FILES, "rmvpe", replace(pretrained.FILES["rmvpe"], root=tmp_path))
    monkeypatch.setattr(auto, "RmvpePredictor", Perfect)
    if there:
        pretrained.FILES["rmvpe"].path.parent.mkdir(parents=True)
        pretrained.FILES["rmvpe"].path.touch()
    with caplog.at_level(logging.INFO):
        made = f0.build("auto", device="cpu")
    path = pretrained.FILES["rmvpe"].path
    alone = f"auto: fcpe and pm vote; rmvpe joins them when {path} is there"
    assert caplog.messages[-1] == ("auto: fcpe, rmvpe and pm vote" if there else alone)
    assert (path in auto.weight_files()) == there
    votes = list(made.votes(harmonic_tone(220.0, 0.3)))
    assert len(votes) == 4 + there
    own = [vote for vote in votes if (vote.gain > 0).any()][: 1 + there]
    assert sum(vote.gain.max() for vote in own) == pytest.approx(auto.PLAIN.gain, rel=0.1)


@pytest.mark.parametrize(
    ("plain", "high_hz", "share"),
    [(1.0, 750.0, 1.0), (0.5, 750.0, 0.75), (0.0, 750.0, 0.5), (0.0, 1500.0, 1.0)],
)
def test_halved_frequencies_need_support_where_the_plain_reading_can_hear(
    predictor, monkeypatch, plain, high_hz, share
):
    answers = {1.0: (750.0, plain), salience.HALVED: (high_hz, 1.0), salience.DOUBLED: (60.0, 0.0)}

    def read(wav, factor):
        return salience.Reading(*(np.full(31, value) for value in answers[factor]))

    monkeypatch.setattr(predictor.fcpe, "read", read)
    _, high, _, _ = predictor.votes(np.zeros(int(0.3 * SAMPLE_RATE), np.float32))
    np.testing.assert_allclose(high.gain, share * auto.HIGH.gain)


def test_the_threshold_takes_votes_away():
    wav = harmonic_tone(220.0, 0.3)
    heard = [
        [(vote.gain > 0).mean() for vote in f0.build("auto", device="cpu", threshold=threshold).votes(wav)]
        for threshold in (0.05, 1.0)
    ]
    assert max(heard[0][:3]) > 0.9 and max(heard[1][:3]) == 0
    assert heard[0][3] == heard[1][3] > 0.5  # Praat gives no confidence

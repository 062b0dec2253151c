"""Notes to f0: times under changing tempo, bends, glides, one voice, and the voicing of the song."""

import logging

import numpy as np
import pytest

from pipeline.melody import Melody
from pipeline.melody_midi import read_midi
from tests.pipeline.midi_files import bend, control, note, off, on, tempo, write

STEP, DURATION = 0.01, 4.0
MOMENTS = np.arange(round(DURATION / STEP)) * STEP


def heard(*unvoiced: tuple[float, float]) -> Melody:
    """A song that is voiced but for some stretches of seconds, at another pitch."""
    f0 = np.full(len(MOMENTS), 123.0, np.float32)
    for begin, end in unvoiced:
        f0[round(begin / STEP) : round(end / STEP)] = 0
    return Melody(MOMENTS, f0)


@pytest.fixture
def semitones(tmp_path):
    """MIDI numbers (N,) at `MOMENTS` that tracks of events give, nan where unvoiced."""

    def read(*tracks, song: Melody | None = None, **kw) -> np.ndarray:
        got = read_midi(write(tmp_path / "歌.mid", *tracks, **kw), song or heard(), DURATION)
        np.testing.assert_array_equal(got.seconds, MOMENTS)
        with np.errstate(divide="ignore"):
            return np.where(got.f0 > 0, 69 + 12 * np.log2(got.f0 / 440), np.nan)

    return read


def at(curve: np.ndarray, *seconds: float) -> list[float]:
    return [round(float(curve[round(moment / STEP)]), 3) for moment in seconds]


def test_notes_in_their_time_and_the_nearest_outside_of_them(semitones):
    got = semitones([*note(60, 1, 2), *note(64, 2, 3), *note(67, 5, 6)])
    assert at(got, 0.0, 0.5, 0.96, 1.04, 1.49, 1.95, 2.05, 2.5, 3.9) == [60, 60, 60, 64, 64, 64, 67, 67, 67]


def test_two_notes_are_joined_by_a_glide_of_50_ms(semitones):
    got = semitones([*note(60, 0, 2), *note(65, 2, 4)])
    assert at(got, 0.97, 0.99, 1.0, 1.01, 1.03) == [60, 61.5, 62.5, 63.5, 65]
    assert (np.diff(got) >= -1e-4).all()


def test_glides_of_short_notes_do_not_overlap(semitones):
    got = semitones([*note(60, 0, 2), *note(72, 2, 2.04), *note(62, 2.04, 8)])  # 20 ms long
    assert got.max() == pytest.approx(72, abs=0.05) and at(got, 0.97, 1.06) == [60, 62]


def test_the_song_says_what_is_voiced(semitones):
    song = heard((0.3, 0.6), (2.0, 2.2))
    got = semitones([*note(60, 0, 8)], song=song)
    np.testing.assert_array_equal(np.isnan(got), song.f0 == 0)
    assert np.nanmin(got) == pytest.approx(60, abs=1e-4) == np.nanmax(got)


def test_a_song_without_voice_stays_without(semitones):
    assert np.isnan(semitones([*note(60, 0, 1)], song=heard((0.0, 9.0)))).all()


def test_tempo_changes_in_a_track_of_their_own(semitones):
    # Beats 0 and 1 at 120, from 2 on at 60, from 3 on at 240 per minute: beat 3 is at 2 s, beat 7 at 3 s.
    tempi = [tempo(120, 0), tempo(60, 2), tempo(240, 3)]
    got = semitones(tempi, [*note(60, 0, 2), *note(62, 2, 3), *note(64, 3, 7), *note(65, 7, 8)])
    assert at(got, 0.9, 1.1, 1.9, 2.1, 2.9, 3.1) == [60, 62, 62, 64, 64, 65]


def test_type_0_running_status_and_notes_ended_by_velocity_0(semitones):
    got = semitones([on(60, 1), on(60, 2, velocity=0), on(62, 2), on(62, 4, velocity=0)], midi_type=0)
    assert at(got, 0.6, 1.5) == [60, 62]


def test_a_note_that_is_struck_again_or_never_ended(semitones):
    got = semitones([on(60, 0), on(60, 2), off(60, 3), *note(64, 3, 4), on(65, 4), control(7, 100, 6)])
    assert at(got, 0.5, 1.2, 1.7, 2.2) == [60, 60, 64, 65]


def test_a_note_struck_again_before_its_end_keeps_its_length(semitones):
    legato = [on(60, 0), on(60, 1), off(60, 1.02), on(60, 2), off(60, 2.02), off(60, 6)]
    assert at(semitones([*legato, *note(64, 6, 8)]), 0.2, 0.7, 1.2, 2.9, 3.2) == [60, 60, 60, 60, 64]
    same_tick = [on(60, 0), on(60, 1), off(60, 1), off(60, 6)]
    assert at(semitones([*same_tick, *note(64, 6, 8)]), 0.7, 2.9, 3.2) == [60, 60, 64]


def test_bends_of_two_semitones_and_of_what_the_file_says(semitones):
    events = [*note(60, 0, 8), bend(1, 1), bend(-1, 2), bend(0, 3)]
    assert at(semitones(events), 0.2, 0.7, 1.2, 1.7) == pytest.approx([60, 62, 58, 60], abs=2e-3)
    twelve = [control(101, 0, 0), control(100, 0, 0), control(6, 12, 0), control(38, 50, 0)]
    assert at(semitones([*twelve, *events]), 0.7, 1.2) == pytest.approx([72.5, 47.5], abs=2e-3)
    closed = [control(101, 127, 0), control(100, 127, 0), control(6, 24, 0)]  # a value for no parameter
    assert at(semitones([*twelve, *closed, *events]), 0.7) == pytest.approx([72.5], abs=2e-3)
    other = [control(101, 0, 0), control(100, 0, 0), control(99, 1, 0), control(98, 8, 0), control(6, 24, 0)]
    assert at(semitones([*other, *events]), 0.7) == pytest.approx([62], abs=2e-3)


def test_a_reset_of_all_controllers_centres_the_wheel_and_leaves_its_range(semitones):
    twelve = [control(101, 0, 0), control(100, 0, 0), control(6, 12, 0)]
    reset = [bend(1, 1), control(121, 0, 2), control(6, 24, 2), bend(-1, 3)]
    assert at(semitones([*twelve, *note(60, 0, 8), *reset]), 0.7, 1.2, 1.7) == pytest.approx([72, 60, 48], abs=2e-3)


def test_bends_belong_to_a_channel_and_end_with_their_note(semitones):
    events = [*note(60, 0, 4, channel=1), bend(1, 1, channel=1), bend(0, 4, channel=1), bend(1, 0, channel=2)]
    got = semitones([*events, *note(50, 7, 8, channel=1)])
    # The wheel goes back when the note ends, and the voice that goes on holds the pitch it had.
    assert at(got, 0.2, 1.9, 2.1, 2.6, 3.6) == pytest.approx([60, 62, 62, 62, 50], abs=2e-3)


def test_a_bend_into_the_next_note_makes_no_spike(semitones):
    got = semitones([*note(60, 0, 2), bend(1, 1.5), bend(0, 2), *note(62, 2, 4)])
    assert np.abs(got[80:] - 62).max() < 2e-3


def test_legato_is_cut_and_chords_are_refused(semitones, tmp_path):
    got = semitones([*note(60, 0, 2.08), *note(64, 2, 4)])  # 40 ms
    assert at(got, 0.9, 1.1) == [60, 64]
    with pytest.raises(ValueError, match=r"歌.mid: C4 and E4 sound together at 1.00 s: leave one voice only"):
        semitones([*note(60, 0, 2.2), *note(64, 2, 4)])
    with pytest.raises(ValueError, match=r"C4 and E4 sound together at 0.50 s"):
        semitones([*note(64, 1, 2), *note(60, 1, 2)])
    with pytest.raises(ValueError, match=r"C3 and C4 of tracks 2 'Bass' and 1 '旋律' sound together at 1.00 s"):
        semitones([*note(60, 2, 4)], [*note(48, 0, 8)], names=("旋律", "Bass"))


@pytest.mark.parametrize(
    ("tracks", "message"),
    [
        ([[tempo(100, 0)]], "歌.mid: it holds no notes"),
        ([[*note(60, 0, 4), *note(62, 4, 10.5)]], r"its notes go on to 5.2 s, the song lasts 4.0 s: is it of another"),
        ([[*note(12, 0, 4)]], "C0 at 0.00 s lies outside of 20 to 4000 Hz"),
        ([[*note(60, 0, 4), *note(110, 4, 5)]], "D8 at 2.00 s lies outside of 20 to 4000 Hz"),
        (
            [[*note(107, 0, 8), bend(1, 1)]],
            r"歌.mid: at 0.50 s: f0 44\d\d.* Hz lies outside 20 to 4000 Hz; check its pitch bends",
        ),
        (
            [[*note(60, 0, 0.5)]],
            r"no note within 1 s for 2.7 of 4.0 s of the song's voice, first at 1.3 s: is it of",
        ),
    ],
)
def test_notes_that_are_no_melody_of_the_song(semitones, tracks, message):
    with pytest.raises(ValueError, match=message):
        semitones(*tracks)


def test_voice_far_from_all_notes_is_told(semitones, caplog):
    with caplog.at_level(logging.WARNING):
        got = semitones([*note(60, 0, 4)])
    assert at(got, 3.9) == [60]
    said = "歌.mid: no note within 1 s for 1.0 of 4.0 s of the song's voice, first at 3.0 s: it holds the pitch"
    assert said in caplog.text


@pytest.mark.parametrize(
    "content", [b"", b"MThd", b"RIFF" + bytes(100), b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\4\0\xff"]
)
def test_files_that_are_no_midi(tmp_path, content):
    (tmp_path / "a.mid").write_bytes(content)
    with pytest.raises(ValueError, match="a.mid: not readable as a standard MIDI file"):
        read_midi(tmp_path / "a.mid", heard(), DURATION)


def test_kinds_of_midi_that_have_no_one_time(tmp_path):
    path = write(tmp_path / "a.mid", [*note(60, 0, 1)], midi_type=2)
    with pytest.raises(ValueError, match=r"several independent sequences \(type 2\): save it as type 0 or 1"):
        read_midi(path, heard(), DURATION)
    content = bytearray(write(tmp_path / "b.mid", [*note(60, 0, 1)]).read_bytes())
    content[12:14] = bytes([256 - 25, 40])  # 25 frames per second, 40 ticks per frame
    (tmp_path / "b.mid").write_bytes(content)
    with pytest.raises(ValueError, match="its times are SMPTE frames: save it with ticks per quarter note"):
        read_midi(tmp_path / "b.mid", heard(), DURATION)
    with pytest.raises(FileNotFoundError):
        read_midi(tmp_path / "c.mid", heard(), DURATION)

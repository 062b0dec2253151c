"""Melodies as notes: a standard MIDI file sung with the voicing of the song.

The notes say how high, the song says when: consonants and rests of the recording stay unvoiced, and what is voiced
outside all the notes holds the nearest of them.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from pipeline.melody import F0_HIGHEST, F0_LOWEST, Melody, find_problem
from pipeline.pitch_range import A4_HZ, A4_MIDI, note_name

if TYPE_CHECKING:
    from mido import Message, MidiFile

logger = logging.getLogger(__name__)

Number = TypeVar("Number", float, np.ndarray)
Key = tuple[str, int, int]  # track, channel and number of a note

GLIDE_SECONDS = 0.05  # from one note to the next, half of it on either side of where they meet
LEGATO_SECONDS = 0.05  # by which a note may reach into the next one
FAR_SECONDS = 1.0  # from every note: the file and the song do not fit there
NOTE_MESSAGES = ("note_on", "note_off")
DEFAULT_TEMPO = 500_000  # microseconds per quarter note, where the file states none
BEND_RANGE = 2.0  # semitones, where the file states none
BEND_SPAN = 8192  # of the wheel, to either side
BEND_RANGE_PARAMETER, NO_PARAMETER = (0, 0), (127, 127)  # registered parameters: controllers 101 and 100
DATA_SEMITONES, DATA_CENTS = 6, 38  # controllers that set it
PARAMETER = {101: 0, 100: 1}  # controller: which half of the parameter's number it sets
OTHER_PARAMETERS = (98, 99)  # controllers that choose one that is not registered
RESET = 121  # controller that puts the others back, and the wheel; not its range


class Note(NamedTuple):
    """From ``start`` to ``end``, seconds; ``number`` 69 is A4."""

    start: float
    end: float
    number: int
    channel: int
    track: str

    def __str__(self) -> str:
        return note_name(hz(self.number))


@dataclass
class Channel:
    """Where the pitch wheel of a channel stands."""

    bend_range: float = BEND_RANGE
    cents: int = 0  # of the range, above its whole semitones
    wheel: int = 0
    parameter: tuple[int, int] = NO_PARAMETER
    seconds: list[float] = field(default_factory=list)  # when it moved
    semitones: list[float] = field(default_factory=lambda: [0.0])  # before that, and after each

    def hear(self, seconds: float, message: "Message") -> None:
        """Take note of a message that may move the wheel, or say how far it reaches."""
        if message.type == "pitchwheel":
            self.wheel = message.pitch
        elif message.type == "control_change" and message.control in PARAMETER:
            chosen = list(self.parameter)
            chosen[PARAMETER[message.control]] = message.value
            self.parameter = (chosen[0], chosen[1])
        elif message.type == "control_change" and message.control in OTHER_PARAMETERS:
            self.parameter = NO_PARAMETER
        elif message.type == "control_change" and message.control == RESET:
            self.wheel, self.parameter = 0, NO_PARAMETER
        elif message.type == "control_change" and self.parameter == BEND_RANGE_PARAMETER:
            if message.control == DATA_SEMITONES:
                self.bend_range = message.value
            elif message.control == DATA_CENTS:
                self.cents = message.value
        semitones = (self.bend_range + self.cents / 100) * self.wheel / BEND_SPAN
        if semitones != self.semitones[-1]:
            self.seconds.append(seconds)
            self.semitones.append(semitones)


class Bends(NamedTuple):
    """The pitch wheel of a channel over the whole file."""

    seconds: np.ndarray  # (M,)
    semitones: np.ndarray  # (M + 1,): before the first of these moments, and from each on


class Score(NamedTuple):
    """Notes one after the other, and what the channels they are on are bent by."""

    notes: list[Note]
    bends: dict[int, Bends]

    def pitch(self, note: Note, seconds: np.ndarray) -> np.ndarray:
        """MIDI number (N,), bends included, of a note at moments (N,); outside of the note as at its ends."""
        bends = self.bends[note.channel]
        heard = np.searchsorted(bends.seconds, np.maximum(seconds, note.start), side="right")
        before_end = np.searchsorted(bends.seconds, note.end, side="left")
        at_start = np.searchsorted(bends.seconds, note.start, side="right")
        return note.number + bends.semitones[np.minimum(heard, max(before_end, at_start))]


def hz(number: Number) -> Number:
    """MIDI note numbers to Hz."""
    return A4_HZ * 2 ** ((number - A4_MIDI) / 12)


def read_midi(path: Path, heard: Melody, duration: float) -> Melody:
    """The notes of ``path``, voiced where ``heard``, what was tracked in the song of ``duration`` seconds, is voiced.

    Raises:
        ValueError: no standard MIDI file, notes that sound together, or notes that do not belong to this song.
    """
    score = _read_score(path)
    if score.notes[-1].end > duration + FAR_SECONDS:
        end = f"its notes go on to {score.notes[-1].end:.1f} s, the song lasts {duration:.1f} s"
        raise ValueError(f"{path}: {end}: is it of another song, or has it another tempo?")
    voiced = heard.f0 > 0
    if voiced.any():
        _compare(path, score.notes, heard, duration)
    f0 = np.where(voiced, hz(_pitch_curve(score, heard.seconds)), 0.0)
    if problem := find_problem(heard.seconds, f0):
        i, text = problem
        raise ValueError(f"{path}: at {heard.seconds[i]:.2f} s: {text}; check its pitch bends")
    return Melody(heard.seconds, f0.astype(np.float32))


def _compare(path: Path, notes: list[Note], heard: Melody, duration: float) -> None:
    """Say where the song is voiced far from all notes; raise ValueError where that is the rule."""
    moments = heard.seconds[heard.f0 > 0]
    nearest = np.searchsorted(_borders(notes), moments, side="right")
    starts, ends = np.array([note.start for note in notes]), np.array([note.end for note in notes])
    far = np.maximum(starts[nearest] - moments, moments - ends[nearest]) > FAR_SECONDS
    if not far.any():
        return
    seconds = duration / len(heard.seconds) * np.array([far.sum(), len(moments)])
    text = f"{seconds[0]:.1f} of {seconds[1]:.1f} s of the song's voice, first at {moments[far][0]:.1f} s"
    if far.mean() > 0.5:
        raise ValueError(f"{path}: no note within {FAR_SECONDS:g} s for {text}: is it of another song or tempo?")
    logger.warning("%s: no note within %g s for %s: it holds the pitch of the nearest", path, FAR_SECONDS, text)


def _pitch_curve(score: Score, seconds: np.ndarray) -> np.ndarray:
    """MIDI number (N,) at increasing moments (N,): the nearest note, with a glide where two of them meet."""
    borders = _borders(score.notes)
    edges = np.concatenate([[-np.inf], borders, [np.inf]])
    curve = np.empty(len(seconds))
    for note, (first, last) in zip(score.notes, _slices(seconds, edges[:-1], edges[1:]), strict=True):
        curve[first:last] = score.pitch(note, seconds[first:last])
    # Half the time to the next border at most, so that glides never overlap.
    room = np.minimum(np.diff(edges), GLIDE_SECONDS) / 2
    begins, ends = borders - room[:-1], borders + room[1:]
    for i, (first, last) in enumerate(_slices(seconds, begins, ends)):
        pair = score.notes[i], score.notes[i + 1]
        levels = [score.pitch(note, np.array([at]))[0] for note, at in zip(pair, (begins[i], ends[i]), strict=True)]
        curve[first:last] = np.interp(seconds[first:last], (begins[i], ends[i]), levels)
    return curve


def _borders(notes: list[Note]) -> np.ndarray:
    """Where each note gives way to the next (N - 1,): at its start, or in the middle of the rest between them."""
    return np.array([(min(a.end, b.start) + b.start) / 2 for a, b in zip(notes[:-1], notes[1:], strict=True)])


def _slices(seconds: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> Iterator[tuple[int, int]]:
    """First and last (excluded) of the moments between each begin and its end."""
    for first, last in zip(np.searchsorted(seconds, begins), np.searchsorted(seconds, ends), strict=True):
        yield int(first), int(last)


# ---- the file


def _read_score(path: Path) -> Score:
    import mido
    from mido.midifiles.meta import KeySignatureError

    try:
        file = mido.MidiFile(path)
    except FileNotFoundError:
        raise
    except (OSError, EOFError, ValueError, LookupError, KeySignatureError) as error:
        raise ValueError(f"{path}: not readable as a standard MIDI file ({error or type(error).__name__})") from None
    if file.type == 2:
        raise ValueError(f"{path}: it holds several independent sequences (type 2): save it as type 0 or 1")
    if file.ticks_per_beat <= 0:
        raise ValueError(f"{path}: its times are SMPTE frames: save it with ticks per quarter note")
    notes, bends = _gather(file)
    if not notes:
        raise ValueError(f"{path}: it holds no notes")
    for note in notes:
        if not F0_LOWEST <= hz(note.number) <= F0_HIGHEST:
            beyond = f"{F0_LOWEST:g} to {F0_HIGHEST:g} Hz"
            raise ValueError(f"{path}: {note} at {note.start:.2f} s lies outside of {beyond}")
    return Score(_one_voice(path, notes), bends)


def _gather(file: "MidiFile") -> tuple[list[Note], dict[int, Bends]]:
    """All notes of all tracks in order, and how their channels are bent."""
    notes: list[Note] = []
    channels: dict[int, Channel] = {}
    sounding: dict[Key, float] = {}  # start
    owed: Counter[Key] = Counter()  # ends still to come of notes that ended when they were struck again
    seconds, events = 0.0, list(_events(file))
    unended: Counter[Key] = Counter()  # notes of the whole file less their ends
    for _, track, message in events:
        if message.type in NOTE_MESSAGES:
            unended[track, message.channel, message.note] += 1 if _strikes(message) else -1

    def end(key: Key) -> None:
        if key in sounding:
            track, channel, number = key
            notes.append(Note(sounding.pop(key), seconds, number, channel, track))

    for seconds, track, message in events:
        if message.type in NOTE_MESSAGES:
            key = (track, message.channel, message.note)
            channels.setdefault(message.channel, Channel())
            if not _strikes(message) and owed[key]:
                owed[key] -= 1
                continue
            if key in sounding and _strikes(message) and unended[key] <= 0:  # else there is no end for each note
                owed[key] += 1
            end(key)  # a note that is struck again ends first
            if _strikes(message):
                sounding[key] = seconds
        elif message.type in ("pitchwheel", "control_change"):
            channels.setdefault(message.channel, Channel()).hear(seconds, message)
    for key in list(sounding):
        end(key)
    bends = {i: Bends(np.array(one.seconds), np.array(one.semitones)) for i, one in channels.items()}
    return sorted(note for note in notes if note.end > note.start), bends


def _strikes(message: "Message") -> bool:
    return message.type == "note_on" and message.velocity > 0


def _events(file: "MidiFile") -> Iterator[tuple[float, str, "Message"]]:
    """Seconds, track and message of everything in the file, in order."""
    found = []
    for i, track in enumerate(file.tracks):
        called = track.name.encode("latin-1").decode("utf-8", errors="replace")  # mido takes names for Latin-1
        name, tick = f"{i + 1} {called!r}" if called else f"{i + 1}", 0
        for message in track:
            tick += message.time
            found.append((tick, name, message))
    tempo, seconds, last = DEFAULT_TEMPO, 0.0, 0
    for tick, name, message in sorted(found, key=lambda event: event[0]):  # stable: tempo comes first, as it stands
        seconds += (tick - last) * tempo / file.ticks_per_beat / 1e6
        last = tick
        if message.type == "set_tempo":
            tempo = message.tempo
        yield seconds, name, message


def _one_voice(path: Path, notes: list[Note]) -> list[Note]:
    """Notes in order, cut where they reach a little into the next; raises ValueError where two sound together."""
    line: list[Note] = []
    for note in notes:
        if line and (overlap := line[-1].end - note.start) > 0:
            before = line.pop()
            if overlap > LEGATO_SECONDS:
                tracks = f" of tracks {before.track} and {note.track}" if before.track != note.track else ""
                together = f"{before} and {note}{tracks} sound together at {note.start:.2f} s"
                raise ValueError(f"{path}: {together}: leave one voice only, in one track")
            line += [before._replace(end=note.start)] if note.start > before.start else []
        line.append(note)
    return line

"""MIDI files from lists of events, each with its beat: half a second, unless a tempo says otherwise."""

from pathlib import Path
from typing import Any

import mido

TICKS = 480  # per beat

Event = tuple[str, float, dict[str, Any]]  # kind of message, beat, its fields


def on(number: int, beat: float, **fields: int) -> Event:
    return "note_on", beat, {"note": number, "velocity": 80} | fields


def off(number: int, beat: float, **fields: int) -> Event:
    return "note_off", beat, {"note": number} | fields


def note(number: int, begin: float, end: float, **fields: int) -> list[Event]:
    """A note from one beat to another."""
    return [on(number, begin, **fields), off(number, end, **fields)]


def bend(share: float, beat: float, **fields: int) -> Event:
    """The pitch wheel at a ``share`` of its way, -1 to 1."""
    return "pitchwheel", beat, {"pitch": round(share * (8191 if share > 0 else 8192))} | fields


def control(number: int, value: int, beat: float, **fields: int) -> Event:
    return "control_change", beat, {"control": number, "value": value} | fields


def tempo(per_minute: float, beat: float) -> Event:
    return "set_tempo", beat, {"tempo": mido.bpm2tempo(per_minute)}


def write(path: Path, *tracks: list[Event], midi_type: int = 1, names: tuple[str, ...] = ()) -> Path:
    """Write ``tracks`` to ``path``; the first of them may have ``names``."""
    file = mido.MidiFile(type=midi_type, ticks_per_beat=TICKS)
    for i, events in enumerate(tracks):
        track, last = mido.MidiTrack(), 0
        if i < len(names):
            track.append(mido.MetaMessage("track_name", name=names[i].encode("utf-8").decode("latin-1")))
        for kind, beat, fields in sorted(events, key=lambda event: event[1]):
            tick = round(beat * TICKS)
            make = mido.MetaMessage if kind == "set_tempo" else mido.Message
            track.append(make(kind, time=tick - last, **fields))
            last = tick
        file.tracks.append(track)
    file.save(path)
    return path

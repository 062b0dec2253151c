"""A picture of a melody over the sound it was heard in: octave errors and gaps are seen at once."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from common import audio
from modules.mel_processing import stft_power
from pipeline.melody import Melody
from pipeline.pitch_range import A4_HZ, A4_MIDI, note_name
from pipeline.song_picture import draw_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

N_FFT = 8192  # samples: bins 5 Hz wide at 44.1 kHz, so that low harmonics stay apart
COLUMNS = 1500  # of the spectrum of a line at most: more could not be seen, and would need memory
BINS_PER_SEMITONE = 4
MARGIN = 12  # semitones shown below and above the melody: where it would be, had it been heard an octave off
EMPTY = (48, 72)  # notes shown where nothing is voiced
SHOWN_DB = 70.0  # what lies further below a sine as loud as the song's peak is white


def draw_melody(path: Path, wav: np.ndarray, melody: Melody, *, sample_rate: int) -> None:
    """Write a PNG: f0 over the spectrum of (T,) on an axis of notes, from left to right and from line to line.

    Where nothing is voiced there is a grey bar below.
    """
    notes = notes_around(melody.voiced_hz)

    def draw(axis: "Axes", begin: float, seconds: float) -> None:
        draw_sound(axis, wav, sample_rate, begin=begin, seconds=seconds, notes=notes)
        _draw_line(axis, melody, begin=begin, seconds=seconds)
        axis.set_ylim(*notes)
        label_notes(axis, notes)
        axis.grid(axis="y", linewidth=0.3)

    draw_lines(path, len(wav) / sample_rate, draw, line_height=2.4, label="seconds; grey: unvoiced")


def to_notes(hz: np.ndarray) -> np.ndarray:
    """Hz -> MIDI notes, fractions included; NaN stays."""
    return 12 * np.log2(hz / A4_HZ) + A4_MIDI


def notes_around(voiced_hz: np.ndarray) -> tuple[float, float]:
    """Lowest and highest note to show of a melody (N,) in Hz, which may be empty."""
    if not len(voiced_hz):
        return EMPTY
    heard = to_notes(voiced_hz)
    return float(np.floor(heard.min())) - MARGIN, float(np.ceil(heard.max())) + MARGIN


def label_notes(axis: "Axes", notes: tuple[float, float]) -> None:
    """Name C and G of each octave on the upright axis."""
    ticks = [note for note in range(int(notes[0]), int(notes[1]) + 1) if note % 12 in (0, 7)]
    axis.set_yticks(ticks, [note_name(A4_HZ * 2 ** ((note - A4_MIDI) / 12)) for note in ticks], fontsize=7)


def draw_sound(
    axis: "Axes", wav: np.ndarray, sample_rate: int, *, begin: float, seconds: float, notes: tuple[float, float]
) -> None:
    """The spectrum of a stretch of (T,) in grey, its bins read off at equal distances on the axis of notes."""
    first = int(begin * sample_rate)
    part = torch.from_numpy(wav[max(first - N_FFT // 2, 0) : first + int(seconds * sample_rate) + N_FFT // 2])
    before = N_FFT // 2 - min(first, N_FFT // 2)  # zeros, so that the first window is centred on the first sample
    part = torch.nn.functional.pad(part, (before, N_FFT // 2))
    hop = max(N_FFT // 8, len(part) // COLUMNS)
    rows = np.arange(notes[0], notes[1], 1 / BINS_PER_SEMITONE)
    bins = np.round(A4_HZ * 2 ** ((rows - A4_MIDI) / 12) * N_FFT / sample_rate).astype(int)
    power = stft_power(part[None], N_FFT, hop)[0, np.clip(bins, 0, N_FFT // 2)].numpy()
    loudest = 20 * np.log10(max(audio.peak(wav), 1e-5) * N_FFT / 4)  # of a sine under a Hann window
    axis.imshow(
        10 * np.log10(power + 1e-12),
        aspect="auto",
        origin="lower",
        extent=(begin, begin + power.shape[1] * hop / sample_rate, *notes),
        cmap="Greys",
        vmin=loudest - SHOWN_DB,
        vmax=loudest,
    )


def _draw_line(axis: "Axes", melody: Melody, *, begin: float, seconds: float) -> None:
    """f0 as a line that is broken where it is unvoiced, which is marked at the foot."""
    first, last = np.searchsorted(melody.seconds, (begin, begin + seconds))
    moments, f0 = melody.seconds[first:last], melody.f0[first:last].astype(np.float64)
    voiced = f0 > 0
    axis.plot(moments, to_notes(np.where(voiced, f0, np.nan)), color="tab:red", linewidth=1.2)
    foot = axis.get_xaxis_transform()  # y from 0 to 1
    axis.fill_between(moments, 0, 0.05, where=~voiced, transform=foot, color="grey", step="post", linewidth=0)

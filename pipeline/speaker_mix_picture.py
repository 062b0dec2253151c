"""A picture of who sings when: the weights of the speakers over the waveform of the song."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common import audio
from pipeline.song_picture import draw_lines
from pipeline.speaker_mix import SpeakerMix

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 1500  # points of a line
WAVE_CENTRE, WAVE_HEIGHT = -0.25, 0.22  # of the waveform, on the axis of weights


def draw_timeline(path: Path, mix: SpeakerMix, wav: np.ndarray, *, sample_rate: int) -> None:
    """Write a PNG: weights as bands on top of one another, 1 in all, and below them the waveform of (T,)."""
    duration, loudest = len(wav) / sample_rate, max(audio.peak(wav), 1e-5)
    ids, labels = zip(*sorted((i, f"{i}: {name}") for name, i in mix.spk.items()), strict=True)

    def draw(axis: "Axes", begin: float, seconds: float) -> None:
        times = np.linspace(begin, min(begin + seconds, duration), COLUMNS)
        weights = mix.weights(times, duration)
        axis.stackplot(times, weights[:, ids].T, labels=labels, linewidth=0)
        low, high = _outline(wav[int(begin * sample_rate) : int((begin + seconds) * sample_rate)] / loudest)
        moments = begin + np.linspace(0, min(seconds, duration - begin), len(low))
        axis.fill_between(
            moments, WAVE_CENTRE + WAVE_HEIGHT * low, WAVE_CENTRE + WAVE_HEIGHT * high, color="black", linewidth=0.3
        )
        axis.set_ylim(-0.5, 1)
        axis.set_yticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=7)
        if begin == 0:
            axis.legend(loc="upper right", fontsize=7, ncols=4, framealpha=0.8)

    draw_lines(path, duration, draw, line_height=1.6, label="seconds; weights of the speakers, and the song")


def _outline(wav: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest sample of each of at most ``COLUMNS`` equal parts of (T,)."""
    width = max(1, len(wav) // COLUMNS)
    parts = np.resize(wav, (max(1, len(wav) // width), width)) if len(wav) else np.zeros((1, 1))
    return parts.min(axis=1), parts.max(axis=1)

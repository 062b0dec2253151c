"""Source and result side by side: mel spectrogram, and f0 over the spectrum on an axis of notes."""

from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import torch

from modules.mel_processing import mel_spectrogram
from pipeline.melody_picture import draw_sound, label_notes, notes_around, to_notes
from pipeline.pitch_comparison import PitchTrack

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HOP_LENGTH = 512  # samples between two frames of the tracks
MOST_SECONDS = 60.0  # drawn from the beginning; in more, nothing could be seen


def draw_comparison(
    target: Path | IO[bytes], sides: Mapping[str, tuple[np.ndarray, PitchTrack]], sample_rate: int, *, dpi: int = 90
) -> None:
    """Write a PNG with one column per entry of ``sides``: title -> (wav (T,), its pitch)."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(7 * len(sides), 7), layout="constrained")
    axes = figure.subplots(2, len(sides), sharex=True, sharey="row", squeeze=False)
    longest = max(len(wav) for wav, _ in sides.values()) / sample_rate
    voiced = np.concatenate([pitch.f0[pitch.uv > 0] for _, pitch in sides.values()])
    notes = notes_around(voiced)
    for column, (title, (wav, pitch)) in enumerate(sides.items()):
        wav = wav[: round(MOST_SECONDS * sample_rate)]
        _draw_mel(axes[0][column], wav, sample_rate)
        axes[0][column].set_title(f"{title}: mel spectrogram")
        curve = axes[1][column]
        draw_sound(curve, wav, sample_rate, begin=0, seconds=len(wav) / sample_rate, notes=notes)
        n_frames = min(len(pitch.f0), len(wav) // HOP_LENGTH)
        f0 = np.where(pitch.uv > 0, pitch.f0, np.nan)[:n_frames]
        curve.plot(np.arange(n_frames) * HOP_LENGTH / sample_rate, to_notes(f0), color="tab:red", linewidth=1.2)
        curve.set_title(f"{title}: f0")
        curve.set_xlabel("seconds" if longest <= MOST_SECONDS else f"seconds; the first {MOST_SECONDS:g} are shown")
        curve.set_xlim(0, min(longest, MOST_SECONDS))
        curve.set_ylim(*notes)
        label_notes(curve, notes)
    axes[0][0].set_ylabel("mel band")
    if isinstance(target, Path):
        target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=dpi, format="png")


def _draw_mel(axis: "Axes", wav: np.ndarray, sample_rate: int) -> None:
    """Audio too short for one window is drawn with silence behind it."""
    wav = np.pad(wav, (0, max(0, 2048 - len(wav))))
    mel = mel_spectrogram(
        torch.from_numpy(wav)[None],
        sample_rate=sample_rate,
        n_fft=2048,
        hop_length=HOP_LENGTH,
        win_length=2048,
        n_mels=128,
        fmin=0.0,
        fmax=sample_rate / 2,
    )[0]
    seconds = mel.shape[1] * HOP_LENGTH / sample_rate
    axis.imshow(mel.numpy(), aspect="auto", origin="lower", extent=(0, seconds, 0, len(mel)), vmin=-11, vmax=2)

"""Source and result side by side: mel spectrogram with the f0 curve over it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from modules.mel_processing import mel_spectrogram
from pipeline.pitch_comparison import PitchTrack

HOP_LENGTH = 512


def draw_comparison(path: Path, sides: Mapping[str, tuple[np.ndarray, PitchTrack]], sample_rate: int) -> None:
    """Write a PNG with one column per entry of ``sides``: title -> (wav (T,), its pitch)."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(7 * len(sides), 7), layout="constrained")
    axes = figure.subplots(2, len(sides), sharex=True, sharey="row", squeeze=False)
    for column, (title, (wav, pitch)) in enumerate(sides.items()):
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
        picture, curve = axes[0][column], axes[1][column]
        picture.imshow(mel, aspect="auto", origin="lower", extent=(0, seconds, 0, len(mel)), vmin=-11, vmax=2)
        picture.set_title(f"{title}: log-mel spectrogram")
        f0 = np.where(pitch.uv > 0, pitch.f0, np.nan)
        curve.plot(np.arange(len(f0)) * HOP_LENGTH / sample_rate, f0, linewidth=1)
        curve.set_title(f"{title}: f0")
        curve.set_xlabel("seconds")
    axes[0][0].set_ylabel("mel band")
    axes[1][0].set_ylabel("Hz")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)

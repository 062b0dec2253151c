"""How alike two voices are: the cosine of their speaker embeddings.

The network is that of Wan et al. 2018, "Generalized end-to-end loss for speaker verification" (arXiv:1710.10467), with
the weights inside the package Resemblyzer (Apache-2.0). Only that file is read: the package's own code needs webrtcvad,
which is compiled at installation, and reads the file in a way that would run what is pickled in it. Checked against
the package's embed_utterance.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import audio, checkpoint
from common.packaged import packaged_file
from modules.mel_processing import mel_filterbank, stft_power

SAMPLE_RATE, HOP_LENGTH, N_FFT, N_MELS = 16000, 160, 400, 40
WINDOW_FRAMES, STEP_FRAMES = 160, 77  # what is embedded at once, 1.6 s, and the distance of two such windows
LEAST_SHARE = 0.75  # of the last window that must be there
LEAST_SECONDS = 0.8  # of audio
EMBEDDING_RMS = 0.03  # the network was trained on speech at about -30 dB
QUIET_DB = 30.0  # windows that lie further below the loudest hold no voice
INSTALL = "pip install --no-deps Resemblyzer"


class SpeakerEncoder(nn.Module):
    """Mel power (B, WINDOW_FRAMES, N_MELS) -> embeddings (B, 256) of length 1."""

    def __init__(self, weights: Path | None = None) -> None:
        """Read ``weights``; None: those inside Resemblyzer.

        Raises:
            NotAvailableError: that package is not installed.
            CheckpointError: the file is of another network.
        """
        super().__init__()
        self.lstm = nn.LSTM(N_MELS, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        path = weights or packaged_file("resemblyzer", "pretrained.pt", install=INSTALL)
        state = checkpoint.read(path, only=("model_state",)).get("model_state", {})
        training_only = ("similarity_weight", "similarity_bias")
        checkpoint.load_weights(self, {k: v for k, v in state.items() if k not in training_only}, where=path)
        self.eval()

    def forward(self, mel: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(mel)
        return F.normalize(F.relu(self.linear(hidden[-1])))

    @torch.no_grad()
    def embed(self, wav: np.ndarray, sample_rate: int) -> np.ndarray:
        """wav (T,) -> (256,) of length 1: the mean over windows of 1.6 s; quiet ones do not count.

        Raises:
            ValueError: shorter than 0.8 s, or silent.
        """
        if len(wav) < LEAST_SECONDS * sample_rate or audio.is_silent(wav):
            raise ValueError(f"silent, or shorter than {LEAST_SECONDS:g} s: too little for a speaker embedding")
        wav = audio.resample(wav, sample_rate, SAMPLE_RATE)
        wav = wav * np.float32(EMBEDDING_RMS / np.sqrt(np.mean(np.square(wav))))
        starts = window_starts(len(wav))
        wav = np.pad(wav, (0, max(0, (starts[-1] + WINDOW_FRAMES) * HOP_LENGTH - len(wav))))
        mel = _mel_power(torch.from_numpy(wav))  # (F, M)
        windows = torch.stack([mel[start : start + WINDOW_FRAMES] for start in starts])
        energy = windows.sum(dim=(1, 2))
        embeddings = self(windows[energy > energy.max() * 10 ** (-QUIET_DB / 10)])
        return F.normalize(embeddings.mean(dim=0), dim=0).numpy()


def window_starts(n_samples: int) -> list[int]:
    """First frames of the windows of ``n_samples`` at `SAMPLE_RATE`; the last one may reach beyond the end."""
    n_frames = n_samples // HOP_LENGTH + 1
    starts = list(range(0, max(1, n_frames - WINDOW_FRAMES + STEP_FRAMES + 1), STEP_FRAMES))
    if len(starts) > 1 and n_samples / HOP_LENGTH - starts[-1] < LEAST_SHARE * WINDOW_FRAMES:
        starts.pop()
    return starts


def mean_embedding(embeddings: list[np.ndarray]) -> np.ndarray:
    """Embeddings (256,) of one speaker's recordings -> theirs as a whole, of length 1."""
    mean = np.mean(embeddings, axis=0)
    return mean / np.linalg.norm(mean)


def _mel_power(wav: Tensor) -> Tensor:
    """(T,) -> (F, M), frame i centred on sample i * HOP_LENGTH, zeros beyond the ends."""
    power = stft_power(F.pad(wav, (N_FFT // 2, N_FFT // 2))[None], N_FFT, HOP_LENGTH)[0]  # (K, F)
    return (mel_filterbank(SAMPLE_RATE, N_FFT, N_MELS) @ power).T.contiguous()

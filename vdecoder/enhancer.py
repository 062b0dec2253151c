"""Enhancer: a converted voice made anew by the mel vocoder, which was trained on far more singing than the converter.

Voices above the range that the vocoder knows are played slower for it and faster again behind it (``adaptive_key``).
Symbols: T samples, F frames of the vocoder's hop length.
Checked against: golden case enhancer.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from modules.resampling import resample
from vdecoder.vocoder import Vocoder

RATE_STEP = 100  # Hz: the rates that the vocoder is told are multiples of this


class Enhancer:
    """Resynthesis by ``vocoder``."""

    def __init__(self, vocoder: Vocoder) -> None:
        self.vocoder = vocoder

    @torch.no_grad()
    def enhance(
        self,
        wav: Tensor,
        f0: Tensor,
        *,
        adaptive_key: float = 0,
        silence_front: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """wav (T,) at the vocoder's rate, f0 (F,) in Hz, 0 where unvoiced -> (T,) float32, on the device of ``wav``.

        Args:
            adaptive_key: semitones by which the vocoder hears the voice lower than it is.
            silence_front: seconds at the beginning that come back as zeros, rounded down to whole frames.
            generator: supplies the random phases and noise instead of torch's global state.

        Raises:
            ValueError: not one channel, or no f0.
        """
        if wav.dim() != 1 or f0.dim() != 1 or not len(f0):
            raise ValueError(f"expected wav (T,) and f0 (F,), got {tuple(wav.shape)} and {tuple(f0.shape)}")
        hop = self.vocoder.hop_length
        silent = min(int(silence_front * self.vocoder.sample_rate / hop), len(f0) - 1)  # frames
        heard = wav[silent * hop :].to(self.vocoder.device, torch.float32)
        if not len(heard):
            return torch.zeros_like(wav, dtype=torch.float32)
        made = self._resynthesise(heard, f0[silent:], adaptive_key, generator)
        return F.pad(made, (len(wav) - len(made), 0)).to(wav.device)

    def _resynthesise(self, wav: Tensor, f0: Tensor, adaptive_key: float, generator: torch.Generator | None) -> Tensor:
        vocoder = self.vocoder
        hop = vocoder.hop_length
        rate = RATE_STEP * round(vocoder.sample_rate * 2 ** (adaptive_key / 12) / RATE_STEP)
        slowed = resample(wav[None], vocoder.sample_rate, rate)  # and taken for audio at the vocoder's own rate
        n_frames = -(-slowed.shape[1] // hop)
        mel = vocoder.extract(F.pad(slowed, (0, max(0, hop - slowed.shape[1]))))
        mel = F.pad(
            mel, (0, n_frames - mel.shape[-1]), mode="replicate"
        )  # for what is left behind the last whole frame
        ratio = vocoder.sample_rate / rate
        slowed_f0 = _at(f0.to(vocoder.device, torch.float32), n_frames, ratio) * ratio
        made = vocoder.infer(mel, slowed_f0[None], generator=generator)
        return resample(made, rate, vocoder.sample_rate)[0, : len(wav)]


def _at(f0: Tensor, n_frames: int, step: float) -> Tensor:
    """f0 (F,) read every ``step`` frames, (n_frames,): between voiced frames by a line, else the nearer one."""
    positions = (torch.arange(n_frames, device=f0.device) * step).clamp(max=len(f0) - 1)
    before = positions.long()
    after = (before + 1).clamp(max=len(f0) - 1)
    share = positions - before
    line = f0[before] + share * (f0[after] - f0[before])
    nearer = torch.where(share < 0.5, f0[before], f0[after])
    return torch.where((f0[before] > 0) & (f0[after] > 0), line, nearer)

"""What is done to the envelopes of refined mels before a vocoder plays them: articulation, and timbre match.

Letters: B pieces, F frames, D unit channels, S speakers of the diffusion model, M mels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from common.diffusion_config import InferSection
from modules.articulation import Articulation
from modules.spectral_envelope import SpectralEnvelope
from modules.timbre import TimbreMatch, Timbres
from pipeline.piece_batch import PieceBatch
from vdecoder.vocoder import Vocoder


class EnvelopeShaper:
    """Both, by the shares of a section infer.

    Args:
        timbres: of the speakers of the diffusion model, where it holds them.
        vocoder: whose mels they are.
    """

    def __init__(self, timbres: Timbres | None, vocoder: Vocoder) -> None:
        self.timbres, self.vocoder = timbres, vocoder
        mel = vocoder.mel_format
        envelope, frame_seconds = SpectralEnvelope(mel.centres), mel.hop_length / mel.sample_rate
        self._articulation = Articulation(envelope, frame_seconds=frame_seconds)
        self._timbre_match = TimbreMatch(envelope, frame_seconds=frame_seconds)

    def shape(  # noqa: PLR0913  what was made, of what, for whom
        self,
        made: Tensor,
        batch: PieceBatch,
        units: Tensor,
        f0: Tensor,
        *,
        shares: Tensor,
        infer: InferSection,
    ) -> Tensor:
        """Mels (B, F, M) made of ``units`` (B, F, D) and f0 (B, F), by speakers with ``shares`` (B, F, S)."""
        articulated = self._articulated(made, batch, f0, infer.articulation)
        if not infer.timbre_match or self.timbres is None:
            return articulated
        matched = articulated.clone()
        for i, n in enumerate(batch.lengths):
            expected = self.timbres.expect(units[i, :n], shares[i, :n])
            matched[i, :n] = self._timbre_match.match(articulated[i, :n], f0[i, :n], expected)
        return torch.lerp(articulated, matched, infer.timbre_match)

    def _articulated(self, made: Tensor, batch: PieceBatch, f0: Tensor, share: float) -> Tensor:
        """Mels (B, F, M), with the articulation of the recordings, or a share of it."""
        if not share:
            return made
        carried = made.clone()
        for i, (source, n) in enumerate(zip(batch.sources, batch.lengths, strict=True)):
            wav = torch.from_numpy(source)
            wav = F.pad(wav, (0, max(0, n * self.vocoder.hop_length - len(wav))))
            heard = self.vocoder.extract(wav.unsqueeze(0))[0].T[:n]  # (F, M)
            voiced = batch.uv[i, :n] > 0
            highest = torch.maximum(batch.f0[i, :n], f0[i, :n])
            ratio = self._articulation.vocal_tract_ratio(made[i, :n], heard, highest, voiced=voiced)
            carried[i, :n] = self._articulation.carry(made[i, :n], heard, highest, voiced=voiced, ratio=ratio)
        return torch.lerp(made, carried, share)

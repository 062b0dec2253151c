"""Articulation that units have lost, carried from the recording into the mel that was made of them.

What a mouth does within a tenth of a second (bursts, closures, the way from one sound into the next) is in the mel of
the recording; a small encoder leaves some of it out, and a small network smooths what is left. How the spectral
envelope changes tells what is said, its mean who says it: changes of 1 to 16 Hz carry speech (Drullman et al. 1994,
doi 10.1121/1.408467; Hermansky and Morgan 1994, "RASTA", doi 10.1109/89.326616). So the fast changes are taken from
the recording, moved to where the other vocal tract has its formants. Of voiced sounds, slow changes and low frequencies
stay as they were made, and all that is finer than the envelope stays everywhere.

Unvoiced sounds come with slow changes and in all bands, for a fricative lasts longer than what counts as fast; less
what the recording differs in from what was made, on average: its microphone, and who sings.

Letters: F frames, M mels, Q cepstral coefficients.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from modules.spectral_envelope import SpectralEnvelope

SMOOTHING_SECONDS = 0.08  # standard deviation of the Gaussian: what it leaves is slow
RATIO_CEPSTRA = 12  # of the smoother envelope that tells how long vocal tracts are
FORMANTS = (600.0, 7000.0)  # Hz, where vocal tracts are compared; above, the room tells more
MIDDLE, SLOPE = 650.0, 100.0  # Hz; half is carried there, less below, where a spectrum tells more of who sings
MAX_RATIO, N_RATIOS = 1.35, 25  # of two vocal tracts
UNVOICED_SECONDS = 0.02  # to either side: what is unvoiced for no longer is a tracker's slip
EDGE_SECONDS = 0.01  # standard deviation of the Gaussian between voiced and unvoiced sounds
DOUBT_SECONDS = 0.2  # a mean over sounds of that length counts half
MIN_VOICED_SECONDS, MIN_LIKENESS = 1.0, 0.3  # with less, or less alike, two vocal tracts cannot be compared


class Articulation:
    """For mels of one format.

    Args:
        envelope: of these mels.
        frame_seconds: between two frames.
    """

    def __init__(self, envelope: SpectralEnvelope, *, frame_seconds: float) -> None:
        self.envelope, self.centres, self.frame_seconds = envelope, envelope.centres, frame_seconds
        self.carried = torch.sigmoid((self.centres - MIDDLE) / SLOPE)  # (M,) share of each band
        top, bottom = math.log(MAX_RATIO), -math.log(MAX_RATIO)
        self.ratios = torch.linspace(bottom, top, N_RATIOS).exp().tolist()

    def carry(self, made: Tensor, source: Tensor, f0: Tensor, *, voiced: Tensor, ratio: float) -> Tensor:
        """``made`` with the articulation of ``source``.

        What rests, in either of them, becomes no louder; what is not finite is left as it is.

        Args:
            made: natural-log mel (F, M).
            source: natural-log mel (F, M) of the recording that it was made from.
            f0: (F,) Hz, in each frame the higher one of the two; harmonics are kept out of the envelopes.
            voiced: (F,) bool.
            ratio: see `vocal_tract_ratio`.
        """
        keep = self.envelope.below_harmonics(torch.where(voiced, f0, 0.0))
        ours, theirs = (self.envelope.cepstra(mel) for mel in (made, source))
        difference = self._warped(self.envelope.mel(theirs * keep), ratio) - self.envelope.mel(ours * keep)
        if not bool(torch.isfinite(difference).all()):
            return made
        sounding = torch.minimum(self.envelope.sounding(ours), self.envelope.sounding(theirs))[:, None]
        unvoiced = self._unvoiced(voiced).to(difference)[:, None]
        of_voiced = (difference - self._smooth(difference, SMOOTHING_SECONDS)) * self.carried.to(made)
        of_unvoiced = difference - self._mean_difference(difference, sounding, unvoiced)
        change = torch.lerp(of_voiced, of_unvoiced, self._smooth(unvoiced, EDGE_SECONDS))
        return made + torch.minimum(change, change * sounding)

    def vocal_tract_ratio(self, made: Tensor, source: Tensor, f0: Tensor, *, voiced: Tensor) -> float:
        """By what the formants of ``source`` have to be multiplied to lie where those of ``made`` do.

        That at which their envelopes, mean removed, correlate best in voiced frames, within MAX_RATIO; 1 where there
        are too few of them, or nothing is alike. Arguments as of `carry`.
        """
        if voiced.sum() * self.frame_seconds < MIN_VOICED_SECONDS:
            return 1.0
        first, last = (int((self.centres < edge).sum()) for edge in FORMANTS)
        smooth = torch.arange(self.envelope.n_cepstra, device=made.device) < RATIO_CEPSTRA
        keep = self.envelope.below_harmonics(f0) * smooth

        def shape(envelope: Tensor) -> Tensor:
            band = envelope[voiced, first:last]
            return band - band.mean(dim=1, keepdim=True)  # how loud it is says nothing of formants

        envelopes = [self._envelope(mel, keep) for mel in (made, source)]
        ours, theirs = (envelope - envelope[voiced].mean(dim=0) for envelope in envelopes)
        target = shape(ours)
        moved = ((ratio, shape(self._warped(theirs, ratio))) for ratio in self.ratios)
        likeness = {ratio: float(F.cosine_similarity(one.flatten(), target.flatten(), dim=0)) for ratio, one in moved}
        best = max(likeness, key=lambda ratio: likeness[ratio])
        return best if likeness[best] >= MIN_LIKENESS else 1.0

    def _envelope(self, mel: Tensor, keep: Tensor) -> Tensor:
        """(F, M) of its cepstral coefficients, times ``keep`` (F, Q)."""
        return self.envelope.mel(self.envelope.cepstra(mel) * keep)

    def _unvoiced(self, voiced: Tensor) -> Tensor:
        """(F,) bool, without gaps between voiced frames (F,) that are too short to be a sound."""
        reach = round(UNVOICED_SECONDS / self.frame_seconds)
        kernel = 2 * reach + 1
        known = F.pad(voiced.float()[None, None], (2 * reach, 2 * reach), mode="replicate")
        closed = -F.max_pool1d(-F.max_pool1d(known, kernel, stride=1), kernel, stride=1)
        return closed[0, 0] == 0

    def _mean_difference(self, difference: Tensor, sounding: Tensor, unvoiced: Tensor) -> Tensor:
        """(M,) of (F, M) where it sounds (F, 1): half way between that of voiced and of unvoiced frames (F, 1).

        From voiced ones alone, consonants would keep what is the singer's own in them. From unvoiced ones alone, a
        model of somebody who recorded vowels, and makes vowels of consonants, would say that they have to be so.
        The shorter a kind sounds, the less it counts.
        """
        total = trusts = difference.new_zeros(1)
        for counted in (sounding * (1 - unvoiced), sounding * unvoiced):
            n_frames = counted.sum().clamp_min(1e-6)
            trust = n_frames / (n_frames + DOUBT_SECONDS / self.frame_seconds)
            total = total + trust * (difference * counted).sum(dim=0) / n_frames
            trusts = trusts + trust
        return total / trusts

    def _smooth(self, track: Tensor, seconds: float) -> Tensor:
        """The mean of (F, C) around each frame, by a Gaussian of this standard deviation."""
        deviation = seconds / self.frame_seconds
        reach = math.ceil(4 * deviation)
        window = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).to(track) / deviation) ** 2)
        padded = F.pad(track.T[:, None], (reach, reach), mode="replicate")  # (C, 1, F + 2 reach)
        return F.conv1d(padded, (window / window.sum())[None, None])[:, 0].T

    def _warped(self, envelope: Tensor, ratio: float) -> Tensor:
        """(F, M) with what lies at each frequency moved to ``ratio`` times that."""
        positions = (self.centres[:, None] / ratio >= self.centres).sum(dim=1) - 1  # last band that is not above
        lower = positions.clamp(0, len(self.centres) - 2)
        share = (self.centres / ratio - self.centres[lower]) / (self.centres[lower + 1] - self.centres[lower])
        share = share.clamp(0, 1).to(envelope)
        return envelope[:, lower] * (1 - share) + envelope[:, lower + 1] * share

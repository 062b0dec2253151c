"""What envelope a singer's spectrum has at each sound, and the envelope of a made mel drawn there.

A small model that sings far from what its singer recorded, a low song with a high voice, gives its mel an envelope that
is not quite the singer's, and moves it too little. What it should have been is known: units say which sound it is, and
the recordings what spectrum this singer has there. So a linear regression from units to cepstral coefficients is fitted
to the recordings of each singer. In a conversion each coefficient is shifted by the mean difference between what the
regression expects of the units of a piece and what was made, and scaled around its mean until it varies as much as it
does in the recordings at such sounds ("global variance": Toda et al. 2007, doi 10.1109/TASL.2007.907344). Shift and
scale are constant throughout a piece, so that the order and direction of its changes, which words are made of, stay.
Frames with sounds that the recordings do not have do not count, and coefficients in which harmonics show count nowhere.

Letters: F frames, M mels, Q cepstral coefficients, D unit channels, S speakers.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from modules.spectral_envelope import SpectralEnvelope

RIDGE = 0.1  # of the mean variance of the units' channels
MIN_FIT_SECONDS = 5.0  # of recordings that sound and show a coefficient
MAX_SCALE = 2.0  # of a coefficient that varies too little; one that varies more than in the recordings stays
DOUBT_SECONDS = 0.5  # with known sounds of that length, shift and (as an exponent) scale are halved
NEAR, FAR = 1.25, 2.0  # squared distance of units to their mean, over their variance: from known to unknown


class Timbres(NamedTuple):
    """The regressions of all speakers of a model; zeros for one with too few recordings."""

    weight: Tensor  # (S, D, Q)
    bias: Tensor  # (S, Q)
    residual_variance: Tensor  # (S, Q) by which recordings vary more than what is expected of their units
    unit_mean: Tensor  # (S, D)
    unit_variance: Tensor  # (S, D)
    fitted: Tensor  # (S, Q) 1 where the recordings show a coefficient often enough

    @classmethod
    def of_content(cls, content: Mapping[str, object], *, n_speakers: int, n_units: int, n_cepstra: int) -> "Timbres":
        """From a table of these tensors, of any precision, as a checkpoint holds it.

        Raises:
            ValueError: a tensor is missing, of another size, or not finite; a variance is negative.
        """
        matrix, by_cepstrum, by_unit = (n_speakers, n_units, n_cepstra), (n_speakers, n_cepstra), (n_speakers, n_units)
        sizes = dict(zip(cls._fields, (matrix, by_cepstrum, by_cepstrum, by_unit, by_unit, by_cepstrum), strict=True))
        tensors = {name: value for name in cls._fields if isinstance(value := content.get(name), Tensor)}
        wrong = [name for name, size in sizes.items() if name not in tensors or tensors[name].shape != size]
        if wrong:
            raise ValueError(f"timbres of other sizes than those of the model: {', '.join(wrong)}")
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
            raise ValueError("timbres that are not finite")
        if not all(bool((tensors[name] >= 0).all()) for name in ("residual_variance", "unit_variance")):
            raise ValueError("timbres with negative variances")
        return cls(**{name: tensor.float() for name, tensor in tensors.items()})

    def has(self, speaker: int) -> bool:
        """Whether there were enough recordings of this speaker."""
        return bool(self.fitted[speaker].any())

    def expect(self, units: Tensor, shares: Tensor) -> "Expectation":
        """What is to be expected of units (F, D) sung by speakers with ``shares`` (F, S) that add up to 1."""
        size = len(units), self.bias.shape[1]
        cepstra, variance, coverage = (units.new_zeros(size) for _ in range(3))
        for s in shares.any(dim=0).nonzero().flatten().tolist():
            if not self.has(s):  # who he is mixed with does not tell where the mix should be
                return Expectation(cepstra, variance, torch.zeros_like(coverage))
            own = self.unit_variance[s]
            distance = ((units - self.unit_mean[s]).square() / (own + RIDGE * own.mean())).mean(dim=1)
            known = shares[:, s] * ((FAR - distance) / (FAR - NEAR)).clamp(0, 1)
            counted = known[:, None] * self.fitted[s]
            cepstra = cepstra + counted * (units @ self.weight[s] + self.bias[s])
            variance = variance + counted * self.residual_variance[s]
            coverage = coverage + counted
        total = coverage.clamp_min(1e-6)
        return Expectation(cepstra / total, variance / total, coverage)


class Expectation(NamedTuple):
    """What singers' recordings have at some units."""

    cepstra: Tensor  # (F, Q)
    residual_variance: Tensor  # (F, Q)
    coverage: Tensor  # (F, Q) 1 where they hold such sounds, 0 where they do not


class TimbreFit:
    """The regression of one speaker: sums over his recordings, and their solution."""

    def __init__(self, n_units: int, n_cepstra: int) -> None:
        self.n_units, self.n_cepstra = n_units, n_cepstra
        # By how many coefficients show: products of (1, units, cepstra) with themselves. A coefficient is fitted to the
        # frames in which it shows; it hides in those of high notes.
        self._products: dict[int, Tensor] = {}

    def add(self, units: Tensor, cepstra: Tensor, shown: Tensor) -> None:
        """Frames that sound: (F, D), (F, Q), and in which coefficients no harmonics show, (F, Q) bool."""
        counts = shown.sum(dim=1).cpu()
        rows = torch.cat([torch.ones_like(units[:, :1]), units, cepstra], dim=1).cpu().double()
        for count in counts.unique().tolist():
            chosen = rows[counts == count]
            self._products[count] = self._products.get(count, 0) + chosen.T @ chosen

    def solve(self, min_frames: float) -> tuple[Tensor, ...]:
        """The rows of `Timbres` for this speaker; zeros for coefficients that show in fewer frames."""
        n_units, size = self.n_units, 1 + self.n_units + self.n_cepstra
        weight, bias = torch.zeros(n_units, self.n_cepstra), torch.zeros(self.n_cepstra)
        residual, fitted = torch.zeros_like(bias), torch.zeros_like(bias)
        counts = sorted(self._products)
        first = 0
        for i, count in enumerate(counts):  # those from ``first`` on show in the same frames
            columns = slice(first, count)
            first = count
            products = sum((self._products[other] for other in counts[i:]), torch.zeros(size, size).double())
            if products[0, 0] < min_frames:
                break
            mean, covariance = _moments(products)
            units, across = covariance[:n_units, :n_units], covariance[:n_units, n_units:][:, columns]
            ridge = RIDGE * units.diagonal().mean().clamp_min(1e-12) * torch.eye(n_units, dtype=units.dtype)
            solution = torch.linalg.solve(units + ridge, across)
            weight[:, columns] = solution.float()
            bias[columns] = (mean[n_units:][columns] - mean[:n_units] @ solution).float()
            # So that both together vary as recordings do; with the variance of the errors they would vary less.
            explained = (solution * (units @ solution)).sum(dim=0)
            residual[columns] = (covariance.diagonal()[n_units:][columns] - explained).clamp_min(0).float()
            fitted[columns] = 1
        mean, covariance = _moments(sum(self._products.values(), torch.zeros(size, size).double()))
        unit_variance = covariance.diagonal()[:n_units].clamp_min(0)
        return weight, bias, residual, mean[:n_units].float(), unit_variance.float(), fitted


def _moments(products: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of what the ones stand before; zeros where nothing was added."""
    n_frames = products[0, 0].clamp_min(1)
    mean = products[0, 1:] / n_frames
    return mean, products[1:, 1:] / n_frames - torch.outer(mean, mean) * (products[0, 0] > 0)


class TimbreMatch:
    """For mels of one format.

    Args:
        envelope: of these mels.
        frame_seconds: between two frames.
    """

    def __init__(self, envelope: SpectralEnvelope, *, frame_seconds: float) -> None:
        self.envelope, self.frame_seconds = envelope, frame_seconds

    def fit(self, clips: Iterable[tuple[Tensor, Tensor, Tensor]], *, n_units: int) -> tuple[Tensor, ...]:
        """The rows of `Timbres` for a speaker with these recordings; zeros where they are too few.

        Args:
            clips: units (F, D), natural-log mel (F, M) and f0 (F,) in Hz of each.
        """
        fit = TimbreFit(n_units, self.envelope.n_cepstra)
        for units, mel, f0 in clips:
            cepstra = self.envelope.cepstra(mel)
            heard = self.envelope.sounding(cepstra) == 1
            fit.add(units[heard], cepstra[heard], self.envelope.below_harmonics(f0)[heard] == 1)
        return fit.solve(MIN_FIT_SECONDS / self.frame_seconds)

    def match(self, made: Tensor, f0: Tensor, expected: Expectation) -> Tensor:
        """A natural-log mel (F, M) with the envelope drawn to what is ``expected``, as loud as before.

        ``f0`` (F,) Hz is that of ``made``. What is not finite is left as it is.
        """
        if not bool(torch.isfinite(made).all()):
            return made
        cepstra, shown = self.envelope.cepstra(made), self.envelope.below_harmonics(f0)
        sounding = self.envelope.sounding(cepstra)
        counted = expected.coverage * (sounding == 1)[:, None] * (shown == 1)  # (F, Q)
        n_frames = counted.sum(dim=0)  # (Q,), as those below

        def mean_of(values: Tensor) -> Tensor:
            return (values * counted).sum(dim=0) / n_frames.clamp_min(1e-6)

        mean, expected_mean = mean_of(cepstra), mean_of(expected.cepstra)
        variance = mean_of((cepstra - mean).square()).clamp_min(1e-6)
        expected_variance = mean_of((expected.cepstra - expected_mean).square() + expected.residual_variance)
        trust = n_frames / (n_frames + DOUBT_SECONDS / self.frame_seconds)
        scale = (expected_variance / variance).sqrt().clamp(1, MAX_SCALE) ** trust
        change = (cepstra - mean) * (scale - 1) + trust * (expected_mean - mean)
        change[:, 0] = 0  # the mean of the bands
        changed = made + self.envelope.mel(change * shown * sounding[:, None])
        return changed + (_log_power(made) - _log_power(changed)) * sounding[:, None]


def _log_power(mel: Tensor) -> Tensor:
    """Half the logarithm of the power of (F, M), a scalar."""
    return (2 * mel).logsumexp(dim=(0, 1)) / 2

"""Envelopes are the coarse part of a spectrum, and harmonics are none of it."""

import pytest
import torch

from modules.mel_processing import mel_edges
from modules.spectral_envelope import CEPSTRA, FADE, FLOOR, SOUNDING, SpectralEnvelope

N_MELS = 128


@pytest.fixture
def envelope() -> SpectralEnvelope:
    return SpectralEnvelope(mel_edges(44100, N_MELS, 40.0, 16000.0)[1:-1])


def test_what_is_coarse_comes_back_and_what_is_fine_does_not(envelope: SpectralEnvelope) -> None:
    bands = (torch.arange(N_MELS) + 0.5) / N_MELS
    coarse = -4 + torch.stack([torch.cos(torch.pi * k * bands) for k in (1, 5, CEPSTRA - 1)])
    fine = torch.cos(torch.pi * (CEPSTRA + 10) * bands)
    torch.testing.assert_close(envelope.mel(envelope.cepstra(coarse + fine)), coarse, atol=1e-4, rtol=0)


def test_the_first_coefficient_is_the_level(envelope: SpectralEnvelope) -> None:
    mel = torch.randn(5, N_MELS) - 3
    torch.testing.assert_close(envelope.cepstra(mel)[:, 0] / N_MELS**0.5, mel.mean(dim=1), atol=1e-4, rtol=0)
    silence = envelope.cepstra(torch.full((1, N_MELS), 2 * FLOOR))
    assert silence[0, 0] == pytest.approx(FLOOR * N_MELS**0.5, rel=1e-4)


def test_what_is_far_below_the_loud_frames_does_not_sound(envelope: SpectralEnvelope) -> None:
    """And nothing does in silence, where all frames are as loud as the loud ones."""
    below = torch.tensor([0.0, 0.0, SOUNDING, SOUNDING + FADE / 2, SOUNDING + FADE])
    piece = (-1.0 - below)[:, None].expand(-1, N_MELS)
    torch.testing.assert_close(envelope.sounding(envelope.cepstra(piece)), torch.tensor([1.0, 1.0, 1.0, 0.5, 0.0]))
    silence = torch.full((5, N_MELS), FLOOR - 1)
    assert not envelope.sounding(envelope.cepstra(silence)).any()


def test_harmonics_hide_coefficients(envelope: SpectralEnvelope) -> None:
    """Nothing is hidden where there are none, all of the fine ones where they are far apart; it does not jump."""
    kept = envelope.below_harmonics(torch.tensor([0.0, 200.0, 500.0, 900.0]))
    assert kept.shape == (4, CEPSTRA) and bool((kept[:2] == 1).all())
    counts = kept.sum(dim=1)
    assert counts[1] > counts[2] > counts[3] > 3
    assert bool((kept.diff(dim=1) <= 0).all())
    near = envelope.below_harmonics(torch.tensor([500.0, 501.0]))
    assert (near[0] - near[1]).abs().max() < 0.05


def test_few_bands_have_few_coefficients() -> None:
    few = SpectralEnvelope(mel_edges(44100, 10, 40.0, 16000.0)[1:-1])
    mel = -torch.rand(3, 10)
    assert few.n_cepstra == 10
    torch.testing.assert_close(few.mel(few.cepstra(mel)), mel, atol=1e-5, rtol=0)

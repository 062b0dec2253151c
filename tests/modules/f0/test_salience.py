"""Readings at other speeds, which rmvpe and fcpe share, with a network whose answers are known."""

import numpy as np
import pytest
import torch

from modules.f0 import salience
from modules.f0.salience import DOUBLED, HALVED, SaliencePredictor
from tests.modules.f0.tones import SAMPLE_RATE, cents, harmonic_tone

SPECTRUM_BINS = 512


class OctaveLow(SaliencePredictor):
    """Hears the strongest frequency, an octave low above 1040 Hz (as rmvpe does), and nothing below 60 Hz."""

    confidence = 0.9

    def mel(self, wav, hop_length=salience.HOP_LENGTH):
        spectrum = torch.stft(
            wav, 4096, hop_length, window=torch.hann_window(4096), pad_mode="constant", return_complex=True
        )
        return spectrum.abs()[:, :SPECTRUM_BINS]

    def salience(self, mel):
        hz = mel.argmax(dim=1)[0] * salience.SAMPLE_RATE / 4096  # (K,)
        hz = torch.where(hz > 1040, hz / 2, hz).clamp(min=1.0)
        bins = ((1200 * torch.log2(hz / 10) - salience.FIRST_BIN_CENTS) / salience.CENTS_PER_BIN).round().long()
        answers = torch.zeros(1, len(hz), salience.N_BINS)
        heard = (hz > 60) & (mel.amax(dim=1)[0] > 1e-3)
        answers[0, torch.arange(len(hz))[heard], bins[heard]] = self.confidence
        return answers

    def cents(self):
        return salience.FIRST_BIN_CENTS + salience.CENTS_PER_BIN * torch.arange(salience.N_BINS)


def track(hz, **settings):
    """f0 in the middle of a tone of one harmonic."""
    f0, uv = OctaveLow(SAMPLE_RATE, 512, device="cpu", **settings).compute_f0_uv(harmonic_tone(hz, 0.5, n_harmonics=1))
    return f0[10:-10], uv[10:-10]


@pytest.mark.parametrize("hz", [1100.0, 1300.0, 1567.98, 1900.0])
def test_a_wide_range_reaches_what_the_network_hears_an_octave_low(hz):
    assert cents(track(hz)[0], hz / 2).max() < 40
    f0, uv = track(hz, f0_max=2000.0)
    assert uv.all() and cents(f0, hz).max() < 40


@pytest.mark.parametrize("hz", [40.0, 47.0, 55.0])
def test_a_wide_range_reaches_what_lies_below_the_network(hz):
    assert not track(hz)[1].any()
    f0, uv = track(hz, f0_min=35.0)
    assert uv.all() and cents(f0, hz).max() < 60


@pytest.mark.parametrize("hz", [70.0, 220.0, 600.0, 880.0])
def test_a_wide_range_changes_nothing_within_the_networks_own(hz):
    np.testing.assert_array_equal(track(hz), track(hz, f0_min=35.0, f0_max=2000.0))


def test_the_default_range_reads_once(monkeypatch):
    factors = []
    hear = OctaveLow.hear
    monkeypatch.setattr(OctaveLow, "hear", lambda self, wav, factor: factors.append(factor) or hear(self, wav, factor))
    track(220.0)
    assert factors == [1.0]
    track(220.0, f0_min=40.0, f0_max=1500.0)
    assert factors == [1.0, 1.0, DOUBLED, HALVED]


def test_an_end_that_is_set_leaves_out_what_lies_beyond_it():
    for settings in ({"f0_max": 500.0}, {"f0_min": 700.0}):
        f0, uv = track(600.0, **settings)
        assert not f0.any() and not uv.any()
    assert track(1800.0, f0_max=1500.0)[0].max() < 1500


def test_the_threshold_holds_for_every_reading():
    for hz, settings in ((1300.0, {"f0_max": 2000.0}), (45.0, {"f0_min": 35.0})):
        assert track(hz, threshold=0.89, **settings)[1].all()
        assert not track(hz, threshold=0.91, **settings)[1].any()


@pytest.mark.parametrize("n_samples", [1, 320, 441, 1323, 44099, 50001])
def test_readings_have_the_same_frames(n_samples):
    predictor = OctaveLow(SAMPLE_RATE, 512, device="cpu")
    wav = harmonic_tone(220.0, n_samples / SAMPLE_RATE)
    lengths = {len(part) for factor in (1.0, HALVED, DOUBLED) for part in predictor.read(wav, factor)}
    assert len(lengths) == 1


def test_readings_in_windows_equal_the_whole(monkeypatch):
    wav = harmonic_tone(np.geomspace(150, 900, 2 * SAMPLE_RATE), 2.0)
    predictor = OctaveLow(SAMPLE_RATE, 512, device="cpu")
    whole = [predictor.read(wav, factor) for factor in (1.0, HALVED, DOUBLED)]
    monkeypatch.setattr(salience, "WINDOW_FRAMES", 48)
    monkeypatch.setattr(salience, "CONTEXT_FRAMES", 48)
    for factor, expected in zip((1.0, HALVED, DOUBLED), whole, strict=True):
        np.testing.assert_allclose(predictor.read(wav, factor), expected)


def test_a_range_beyond_every_reading_is_refused():
    with pytest.raises(ValueError, match="rmvpe and fcpe track up to 2100 Hz, f0_max is 3000"):
        OctaveLow(device="cpu", f0_max=3000.0)

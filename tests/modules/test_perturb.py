"""Timbre perturbation: formants and equaliser move, timing, pitch, length and level do not."""

import numpy as np
import pytest
from scipy import signal

from modules.perturb import FORMANT_RATIO, apply_timbre, draw_equaliser, equaliser_gain, perturb_timbre

RATE = 44100
FLAT = np.tile([1000.0, 0.0, 1.0], (10, 1))


def vowel(hertz: float, f0: float = 130.0, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """A pulse train through one resonance at ``hertz``; (T,) float32."""
    pulses = np.zeros(round(seconds * rate))
    pulses[np.round(np.arange(0, len(pulses) - 1, rate / f0)).astype(int)] = 1.0
    radius = np.exp(-np.pi * 150.0 / rate)
    wav = signal.lfilter([1.0], [1.0, -2 * radius * np.cos(2 * np.pi * hertz / rate), radius**2], pulses)
    return (0.4 * wav / np.abs(wav).max()).astype(np.float32)


def peak_hertz(wav: np.ndarray, f0: float, rate: int = RATE) -> float:
    """Frequency of the resonance: a parabola through the logarithms of the three strongest harmonics."""
    spectrum = np.abs(np.fft.rfft(wav * np.hanning(len(wav))))
    harmonics = np.arange(1, int(8000 / f0))
    level = np.array(
        [
            np.log(spectrum[round((h * f0 - 8) * len(wav) / rate) :][: round(16 * len(wav) / rate)].max())
            for h in harmonics
        ]
    )
    best = 1 + int(level[1:-1].argmax())
    left, centre, right = level[best - 1 : best + 2]
    return f0 * (harmonics[best] + 0.5 * (left - right) / (left - 2 * centre + right))


def period(wav: np.ndarray, rate: int = RATE) -> int:
    """Lag of the highest autocorrelation peak between 60 and 500 Hz, in samples."""
    spectrum = np.abs(np.fft.rfft(wav, 2 * len(wav))) ** 2
    lags = np.fft.irfft(spectrum)
    return rate // 500 + int(lags[rate // 500 : rate // 60].argmax())


@pytest.mark.parametrize("ratio", [0.8, 1.25])
@pytest.mark.parametrize("f0", [130.0, 240.0])
def test_formants_move_by_the_ratio_and_the_pitch_stays(ratio: float, f0: float) -> None:
    wav = vowel(1800.0, f0)
    out = apply_timbre(wav, RATE, ratio, FLAT)
    assert peak_hertz(out, f0) / peak_hertz(wav, f0) == pytest.approx(ratio, rel=0.06)
    assert period(out) == period(wav)


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("extra", [0, 1, 333])
def test_length_level_and_type_stay(rate: int, extra: int) -> None:
    wav = np.pad(vowel(900.0, seconds=0.3, rate=rate), (0, extra))
    out = perturb_timbre(wav, rate, np.random.default_rng(1))
    assert out.shape == wav.shape
    assert out.dtype == np.float32
    assert np.abs(out).max() <= 1.0
    assert np.sqrt(np.mean(out**2)) == pytest.approx(np.sqrt(np.mean(wav**2)), rel=1e-3)


def test_nothing_asked_is_nothing_done() -> None:
    wav = vowel(1200.0)
    np.testing.assert_allclose(apply_timbre(wav, RATE, 1.0, FLAT), wav, atol=1e-5)


def test_timing_stays() -> None:
    """Zero phase: a burst in silence does not move."""
    wav = np.zeros(RATE, dtype=np.float32)
    wav[20000:22000] = vowel(1000.0)[:2000]
    out = apply_timbre(wav, RATE, 1.2, draw_equaliser(np.random.default_rng(2)))
    centres = [np.sum(np.arange(RATE) * x**2) / np.sum(x**2) for x in (wav, out)]
    assert abs(centres[0] - centres[1]) < 150  # samples: 3 ms


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    wav = vowel(1000.0)
    whole = perturb_timbre(wav, RATE, np.random.default_rng(4))
    monkeypatch.setattr("modules.perturb.BLOCK_FRAMES", 7)
    np.testing.assert_allclose(perturb_timbre(wav, RATE, np.random.default_rng(4)), whole, atol=1e-6)


def test_the_seed_decides_and_copies_differ() -> None:
    wav = vowel(1000.0, seconds=0.3)
    first, again = (perturb_timbre(wav, RATE, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    rng = np.random.default_rng(5)
    copies = [perturb_timbre(wav, RATE, rng) for _ in range(3)]
    np.testing.assert_array_equal(copies[0], first)
    assert np.abs(copies[1] - copies[2]).max() > 0.01


def test_a_draw_is_used_up_by_silence_too() -> None:
    """The next clip's draw must not depend on what this one held."""
    silent, sounding = np.random.default_rng(7), np.random.default_rng(7)
    perturb_timbre(np.zeros(8000, dtype=np.float32), RATE, silent)
    perturb_timbre(vowel(1000.0, seconds=0.3), RATE, sounding)
    assert silent.integers(1 << 30) == sounding.integers(1 << 30)


@pytest.mark.parametrize("n_samples", [0, 1, 500, 9000])
def test_silence_and_the_shortest_clips_come_back(n_samples: int) -> None:
    wav = np.zeros(n_samples, dtype=np.float32)
    out = perturb_timbre(wav, RATE, np.random.default_rng(0))
    np.testing.assert_array_equal(out, wav)
    assert out is not wav


@pytest.mark.parametrize("wav", [np.zeros((2, 9000)), np.full(9000, np.nan)], ids=["stereo", "nan"])
def test_what_is_not_mono_audio_is_an_error(wav: np.ndarray) -> None:
    with pytest.raises(ValueError, match="finite mono"):
        perturb_timbre(wav, RATE, np.random.default_rng(0))


def test_a_loud_clip_does_not_clip() -> None:
    wav = 2.4 * vowel(900.0)
    assert np.abs(wav).max() <= 1.0
    for seed in range(3):
        assert np.abs(perturb_timbre(wav, RATE, np.random.default_rng(seed))).max() <= 1.0


def test_the_equaliser_has_its_gain_at_the_centre_and_none_far_away() -> None:
    bands = FLAT.copy()
    bands[4] = (1000.0, 9.0, 2.0)
    gain = equaliser_gain(np.array([20.0, 1000.0, 20000.0]), bands)
    np.testing.assert_allclose(gain, [0.0, 9.0, 0.0], atol=0.1)


def test_shelves_lift_their_side() -> None:
    bands = FLAT.copy()
    bands[0] = (200.0, 6.0, 1.0)
    bands[-1] = (4000.0, -6.0, 1.0)
    gain = equaliser_gain(np.array([0.0, 200.0, 1000.0, 4000.0, 22050.0]), bands)
    np.testing.assert_allclose(gain, [6.0, 3.0, 0.0, -3.0, -6.0], atol=0.6)


def test_draws_span_the_range_of_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr("modules.perturb.apply_timbre", lambda wav, rate, ratio, bands: drawn.append(ratio))
    rng = np.random.default_rng(0)
    for _ in range(300):
        perturb_timbre(np.zeros(1), RATE, rng)
    assert 1 / FORMANT_RATIO <= min(drawn) < 0.82
    assert 1.22 < max(drawn) <= FORMANT_RATIO

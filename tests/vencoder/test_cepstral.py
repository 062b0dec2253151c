"""The built-in encoder: what it must ignore (gain, equaliser, silence, pitch, tract length) and what it must keep."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy import signal

import vencoder
from vencoder.cepstral import WARPS, CepstralEncoder, cosine_matrix, mel_bands

RATE = 16000
VOWELS = [(700, 1200, 2600), (300, 2300, 3000), (350, 800, 2500), (500, 1700, 2500), (600, 1000, 2700)]


@cache
def babble(*, f0: float = 140.0, tract: float = 1.0, seconds: float = 4.0, seed: int = 0) -> np.ndarray:
    """A pulse train through formants that glide from vowel to vowel, with pauses; (T,) float32.

    ``tract`` multiplies all the formants.
    """
    rng = np.random.default_rng(seed)
    n_samples, piece = round(seconds * RATE), 80
    order = rng.integers(len(VOWELS), size=round(seconds * 5) + 2)
    targets = np.array(VOWELS)[order].astype(float) * tract  # five vowels per second
    pulses = np.zeros(n_samples)
    pulses[np.round(np.arange(0, n_samples - 1, RATE / f0)).astype(int)] = 1.0
    source = signal.lfilter([1.0], [1.0, -0.95], pulses) + 1e-3 * rng.standard_normal(n_samples)
    out, states = np.zeros(n_samples), [np.zeros(2) for _ in range(5)]
    for start in range(0, n_samples, piece):
        position = start / RATE * 5
        weight = position % 1.0
        formants = targets[int(position)] * (1 - weight) + targets[int(position) + 1] * weight
        block = source[start : start + piece]
        for i, hertz in enumerate([*formants, 3600 * tract, 4600 * tract]):
            radius = np.exp(-np.pi * (60 + 20 * i) / RATE)
            poles = [1.0, -2 * radius * np.cos(2 * np.pi * hertz / RATE), radius**2]
            block, states[i] = signal.lfilter([sum(poles)], poles, block, zi=states[i])
        out[start : start + piece] = block
    out *= 0.5 - 0.5 * np.cos(2 * np.pi * 2.5 * np.arange(n_samples) / RATE)  # syllables
    return (0.3 * out / np.abs(out).max()).astype(np.float32)


def relative_change(first: torch.Tensor, second: torch.Tensor) -> float:
    """Mean squared distance over that of unrelated frames."""
    return float((first - second).square().sum(0).mean() / (2.0 * first.var(dim=1).sum()))


@pytest.fixture(scope="module")
def encoder() -> CepstralEncoder:
    return CepstralEncoder()


def test_the_registry_builds_it_with_the_width_that_it_declares() -> None:
    built = vencoder.build("cepstral", "cpu")
    assert isinstance(built, CepstralEncoder)
    assert built.dim == vencoder.SPEECH_ENCODERS["cepstral"].dim == 60
    assert built.perturbed_copies == 4


def test_a_weights_file_is_refused() -> None:
    with pytest.raises(ValueError, match="no weights file"):
        CepstralEncoder(weights="some.pt")


@pytest.mark.parametrize(("n_samples", "n_frames"), [(400, 1), (719, 1), (720, 2), (16000, 49), (16080, 50)])
def test_frames_lie_on_the_grid_of_the_hubert_family(encoder: CepstralEncoder, n_samples: int, n_frames: int) -> None:
    units = encoder.encode(babble(seconds=1.1)[:n_samples])
    assert units.shape == (60, n_frames)
    assert units.dtype == torch.float32
    assert units.isfinite().all()


def test_too_short_audio_is_an_error(encoder: CepstralEncoder) -> None:
    with pytest.raises(ValueError, match="too short"):
        encoder.encode(np.zeros(399, dtype=np.float32))


@pytest.mark.parametrize("wav", [np.zeros(8000), np.full(8000, 0.3), np.zeros(400)], ids=["silence", "offset", "frame"])
def test_silence_gives_zeros(encoder: CepstralEncoder, wav: np.ndarray) -> None:
    assert not encoder.encode(wav.astype(np.float32)).any()


def test_a_single_click_and_a_pure_tone_stay_finite(encoder: CepstralEncoder) -> None:
    click = np.eye(1, 8000, 4000, dtype=np.float32)[0]
    tone = np.sin(np.arange(8000) / 5).astype(np.float32)
    for wav in (click, tone):
        units = encoder.encode(wav)
        assert units.isfinite().all()
        assert units.abs().max() < 20


def test_gain_and_offset_change_nothing(encoder: CepstralEncoder) -> None:
    wav = babble()
    units = encoder.encode(wav)
    torch.testing.assert_close(encoder.encode(wav * 0.01), units, atol=2e-3, rtol=0)
    torch.testing.assert_close(encoder.encode(wav + 0.05), units, atol=2e-2, rtol=0)


def test_an_equaliser_changes_little(encoder: CepstralEncoder) -> None:
    wav = babble()
    bright = signal.lfilter([1.0, -0.5], [1.0], wav).astype(np.float32)  # 9.5 dB from bottom to top
    assert relative_change(encoder.encode(wav), encoder.encode(bright)) < 0.08


def test_pitch_changes_less_than_the_words_do(encoder: CepstralEncoder) -> None:
    low, high = (encoder.encode(babble(f0=f0)) for f0 in (120.0, 210.0))
    other = encoder.encode(babble(f0=120.0, seed=1))
    assert relative_change(low, high) < 0.5 * relative_change(low, other)


def test_the_warp_follows_the_length_of_the_vocal_tract(
    encoder: CepstralEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = []
    choose = CepstralEncoder._warp

    def recording(self: CepstralEncoder, *args: torch.Tensor) -> int:
        chosen.append(choose(self, *args))
        return chosen[-1]

    monkeypatch.setattr(CepstralEncoder, "_warp", recording)
    for tract in (0.92, 1.0, 1.08):
        encoder.encode(babble(tract=tract, seconds=6.0))
    warps = [WARPS[index] for index in chosen]
    assert warps[0] < warps[1] < warps[2]
    assert 1.08 < warps[2] / warps[0] < 1.28  # 1.17 is right


def test_the_warp_brings_two_speakers_together(encoder: CepstralEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (babble(tract=tract, seconds=6.0) for tract in (1.08, 0.92))
    with_warp = relative_change(encoder.encode(small), encoder.encode(large))
    monkeypatch.setattr(CepstralEncoder, "_warp", lambda self, envelope, weight: len(WARPS) // 2)
    without = relative_change(encoder.encode(small), encoder.encode(large))
    assert with_warp < 0.6 * without


def test_a_batch_equals_its_clips_one_by_one(encoder: CepstralEncoder) -> None:
    wavs = [babble(seconds=seconds, seed=i) for i, seconds in enumerate((1.0, 2.5, 0.3))]
    for wav, units in zip(wavs, encoder.encode_batch(wavs), strict=True):
        assert torch.equal(units, encoder.encode(wav))


def test_padding_of_a_batch_is_left_out_of_the_statistics(encoder: CepstralEncoder) -> None:
    wavs = [torch.from_numpy(babble(seconds=seconds)) for seconds in (2.0, 1.0)]
    padded = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
    units = encoder.encode_padded(padded, torch.tensor([len(wav) for wav in wavs]))
    torch.testing.assert_close(units[1, :, :49], encoder.encode(wavs[1]))
    assert not units[1, :, 49:].any()


def test_blocks_do_not_show(encoder: CepstralEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    wav = babble()
    whole = encoder.encode(wav)
    monkeypatch.setattr("vencoder.cepstral.BLOCK_FRAMES", 37)
    torch.testing.assert_close(encoder.encode(wav), whole, atol=1e-4, rtol=0)


def test_silence_around_a_clip_hardly_moves_its_units(encoder: CepstralEncoder) -> None:
    wav = babble()
    units = encoder.encode(wav)
    padded = encoder.encode(np.pad(wav, 50 * 320))
    inside = padded[:, 50 : 50 + units.shape[1]]
    assert relative_change(units[:, 10:-10], inside[:, 10:-10]) < 0.06


def test_mel_bands_and_cosines_are_normalised() -> None:
    for warp in (WARPS[0], WARPS[-1]):
        bands = mel_bands(warp)
        torch.testing.assert_close(bands.sum(0), torch.ones(bands.shape[1]), atol=1e-5, rtol=0)
    gram = cosine_matrix().T @ cosine_matrix()
    torch.testing.assert_close(gram[1:, 1:], torch.eye(len(gram) - 1), atol=1e-5, rtol=0)


def test_the_numbers_are_those_that_models_were_trained_on(encoder: CepstralEncoder) -> None:
    """Units are part of the file format: a base model stops working when they change."""
    units = encoder.encode(babble(seconds=2.0, seed=3))
    expected = torch.tensor(EXPECTED)
    torch.testing.assert_close(units[[0, 1, 5, 19, 21, 45], 30], expected[0], atol=2e-2, rtol=0)
    torch.testing.assert_close(units[[0, 1, 5, 19, 21, 45], 71], expected[1], atol=2e-2, rtol=0)


EXPECTED = [
    [0.9275, -1.5864, -0.4248, 2.7579, 0.1386, -0.6884],
    [0.0160, 1.3690, -0.3021, -1.4668, -0.1544, 0.2107],
]

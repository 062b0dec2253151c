"""CREPE with the package's own weights: against the reference without its random dither, and step by step."""

import numpy as np
import pytest
import torch

from modules import f0
from modules.f0 import crepe
from tests.modules.f0.tones import cents, harmonic_tone
from tests.parity import Case

torchcrepe = crepe.torchcrepe


@pytest.fixture(scope="module")
def predictor():
    return f0.build("crepe", device="cpu")


@pytest.mark.slow
def test_equals_the_reference(predictor):
    arrays = Case("crepe").arrays()
    f0_hz, uv = predictor.compute_f0_uv(arrays["wav"])
    np.testing.assert_array_equal(uv, arrays["uv"])
    np.testing.assert_allclose(f0_hz, arrays["f0"], rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("hz", [98.0, 440.0, 987.8])
def test_tone(predictor, hz):
    # a bare tone counts as silence: the gate averages the level over all frequencies
    wav = harmonic_tone(hz, 0.3)
    wav += 0.01 * np.random.default_rng(0).standard_normal(len(wav)).astype(np.float32)
    f0_hz, uv = predictor.compute_f0_uv(wav)
    assert uv[3:-3].all()
    assert cents(f0_hz[3:-3], hz).max() < 21  # bins are 20 cents wide


def test_from_stored_confidences_to_the_reference(predictor, monkeypatch):
    """All that comes after the network, from confidences that lead to the stored path."""
    arrays = Case("crepe").arrays()
    bins = np.rint((1200 * np.log2(arrays["raw_f0"][0] / 10) - crepe.FIRST_BIN_CENTS) / 20).astype(int)
    confidence = np.zeros((len(bins), crepe.N_BINS), np.float32)
    confidence[np.arange(len(bins)), bins] = arrays["raw_pd"][0]
    monkeypatch.setattr(predictor, "confidence", lambda _: confidence.copy())
    monkeypatch.setattr(crepe, "best_path", lambda _: bins)
    for threshold, suffix, n_frames in ((0.05, "", None), (0.5, "_t05", 190)):
        monkeypatch.setattr(predictor, "threshold", threshold)
        f0_hz, uv = predictor.compute_f0_uv(arrays["wav"], n_frames)
        np.testing.assert_array_equal(uv, arrays[f"uv{suffix}"])
        np.testing.assert_allclose(f0_hz, arrays[f"f0{suffix}"], rtol=1e-3)


def test_two_runs_are_equal(predictor):
    wav = harmonic_tone(220.0, 0.04)
    np.random.seed(1)
    first = predictor.compute_f0_uv(wav)
    np.random.seed(2)
    np.testing.assert_array_equal(first, predictor.compute_f0_uv(wav))


@pytest.fixture
def wavy():
    """Confidences (400, P) with a clear path through noise."""
    confidence = np.random.default_rng(0).random((400, crepe.N_BINS)).astype(np.float32)
    confidence[np.arange(400), (180 + 80 * np.sin(np.arange(400) / 30)).astype(int)] = 3
    confidence[:, :20] = -np.inf
    return confidence


def test_path_search_in_windows_equals_the_whole(monkeypatch, wavy):
    whole = crepe.best_path(wavy)
    np.testing.assert_allclose(whole, 180 + 80 * np.sin(np.arange(400) / 30), atol=1)
    monkeypatch.setattr(crepe, "DECODE_FRAMES", 60)
    monkeypatch.setattr(crepe, "CONTEXT_FRAMES", 20)
    np.testing.assert_array_equal(crepe.best_path(wavy), whole)


@pytest.mark.slow
def test_path_search_equals_torchcrepes(monkeypatch, wavy):
    monkeypatch.setattr(torchcrepe.convert, "dither", lambda cents: cents)
    noisy = np.random.default_rng(1).random((200, crepe.N_BINS)).astype(np.float32)
    for confidence in (wavy, noisy, 5 * noisy):
        confidence[:, :12] = confidence[:, -12:] = -np.inf  # at the ends torchcrepe's steps weigh more than ours
        theirs, _ = torchcrepe.decode.viterbi(torch.from_numpy(confidence.T.copy())[None])
        np.testing.assert_array_equal(crepe.best_path(confidence), theirs[0].numpy())


def test_the_ends_of_the_table_do_not_draw_the_path():
    confidence = np.zeros((60, crepe.N_BINS), np.float32)
    confidence[:, 180] = 0.5
    assert (crepe.best_path(confidence) == 180).all()


@pytest.fixture
def interrupted():
    wav = harmonic_tone(220.0, 0.2)
    wav[4000:6000] = 0
    return wav


def test_loudness_in_blocks_equals_the_whole(monkeypatch, interrupted):
    whole = crepe.loudness(interrupted, 185)
    assert len(whole) == len(interrupted) // 185 + 1
    monkeypatch.setattr(crepe, "DECODE_FRAMES", 7)
    np.testing.assert_allclose(crepe.loudness(interrupted, 185), whole, atol=1e-4)


@pytest.mark.slow
def test_loudness_equals_torchcrepes(interrupted):
    theirs = torchcrepe.loudness.a_weighted(torch.from_numpy(interrupted)[None], crepe.SAMPLE_RATE, 185)[0]
    np.testing.assert_allclose(crepe.loudness(interrupted, 185), theirs.numpy(), atol=1e-2)


@pytest.mark.parametrize("length", [1, 300, 600])
def test_short_audio(predictor, length):
    noise = (0.1 * np.random.default_rng(0).standard_normal(length)).astype(np.float32)
    f0_hz, uv = predictor.compute_f0_uv(noise, 3)
    assert f0_hz.shape == uv.shape == (3,) and np.isfinite(f0_hz).all()


def test_a_range_beyond_the_network_is_refused():
    with pytest.raises(ValueError, match="crepe tracks up to 2006 Hz"):
        f0.build("crepe", device="cpu", f0_max=3000.0)

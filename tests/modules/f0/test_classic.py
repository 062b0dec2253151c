"""pm, dio and harvest against the reference's arrays and against tones of known pitch."""

import numpy as np
import pytest

from modules import f0
from modules.f0.predictor import fill_unvoiced, resize_linear
from tests.modules.f0.tones import HOP_LENGTH, SAMPLE_RATE, cents, harmonic_tone
from tests.parity import Case

CLASSIC = ["pm", "dio", "harvest"]
GRIDS = [("", 258), ("_minus1", 257), ("_plus3", 261)]  # suffix of the arrays, frames


@pytest.fixture(scope="module")
def golden():
    return Case("dio_harvest_pm").arrays()


@pytest.mark.parametrize(("suffix", "n_frames"), GRIDS)
@pytest.mark.parametrize("name", ["pm", "harvest"])
def test_equals_the_reference(golden, name, suffix, n_frames):
    f0_hz, uv = f0.build(name, device="cpu").compute_f0_uv(golden["wav"], n_frames)
    np.testing.assert_array_equal(uv, golden[f"{name}_uv{suffix}"])
    np.testing.assert_allclose(f0_hz, golden[f"{name}_f0{suffix}"], rtol=1e-6)


@pytest.mark.parametrize(("suffix", "n_frames"), GRIDS)
def test_dio_equals_the_reference_but_for_kept_edges(golden, suffix, n_frames):
    """The reference loses a voiced frame wherever a grid position falls between a voiced and an unvoiced one."""
    made = f0.build("dio", device="cpu")
    f0_hz, uv = made.compute_f0_uv(golden["wav"], n_frames)
    theirs_f0, theirs_uv = golden[f"dio_f0{suffix}"], golden[f"dio_uv{suffix}"]
    np.testing.assert_allclose(f0_hz[theirs_uv > 0], theirs_f0[theirs_uv > 0], rtol=1e-6)
    gained = np.flatnonzero(uv != theirs_uv)
    assert len(gained) > 0 and (uv[gained] == 1).all()
    track = made.raw_f0(golden["wav"])
    assert abs(uv.mean() - (track > 0).mean()) < 1 / n_frames  # the same share is voiced as before the grid
    same_f0, same_uv = fill_unvoiced(resize_linear(track, n_frames, keep_edges=False))
    np.testing.assert_array_equal(same_uv, theirs_uv)
    np.testing.assert_allclose(same_f0, theirs_f0, rtol=1e-6)


def test_dio_track_equals_the_reference_and_is_rounded(golden):
    track = f0.build("dio", device="cpu").raw_f0(golden["wav"])
    np.testing.assert_allclose(track, golden["dio_raw_stonemask"], atol=0.0501)
    np.testing.assert_allclose(track, np.round(track, 1), atol=1e-9)


def test_pm_track_equals_the_reference(golden):
    np.testing.assert_allclose(f0.build("pm", device="cpu").raw_f0(golden["wav"]), golden["pm_raw"], rtol=1e-6)


@pytest.mark.parametrize("name", CLASSIC)
@pytest.mark.parametrize("hz", [82.4, 220.0, 523.3, 1046.5])
def test_tone(name, hz):
    wav = harmonic_tone(hz, 0.6)
    f0_hz, uv = f0.build(name, device="cpu").compute_f0_uv(wav)
    assert len(f0_hz) == len(wav) // HOP_LENGTH
    assert uv[8:-8].all()
    assert cents(f0_hz[8:-8], hz).max() < 5


@pytest.mark.parametrize("name", CLASSIC)
def test_f0_max_opens_the_range_above_1100_hz(name):
    wav = harmonic_tone(1300.0, 0.5)
    f0_hz, uv = f0.build(name, device="cpu", f0_max=1500.0).compute_f0_uv(wav)
    assert uv[8:-8].all()
    assert cents(f0_hz[8:-8], 1300.0).max() < 10


@pytest.mark.parametrize("name", CLASSIC)
def test_f0_min_opens_the_range_below_50_hz(name):
    f0_hz, uv = f0.build(name, device="cpu", f0_min=35.0).compute_f0_uv(harmonic_tone(43.7, 0.6))
    assert uv[8:-8].all()
    assert cents(f0_hz[8:-8], 43.7).max() < 10


@pytest.mark.parametrize("name", CLASSIC)
def test_f0_max_closes_the_range(name):
    f0_hz, uv = f0.build(name, device="cpu", f0_max=300.0).compute_f0_uv(harmonic_tone(440.0, 0.5))
    assert (f0_hz <= 330.0).all()


@pytest.mark.parametrize("name", CLASSIC)
@pytest.mark.parametrize("length", [0, 1, 300, 511, 512, 1000, 2700, 5000])
def test_short_audio(name, length):
    noise = (0.1 * np.random.default_rng(0).standard_normal(length)).astype(np.float32)
    for n_frames in (None, 3):
        f0_hz, uv = f0.build(name, device="cpu").compute_f0_uv(noise, n_frames)
        assert len(f0_hz) == len(uv) == (length // HOP_LENGTH if n_frames is None else n_frames)
        assert np.isfinite(f0_hz).all()


@pytest.mark.parametrize("name", CLASSIC)
def test_silence_is_unvoiced(golden, name):
    for wav in (np.zeros(SAMPLE_RATE, np.float32), 1e-9 * np.ones(SAMPLE_RATE, np.float32)):
        f0_hz, uv = f0.build(name, device="cpu").compute_f0_uv(wav)
        np.testing.assert_array_equal(f0_hz, golden[f"{name}_silence_f0"])
        np.testing.assert_array_equal(uv, golden[f"{name}_silence_uv"])


@pytest.mark.parametrize("name", ["dio", "harvest"])
def test_long_audio_in_windows_equals_the_whole(golden, monkeypatch, name):
    wav = golden["wav"]
    made = f0.build(name, device="cpu")
    whole = made.raw_f0(wav)
    monkeypatch.setattr("modules.f0.world.WINDOW_SECONDS", 0.9)
    monkeypatch.setattr("modules.f0.world.CONTEXT_SECONDS", 0.5)
    pieces = made.raw_f0(wav)
    assert len(pieces) == len(whole)
    both = (whole > 0) & (pieces > 0)
    assert np.mean((whole > 0) == (pieces > 0)) > 0.98
    assert np.mean(np.abs(pieces[both] - whole[both]) < 1e-3 * whole[both]) > 0.98

"""FCPE: the reference's network on recipe weights, the weights inside torchfcpe on tones."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from common import checkpoint, pretrained
from modules import f0
from modules.f0 import fcpe, salience
from tests.modules.f0.tones import HOP_LENGTH, SAMPLE_RATE, cents, harmonic_tone
from tests.parity import Case, assert_close

TIE = 1e-5  # a confidence this close to the threshold may fall on either side


@pytest.fixture(scope="module")
def case():
    return Case("fcpe")


@pytest.fixture(scope="module")
def arrays(case):
    return case.arrays()


@pytest.fixture(scope="module")
def weights(case, arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("fcpe") / "fcpe.pt"
    state = {**case.recipe(), "cent_table": torch.from_numpy(arrays["cent_table"])}
    torch.save({"config": case.info["config"], "model": state}, path)
    return path


@pytest.fixture(scope="module")
def predictor(weights):
    return f0.build("fcpe", device="cpu", weights=weights)


@pytest.fixture(scope="module")
def bundled():
    return f0.build("fcpe", device="cpu")


def test_keys_are_those_of_the_file(case, predictor):
    assert set(predictor.network.state_dict()) == {*case.recipe(), "cent_table"}


def test_cents_of_a_fresh_network(arrays):
    network = fcpe.Fcpe(128, n_bins=360, n_layers=1, channels=64, f0_min=32.7, f0_max=1975.5)
    assert_close(network.cent_table, arrays["cent_table"], max_abs=2e-3)


def test_mel_equals_the_reference(predictor, arrays):
    mel = predictor.mel(torch.from_numpy(arrays["wav16"])[None])
    assert_close(mel.transpose(1, 2), arrays["mel16"], max_abs=2e-3)


@torch.no_grad()
def test_salience_and_decoding_equal_the_reference(case, predictor, arrays):
    found = predictor.salience(torch.from_numpy(arrays["mel16"]).transpose(1, 2))
    assert_close(found[:, ::3], arrays["salience16"], max_abs=1e-4)
    best = found[0].amax(-1).numpy()
    for name, threshold in (("f0_16", 0.05), ("f0_16_hi", case.info["thr_hi"])):
        hz = salience.decode(found[0], predictor.cents(), threshold=threshold, repeat_edges=True).numpy()
        clear = np.abs(best - threshold) > TIE
        assert clear.sum() >= len(clear) - 1
        np.testing.assert_allclose(hz[clear], arrays[name][clear], rtol=1e-3)


def test_f0_equals_the_reference(case, weights, arrays):
    made = f0.build("fcpe", device="cpu", weights=weights, threshold=case.info["thr_hi"])
    f0_hz, uv = made.compute_f0_uv(arrays["wav44"])
    np.testing.assert_array_equal(uv, arrays["uv_pred"])
    np.testing.assert_allclose(f0_hz, arrays["f0_pred"], rtol=1e-3)


def test_edge_bins_are_repeated_or_left_out():
    values = torch.zeros(1, 360)
    values[0, :6] = torch.tensor([0.9, 0.5, 0.2, 0.1, 0.1, 0.4])
    bins = 2000.0 + 20.0 * torch.arange(360)
    for repeat_edges, weight in ((True, 5), (False, 1)):
        w = np.array([0.9 * weight, 0.5, 0.2, 0.1, 0.1])
        expected = 10 * 2 ** ((w * bins[:5].numpy()).sum() / w.sum() / 1200)
        found = salience.decode(values, bins, threshold=0.05, repeat_edges=repeat_edges)
        np.testing.assert_allclose(found.numpy(), [expected], rtol=1e-5)


@pytest.mark.parametrize("hz", [82.4, 110.0, 440.0, 1046.5])
def test_bundled_weights_on_tones(bundled, hz):
    wav = harmonic_tone(hz, 0.5)
    f0_hz, uv = bundled.compute_f0_uv(wav)
    assert len(f0_hz) == len(wav) // HOP_LENGTH
    assert uv.all()  # 1 = voiced
    assert np.median(cents(f0_hz, hz)) < 8


@pytest.fixture(scope="module")
def wide():
    return f0.build("fcpe", device="cpu", f0_min=40.0, f0_max=2000.0)


@pytest.mark.parametrize("hz", [42.0, 46.2, 51.9, 58.3, 110.0, 440.0, 880.0, 932.3, 1108.7, 1318.5, 1568.0, 1864.7])
@pytest.mark.parametrize("semitones", [0.0, 0.6])
def test_a_wide_range_reaches_basses_and_sopranos(wide, hz, semitones):
    vibrato = hz * 2 ** (semitones / 12 * np.sin(2 * np.pi * 5.5 * np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE))
    f0_hz, uv = wide.compute_f0_uv(harmonic_tone(vibrato, 0.5))
    assert uv[2:-2].all()
    error = cents(f0_hz, vibrato[::HOP_LENGTH][: len(f0_hz)])
    assert np.median(error) < 10 and np.mean(error[2:-2] < 50) > 0.95


def test_a_wide_range_changes_little_between(bundled, wide):
    wav = harmonic_tone(np.geomspace(70, 850, SAMPLE_RATE), 1.0)
    np.testing.assert_array_equal(wide.raw_f0(wav)[2:-2], bundled.raw_f0(wav)[2:-2])


def test_bundled_weights_follow_a_glide_and_a_pause(bundled):
    hz = np.concatenate([np.geomspace(150, 300, SAMPLE_RATE), np.full(SAMPLE_RATE // 2, 200.0)])
    wav = harmonic_tone(hz, 1.5)
    wav[SAMPLE_RATE:] = 1e-4 * np.random.default_rng(0).standard_normal(len(wav) - SAMPLE_RATE)
    f0_hz, uv = bundled.compute_f0_uv(wav)
    at_frames = hz[np.arange(len(f0_hz)) * HOP_LENGTH]
    assert np.median(cents(f0_hz, at_frames)[:80]) < 8
    assert uv[:80].mean() > 0.95 and uv[-30:].mean() < 0.2


@pytest.mark.parametrize("length", [0, 1, 300, 511, 512, 1500])
def test_short_audio(bundled, length):
    f0_hz, uv = bundled.compute_f0_uv(harmonic_tone(220.0, length / SAMPLE_RATE), 3)
    assert f0_hz.shape == uv.shape == (3,) and np.isfinite(f0_hz).all()


def test_silence_is_unvoiced(bundled):
    f0_hz, uv = bundled.compute_f0_uv(np.full(SAMPLE_RATE // 2, 1e-6, np.float32))
    assert not f0_hz.any() and not uv.any()


def test_long_audio_in_windows_equals_the_whole(bundled, monkeypatch):
    wav = harmonic_tone(np.geomspace(100, 600, 2 * SAMPLE_RATE), 2.0)
    whole = bundled.raw_f0(wav)
    monkeypatch.setattr(salience, "WINDOW_FRAMES", 48)
    monkeypatch.setattr(salience, "CONTEXT_FRAMES", 48)
    pieces = bundled.raw_f0(wav)
    assert len(pieces) == len(whole)
    assert np.mean(cents(np.maximum(pieces, 1), np.maximum(whole, 1)) < 1) > 0.99


def test_the_users_file_wins_and_the_package_is_named_otherwise(monkeypatch, tmp_path, weights, caplog):
    monkeypatch.setitem(pretrained.FILES, "fcpe", replace(pretrained.FILES["fcpe"], root=tmp_path))
    theirs = pretrained.FILES["fcpe"].path
    with caplog.at_level(logging.INFO):
        bundled = fcpe.find_weights(None)
        f0.build("fcpe", device="cpu")
        f0.build("fcpe", device="cpu", weights=bundled)
    assert bundled.name == fcpe.BUNDLED_WEIGHTS.name and fcpe.weight_files() == [bundled]
    assert caplog.messages == [f"fcpe: no {theirs}, so the weights inside the package torchfcpe serve"]
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(weights.read_bytes())
    assert fcpe.find_weights(None) == theirs
    f0.build("fcpe", device="cpu")
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {}}, "is no FCPE file: KeyError"),
        ({"config": {"model": {}, "mel": {}}, "model": {}}, "is no FCPE file: KeyError"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(checkpoint.CheckpointError, match=message):
        f0.build("fcpe", device="cpu", weights=path)


def test_a_network_of_another_kind_is_refused(tmp_path, case):
    config = {**case.info["config"], "mel": {**case.info["config"]["mel"], "hop_size": 320}}
    path = tmp_path / "other.pt"
    torch.save({"config": config, "model": {}}, path)
    with pytest.raises(checkpoint.CheckpointError, match="FCPE network of another kind"):
        f0.build("fcpe", device="cpu", weights=path)

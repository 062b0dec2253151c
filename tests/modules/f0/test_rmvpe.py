"""RMVPE on recipe weights against the reference."""

import numpy as np
import pytest
import torch

from common import checkpoint
from modules import f0
from modules.f0 import salience
from modules.f0.nets.rmvpe import Rmvpe
from tests.parity import Case, assert_close

CLEAR = 1e-4  # where the best bin leads by less, rounding may choose another


@pytest.fixture(scope="module")
def case():
    return Case("rmvpe")


@pytest.fixture(scope="module")
def arrays(case):
    return case.arrays()


@pytest.fixture(scope="module")
def state(case):
    return case.recipe()


@pytest.fixture(scope="module")
def build(state, tmp_path_factory):
    """Build with the recipe weights, without writing 370 MB to a disk."""
    path = tmp_path_factory.mktemp("rmvpe") / "rmvpe.pt"
    path.touch()

    def make(content=None, **kwargs):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoint, "read", lambda _: content or {"model": state})
            return f0.build("rmvpe", device="cpu", weights=path, **kwargs)

    return make


@pytest.fixture(scope="module")
def predictor(build):
    return build()


def test_keys_and_shapes_are_those_of_the_file(state):
    with torch.device("meta"):
        own = Rmvpe().state_dict()
    assert {key: value.shape for key, value in own.items()} == {key: value.shape for key, value in state.items()}


def test_mel_equals_the_reference(predictor, arrays):
    assert_close(predictor.mel(torch.from_numpy(arrays["wav16"])[None]), arrays["mel"], max_abs=2.5e-3, mean_abs=1e-4)


@torch.no_grad()
def test_salience_and_decoding_equal_the_reference(case, predictor, arrays):
    mel = torch.from_numpy(arrays["mel"])
    # 50 layers on random weights amplify rounding: 3e-4 in float32 on some CPUs, while float64 agrees within 4e-5
    found = predictor.salience(mel)[0]
    assert_close(found[::3], arrays["salience"][0], max_abs=1e-3, mean_abs=1e-5)
    clear = arrays["margin"] > CLEAR
    np.testing.assert_array_equal(found.argmax(-1)[clear], arrays["salience_full_argmax"][clear])
    best = found.amax(-1).numpy()
    for name, threshold in (("f0_003", 0.03), ("f0_005", 0.05), ("f0_hi", case.info["thr_hi"])):
        hz = salience.decode(found, predictor.cents(), threshold=threshold).numpy()
        sure = clear & (np.abs(best - threshold) > 1e-4)
        assert sure.mean() > 0.95
        np.testing.assert_allclose(hz[sure], arrays[name][sure], rtol=1e-3)


@pytest.mark.slow
@torch.no_grad()
def test_salience_in_float64_equals_the_reference_closely(state, arrays):
    network = Rmvpe().double().eval()
    network.load_state_dict(state)
    assert_close(network(torch.from_numpy(arrays["mel"]).double())[:, ::3], arrays["salience"], max_abs=1e-4)


@pytest.mark.parametrize(("name", "threshold"), [("d03", 0.03), ("d05", 0.05)])
def test_decoding_alone_equals_the_reference(case, predictor, name, threshold):
    stored = case.arrays("decode.npz")
    hz = salience.decode(torch.from_numpy(stored["sal"]), predictor.cents(), threshold=threshold)
    np.testing.assert_allclose(hz.numpy(), stored[name], rtol=1e-5)


def test_f0_equals_the_reference(case, build, arrays):
    made = build(threshold=case.info["thr_hi"])
    stored = case.arrays("decode.npz")
    track, expected = made.hear(stored["w16r"]).voiced(made.threshold), arrays["raw_10ms_44"]
    assert np.mean(np.abs(track - expected) > 1e-3 * np.maximum(expected, 1)) <= 0.02
    for n_frames, suffix in ((None, ""), (131, "_plus2")):
        # from 44.1 kHz audio, through this project's resampler: it moves a best bin that leads by a hair
        f0_hz, uv = made.compute_f0_uv(arrays["wav44"], n_frames)
        expected_f0, expected_uv = arrays[f"f0_pred{suffix}"], arrays[f"uv_pred{suffix}"]
        assert f0_hz.shape == expected_f0.shape
        assert np.mean(uv != expected_uv) <= 0.02
        voiced = (uv > 0) & (expected_uv > 0)
        assert np.mean(np.abs(f0_hz - expected_f0)[voiced] > 1e-3 * expected_f0[voiced]) <= 0.03


def test_rvc_keys(state):
    with torch.device("meta"):
        own = Rmvpe(unused_filters=False).state_dict()
    assert set(own) == {key for key in state if not key.startswith("unet.tf.")}


@pytest.mark.slow
def test_rvc_weights_load(build, state, predictor):
    """Its file is a bare half-precision state dict without the blocks that no forward pass uses."""
    theirs = {key: value.half() for key, value in state.items() if not key.startswith("unet.tf.")}
    network = build(theirs).network
    assert network.fc[1].weight.dtype == torch.float32
    torch.testing.assert_close(network.cnn.weight, predictor.network.cnn.weight, atol=1e-3, rtol=1e-3)


def test_another_model_is_refused(build):
    with pytest.raises(checkpoint.CheckpointError, match="keys are missing: "):
        build({"model": {"enc_p.pre.weight": torch.zeros(1)}})


def test_a_wide_range_reads_three_times(build, arrays, monkeypatch):
    """How well that works on tones, only real weights can show: test_salience.py has a network that is known."""
    made = build(f0_min=35.0, f0_max=2000.0)
    shapes, mel = [], made.mel
    monkeypatch.setattr(made, "mel", lambda *args: shapes.append(mel(*args).shape) or mel(*args))
    f0_hz, uv = made.compute_f0_uv(arrays["wav44"][:22050])
    assert f0_hz.shape == uv.shape == (22050 // 512,) and np.isfinite(f0_hz).all()
    assert len(shapes) == 3 and len(set(shapes)) == 1  # frames stay 10 ms apart


@pytest.mark.parametrize("length", [1, 300, 1500])
def test_short_audio(predictor, length):
    noise = (0.1 * np.random.default_rng(0).standard_normal(length)).astype(np.float32)
    f0_hz, uv = predictor.compute_f0_uv(noise, 3)
    assert f0_hz.shape == uv.shape == (3,) and np.isfinite(f0_hz).all()

"""The one feature path: golden numbers of the reference, batches, copies, and what is refused."""

import numpy as np
import pytest
import torch

import preprocess_hubert_f0
from common import audio, pretrained
from pipeline.features import FeatureExtractor, FeatureSettings
from pipeline.preprocessing import Report
from tests.parity import Case, assert_close
from tests.synthetic import RATE, sing, write_config

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def golden():
    return Case("preprocess")


def settings(encoder: str = "cepstral", predictor: str = "dio") -> FeatureSettings:
    return FeatureSettings(speech_encoder=encoder, f0_predictor=predictor, sample_rate=RATE, hop_length=512)


def test_golden_preprocess(golden, tmp_path, monkeypatch):
    torch.save(Case("hubertsoft").recipe(), tmp_path / "soft.pt")
    monkeypatch.setattr(pretrained, "require", lambda name: tmp_path / "soft.pt")
    arrays = golden.arrays()
    for name in ("one", "two"):
        audio.save(tmp_path / f"{name}.wav", arrays[f"wav_{name}"], RATE)
    extractor = FeatureExtractor(settings("hubertsoft", "pm"), CPU)
    wav = audio.load(tmp_path / "one.wav", RATE)
    np.testing.assert_array_equal(wav, arrays["wav_one"])
    got = extractor.extract(wav)
    assert_close(got.units[None, ::2], arrays["soft"], max_abs=2e-4)
    assert_close(got.volume, arrays["vol"], max_abs=1e-6)
    np.testing.assert_array_equal(got.uv, arrays["uv"])
    assert_close(got.f0, arrays["f0"], max_abs=1e-3)
    assert_close(audio.resample(wav, RATE, 16000), arrays["wav16k_one"], max_abs=2e-5)


def test_golden_dio(golden):
    arrays = golden.arrays()
    got = FeatureExtractor(settings(predictor="dio"), CPU).extract(arrays["wav_two"])
    assert got.units.shape == (60, 54)
    # Voiced frames at an edge are kept here, where the reference loses them to NaN.
    both = (got.uv > 0) & (arrays["two_uv_dio"] > 0)
    assert both.sum() == (arrays["two_uv_dio"] > 0).sum()
    assert_close(got.f0[both], arrays["two_f0_dio"][both], max_abs=0.2)


def test_a_batch_equals_clips_one_by_one():
    extractor = FeatureExtractor(settings(), CPU)
    wavs = [sing(220.0, 0.7), sing(150.0, 1.1, seed=3)]
    for wav, got in zip(wavs, extractor.extract_batch(wavs), strict=True):
        alone = extractor.extract(wav)
        torch.testing.assert_close(got.units, alone.units)
        np.testing.assert_array_equal(got.f0, alone.f0)
        assert len(got.f0) == len(got.uv) == len(got.volume) == len(wav) // 512


def test_perturbed_copies_depend_on_the_seed_only():
    extractor, wav = FeatureExtractor(settings(), CPU), sing(220.0, 0.6)
    first, again, other = (extractor.perturbed_units(wav, seed) for seed in (1, 1, 2))
    assert first.shape == (4, *extractor.extract(wav).units.shape)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.allclose(first, other)
    assert not torch.allclose(first[0], first[1])
    extractor.encoder.perturbed_copies = 0
    assert extractor.perturbed_units(wav, 1) is None


def test_f0_that_is_known_is_not_tracked():
    extractor, wav = FeatureExtractor(settings(), CPU, f0=False), sing(220.0, 0.6)
    f0, uv = np.full(len(wav) // 512, 311.0, np.float32), np.ones(len(wav) // 512, np.float32)
    got = extractor.extract_batch([wav, wav], [(f0, uv), (f0 * 2, uv * 0)])
    np.testing.assert_array_equal([got[0].f0, got[1].f0, got[1].uv], [f0, f0 * 2, uv * 0])
    whole = FeatureExtractor(settings(), CPU).extract(wav)
    torch.testing.assert_close(got[0].units, whole.units)
    np.testing.assert_array_equal(got[0].volume, whole.volume)


def test_what_is_not_asked_for_needs_no_weights(monkeypatch):
    def missing(name, *_):
        raise FileNotFoundError(name)

    monkeypatch.setattr(pretrained, "require", missing)
    wav = sing(220.0, 0.6)
    with pytest.raises(FileNotFoundError, match="contentvec"):
        FeatureExtractor(settings("vec768l12"), CPU)
    assert FeatureExtractor(settings("vec768l12"), CPU, units=False).track(wav)[1].mean() > 0.8
    with pytest.raises(FileNotFoundError, match="rmvpe"):
        FeatureExtractor(settings(predictor="rmvpe"), CPU)
    assert FeatureExtractor(settings(predictor="rmvpe"), CPU, f0=False).units([wav])[0].shape[0] == 60


def test_preprocessing_hands_its_pitch_options_on(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("pipeline.preprocessing.extract_dataset", lambda _, given, **kw: seen.append(given) or Report())
    config = str(write_config(tmp_path / "config.json"))
    given = ["--f0_predictor", "fcpe", "-ft", "0.2", "--f0_min", "80", "--f0_max", "900"]
    assert preprocess_hubert_f0.main(["-c", config, *given]) == preprocess_hubert_f0.main(["-c", config]) == 0
    found = [(one.f0_predictor, one.f0_threshold, one.f0_min, one.f0_max) for one in seen]
    assert found == [("fcpe", 0.2, 80.0, 900.0), ("rmvpe", 0.05, 50.0, 1100.0)]


def test_numbers_that_are_not_finite_are_refused(monkeypatch):
    extractor, wav = FeatureExtractor(settings(), CPU), sing(220.0, 0.4)
    nan = np.full(len(wav) // 512, np.nan, np.float32)
    monkeypatch.setattr(extractor.predictor, "compute_f0_uv", lambda *_: (nan, nan))
    with pytest.raises(ValueError, match="dio returned f0 that is not finite"):
        extractor.extract(wav)
    monkeypatch.undo()
    monkeypatch.setattr(extractor.encoder, "encode_batch", lambda wavs: [torch.full((60, 9), torch.inf) for _ in wavs])
    with pytest.raises(ValueError, match="cepstral returned units that are not finite"):
        extractor.extract(wav)

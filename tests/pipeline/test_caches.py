"""What lies beside a clip: plain files, those of 4.1 too, and a fingerprint that tells when they are stale."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from common import audio, pretrained
from common.formats import F0, FINGERPRINT, UNITS, UNITS_AUG, VOLUME, beside
from pipeline import caches
from pipeline.caches import fingerprint, is_current
from pipeline.features import FeatureSettings
from tests.synthetic import RATE, sing, tiny_config, write_clip


def settings(encoder: str = "cepstral", predictor: str = "dio") -> FeatureSettings:
    return FeatureSettings(speech_encoder=encoder, f0_predictor=predictor, sample_rate=RATE, hop_length=512)


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "a b.wav", tiny_config(), n_frames=30)


def test_caches_are_plain_files(clip):
    units = torch.load(beside(clip, UNITS), weights_only=True)
    assert (units.shape, units.dtype) == ((1, 60, 17), torch.float32)
    stored = np.load(beside(clip, F0), allow_pickle=False)
    assert (stored.shape, stored.dtype) == ((2, 30), np.float32)
    assert np.load(beside(clip, VOLUME), allow_pickle=False).shape == (30,)
    assert caches.read_units(clip).shape == (3, 60, 17)
    torch.testing.assert_close(caches.read_units(clip)[0], units[0])
    f0, uv = caches.read_f0(clip)
    np.testing.assert_array_equal(np.stack([f0, uv]), stored)
    assert len(caches.read_volume(clip)) == 30
    assert json.loads(beside(clip, FINGERPRINT).read_text())["speech_encoder"] == "cepstral"


def test_caches_grow_stale(clip):
    made_from = fingerprint(clip, settings())
    assert is_current(clip, made_from)
    assert not is_current(clip, fingerprint(clip, settings("vec768l12")))
    assert not is_current(clip, fingerprint(clip, settings(predictor="pm")))
    before = clip.read_bytes()
    audio.save(clip, sing(300.0, 0.5), RATE)
    assert not is_current(clip, fingerprint(clip, settings()))
    clip.write_bytes(before)
    assert is_current(clip, fingerprint(clip, settings()))
    beside(clip, F0).unlink()
    assert not is_current(clip, made_from)


def test_only_what_depends_on_a_change_grows_stale(clip):
    def stale(**changes) -> caches.Stale:
        return caches.stale_parts(clip, fingerprint(clip, settings(**changes)))

    assert stale() == (False, False)
    assert stale(predictor="pm") == (False, True)
    assert stale(encoder="hubertsoft") == (True, False)
    beside(clip, UNITS_AUG).unlink()
    assert stale() == (True, False)
    old = json.loads(beside(clip, FINGERPRINT).read_text())
    for key in ("encoder_weights", "f0_weights"):  # as they were written before these were looked at
        del old[key]
    beside(clip, FINGERPRINT).write_text(json.dumps(old))
    assert stale() == (True, True)


@pytest.mark.parametrize(
    ("predictor", "used"),
    [("dio", {"f0_min", "f0_max"}), ("crepe", {"f0_min", "f0_max", "f0_threshold"}), ("dspitch", set())],
)
def test_settings_that_a_predictor_ignores_change_nothing(clip, predictor, used):
    before = fingerprint(clip, settings(predictor=predictor))
    for key, value in {"f0_min": 60.0, "f0_max": 900.0, "f0_threshold": 0.2}.items():
        changed = fingerprint(clip, replace(settings(predictor=predictor), **{key: value}))
        assert (changed != before) == (key in used)


def test_other_weights_make_caches_stale(clip, tmp_path, monkeypatch):
    for name, key, changed in (
        ("contentvec", "encoder_weights", {"encoder": "vec768l12"}),
        ("rmvpe", "f0_weights", {"predictor": "rmvpe"}),
    ):
        file = tmp_path / f"{name}.pt"
        entry = replace(pretrained.FILES[name], file=str(file))
        monkeypatch.setitem(pretrained.FILES, name, entry)
        seen = [fingerprint(clip, settings(**changed))[key]]
        for content in (b"one", b"two", b"x" * 3_000_000):
            file.write_bytes(content)
            seen.append(fingerprint(clip, settings(**changed))[key])
        assert seen[0] == "" and len(set(seen)) == 4
        assert fingerprint(clip, settings())[key] == ""


def test_every_file_of_a_predictor_counts(clip, tmp_path, monkeypatch):
    files = [tmp_path / "a", tmp_path / "b"]
    monkeypatch.setattr("modules.f0.dspitch.weight_files", lambda: files)
    seen = []
    for file in [None, *files]:
        if file:
            file.write_bytes(b"content")
        seen.append(fingerprint(clip, settings(predictor="dspitch"))["f0_weights"])
    assert len(set(seen)) == 3 and seen[0] == ""
    assert fingerprint(clip, settings(predictor="auto"))["f0_weights"]  # those of the package torchfcpe


@pytest.mark.parametrize("content", ["", "[]", "{", '"text"'])
def test_a_damaged_fingerprint_is_none(clip, content):
    beside(clip, FINGERPRINT).write_text(content)
    assert caches.read_fingerprint(clip) is None


def test_caches_of_4_1_are_read(clip):
    """f0 as an object array of lists, units of another torch layout, no fingerprint."""
    f0, uv = [220.0] * 30, [1.0] * 30
    np.save(beside(clip, F0), np.asanyarray((f0, uv), dtype=object))
    torch.save(torch.zeros(1, 60, 17), beside(clip, UNITS), _use_new_zipfile_serialization=False)
    for suffix in (UNITS_AUG, FINGERPRINT):
        beside(clip, suffix).unlink()
    got_f0, got_uv = caches.read_f0(clip)
    assert got_f0.dtype == got_uv.dtype == np.float32
    assert got_f0.tolist() == f0 and got_uv.tolist() == uv
    assert caches.read_units(clip).shape == (1, 60, 17)
    two = np.empty(2, dtype=object)  # f0 as arrays, as tools that come after 4.1 wrote it
    two[:] = [np.array(f0), np.array(uv)]
    np.save(beside(clip, F0), two)
    assert caches.read_f0(clip)[0].tolist() == f0


def test_damaged_caches_name_the_file(clip):
    for suffix, read in ((UNITS, caches.read_units), (F0, caches.read_f0), (VOLUME, caches.read_volume)):
        path = beside(clip, suffix)
        whole = path.read_bytes()
        for content in (b"", whole[: len(whole) // 2], b"nonsense"):
            path.write_bytes(content)
            with pytest.raises(ValueError, match=r"is damaged, cut off"):
                read(clip)
        path.unlink()
        with pytest.raises(FileNotFoundError, match=f"no features for .*{suffix} is missing.: run python preprocess"):
            read(clip)
        path.write_bytes(whole)
    np.save(beside(clip, F0), np.zeros(30))
    with pytest.raises(ValueError, match="holds no pair of f0 and uv"):
        caches.read_f0(clip)
    torch.save(torch.zeros(1, 256, 17), beside(clip, UNITS))
    with pytest.raises(ValueError, match=r"soft_aug.pt does not belong to .soft.pt"):
        caches.read_units(clip)
    torch.save(torch.zeros(60, 17), beside(clip, UNITS))
    with pytest.raises(ValueError, match="holds no units"):
        caches.read_units(clip)

"""The table of predictors."""

import inspect
from importlib import import_module

import pytest

from common.registry import Entry
from modules import f0
from modules.f0.predictor import F0Predictor


def test_names_and_order_are_those_of_41_and_auto():
    assert list(f0.F0_PREDICTORS) == ["crepe", "pm", "dio", "harvest", "rmvpe", "fcpe", "dspitch", "auto"]


def test_unknown_name_lists_the_known_ones():
    for settings in ({}, {"weights": "yin.pt"}):
        with pytest.raises(ValueError, match="unknown f0 predictor 'yin'; choose one of: crepe, pm"):
            f0.build("yin", **settings)


def test_weights_for_a_predictor_without_any_are_refused(tmp_path):
    for name in ("pm", "auto"):
        with pytest.raises(ValueError, match=f"'{name}' reads no weight file, but weights='.*rmvpe.pt' was given"):
            f0.build(name, weights=tmp_path / "rmvpe.pt")


def test_weights_are_for_the_classes_that_take_them():
    taking = []
    for name, entry in f0.F0_PREDICTORS.items():
        module, _, cls = entry.target.partition(":")
        parameters = inspect.signature(getattr(import_module(module), cls)).parameters
        taking += [name] if "weights" in parameters else []
    assert sorted(taking) == sorted(f0.WITH_WEIGHTS)


class Folder(F0Predictor):
    """Stands for dspitch, whose weights are a folder."""

    def __init__(self, *args, weights=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.weights = weights

    def raw_f0(self, wav):
        raise NotImplementedError


def test_a_folder_of_weights_is_passed_on(monkeypatch, tmp_path):
    monkeypatch.setitem(f0.F0_PREDICTORS, "dspitch", Entry(f"{__name__}:Folder"))
    assert f0.build("dspitch", device="cpu", weights=str(tmp_path)).weights == tmp_path
    assert f0.build("dspitch", device="cpu").weights is None


def test_settings_reach_the_predictor():
    made = f0.build("pm", 48000, 480, device="cpu", threshold=0.3, f0_min=80, f0_max=900)
    assert (made.sample_rate, made.hop_length, made.device.type) == (48000, 480, "cpu")
    assert (made.threshold, made.f0_min, made.f0_max) == (0.3, 80, 900)


def test_lists_name_members():
    assert set(f0.SEARCHING) | set(f0.CONFIDENT) | set(f0.WITH_WEIGHTS) == set(f0.F0_PREDICTORS)


def test_missing_weights_say_how_to_get_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="rmvpe"):
        f0.build("rmvpe", device="cpu", weights=tmp_path / "rmvpe.pt")

"""The table of predictors."""

import pytest

from common.registry import NotAvailableError
from modules import f0


def test_names_and_order_are_those_of_41():
    assert list(f0.F0_PREDICTORS) == ["crepe", "pm", "dio", "harvest", "rmvpe", "fcpe", "dspitch"]


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown f0 predictor 'yin'; choose one of: crepe, pm"):
        f0.build("yin")


def test_dspitch_is_known_but_not_there():
    with pytest.raises(NotAvailableError, match="'dspitch' is not available yet; available now: crepe, pm"):
        f0.build("dspitch")


def test_weights_for_a_predictor_without_any_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'pm' reads no weight file"):
        f0.build("pm", weights=tmp_path / "rmvpe.pt")


def test_settings_reach_the_predictor():
    made = f0.build("pm", 48000, 480, device="cpu", threshold=0.3, f0_min=80, f0_max=900)
    assert (made.sample_rate, made.hop_length, made.device.type) == (48000, 480, "cpu")
    assert (made.threshold, made.f0_min, made.f0_max) == (0.3, 80, 900)


def test_missing_weights_say_how_to_get_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="rmvpe"):
        f0.build("rmvpe", device="cpu", weights=tmp_path / "rmvpe.pt")

"""Scripts of stages that are not written yet: they keep the options that stay, and say what to do instead."""

import argparse
import logging
from importlib import import_module

import pytest

from common.unavailable import refuse, set_by_user

SCRIPTS = {
<<<<<<< HEAD
    "onnx_export": ["-n", "project"],
=======
    "train_diff": ["-c", "configs/diffusion.yaml"],
>>>>>>> 37a57aa (Export synthesizers, encoders, vocoders, rmvpe and diffusion models to ONNX; run exported synthesizers)
}


@pytest.mark.parametrize(("script", "arguments"), SCRIPTS.items())
def test_says_so_and_fails(script: str, arguments: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert import_module(script).main(arguments) == 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_there(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        import_module(script).main(["--help"])
    assert "Not available yet" in " ".join(capsys.readouterr().out.split())


def test_the_message_names_the_way_round(capfd: pytest.CaptureFixture[str]) -> None:
    assert import_module("onnx_export").main(["-n", "project"]) == 1
    assert "not available yet. Convert with inference_main.py" in capfd.readouterr().err


def test_several_things_are_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert refuse("--a", "--b", instead="Do without") == 1
    assert capsys.readouterr().err == "ERROR --a, --b are not available yet. Do without\n"


def test_options_that_were_changed() -> None:
    defaults, args = argparse.Namespace(a=0.0, b=False, c=""), argparse.Namespace(a=0, b=True, c="x")
    assert set_by_user(args, defaults, ("a", "b")) == ["--b"]

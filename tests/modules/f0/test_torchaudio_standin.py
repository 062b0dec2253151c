"""The stand-in is there where torchaudio is not, and gone afterwards."""

import sys

import pytest

from modules.f0.torchaudio_standin import torchaudio_or_standin


@pytest.fixture
def no_torchaudio(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)

    class Refuses:
        def find_spec(self, name, path=None, target=None):
            if name == "torchaudio":
                raise OSError("Could not load this library: _torchaudio.abi3.so")

    monkeypatch.setattr(sys, "meta_path", [Refuses(), *sys.meta_path])


def test_stand_in_and_its_removal(no_torchaudio):
    with torchaudio_or_standin():
        from torchaudio.transforms import Resample

        with pytest.raises(RuntimeError, match="needs torchaudio"):
            Resample(44100, 16000)
    assert "torchaudio" not in sys.modules
    assert "torchaudio.transforms" not in sys.modules


def test_the_real_package_is_left_alone(monkeypatch):
    real, transforms = type(sys)("torchaudio"), type(sys)("torchaudio.transforms")
    real.transforms = transforms
    monkeypatch.setitem(sys.modules, "torchaudio", real)
    monkeypatch.setitem(sys.modules, "torchaudio.transforms", transforms)
    with torchaudio_or_standin():
        import torchaudio

        assert torchaudio is real
    assert sys.modules["torchaudio"] is real

"""One place chooses the device, and never replaces one that was asked for."""

import pytest
import torch

from common import devices


def test_names(monkeypatch):
    assert devices.resolve("cpu") == torch.device("cpu")
    assert devices.resolve(torch.device("cpu")) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in (None, "", "auto"):
        assert devices.resolve(name) == torch.device("cpu")
    assert devices.visible() == [torch.device("cpu")]
    with pytest.raises(ValueError, match="'cuda:1' was asked for, but 0 CUDA devices are present"):
        devices.resolve("cuda:1")
    with pytest.raises(ValueError, match="'mps' was asked for, but this machine has none"):
        devices.resolve("mps")


def test_a_cuda_device_by_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.resolve(None) == torch.device("cuda")
    assert devices.resolve("cuda:1") == torch.device("cuda:1")
    assert devices.visible() == [torch.device("cuda:0"), torch.device("cuda:1")]
    with pytest.raises(ValueError, match="2 CUDA devices"):
        devices.resolve("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "meta", "xla", "cuda:x"])
def test_unknown_names(name):
    with pytest.raises(ValueError, match="unknown device .*write cpu, cuda, cuda:N, mps or auto"):
        devices.resolve(name)

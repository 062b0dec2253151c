"""Chinese HuBERT large equals the reference's output, from files as fairseq writes them."""

import argparse
import enum
import json
import os
import sys
import types
from pathlib import Path

import pytest
import torch

import vencoder
from common.unpickle import UnsafePickleError
from tests.parity import Case, assert_close
from tests.vencoder.small_files import CPU, check_batches, cut_off, halved, saved, small_state
from vencoder.cnhubertlarge import ChineseHubertLarge
from vencoder.hubert import HubertEncoder
from vencoder.nets.hubert_sizes import HubertKind

SMALL = {1024: 128, 4096: 96, 512: 8, 64: 8, 128: 16}
CASE = Case("cnhubertlarge")


def state(**changes) -> dict:
    """The small network with 4 layers of 2 heads; keys that are None are left out."""
    whole = small_state("cnhubertlarge", lambda n: SMALL.get(n, n)) | changes
    return {key: value for key, value in whole.items() if value is not None}


def built(tmp_path: Path, content: object) -> ChineseHubertLarge:
    return ChineseHubertLarge(saved(tmp_path / "large.pt", content), CPU)


def test_golden(tmp_path):
    arrays = CASE.arrays()
    path = saved(tmp_path / "large.pt", {"args": None, "cfg": {"task": {"normalize": True}}, "model": CASE.recipe()})
    encoder = vencoder.build("cnhubertlarge", "cpu", path)
    assert encoder.dim == vencoder.SPEECH_ENCODERS["cnhubertlarge"].dim
    assert_close(encoder.encode(arrays["wav"])[::2], arrays["units"][0], max_abs=2e-5)


def test_every_key_of_the_real_file_is_known():
    keys = json.loads((CASE.folder / "full_keys.json").read_text(encoding="utf-8"))
    tensors = {key: torch.empty(shape, device="meta") for key, shape, _ in keys}
    kind = HubertKind(norm_each_conv=True, norm_first=True)
    encoder = HubertEncoder(tensors, kind, torch.device("meta"), where=Path("full_keys.json"))
    assert (encoder.dim, len(encoder.sizes.layers), encoder.sizes.layers[23].n_heads) == (1024, 24, 16)


def test_batches(tmp_path):
    check_batches(built(tmp_path, {"model": state()}))


def test_training_keys_may_be_absent_or_of_any_shape(tmp_path):
    wav = torch.randn(4000)
    expected = built(tmp_path, {"model": state()}).encode(wav)
    bare = dict.fromkeys(("mask_emb", "label_embs_concat", "final_proj.weight", "final_proj.bias"))
    assert torch.equal(built(tmp_path, {"model": state(**bare)}).encode(wav), expected)
    other = state(label_embs_concat=torch.zeros(0), mask_emb=torch.zeros(3, 3))
    assert torch.equal(built(tmp_path, {"model": other}).encode(wav), expected)


def test_half_precision_file(tmp_path):
    wav = torch.randn(8000) * 0.1
    units = built(tmp_path, {"model": halved(state())}).encode(wav)
    assert units.dtype == torch.float32
    assert_close(units, built(tmp_path, {"model": state()}).encode(wav), max_abs=0.02)


def test_objects_of_fairseq_in_the_file(tmp_path, monkeypatch):
    """Classes that are not there when the file is read: a dictionary, settings of omegaconf, an enum, a namespace."""

    def foreign(module: str, name: str, base: type = object) -> type:
        cls = enum.Enum(name, {"one": 1}) if base is enum.Enum else type(name, (base,), {})
        cls.__module__ = module
        if base is enum.Enum:  # by value, as the Pythons that fairseq runs on; 3.11.2 pickles getattr and a name
            cls.__reduce_ex__ = lambda self, _protocol: (type(self), (self.value,))
        parts = module.split(".")
        for i in range(1, len(parts) + 1):
            monkeypatch.setitem(sys.modules, ".".join(parts[:i]), types.ModuleType(".".join(parts[:i])))
        setattr(sys.modules[module], name, cls)
        return cls

    dictionary = foreign("fairseq.data.dictionary", "Dictionary")()
    dictionary.symbols = ["<s>", "a"]
    settings = foreign("omegaconf.dictconfig", "DictConfig", dict)(normalize=True)
    mode = foreign("fairseq.dataclass.constants", "LayerNormMode", enum.Enum).one
    content = {
        "args": argparse.Namespace(arch="hubert_large", mode=mode),
        "cfg": settings,
        "task_state": {"dictionaries": [dictionary]},
        "model": state(),
    }
    for is_zip in (True, False):
        torch.save(content, tmp_path / "objects.pt", _use_new_zipfile_serialization=is_zip)
        wav = torch.randn(4000)
        got = ChineseHubertLarge(tmp_path / "objects.pt", CPU).encode(wav)
        assert torch.equal(got, built(tmp_path, {"model": state()}).encode(wav))


class Trap:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_booby_trapped_file(tmp_path):
    path = saved(tmp_path / "trap.pt", {"model": state(), "task_state": Trap(f"touch {tmp_path / 'marker'}")})
    with pytest.raises(UnsafePickleError, match=r"trap\.pt is refused: reading it would call (posix|nt)\.system"):
        vencoder.build("cnhubertlarge", "cpu", path)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder.layers.1.fc1.bias": None}, r"1 keys are missing: encoder\.layers\.1\.fc1\.bias"),
        ({"encoder.layers.2.fc1.weight": None}, r"no key 'encoder\.layers\.2\.fc1\.weight'"),
        ({"encoder.layers.x.fc1.bias": torch.zeros(1)}, r"1 keys are unknown: encoder\.layers\.x\.fc1\.bias"),
        ({"encoder.layers.9.fc1.bias": torch.zeros(1)}, r"no key 'encoder\.layers\.4\.self_attn\.q_proj\.weight'"),
        (
            {"encoder.layers.3.fc2.weight": torch.zeros(96, 128)},
            r"layers\.3\.fc2\.weight is \(96, 128\).*\(128, 96\)",
        ),
        (
            {"encoder.layers.0.self_attn.q_proj.weight": torch.zeros(100, 128)},
            r"q_proj\.weight has 100 rows, no multiple of a head_dim of 64",
        ),
    ],
)
def test_keys_and_shapes_that_do_not_fit(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        built(tmp_path, {"model": state(**changes)})
    assert "large.pt" in str(error.value)


def test_a_file_of_another_network(tmp_path):
    with pytest.raises(ValueError, match=r"14 keys are missing: feature_extractor\.conv_layers\.0\.2\.1\.weight"):
        vencoder.build("cnhubertlarge", "cpu", Case("contentvec_files").folder / "contentvec_tiny.pt")
    path = saved(tmp_path / "large.pt", {"model": state()})
    with pytest.raises(ValueError, match="keys are unknown: feature_extractor.conv_layers.0.2.1.weight"):
        vencoder.build("vec768l12", "cpu", saved(path, {"model": deepened(state(), n_layers=12)}))


def deepened(tensors: dict, n_layers: int) -> dict:
    """The same with as many layers, all like the first."""
    first = {key: value for key, value in tensors.items() if key.startswith("encoder.layers.0.")}
    return tensors | {
        key.replace(".0.", f".{i}.", 1): value for i in range(1, n_layers) for key, value in first.items()
    }


def test_a_file_of_another_kind(tmp_path):
    for content in ({"weight": torch.zeros(2)}, [1], {"model": {"a": 1}}, {"model": {1: torch.zeros(2)}}):
        with pytest.raises(ValueError, match=r"large\.pt is not a checkpoint of fairseq: it has no table of tensors"):
            built(tmp_path, content)
    with pytest.raises(ValueError, match=r"cut_off\.pt is damaged, cut off"):
        ChineseHubertLarge(cut_off(saved(tmp_path / "large.pt", {"model": state()})), CPU)

"""Foreign files are read without running anything; damaged ones raise ValueError and nothing else."""

import argparse
import collections
import io
import os
import pickle
import random
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from common.unpickle import InertObject, UnsafePickleError, read_file, read_npy
from tests.parity import GOLDEN

FILES = GOLDEN / "contentvec_files"
MARKER = Path("/tmp/pwned_marker")  # what the booby-trapped golden files would create


class Payload:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Callable, *args: object) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple:
        return self.function, self.args


def legacy_save(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(6, 4, generator=generator)
    return {
        "weight": weight,
        "transposed": weight.T,
        "row": weight[2],
        "half": weight.half(),
        "bfloat": weight.bfloat16(),
        "count": torch.tensor(7),
        "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
    }


@pytest.mark.parametrize("save", [torch.save, legacy_save])
def test_torch_file_equals_what_was_saved(save, tmp_path):
    path, saved = tmp_path / "a.pt", state()
    save({"model": collections.OrderedDict(saved), "parameter": torch.nn.Parameter(saved["weight"]), "epoch": 3}, path)
    got = read_file(path)
    assert got["epoch"] == 3 and list(got["model"]) == list(saved)
    for key, value in saved.items():
        assert got["model"][key].dtype == value.dtype
        torch.testing.assert_close(got["model"][key], value, rtol=0, atol=0)
    torch.testing.assert_close(got["parameter"], saved["weight"], rtol=0, atol=0)
    got["model"]["weight"][2, 0] = 5.0  # memory is shared as it was, and is our own
    assert got["model"]["row"][0] == 5.0
    assert torch.load(path, weights_only=True)["model"]["row"][0] == saved["row"][0]


def test_only_the_wanted_keys_are_read(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"model": {"a": torch.arange(3)}, "optimizer": {"b": torch.arange(4)}}, path)
    damaged = bytearray(path.read_bytes())
    at = damaged.index(torch.arange(4).numpy().tobytes())
    damaged[at + 8] ^= 1
    path.write_bytes(damaged)
    assert read_file(path, only=("model", "absent")).keys() == {"model"}
    with pytest.raises(ValueError, match="a.pt is damaged.*wrong checksum: copy or download the file again"):
        read_file(path)


def test_optimizer_and_random_states_survive(tmp_path):
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    saved = {"optimizer": optimizer.state_dict(), "python": random.getstate(), "torch": torch.get_rng_state()}
    torch.save(saved | {"numpy": np.random.RandomState(3).get_state()}, tmp_path / "a.pt")
    got = read_file(tmp_path / "a.pt")
    assert got["python"] == saved["python"] and torch.equal(got["torch"], saved["torch"])
    assert got["optimizer"]["param_groups"] == saved["optimizer"]["param_groups"]
    torch.testing.assert_close(got["optimizer"]["state"], saved["optimizer"]["state"])
    np.testing.assert_array_equal(got["numpy"][1], np.random.RandomState(3).get_state()[1])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickle(protocol, tmp_path):
    content = {
        "numbers": [1, -2, 2**70, 0.5, True, None, 1 + 2j],
        "text": "naïve",
        "bytes": b"\x00\xff",
        "nested": {"tuple": (1, (2,), ()), "set": {1, 2}, "frozen": frozenset("ab")},
        7: collections.OrderedDict(a=1),
    }
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    assert read_file(path) == content


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("dtype", ["float32", ">f8", "int64", "bool", "U3", "S2", object])
def test_numpy_arrays_and_scalars(protocol, dtype, tmp_path):
    array = np.asfortranarray(np.arange(6).reshape(2, 3).astype(dtype))
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"array": array, "scalar": np.float32(1.5), np.int64(3): 1}, protocol))
    got = read_file(path)
    np.testing.assert_array_equal(got["array"], array)
    assert got["array"].dtype == array.dtype.newbyteorder("=") and got["scalar"] == 1.5 and got[3] == 1


def test_numpy_1_and_python_2_names(tmp_path):
    path = tmp_path / "a.pkl"
    pickled = pickle.dumps(np.arange(3.0), 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    path.write_bytes(pickled)
    np.testing.assert_array_equal(read_file(path), np.arange(3.0))
    path.write_bytes(b"c__builtin__\nset\n((lp0\nI1\natR.")
    assert read_file(path) == {1}


def test_foreign_objects_are_inert():
    got = read_file(FILES / "contentvec_tiny.pt")
    assert isinstance(got["args"], InertObject) and got["args"].cls == "argparse.Namespace"
    assert got["args"].state["arch"] == "hubert"
    dictionary = got["task_state"]["dictionaries"][0]
    assert dictionary.cls == "fairseq.data.dictionary.Dictionary"
    assert read_file(FILES / "contentvec_tiny_omegaconf.pt")["cfg"].cls == "omegaconf.dictconfig.DictConfig"


def test_subclasses_of_containers_are_inert(tmp_path):
    # an unknown list subclass and an unknown dict subclass, as pickle protocol 2 writes them
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02cx.y\nZ\n)\x81(K\x01K\x02e.")
    got = read_file(tmp_path / "a.pkl")
    assert (got.cls, got.items) == ("x.y.Z", [1, 2])
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02cx.y\nZ\n)\x81(K\x01K\x02u}b.")
    assert read_file(tmp_path / "a.pkl").entries == {1: 2}


@pytest.mark.parametrize("name", ["contentvec_evil.pt", "contentvec_evil_legacy.pt"])
def test_booby_trapped_checkpoints_are_refused(name):
    MARKER.unlink(missing_ok=True)
    with pytest.raises(UnsafePickleError, match=rf"{name} is refused: reading it would call posix\.system"):
        read_file(FILES / name)
    assert not MARKER.exists()


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (os.system, ("touch {}",)),
        (eval, ("open('{}', 'w')",)),
        (exec, ("open('{}', 'w')",)),
        (getattr, (os, "system")),
        (open, ("{}", "w")),
        (subprocess.Popen, (["touch", "{}"],)),
        (subprocess.check_output, (["touch", "{}"],)),
        (shutil.copy, ("/etc/hostname", "{}")),
        (np.save, ("{}", [1])),
        (torch.load, ("{}",)),
        (argparse._sys.exit, (3,)),
    ],
)
@pytest.mark.parametrize("save", ["pickle", "zip", "legacy", "npy"])
def test_payloads_are_refused(function, args, save, tmp_path):
    if function is getattr:
        args = (1, "real")
    marker, path = tmp_path / "marker", tmp_path / "evil"
    payload = Payload(function, *(str(a).format(marker) if isinstance(a, str) else a for a in args))
    content = {"model": state(), "extra": [payload]}
    if save == "npy":
        path = tmp_path / "evil.npy"
        array = np.empty(1, object)
        array[0] = payload
        np.save(path, array, allow_pickle=True)
    elif save == "pickle":
        path.write_bytes(pickle.dumps({"extra": [payload]}))
    else:
        (torch.save if save == "zip" else legacy_save)(content, path)
    with pytest.raises(UnsafePickleError, match=function.__name__):
        (read_npy if save == "npy" else read_file)(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "pickled",
    [
        b"(S'touch x'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'touch x'\no.",  # OBJ
        b"\x80\x02cos\nsystem\nX\x01\x00\x00\x00x\x85R.",
        b"\x80\x02csubprocess\nPopen\n)\x81.",  # NEWOBJ of the standard library
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",  # STACK_GLOBAL
        b"\x80\x02coperator\ngetitem\ncos\nenviron\nX\x01\x00\x00\x00x\x86R.",
        b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nNX\x01\x00\x00\x00x\x85NtR.",
        b"\x80\x02cfoo.bar\nBaz\n)R.",  # a function, for all we know
    ],
)
def test_every_way_to_call_is_refused(pickled, tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickled)
    with pytest.raises(UnsafePickleError, match="is refused: reading it would call"):
        read_file(tmp_path / "a.pkl")


BYTES_TIMES_A_THOUSAND = (
    b"\x80\x02c_codecs\nencode\nq\x00X\x00\x00\x10\x00"
    + b"x" * 2**20
    + b"q\x01"
    + b"("
    + b"h\x00h\x01\x85R" * 1000
    + b"l."
)


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",  # a bytes object of a tebibyte
        b"\x80\x02N" + b"r" + struct.pack("<I", 2**32 - 1) + b".",  # the last of four thousand million memo slots
        b"\x80\x02cnumpy\ndtype\n(X\x02\x00\x00\x00f8I00\nI01\ntRq\x00.",
        BYTES_TIMES_A_THOUSAND,
        b"\x80\x02)" + b"\x32\x86" * 200 + b"\x85}\x61.",
        b"\x80\x02}" + b")" + b"\x32\x86" * 60 + b"K\x01s.",  # a key whose hash takes 2**60 steps
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",  # lists in lists
    ],
)
def test_bombs_end_quickly(pickled, tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickled)
    try:
        read_file(tmp_path / "a.pkl")
    except ValueError as error:
        assert "a.pkl is damaged" in str(error)


def test_tensor_larger_than_its_storage(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"a": torch.arange(10.0).as_strided((100_000, 10), (0, 1))}, path)
    with pytest.raises(ValueError, match="larger than its storage"):
        read_file(path)


def test_compressed_records_are_refused(tmp_path):
    torch.save(state(), tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as old,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(ValueError, match=r"b.pt is damaged.*compressed"):
        read_file(tmp_path / "b.pt")


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"RIFF1234WAVEfmt ", b"<!DOCTYPE html>", b"PK\x03\x04", b"version"]
)
def test_files_of_another_kind(content, tmp_path):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ValueError, match="a.pt is damaged, cut off, or no file of this kind"):
        read_file(tmp_path / "a.pt")
    with pytest.raises(ValueError, match="a.pt is damaged, cut off, or no file of this kind"):
        read_npy(tmp_path / "a.pt")


@pytest.mark.parametrize("start", [b"<!DOCTYPE html>", b"\xef\xbb\xbf\r\n  <html>"])
def test_a_web_page_is_called_one(start, tmp_path):
    (tmp_path / "a.pt").write_bytes(start + b"<p>404</p>")
    with pytest.raises(ValueError, match=r"a\.pt .*it looks like a web page: download the file itself"):
        read_file(tmp_path / "a.pt")


def test_dtypes_are_known_and_other_names_of_torch_are_not_looked_up(monkeypatch, tmp_path):
    dtypes = [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64]
    torch.save(dtypes, tmp_path / "a.pt")
    assert read_file(tmp_path / "a.pt") == dtypes
    looked_up = []
    monkeypatch.setattr(torch, "__getattr__", looked_up.append)  # what would import torch's lazy modules
    (tmp_path / "b.pt").write_bytes(b"(lp0\nctorch\n_dynamo\np1\na.")
    assert str(read_file(tmp_path / "b.pt")[0]) == "torch._dynamo"
    assert looked_up == []


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "absent.pt")


def test_object_arrays_of_the_old_layout(tmp_path):
    f0, uv = np.linspace(100, 200, 5, dtype=np.float32), np.array([1, 1, 0, 1, 1], np.float32)
    np.save(tmp_path / "a.f0.npy", np.asanyarray((f0, uv), dtype=object), allow_pickle=True)
    np.testing.assert_array_equal(read_npy(tmp_path / "a.f0.npy").astype(np.float32), np.stack([f0, uv]))
    mel = np.arange(12, dtype=np.float32).reshape(3, 4)
    pair = np.empty(2, object)
    pair[:] = [mel, 2.5]
    np.save(tmp_path / "a.aug_mel.npy", pair, allow_pickle=True)
    got = read_npy(tmp_path / "a.aug_mel.npy")
    assert got.shape == (2,) and got[1] == 2.5
    np.testing.assert_array_equal(got[0], mel)


def test_plain_npy_and_one_cut_off(tmp_path):
    path, array = tmp_path / "a.npy", np.arange(1000.0).reshape(2, 500)
    np.save(path, array)
    np.testing.assert_array_equal(read_npy(path), array)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="the file ends within the array"):
        read_npy(path)


def samples() -> list[bytes]:
    """Small files of each kind that is read."""
    files: list[bytes] = []
    for new in (True, False):
        buffer = io.BytesIO()
        namespace = argparse.Namespace(a=1, b=np.float64(2))
        torch.save({"m": state(), "n": namespace, "k": np.arange(4.0)}, buffer, _use_new_zipfile_serialization=new)
        files.append(buffer.getvalue())
    for protocol in (0, 2, 5):
        content = {"x": [np.arange(3), np.array(["a", 1], object), b"raw", {1, 2}], "y": {"z": (1.5, None)}}
        files.append(pickle.dumps(content, protocol))
    buffer = io.BytesIO()
    np.save(buffer, np.array([[1.0, 2], [3, 4]], object), allow_pickle=True)
    return [*files, buffer.getvalue()]


def mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, kind = rng.randrange(len(changed)), rng.randrange(5)
        if kind == 0:
            changed[at] = rng.randrange(256)
        elif kind == 1:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del changed[at : at + rng.choice((1, 2, 16))]
        elif kind == 3:
            changed[at:at] = rng.randbytes(rng.choice((1, 4)))
        else:
            other = rng.randrange(len(changed))
            changed[at : at + 8] = changed[other : other + 8]
        changed = changed or bytearray(1)
    return bytes(changed[: rng.randrange(len(changed))] if rng.random() < 0.1 else changed)


@pytest.mark.filterwarnings("ignore")  # of escapes in damaged strings
@pytest.mark.parametrize("n_mutations", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_damaged_files_raise_value_error_only(n_mutations, tmp_path):
    rng, files, path = random.Random(n_mutations), samples(), tmp_path / "a"
    for i in range(n_mutations):
        path.write_bytes(mutated(files[i % len(files)], rng))
        read = read_npy if i % len(files) == len(files) - 1 else read_file
        try:
            read(path)
        except ValueError as error:
            assert str(path) in str(error)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["contentvec_tiny.pt", "contentvec_tiny_omegaconf.pt", "contentvec_evil.pt"])
@pytest.mark.parametrize("n_mutations", [100, pytest.param(4_000, marks=pytest.mark.slow)])
def test_damaged_pickles_of_fairseq_run_nothing(n_mutations, name, tmp_path):
    """The damage is in the pickle, where the foreign classes are named, and not in the megabytes of tensors."""
    with zipfile.ZipFile(FILES / name) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    pickled = next(record for record in records if record.endswith("data.pkl"))
    rng, path, whole = random.Random(name), tmp_path / "a.pt", records[pickled]
    MARKER.unlink(missing_ok=True)
    for _ in range(n_mutations):
        records[pickled] = mutated(whole, rng)
        with zipfile.ZipFile(path, "w") as archive:
            for record, content in records.items():
                archive.writestr(record, content)
        try:
            read_file(path)
        except ValueError as error:
            assert str(path) in str(error)
    assert not MARKER.exists()

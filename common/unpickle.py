"""Reads torch files (zip, or those of before torch 1.6), plain pickles and .npy files without running what is in them.

``torch.load(weights_only=True)`` refuses files that name classes of other projects, as the encoder checkpoints of
fairseq do, and ``weights_only=False`` runs whatever they say; neither is called here. Foreign objects arrive as
``InertObject``, a file that would call code raises ``UnsafePickleError``, and a damaged one a ValueError that names it;
no size that a file claims is believed before the data are seen to be there.
"""

import io
import mmap
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from common.pickle_machine import PickleMachine
from common.pickle_objects import InertObject, UnsafePickleError

__all__ = ["InertObject", "UnsafePickleError", "read_file", "read_npy"]

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first object of a torch file that is no zip
ZIP_START = b"PK\x03\x04"
# What the standard library, numpy and torch raise when they are handed damaged data. So many, because there is no size,
# name or offset in a file that cannot be wrong (mutated files of the tests meet most of them), and whoever reads the
# file has to be told which one it is. Kind and text of the error stay in the message, so that a fault of ours shows.
DAMAGE = (
    *(ArithmeticError, AttributeError, EOFError, IndexError, KeyError, MemoryError, NotImplementedError),
    *(OSError, RuntimeError, SyntaxError, TypeError, ValueError),
    *(struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


def read_file(path: str | Path, *, only: Collection[str] | None = None) -> Any:
    """Return what a torch file or a pickle holds: plain data, numpy arrays, CPU tensors, and inert objects.

    Args:
        only: of a dict, keep these keys (those that are there); the tensors of the others are not even read.

    Raises:
        UnsafePickleError: reading it would call code; the message names the file and the function or class.
        ValueError: damaged, cut off, or of another kind.
        FileNotFoundError: it is not there.
    """
    return _guarded(path, lambda file: _read(file, only))


def read_npy(path: str | Path) -> np.ndarray:
    """Return the array of a .npy file; one of objects (the old ``.f0.npy``) too, its parts read as ``read_file`` does.

    Raises: as ``read_file``.
    """
    return _guarded(path, _read_npy)


def _guarded(path: str | Path, read: Callable[[BinaryIO], Any]) -> Any:
    """Call ``read`` on the open file; whatever goes wrong becomes one error that begins with the path."""
    with open(path, "rb") as file:
        try:
            return read(file)
        except UnsafePickleError as error:
            raise UnsafePickleError(f"{path} is refused: reading it would call {error}") from None
        except DAMAGE as error:
            reason = f"{type(error).__name__}: {str(error)[:200]}"
            raise ValueError(f"{path} is damaged, cut off, or no file of this kind ({reason})") from None


def _size(file: BinaryIO) -> int:
    return file.seek(0, io.SEEK_END)


def _read(file: BinaryIO, only: Collection[str] | None) -> Any:
    size = _size(file)
    if size == 0:
        raise ValueError("the file is empty")
    file.seek(0)
    if file.read(4) == ZIP_START:
        return _read_zip(file, only)
    # an mmap gives no more than the file has, where file.read(n) reserves n bytes first
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
        machine = PickleMachine(stream, size)  # type: ignore[arg-type]
        content = machine.load()
        if not isinstance(content, int) or content != LEGACY_MAGIC:
            if machine.views:
                raise ValueError("tensors without their data")
            return _select(content, only)
        version, system, content = machine.load(), machine.load(), machine.load()
        if version != 1001 or not system.get("little_endian", True):
            raise ValueError("a torch file of an unknown version or byte order")
        keys, position = machine.load(), stream.tell()
    return _fill(machine, _select(content, only), _legacy_blocks(file, machine.item_sizes, keys, position))


def _legacy_blocks(
    file: BinaryIO, item_sizes: Mapping[str, int], keys: list[str], position: int
) -> Callable[[str], bytearray]:
    """Find the blocks that follow one another after the pickles: number of elements (int64), then the elements."""
    size = _size(file)
    places: dict[str, tuple[int, int]] = {}
    for key in keys:
        file.seek(position)
        (n_elements,) = struct.unpack("<q", file.read(8))
        start, n_bytes = position + 8, n_elements * item_sizes[key]
        position = start + n_bytes
        if n_elements < 0 or position > size:
            raise ValueError("the file ends within its tensors")
        places[key] = start, n_bytes

    def block(key: str) -> bytearray:
        start, n_bytes = places[key]
        file.seek(start)
        return bytearray(file.read(n_bytes))

    return block


def _read_zip(file: BinaryIO, only: Collection[str] | None) -> Any:
    with zipfile.ZipFile(file) as archive:
        records = {info.filename: info for info in archive.infolist()}
    if sum(info.file_size for info in records.values()) > _size(file):
        raise ValueError("records that lie over one another")
    pickles = [name for name in records if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("a zip that torch.save did not write")
    root = pickles[0].removesuffix("data.pkl")
    if root + "constants.pkl" in records:
        raise ValueError("a TorchScript program, not a checkpoint")
    if root + "byteorder" in records and _record(file, records[root + "byteorder"]) != b"little":
        raise ValueError("written on a big-endian machine")
    pickled = _record(file, records[pickles[0]])
    machine = PickleMachine(io.BytesIO(pickled), len(pickled))
    content = machine.load()
    return _fill(machine, _select(content, only), lambda key: _record(file, records[f"{root}data/{key}"]))


def _record(file: BinaryIO, info: zipfile.ZipInfo) -> bytearray:
    """The bytes of one record. torch.save never compresses: a record that is can be a bomb."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
        raise ValueError(f"record {info.filename} is compressed or encrypted, which torch.save never does")
    file.seek(info.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != ZIP_START:
        raise ValueError(f"record {info.filename} is not where the list of contents says")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    start = info.header_offset + 30 + name_length + extra_length
    if start + info.file_size > _size(file):
        raise ValueError(f"record {info.filename} goes beyond the end of the file")
    file.seek(start)
    data = bytearray(info.file_size)
    file.readinto(data)  # type: ignore[attr-defined]
    if zlib.crc32(data) != info.CRC:
        raise ValueError(f"record {info.filename} has a wrong checksum: copy or download the file again")
    return data


def _select(content: Any, only: Collection[str] | None) -> Any:
    if only is None or not isinstance(content, dict):
        return content
    return {key: value for key, value in content.items() if key in only}


def _fill(machine: PickleMachine, content: Any, block: Callable[[str], bytearray]) -> Any:
    """Give the tensors that ``content`` holds their data, each block read once; ``block`` returns one by its key."""
    wanted = _tensors_in(content)
    bases: dict[tuple[str, torch.dtype], Tensor] = {}
    for view in machine.views:
        if id(view.tensor) not in wanted:
            continue
        storage = view.storage
        if (storage.key, storage.dtype) not in bases:
            data = block(storage.key)
            n_elements = len(data) // storage.dtype.itemsize
            empty = torch.empty(0, dtype=storage.dtype)
            bases[storage.key, storage.dtype] = (
                torch.frombuffer(data, dtype=storage.dtype, count=n_elements) if n_elements else empty
            )
        base = bases[storage.key, storage.dtype]
        if storage.start + storage.n_elements > len(base):
            raise ValueError("a tensor that is larger than its data")
        view.tensor.set_(base.as_strided(view.size, view.stride, storage.start + view.offset))  # type: ignore[call-overload]
    return content


def _tensors_in(content: Any) -> set[int]:
    """Identities of the tensors that can be reached from ``content``."""
    seen: set[int] = set()
    tensors: set[int] = set()
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            tensors.add(id(value))
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value
        elif isinstance(value, InertObject):
            waiting += [value.args, value.state, value.items, value.entries]
        elif isinstance(value, np.ndarray) and value.dtype == object:
            waiting += value.ravel().tolist()
    return tensors


def _read_npy(file: BinaryIO) -> np.ndarray:
    size = _size(file)
    file.seek(0)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"npy version {version}")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    n_items = int(np.prod(shape, dtype=object)) if shape else 1
    if dtype.hasobject:
        pickled = file.read()
        machine = PickleMachine(io.BytesIO(pickled), len(pickled))
        array = machine.load()
        if not isinstance(array, np.ndarray) or array.size != n_items or machine.views:
            raise ValueError("an array of objects whose contents do not fit its shape")
        return array.reshape(shape)
    if min(shape, default=0) < 0 or n_items * dtype.itemsize > size - file.tell():
        raise ValueError("the file ends within the array")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)

"""Feature indexes as files: the pickle of 4.1, {speaker id: faiss index}, and the .index files of faiss and RVC.

faiss is not needed. Its own reader believes the sizes that a file claims, so that hostile bytes can reserve any memory;
whoever checks all of them first has read the index. The layout is that of faiss 1.5 to 1.15 (`impl/index_write.cpp`):
an IVF index of float32 vectors with flat lists ("IwFl", "ilar") around a flat table of centres ("IxF2"), and a flat
table alone. The pickle is not executed: `common.unpickle` reads it, and what is written is a few fixed opcodes.
"""

import pickle
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from cluster.feature_index import FeatureIndex
from cluster.kmeans import LARGEST
from common import unpickle
from common.failures import shown
from common.formats import write_atomically
from common.unpickle import InertObject

L2 = 1  # faiss' number for squared Euclidean distances
UNUSED = 1 << 20  # stands twice in every header
INDEX_NAME = re.compile(r"Index-(\d+)\.index")  # as MoeVoiceStudio wants them
FORMATS = ("pkl", "index")


def read_indexes(path: Path) -> dict[int | None, FeatureIndex]:
    """Indexes by speaker id; one under None where the file is a single index and its name names no speaker.

    Raises:
        UnsafePickleError: reading the pickle would call code.
        ValueError: damaged, no feature index, or one of a kind that is not supported; the message names the file.
        FileNotFoundError: it is not there.
    """
    with open(path, "rb") as file:
        single = file.read(4) in (b"IwFl", b"IxF2", b"IxFI", b"IxFl") or path.suffix == ".index"
    if single:
        match = INDEX_NAME.fullmatch(path.name)
        return {int(match[1]) if match else None: _parsed(path.read_bytes(), str(path))}
    content = unpickle.read_file(path)
    if not isinstance(content, dict) or not content or not all(map(_is_index, content.values())):
        raise ValueError(f"{path} is no feature index: run python train_index.py for one")
    if not all(isinstance(key, (int, np.integer)) for key in content):
        raise ValueError(f"{path}: its keys are {shown(list(content))}, not the ids of speakers")
    return {int(key): _parsed(value.state["this"], f"{path}, speaker {key}") for key, value in content.items()}


def _is_index(value: Any) -> bool:
    is_faiss = isinstance(value, InertObject) and value.cls.startswith("faiss.") and isinstance(value.state, dict)
    return is_faiss and isinstance(value.state.get("this"), (bytes, bytearray, np.ndarray))


def write_index(path: Path, index: FeatureIndex) -> None:
    """Write one index as faiss' `write_index` does."""

    def write(file: IO[bytes]) -> None:
        for part in _serialized(index):
            file.write(part)

    write_atomically(path, write)


def write_pickle(path: Path, indexes: Iterable[tuple[int, FeatureIndex]]) -> None:
    """Write pairs of speaker id and index, one after the other, as pickling a dict of faiss' objects does.

    The class is called `faiss.IndexIVFFlat`: what faiss itself writes names the build on the machine, as in
    `faiss.swigfaiss_avx2`, which another one may lack.
    """

    def write(file: IO[bytes]) -> None:
        file.write(pickle.PROTO + b"\x04" + pickle.EMPTY_DICT)
        for speaker_id, index in indexes:
            file.write(pickle.BININT + struct.pack("<i", speaker_id))
            file.write(pickle.GLOBAL + b"faiss\nIndexIVFFlat\n" + pickle.EMPTY_TUPLE + pickle.NEWOBJ)
            parts = list(_serialized(index))
            size = sum(memoryview(part).nbytes for part in parts)
            file.write(pickle.EMPTY_DICT + pickle.SHORT_BINUNICODE + b"\x04this")
            file.write(pickle.BINBYTES8 + struct.pack("<Q", size))
            for part in parts:
                file.write(part)
            file.write(pickle.SETITEM + pickle.BUILD + pickle.SETITEM)
        file.write(pickle.STOP)

    write_atomically(path, write)


# ---- faiss' layout


def _header(n_vectors: int, width: int) -> bytes:
    return struct.pack("<iqqq?i", width, n_vectors, UNUSED, UNUSED, True, L2)


def _serialized(index: FeatureIndex) -> Iterator[Any]:
    """The parts of an index' file: bytes, and arrays where they are large."""
    (n_lists, width), sizes = index.centres.shape, index.sizes.tolist()
    yield b"IwFl" + _header(len(index.vectors), width) + struct.pack("<QQ", n_lists, index.n_probes)
    yield b"IxF2" + _header(n_lists, width) + struct.pack("<Q", n_lists * width)
    yield np.ascontiguousarray(index.centres.numpy())
    yield b"\0" + struct.pack("<Q", 0)  # no map from ids to places
    yield b"ilar" + struct.pack("<QQ", n_lists, 4 * width) + b"full" + struct.pack("<Q", n_lists)
    yield np.array(sizes, np.uint64)
    ends = np.cumsum(sizes)
    for start, end in zip(ends - sizes, ends, strict=True):
        yield np.ascontiguousarray(index.vectors[start:end].numpy())
        yield np.arange(start, end, dtype=np.int64)


class _Cursor:
    """Reads numbers from bytes, and believes no size before the data are seen to be there."""

    def __init__(self, data: Any) -> None:
        self.data, self.position = memoryview(data).cast("B"), 0

    def bytes(self, n_bytes: int) -> memoryview:
        if not 0 <= n_bytes <= len(self.data) - self.position:
            raise ValueError("it ends too early")
        self.position += n_bytes
        return self.data[self.position - n_bytes : self.position]

    def numbers(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack("<" + layout, self.bytes(struct.calcsize("<" + layout)))

    def array(self, n_items: int, dtype: Any) -> np.ndarray:
        return np.frombuffer(self.bytes(n_items * np.dtype(dtype).itemsize), dtype)

    def vector(self, dtype: Any) -> np.ndarray:
        """An array with its length in front."""
        return self.array(self.numbers("Q")[0], dtype)

    def expect(self, *names: bytes) -> bytes:
        found = bytes(self.bytes(4))
        if found not in names:
            kind = shown(found.decode("latin1"))
            raise ValueError(f"an index of kind {kind}; IVF,Flat and Flat are supported")
        return found


def _parsed(data: Any, where: str) -> FeatureIndex:
    try:
        return _read(_Cursor(np.ascontiguousarray(data) if isinstance(data, np.ndarray) else data))
    except (ValueError, struct.error, TypeError) as error:
        raise ValueError(f"{where}: no feature index that can be read ({error})") from None


def _read(cursor: _Cursor) -> FeatureIndex:
    if cursor.expect(b"IwFl", b"IxF2", b"IxFl") != b"IwFl":
        cursor.position = 0
        vectors = _read_flat(cursor)
        return FeatureIndex(vectors.mean(0, keepdim=True), torch.tensor([len(vectors)]), vectors)
    n_vectors, width = _read_header(cursor)
    n_lists, n_probes = cursor.numbers("QQ")
    centres = _read_flat(cursor)
    if centres.shape != (n_lists, width):
        raise ValueError("its centres do not fit its lists")
    (map_kind,) = cursor.numbers("B")
    cursor.vector(np.int64)
    if map_kind == 2:  # a hash table from ids to places
        cursor.vector(np.dtype((np.void, 16)))
    sizes = _read_sizes(cursor, n_lists, 4 * width)
    if int(sizes.sum(dtype=object)) != n_vectors:
        raise ValueError("its lists do not hold as many vectors as it claims")
    lists = []
    for size in map(int, sizes):
        lists.append(cursor.array(size * width, "<f4"))
        cursor.bytes(8 * size)  # ids: the vectors themselves are what is looked for
    vectors = _finite(np.concatenate(lists).reshape(n_vectors, width))
    return FeatureIndex(centres, torch.from_numpy(sizes.astype(np.int64)), vectors, max(1, min(n_probes, n_lists)))


def _read_header(cursor: _Cursor) -> tuple[int, int]:
    """Number of vectors and width."""
    width, n_vectors, _, _, is_trained, metric = cursor.numbers("iqqqBi")
    if width < 1 or n_vectors < 1 or not is_trained:
        raise ValueError("it is empty")
    if metric != L2:
        raise ValueError("it is not made for Euclidean distances")
    return n_vectors, width


def _read_flat(cursor: _Cursor) -> torch.Tensor:
    """A flat table of vectors (N, D)."""
    cursor.expect(b"IxF2", b"IxFl")
    n_vectors, width = _read_header(cursor)
    numbers = cursor.vector("<f4")
    if len(numbers) != n_vectors * width:
        raise ValueError("it does not hold as many vectors as it claims")
    return _finite(numbers.reshape(n_vectors, width))


def _read_sizes(cursor: _Cursor, n_lists: int, vector_bytes: int) -> np.ndarray:
    """How many vectors each list holds (L,)."""
    cursor.expect(b"ilar")
    if cursor.numbers("QQ") != (n_lists, vector_bytes):
        raise ValueError("its lists do not fit its vectors")
    if cursor.expect(b"full", b"sprs") == b"full":
        sizes = cursor.vector("<u8")
    else:  # pairs of a list and its size
        numbers = cursor.vector("<u8")
        pairs = numbers[: len(numbers) // 2 * 2].reshape(-1, 2)
        if len(pairs) and int(pairs[:, 0].max()) >= n_lists:
            raise ValueError("it has a list that it does not count")
        sizes = np.zeros(n_lists, "<u8")
        sizes[pairs[:, 0].astype(np.int64)] = pairs[:, 1]
    if len(sizes) != n_lists:
        raise ValueError("its lists do not fit its centres")
    return sizes


def _finite(vectors: np.ndarray) -> torch.Tensor:
    if not (np.einsum("ij,ij->i", vectors, vectors) < LARGEST).all():  # nor is NaN
        raise ValueError("numbers in it are not finite, or too large to be units")
    return torch.from_numpy(np.require(vectors, requirements=["C", "W"]))

"""What a pickle may build in ``common.pickle_machine``: tensors, numpy arrays, containers, inert objects.

Every check on sizes and types is here, so that a corrupt file raises ValueError and can neither reserve memory that it
has no data for nor reach numpy or torch with arguments that they trust.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.pickle_machine import PickleMachine

import numpy as np
import torch

MAX_DIMENSIONS = 32
STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}


class UnsafePickleError(ValueError):
    """Reading the file as its pickle asks would call code."""


@dataclass(frozen=True)
class Global:
    """A name in the file that stands for a class or a function; never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class InertObject:
    """What remains of an object of a class that is not imported: its class' name and what the file says of it."""

    cls: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    entries: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Storage:
    """A block of numbers beside the pickle, ``n_elements`` long."""

    dtype: torch.dtype
    key: str
    n_elements: int
    start: int = 0  # element at which it begins within the block, in files of before torch 0.4


@dataclass(frozen=True, eq=False)
class TensorView:
    """A tensor that is to be filled, in place, when the position of its storage is known."""

    tensor: torch.Tensor
    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class DType:
    """A numpy dtype under construction: the byte order follows in a second step."""

    def __init__(self, spec: Any, *_: Any) -> None:
        if not (isinstance(spec, str) and re.fullmatch(r"[<>=|]?([?bBiufcSUO]\d{0,6}|[hHlLqQfdeFD])", spec)):
            raise ValueError("an array of a kind that is not numbers, text or objects")
        self.value = np.dtype(spec)

    def set_state(self, state: Any) -> None:
        if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise ValueError("a structured array")
        if self.value.kind in "iufcU" and state[1] in "<>":
            self.value = self.value.newbyteorder(state[1])


def _is_key(value: Any, depth: int = 3) -> bool:
    """Whether ``value`` may be a dict key: hashing deeply shared tuples can take for ever."""
    if isinstance(value, tuple):
        return depth > 0 and len(value) <= 16 and all(_is_key(item, depth - 1) for item in value)
    return value is None or isinstance(value, (str, int, float, bytes, complex, np.generic, Global, InertObject))


def checked_key(value: Any) -> Any:
    if not _is_key(value):
        raise ValueError(f"a {type(value).__name__} as a key")
    return value


def _dict(pairs: Any = ()) -> dict[Any, Any]:
    pairs = pairs.items() if isinstance(pairs, dict) else pairs
    return {checked_key(key): value for key, value in pairs}


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("text of an unknown encoding")
    return text.encode("latin1")


def _bytes(value: Any) -> bytes:
    """Raw data; Python 2 wrote it as a string."""
    if isinstance(value, str):
        return value.encode("latin1")
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    raise ValueError(f"a {type(value).__name__} where bytes are expected")


def _array_from_bytes(raw: Any, dtype: DType, shape: tuple[int, ...], order: str = "C", *_: Any) -> np.ndarray:
    array = np.empty(0, np.int8)
    set_array_state(array, (1, shape, dtype, order == "F", raw))
    return array


def set_array_state(array: np.ndarray, state: Any) -> None:
    """Give ``array`` its contents: state (version, shape, dtype, is_fortran, bytes or list), checked beforehand."""
    shape, holder, is_fortran, raw = state[-4:]
    dtype, shape = holder.value, _sizes(shape)
    n_items = int(np.prod(shape, dtype=object)) if shape else 1
    if dtype.kind == "O":
        if not isinstance(raw, list) or len(raw) != n_items:
            raise ValueError("an array whose shape does not fit its items")
        array.__setstate__((1, shape, dtype, bool(is_fortran), raw))  # type: ignore[arg-type]
        return
    raw = _bytes(raw)
    if dtype.itemsize < 1 or len(raw) != n_items * dtype.itemsize:
        raise ValueError("an array whose shape does not fit its data")
    array.__setstate__((1, shape, dtype, bool(is_fortran), raw))  # type: ignore[arg-type]


def _numpy_scalar(dtype: DType, raw: Any) -> Any:
    return _array_from_bytes(raw, dtype, ())[()]


def _natural(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**48:
        raise ValueError("a size that is no natural number")
    return value


def _sizes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or len(values) > MAX_DIMENSIONS:
        raise ValueError("a shape that is no short list of numbers")
    return tuple(_natural(n) for n in values)


def _rebuild_tensor(machine: "PickleMachine", storage: Any, offset: int, size: Any, stride: Any, *rest: Any) -> Any:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage")
    size, stride = _sizes(size), _sizes(stride)
    n_elements = int(np.prod(size, dtype=object)) if size else 1
    last = _natural(offset) + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if n_elements else 0
    # the first condition alone would let one number be seen as a tensor of any size, which a later copy makes real
    if n_elements > storage.n_elements or (n_elements and last >= storage.n_elements):
        raise ValueError("a tensor that is larger than its storage")
    tensor = torch.empty(0, dtype=storage.dtype)
    machine.views.append(TensorView(tensor, storage, offset, size, stride))
    return tensor


def _rebuild_tensor_v3(machine: "PickleMachine", storage: Any, offset: int, size: Any, stride: Any, *rest: Any) -> Any:
    dtype = rest[2] if len(rest) > 2 else None
    if not isinstance(dtype, torch.dtype) or not isinstance(storage, Storage):
        raise ValueError("a tensor without a type")
    typed = Storage(dtype, storage.key, storage.n_elements // dtype.itemsize)
    return _rebuild_tensor(machine, typed, offset, size, stride)


def _rebuild_parameter(machine: "PickleMachine", data: Any, *_: Any) -> Any:
    return data


def _rebuild_subclass(machine: "PickleMachine", function: Any, cls: Any, args: Any, *_: Any) -> Any:
    return machine.call(function, args)


def _getitem(machine: "PickleMachine", container: Any, *args: Any) -> Any:
    """``typing.List[float]`` and its like, as omegaconf's settings hold them."""
    if not isinstance(container, Global) or container.module != "typing":
        raise UnsafePickleError("operator.getitem")
    return InertObject(str(container), args)


def _reconstructor(machine: "PickleMachine", cls: Any, *_: Any) -> Any:
    return machine.new_object(cls, ())


_NUMPY: dict[str, Callable[..., Any]] = {
    "multiarray._reconstruct": lambda _, *args: np.empty(0, np.int8),
    "multiarray.scalar": lambda _, *args: _numpy_scalar(*args),
    "numeric._frombuffer": lambda _, *args: _array_from_bytes(*args),
}
CALLS: Mapping[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch._tensor._rebuild_from_type_v2": _rebuild_subclass,
    "torch.Size": lambda _, items=(): tuple(items),
    "torch.device": lambda _, *args: InertObject("torch.device", args),
    **{f"numpy.{core}.{name}": call for core in ("core", "_core") for name, call in _NUMPY.items()},
    "numpy.dtype": lambda _, *args: DType(*args),
    "collections.OrderedDict": lambda _, *args: _dict(*args),
    "collections.Counter": lambda _, *args: _dict(*args),
    "collections.defaultdict": lambda _, factory=None: {},
    "collections.deque": lambda _, items=(), *args: list(items),
    "builtins.set": lambda _, items=(): {checked_key(item) for item in items},
    "builtins.frozenset": lambda _, items=(): frozenset(checked_key(item) for item in items),
    "builtins.bytearray": lambda _, value=b"", *args: bytearray(_bytes(value)),
    "builtins.bytes": lambda _, value=b"", *args: _bytes(value),
    "builtins.complex": lambda _, *args: complex(*args),
    "builtins.slice": lambda _, *args: slice(*args),
    "_codecs.encode": lambda _, *args: _encode(*args),
    "operator.getitem": _getitem,
    "copyreg._reconstructor": _reconstructor,
}

"""A pickle interpreter that can build data and nothing else.

Python's own unpickler imports and calls whatever a file names. This one walks the opcodes (``pickletools`` decodes
them) and keeps every name as an inert ``Global``; none is looked up (torch's dtypes come from a table). Calling one is
possible only for the few functions of ``pickle_objects.CALLS``; a class of a package that is known to put harmless
objects into checkpoints becomes an ``InertObject``; everything else is refused. An object that pickle would only
allocate, without calling its class (opcode NEWOBJ), is inert whatever its package, except for the standard library,
which has no business there.
"""

import pickletools
import sys
from typing import Any, BinaryIO

import numpy as np
import torch

from common.pickle_objects import (
    CALLS,
    STORAGE_DTYPES,
    DType,
    Global,
    InertObject,
    Storage,
    TensorView,
    UnsafePickleError,
    checked_key,
    set_array_state,
)

# What these put into pickles are settings and vocabularies: their classes may be "called".
INERT_PACKAGES = {"fairseq", "omegaconf", "hydra", "sklearn", "faiss"}
INERT_STDLIB = {"argparse", "typing", "pathlib", "datetime", "enum", "decimal", "fractions", "uuid"}
OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg", "_operator": "operator"}
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in STORAGE_DTYPES.values()}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
FRESH = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
PUSHED = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
IGNORED = {"PROTO", "FRAME"}
NAMES = {
    **{"BINPUT": "put", "LONG_BINPUT": "put", "PUT": "put", "BINGET": "get", "LONG_BINGET": "get", "GET": "get"},
    **{"APPEND": "extend_one", "APPENDS": "extend", "ADDITEMS": "extend", "SETITEM": "set_one", "SETITEMS": "set_many"},
    **{"TUPLE1": "tuple_n", "TUPLE2": "tuple_n", "TUPLE3": "tuple_n", "PERSID": "persid"},
}


class PickleMachine:
    """Reads one pickle after the other from ``stream``.

    ``views`` collects the tensors, whose data lie outside of the pickle. ``size`` (bytes of the stream) bounds what
    calls may copy: without it a short file could multiply one long string without end.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream = stream
        self.views: list[TensorView] = []
        self.item_sizes: dict[str, int] = {}  # bytes per element of each storage
        self.allowance = 4 * size + 2**20

    def load(self) -> Any:
        """Return the next object of the stream.

        Raises:
            UnsafePickleError: its message is the name of what would be called.
            ValueError: the pickle is broken; so may be meant by other built-in exceptions, which the caller translates.
        """
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # stacks under each open mark
        self.memo: dict[int, Any] = {}
        start = self.stream.tell()
        if self.stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):  # begins no pickle
            raise ValueError("it looks like a web page: download the file itself")
        self.stream.seek(start)
        for opcode, arg, _ in pickletools.genops(self.stream):
            name = opcode.name
            if name in PUSHED:
                self.stack.append(arg)
            elif name in CONSTANTS:
                self.stack.append(CONSTANTS[name])
            elif name in FRESH:
                self.stack.append(FRESH[name]())
            elif name not in IGNORED and name != "STOP":
                operation = getattr(self, "op_" + NAMES.get(name, name.lower()), None)
                if operation is None:
                    raise ValueError(f"pickle opcode {name} is not supported")
                operation(name if name.startswith("TUPLE") else arg)
        return self.stack.pop()

    # stack

    def op_mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def op_pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def op_pop_mark(self, _: Any) -> None:
        self.since_mark()

    def op_dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def op_put(self, key: int) -> None:
        self.memo[key] = self.stack[-1]

    def op_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def op_get(self, key: int) -> None:
        self.stack.append(self.memo[key])

    # containers

    def op_tuple(self, _: Any) -> None:
        items = self.since_mark()
        self.stack.append(tuple(items))

    def op_tuple_n(self, name: str) -> None:
        n_items = int(name[-1])
        if len(self.stack) < n_items:
            raise IndexError("stack underflow")
        self.stack[-n_items:] = [tuple(self.stack[-n_items:])]

    def op_list(self, _: Any) -> None:
        items = self.since_mark()
        self.stack.append(items)

    def op_dict(self, _: Any) -> None:
        items = self.since_mark()
        self.stack.append({})
        self.set_pairs(items)

    def op_frozenset(self, _: Any) -> None:
        items = self.since_mark()
        self.stack.append(frozenset(map(checked_key, items)))

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, set):
            target.update(checked_key(item) for item in items)
        elif isinstance(target, (list, InertObject)):
            (target if isinstance(target, list) else target.items).extend(items)
        else:
            raise ValueError(f"items appended to a {type(target).__name__}")

    def op_extend_one(self, _: Any) -> None:
        self.extend([self.stack.pop()])

    def op_extend(self, _: Any) -> None:
        self.extend(self.since_mark())

    def set_pairs(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, (dict, InertObject)) or len(items) % 2:
            raise ValueError(f"entries set in a {type(target).__name__}")
        entries = target if isinstance(target, dict) else target.entries
        entries.update(zip(map(checked_key, items[::2]), items[1::2], strict=True))

    def op_set_one(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_pairs([key, value])

    def op_set_many(self, _: Any) -> None:
        self.set_pairs(self.since_mark())

    # names, objects and calls

    def push_global(self, module: str, name: str) -> None:
        if module == "torch" and name in DTYPES:
            self.stack.append(DTYPES[name])
        else:
            self.stack.append(Global(OLD_MODULES.get(module, module), name))

    def op_global(self, arg: str) -> None:
        module, _, name = arg.partition(" ")
        self.push_global(module, name)

    def op_stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a name that is no text")
        self.push_global(module, name)

    def call(self, function: Any, args: Any, **kwargs: Any) -> Any:
        """What REDUCE does: the stand-in of ``CALLS``, or an inert object."""
        if not isinstance(function, Global) or not isinstance(args, tuple):
            raise ValueError(f"a {type(function).__name__} that is called")
        self.allowance -= sum(len(arg) for arg in args if isinstance(arg, (str, bytes, bytearray, list, tuple, dict)))
        if self.allowance < 0:
            raise ValueError("it asks for more data than it holds")
        if str(function) in CALLS:
            return CALLS[str(function)](self, *args)
        if function.module.partition(".")[0] in INERT_PACKAGES | INERT_STDLIB:
            return InertObject(str(function), args)
        raise UnsafePickleError(str(function))

    def new_object(self, cls: Any, args: Any) -> InertObject:
        """What NEWOBJ does: memory for an object of a class, nothing called."""
        if not isinstance(cls, Global) or not isinstance(args, tuple):
            raise ValueError(f"an object of a {type(cls).__name__}")
        package = cls.module.partition(".")[0]
        if package in sys.stdlib_module_names and package not in INERT_STDLIB:
            raise UnsafePickleError(str(cls))
        return InertObject(str(cls), args)

    def op_reduce(self, _: Any) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        self.stack.append(self.call(function, args))

    def op_inst(self, arg: str) -> None:
        args = tuple(self.since_mark())
        self.op_global(arg)
        self.stack.append(self.call(self.stack.pop(), args))

    def op_obj(self, _: Any) -> None:
        function, *args = self.since_mark()
        self.stack.append(self.call(function, tuple(args)))

    def op_newobj(self, _: Any) -> None:
        args, cls = self.stack.pop(), self.stack.pop()
        self.stack.append(self.new_object(cls, args))

    def op_newobj_ex(self, _: Any) -> None:
        _, args, cls = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.stack.append(self.new_object(cls, args))

    def op_build(self, _: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, np.ndarray):
            self.allowance -= len(state[-1])
            if self.allowance < 0:
                raise ValueError("it asks for more data than it holds")
            set_array_state(target, state)
        elif isinstance(target, DType):
            target.set_state(state)
        elif isinstance(target, InertObject):
            target.state = state
        elif not isinstance(target, (dict, torch.Tensor)):  # theirs are attributes such as a state dict's version
            raise ValueError(f"a state for a {type(target).__name__}")

    def op_persid(self, _: Any) -> None:
        raise ValueError("a reference to something outside of the file")

    def op_binpersid(self, _: Any) -> None:
        """A storage, as torch.save refers to it: ("storage", type, key, device, n_elements[, part of another])."""
        kind, *rest = self.stack.pop()
        if kind == "module":  # a layer's class with its source text, in files of before torch 1.6
            self.stack.append(rest[0])
            return
        storage_type, key, _, n_elements, *view = rest
        if kind != "storage" or not isinstance(storage_type, Global) or not isinstance(key, str):
            raise ValueError("a reference to something outside of the file")
        if storage_type.name not in STORAGE_DTYPES or not isinstance(n_elements, int) or n_elements < 0:
            raise ValueError("a tensor of a kind that is not supported")
        start = 0
        if view and view[0] is not None:
            _, start, n_elements = view[0]
        dtype = STORAGE_DTYPES[storage_type.name]
        self.item_sizes.setdefault(key, dtype.itemsize)
        self.stack.append(Storage(dtype, key, n_elements, start))

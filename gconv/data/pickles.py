"""Read the pickles in which data sets are published, without running pickle code.

A pickle is a program for a small stack machine, and one of its instructions calls any function by name. Here a machine
knows only the instructions that these files are made of, the three names by which numpy writes an array, and those of
the kind of files that is read; a call is never made, but its meaning (an array of numbers) put in its place. Anything
else is refused with its name and position.

Values: dictionaries, lists, tuples, bytes, text, whole numbers, None, truth values, and arrays as tensors.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gconv.data.errors import DataError

_RECONSTRUCT = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}
_NDARRAY, _DTYPE, _ENCODE = ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")
_KNOWN = {*_RECONSTRUCT, _NDARRAY, _DTYPE, _ENCODE}
_NUMBERS = {
    "u1": torch.uint8,
    "i4": torch.int32,
    "i8": torch.int64,
    "f4": torch.float32,
    "f8": torch.float64,
}


@dataclass(frozen=True)
class Kind:
    """A kind of files: whose they are, the numbers in their arrays, and what stands for a call of a further name."""

    owner: str
    numbers: frozenset[str]
    calls: Mapping[tuple[str, str], Callable[[], Any]] = field(default_factory=dict)


CIFAR = Kind("CIFAR", frozenset({"u1"}))


@dataclass
class Held:
    """An object of which only the state is wanted, by names."""

    state: dict[str, Any] = field(default_factory=dict)


class _Refused(Exception):
    """An instruction or a name that these files do not need."""


@dataclass(frozen=True)
class _Name:
    """A function or class that the pickle names; it is never looked up."""

    module: str
    name: str

    @property
    def key(self) -> tuple[str, str]:
        return self.module, self.name


@dataclass
class _DType:
    code: str
    order: str = "|"


@dataclass
class _Array:
    tensor: torch.Tensor | None = None


@dataclass
class _Machine:
    """The stack, the marks in it, and the memo."""

    kind: Kind
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def push_tuple(self, size: int) -> None:
        items = tuple(self.stack[len(self.stack) - size :])
        if len(items) != size:
            raise IndexError("the stack is too short")
        del self.stack[len(self.stack) - size :]
        self.stack.append(items)


def _bytes(machine: _Machine, argument: Any) -> None:
    machine.stack.append(argument.encode("latin-1") if isinstance(argument, str) else bytes(argument))


def _global(machine: _Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    _push_name(machine, module, name)


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise _Refused("it calls what is no name")
    _push_name(machine, module, name)


def _push_name(machine: _Machine, module: str, name: str) -> None:
    if (module, name) not in _KNOWN and (module, name) not in machine.kind.calls:
        raise _Refused(f"it calls {module}.{name}")
    machine.stack.append(_Name(module, name))


def _reduce(machine: _Machine, _: Any) -> None:
    arguments, function = machine.stack.pop(), machine.stack.pop()
    if not isinstance(function, _Name) or not isinstance(arguments, tuple):
        raise _Refused("it calls what is no name")
    if function.key in _RECONSTRUCT and len(arguments) == 3 and arguments[0] == _Name(*_NDARRAY):
        machine.stack.append(_Array())
    elif function.key == _DTYPE and arguments and isinstance(arguments[0], str | bytes):
        code = arguments[0]
        machine.stack.append(_DType((code.decode("latin-1") if isinstance(code, bytes) else code).lstrip("|<")))
    elif function.key == _ENCODE and len(arguments) == 2 and isinstance(arguments[0], str) and arguments[1] == "latin1":
        machine.stack.append(arguments[0].encode("latin-1"))
    elif function.key in machine.kind.calls:
        machine.stack.append(machine.kind.calls[function.key]())
    else:
        raise _Refused(f"it calls {function.module}.{function.name} with arguments of its own")


def _build(machine: _Machine, _: Any) -> None:
    state, target = machine.stack.pop(), machine.stack[-1]
    if isinstance(target, _DType):
        target.order = _text(state[1])
    elif isinstance(target, Held) and isinstance(state, dict):
        target.state = {_text(name): _plain(value) for name, value in state.items()}
    elif isinstance(target, _Array) and isinstance(state, tuple) and len(state) == 5:
        target.tensor = _tensor(machine.kind, *state[1:])
    else:
        raise _Refused("it sets the state of what is no array")


def _tensor(kind: Kind, shape: Any, dtype: Any, fortran: Any, content: Any) -> torch.Tensor | None:
    content = content.encode("latin-1") if isinstance(content, str) else content
    known = isinstance(dtype, _DType) and dtype.code in kind.numbers and dtype.order in "|<"
    if not known or fortran or not isinstance(content, bytes):
        numbers = "bytes" if kind.numbers == {"u1"} else ", ".join(sorted(kind.numbers))
        raise _Refused(f"it holds an array of other numbers than {numbers} in row-major order")
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise _Refused("it holds an array whose shape is no tuple of whole numbers")
    numbers = _NUMBERS[dtype.code]
    if math.prod(shape) * numbers.itemsize != len(content):
        raise _Refused(f"it holds an array of {len(content):,} bytes for shape {shape}")
    return torch.frombuffer(bytearray(content), dtype=numbers).reshape(shape) if content else None


def _set_items(machine: _Machine, _: Any) -> None:
    items = machine.pop_mark()
    _update(machine.stack[-1], items[::2], items[1::2])


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _update(machine.stack[-1], [key], [value])


def _update(target: Any, keys: list[Any], values: list[Any]) -> None:
    # A tuple of tuples, each twice in the next, would take for ever to hash, and to write into a message.
    if not isinstance(target, dict) or not all(isinstance(key, str | bytes | int) for key in keys):
        raise _Refused("it has entries of what is no dictionary, or under keys that are no text or whole numbers")
    target.update(zip(keys, values, strict=True))


def _put(machine: _Machine, argument: Any) -> None:
    machine.memo[len(machine.memo) if argument is None else argument] = machine.stack[-1]


def _constant(make: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(make())


def _argument(machine: _Machine, argument: Any) -> None:
    machine.stack.append(argument)


_OPCODES: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, argument: None),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "INT", "LONG1"), _argument),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE"), _argument),
    **dict.fromkeys(("SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"), _bytes),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), _put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, place: machine.stack.append(machine.memo[place])),
    "NONE": _constant(lambda: None),
    "NEWTRUE": _constant(lambda: True),
    "NEWFALSE": _constant(lambda: False),
    "EMPTY_DICT": _constant(dict),
    "EMPTY_LIST": _constant(list),
    "EMPTY_TUPLE": _constant(tuple),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "APPEND": lambda machine, _: machine.stack[-2].append(machine.stack.pop()),
    "APPENDS": lambda machine, _: (items := machine.pop_mark(), machine.stack[-1].extend(items))[-1],
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_mark())),
    "TUPLE1": lambda machine, _: machine.push_tuple(1),
    "TUPLE2": lambda machine, _: machine.push_tuple(2),
    "TUPLE3": lambda machine, _: machine.push_tuple(3),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _reduce),
    "BUILD": _build,
}


def read_pickle(path: str | Path) -> dict[str, Any]:
    """Read a pickled dictionary, as CIFAR's files are, without running anything in it; its keys as text.

    `DataError` for a file that is damaged, holds another thing, or any instruction that CIFAR's files do not need.

    >>> import pickle, tempfile
    >>> path = Path(tempfile.mkdtemp()) / "meta"
    >>> _ = path.write_bytes(pickle.dumps({b"num_vis": 3072, b"label_names": [b"cat"]}, protocol=2))
    >>> read_pickle(path)["label_names"]
    [b'cat']
    """
    value = read_value(path, CIFAR)
    if not isinstance(value, dict):
        raise DataError(f"{path}: found a {type(value).__name__}, expected the dictionary that CIFAR's files hold")
    return {_text(key): _plain(item) for key, item in value.items()}


def read_value(path: str | Path, kind: Kind) -> Any:
    """Read what a pickle of this kind holds, without running anything in it.

    `DataError` for a file that is damaged, or has any instruction or name that files of this kind do not need.
    """
    path = Path(path)
    machine, position = _Machine(kind), 0
    try:
        for opcode, argument, at in pickletools.genops(path.read_bytes()):
            position = at or 0
            if opcode.name not in _OPCODES:
                raise _Refused(f"it has the instruction {opcode.name}")
            _OPCODES[opcode.name](machine, argument)
        (value,) = machine.stack
    except _Refused as refusal:
        raise DataError(
            f"{path}: refused at byte {position}, nothing in it was run: {refusal}, which no file of {kind.owner} "
            "does; fetch or copy the file again"
        ) from refusal
    except (ValueError, IndexError, KeyError, AttributeError, TypeError, UnicodeError, OverflowError) as error:
        raise DataError(
            f"{path}: found a pickle that breaks off or makes no sense at byte {position} ({error}), expected a "
            "complete one; delete the file and fetch or copy it again"
        ) from error
    return _plain(value)


def _plain(value: Any) -> Any:
    return value.tensor if isinstance(value, _Array) else value


def _text(key: Any) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)

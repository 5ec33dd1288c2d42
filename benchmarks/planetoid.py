"""Read the Planetoid files of Cora (`ind.cora.graph`, `.allx`, `.tx`, `.test.index`) without running what is in them.

They are pickles. Unpickling one calls whatever it names, so none is unpickled: the opcodes are parsed, and played on a
stack that knows numbers, strings, lists, tuples and dictionaries. What they would call stays a name with its arguments.
Of those, three are understood: a dictionary, a numpy array and a scipy CSR matrix.

The features of test nodes stand in the order of `test.index`; here every node has its own row. Edges go both ways,
once, without loops: 2,708 nodes, 10,556 edges, 1,433 features (Yang, Cohen and Salakhutdinov, 2016).
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gconv import Graph
from gconv.data.errors import DataError, MissingDataError

_NUMBERS = ("i4", "i8", "f4", "f8")
_MARK = object()


@dataclass
class Made:
    """What a pickle would have made by a call: the name, the arguments, and what was set afterwards."""

    name: str
    arguments: Any
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)


def cora(data: Path) -> tuple[Graph, Tensor]:
    """The graph of Cora, and its features as a sparse CSR tensor `(2708, 1433)`.

    Args:
        data: the folder with `Cora/raw` or `planetoid/Cora/raw` in it.

    Raises:
        MissingDataError: if the files are not there. DataError: if they are damaged, or are something else.
    """
    folders = [data / "Cora/raw", data / "planetoid/Cora/raw"]
    folder = next((folder for folder in folders if (folder / "ind.cora.graph").is_file()), None)
    if folder is None:
        raise MissingDataError(f"no ind.cora.graph in {folders[0]} or {folders[1]}; say with --data-dir where Cora is")
    known, unknown = (_matrix(folder / f"ind.cora.{name}") for name in ("allx", "tx"))
    places = np.loadtxt(folder / "ind.cora.test.index", dtype=np.int64)
    if sorted(places) != list(range(known.shape[0], known.shape[0] + unknown.shape[0])):
        raise DataError(
            f"{folder}: test.index does not name the {unknown.shape[0]} rows after those of allx, once each"
        )
    order = torch.empty(len(places), dtype=torch.long)
    order[torch.from_numpy(places) - known.shape[0]] = torch.arange(len(places))
    features = torch.cat([known, unknown[order]])
    lists = read(folder / "ind.cora.graph")
    if not isinstance(lists, Made) or lists.name != "collections.defaultdict":
        raise DataError(f"{folder / 'ind.cora.graph'}: expected a dictionary of neighbours; copy the file again")
    pairs = torch.tensor([(node, other) for node, others in lists.items.items() for other in others]).T
    both = torch.cat([pairs, pairs.flip(0)], 1)
    nodes = features.shape[0]
    keys = torch.unique(both[0] * nodes + both[1])
    edges = torch.stack([keys // nodes, keys % nodes])
    return Graph(edges[:, edges[0] != edges[1]], nodes), features.to_sparse_csr()


def read(path: Path) -> Any:
    """The value in a pickle; calls stay `Made`.

    Raises:
        DataError: for opcodes that such files have no need of, or a file that ends early.
    """
    stack: list[Any] = []
    memory: dict[int, Any] = {}

    def marked() -> list[Any]:
        at = max(place for place, value in enumerate(stack) if value is _MARK)
        values = stack[at + 1 :]
        del stack[at:]
        return values

    def made(name: str, _: Any) -> None:
        arguments, called = stack.pop(), stack.pop()
        if not isinstance(called, Made):
            raise DataError(f"{path}: {name} of something that has no name")
        stack.append(Made(called.name, arguments))

    def append(values: list[Any]) -> None:
        stack[-1].extend(values)

    def set_items(values: list[Any]) -> None:
        target = stack[-1].items if isinstance(stack[-1], Made) else stack[-1]
        target.update(zip(values[::2], values[1::2], strict=True))

    def build(_: str, __: Any) -> None:
        state = stack.pop()
        stack[-1].state = state

    def tuple_of(count: int) -> Callable[[str, Any], None]:
        def play(_: str, __: Any) -> None:
            values = tuple(stack[-count:])
            del stack[-count:]
            stack.append(values)

        return play

    def push(_: str, value: Any) -> None:
        stack.append(value)

    play: dict[str, Callable[[str, Any], Any]] = {
        "GLOBAL": lambda _, name: stack.append(Made(name.replace(" ", "."), ())),
        "NONE": lambda _, __: stack.append(None),
        "NEWTRUE": lambda _, __: stack.append(True),
        "NEWFALSE": lambda _, __: stack.append(False),
        "EMPTY_LIST": lambda _, __: stack.append([]),
        "EMPTY_DICT": lambda _, __: stack.append({}),
        "EMPTY_TUPLE": lambda _, __: stack.append(()),
        "MARK": lambda _, __: stack.append(_MARK),
        "TUPLE": lambda _, __: stack.append(tuple(marked())),
        "APPEND": lambda _, __: append([stack.pop()]),
        "APPENDS": lambda _, __: append(marked()),
        "SETITEMS": lambda _, __: set_items(marked()),
        "TUPLE1": tuple_of(1),
        "TUPLE2": tuple_of(2),
        "TUPLE3": tuple_of(3),
        "REDUCE": made,
        "NEWOBJ": made,
        "BUILD": build,
        "PROTO": lambda _, __: None,
        "STOP": lambda _, __: None,
        **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda _, place: memory.update({place: stack[-1]})),
        **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda _, place: stack.append(memory[place])),
        **dict.fromkeys(("BININT", "BININT1", "BININT2", "SHORT_BINSTRING", "BINSTRING"), push),
    }
    try:
        for opcode, argument, _ in pickletools.genops(path.read_bytes()):
            if opcode.name not in play:
                raise DataError(f"{path}: the opcode {opcode.name} has no place in a Planetoid file; copy it again")
            play[opcode.name](opcode.name, argument)
    except (IndexError, KeyError, AttributeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not a whole Planetoid file ({error}); copy it again") from error
    return stack[-1]


def _matrix(path: Path) -> Tensor:
    """The dense matrix of a scipy CSR matrix."""
    found = read(path)
    if not isinstance(found, Made) or not found.name.endswith("csr_matrix") or not isinstance(found.state, dict):
        raise DataError(f"{path}: expected a scipy CSR matrix, found {type(found).__name__}; copy the file again")
    offsets, columns, values = (_array(path, found.state.get(name)) for name in ("indptr", "indices", "data"))
    shape = found.state["_shape"]
    return torch.sparse_csr_tensor(offsets, columns, values.float(), shape, check_invariants=True).to_dense()


def _array(path: Path, found: Any) -> Tensor:
    if not isinstance(found, Made) or not found.name.endswith("_reconstruct") or not isinstance(found.state, tuple):
        raise DataError(f"{path}: expected a numpy array; copy the file again")
    _, shape, dtype, _, content = found.state
    kind = dtype.arguments[0]
    if kind not in _NUMBERS:
        raise DataError(f"{path}: expected an array of one of {', '.join(_NUMBERS)}, found {kind!r}")
    numbers = np.frombuffer(content.encode("latin-1"), np.dtype(f"<{kind}")).reshape(shape)
    return torch.from_numpy(numbers.copy())

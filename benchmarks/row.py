"""What a row of a table of layers says: a layer in both libraries, with what PyG is given, the floor, and the targets.

Both libraries have the same class names, arguments and parameter names, so one function makes either layer; ours then
takes PyG's state dict, strictly. A layer that this version of gconv lacks raises `LookupError`, and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

from torch import nn
from torch.nn import Module

from benchmarks.edges import Edges, as_given
from benchmarks.floor import Product

Make = Callable[..., Any]


@dataclass(frozen=True)
class Target:
    """What is asked of a row; None where nothing is.

    Args:
        pyg: at least so many times as fast as PyG's fastest way.
        floor: at most so many times the floor; `compiled`: the same under `torch.compile`.
    """

    pyg: float | None = None
    floor: float | None = None
    compiled: float | None = None


NO_TARGET = Target()
# Layers that were added once the engine stood: none slower than PyG, and a median over all of PyG's of at least 4.
LATER, MEDIAN = Target(pyg=1.0), 4.0


@dataclass(frozen=True)
class StandIn:
    """What is run in place of a layer of PyG's that needs a package which is not there."""

    layer: type[Module]
    package: str


@dataclass(frozen=True)
class Row:
    """A layer in both libraries.

    Args:
        name: in the table. layer: the class, by its name in gconv and in PyG.
        build: `build(make, C_in, C_out)` calls the class, which is `make`.
        products: its dense products at these widths.
        target: on the grid, in batches. single: on one signal (Cora, a random graph).
        stand_in: what stands for PyG's class; None where PyG's own is run.
        pyg: options that PyG's twin alone is given; edges: the edges that go with them.
        dim: the number of pseudo-coordinates or attributes of an edge, 0 for none.
        heads: of attention: scores an edge.
        static: whether PyG's layer takes `(B, N, C)`; where not, why not is known without trying.
        kinks: whether rounding may decide on which side of a kink (ReLU, maximum) a gradient is taken.
        types: the kinds of the grid's edges as types, in place of attributes.
        general: the grid's edges with attributes that all differ, and nothing that tells of a grid.
        held: numbers that PyG holds for an edge and a signal, in forward and backward together.
        settings: what a reader needs to repeat it.
    """

    name: str
    layer: str
    build: Callable[[Make, int, int], Any]
    products: Callable[[int, int], tuple[Product, ...]]
    target: Target = NO_TARGET
    single: Target = NO_TARGET
    stand_in: StandIn | None = None
    pyg: Mapping[str, Any] = field(default_factory=dict)
    edges: Callable[[Edges], Edges] = as_given
    dim: int = 0
    heads: int = 0
    static: bool = True
    kinks: bool = False
    types: bool = False
    general: bool = False
    held: Callable[[int, int], int] = lambda cin, cout: 4 * max(cin, cout)
    settings: str = ""


def theirs_of(row: Row) -> Callable[..., Module]:
    """PyG's class, or what stands for it."""
    import torch_geometric.nn

    return vars(torch_geometric.nn)[row.layer] if row.stand_in is None else row.stand_in.layer


def twins(row: Row, cin: int, cout: int) -> tuple[Module, Callable[[], Module]]:
    """Our layer, and a function that makes PyG's with the same weights.

    Raises:
        LookupError: if gconv has no such layer.

    >>> from benchmarks.rows import ROWS
    >>> ours, theirs = twins(ROWS["GCN"], 4, 8)
    >>> bool((ours.lin.weight == theirs().lin.weight).all())
    True
    """
    import gconv

    make = vars(gconv).get(row.layer)
    if make is None:
        raise LookupError(f"gconv has no {row.layer}")

    def theirs() -> Module:
        return row.build(partial(theirs_of(row), **row.pyg), cin, cout)

    original = theirs()
    ours = row.build(make, cin, cout)
    ours.load_state_dict(original.state_dict())

    def copy() -> Module:
        other = theirs()
        other.load_state_dict(original.state_dict())
        return other

    return ours, copy


def linears(*widths: int) -> nn.Sequential:
    """Linear layers of these widths, with ReLU between them."""
    layers: list[nn.Module] = []
    for cin, cout in pairwise(widths):
        layers += [nn.Linear(cin, cout), nn.ReLU()]
    return nn.Sequential(*layers[:-1])

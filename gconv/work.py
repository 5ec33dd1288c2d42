"""What a graph layer does for one signal: multiply-adds, edges touched, and how far it sees.

A layer states it beside its equation, as `layer.work(graph, channels)`, by the sums over neighbours and the products
that its equation asks for, each where it is narrower; a form that comes to the same numbers by another way (a stencil,
an eigenbasis, a collapsed kernel) counts as much. Counted are

    products     a weight and a value, and the sum that they end in: N · C_in · C_out of a matrix on N nodes
    sums         one for each channel of each neighbour's value that is summed: E · C of E edges and C channels;
                 a largest, a smallest or a median counts none

and neither biases, functions of single numbers (σ, exp ...), additions alone, nor what is worked out once for all
signals of a call: plans, maps of edge features, kernels of the edges.

Edges are values of neighbours that are read, one for each channel-wide row, with the loops that a layer adds. Hops: the
result at a node depends on the nodes that at most so many edges lead from, or None if it may on all. Where neighbours
are found by position, hops are steps to the next cell, diagonals among them, and the window says more.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gconv.domains.graph import Graph

# Kernel, stride and dilation along each axis.
Window = tuple[Sequence[int], Sequence[int], Sequence[int]]

_WITHOUT_PRODUCTS = ("max", "min", "median")


class Work(NamedTuple):
    """What one layer does for one signal.

    Args:
        multiply_adds: products and sums. edges: values of neighbours that it reads.
        hops: how many edges away it sees; None for all nodes. window: on a grid's graph, where it sees by cells.
    """

    multiply_adds: int
    edges: int = 0
    hops: int | None = 0
    window: Window | None = None


def num_entries(graph: Graph, add_self_loops: bool) -> int:
    """How many edges there are with one loop a node, in place of those that the graph has; or as they are.

    >>> num_entries(Graph(torch.tensor([[0, 1], [0, 0]])), True)
    3
    """
    return graph.structure.with_loops[0].num_edges if add_self_loops else graph.num_edges


def summed(entries: int, channels: int, aggr: object = "sum") -> int:
    """The multiply-adds of putting so many rows together; `aggr`: a reduction, or several side by side.

    >>> summed(10, 3, "mean"), summed(10, 3, "max"), summed(10, 3, ["sum", "std", "min"])
    (30, 0, 60)
    """
    names = aggr if isinstance(aggr, tuple | list) else [aggr]
    return entries * channels * sum(name not in _WITHOUT_PRODUCTS for name in names)


def counted(run: Callable[[], object]) -> int:
    """The multiply-adds of all dense products of torch while something runs.

    >>> counted(lambda: torch.ones(2, 3) @ torch.ones(3, 5))
    30
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2


def a_row(network: Callable[[Tensor], Tensor], width: int) -> tuple[int, int]:
    """The multiply-adds of a network for one row of so many channels, and the channels of its result.

    >>> a_row(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), 3)
    (25, 2)
    """
    twin = copy.deepcopy(network).eval() if isinstance(network, nn.Module) else network
    like = next(iter(twin.parameters()), None) if isinstance(twin, nn.Module) else None
    row = torch.zeros(1, width) if like is None else like.new_zeros(1, width)
    results: list[Tensor] = []
    return counted(lambda: results.append(twin(row))), results[0].shape[-1]

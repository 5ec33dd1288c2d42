"""What the claims on one large signal share: Cora, and a random graph."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.contenders import step_of
from benchmarks.contest import CSR, contest, prove, single_ways
from benchmarks.edges import Edges
from benchmarks.floor import floor_step
from benchmarks.harness import Options, seconds
from benchmarks.row import Row, Target, twins
from gconv import Graph

WAYS = ("edge_index", CSR)
SPARSE_WAYS = tuple(f"{data} x, {way}" for data in ("dense", "sparse") for way in WAYS)


def of_one_signal(row: Row) -> Target:
    """What is asked of a row here."""
    return row.single


def random_edges(nodes: int, edges: int, seed: int = 0) -> Tensor:
    """Undirected edges, drawn at random, both ways; without loops, none twice.

    Raises:
        ValueError: if so few nodes have no so many edges.

    >>> random_edges(10, 20).shape
    torch.Size([2, 20])
    """
    if edges % 2 or edges > nodes * (nodes - 1) // 2:
        raise ValueError(f"takes an even number of edges, half of what fits at most; got {edges} for {nodes} nodes")
    generator = torch.Generator().manual_seed(seed)
    keys = torch.empty(0, dtype=torch.long)
    while len(keys) < edges // 2:
        ends = torch.randint(nodes, (2, edges), generator=generator).sort(0).values
        ends = ends[:, ends[0] < ends[1]]
        keys = torch.unique(torch.cat([keys, ends[0] * nodes + ends[1]]))
    keys = keys[torch.randperm(len(keys), generator=generator)[: edges // 2]]
    ends = torch.stack([keys // nodes, keys % nodes])
    return torch.cat([ends, ends.flip(0)], 1)


def degrees(edge_index: Tensor, nodes: int) -> Tensor:
    """MoNet's pseudo-coordinates on graphs without positions: 1/√degree of source and target, `(E, 2)`.

    >>> degrees(torch.tensor([[0, 1], [1, 0]]), 2)
    tensor([[1., 1.],
            [1., 1.]])
    """
    root = torch.bincount(edge_index[1], minlength=nodes).clamp(min=1).float().rsqrt()
    return root[edge_index].T.contiguous()


def measured(row: Row, make: Callable[[], Graph], width: int, options: Options) -> dict[str, Any]:
    """One row on one signal with `width` dense channels, and what the plan costs.

    Args:
        make: builds the graph, anew each time. Its first step builds the plan, and what that takes longer than a
            later one, with the graph's own making, is the plan's cost.
    """
    torch.manual_seed(0)
    ours, theirs = twins(row, width, width)
    graph = make()
    x, gradient = torch.randn(2, graph.num_nodes, width).unbind()
    prove(row, ours, theirs, graph, row.edges(Edges.of(graph)), x[None])
    step = step_of(ours, [x], [gradient], (graph,))
    found = contest(
        step,
        single_ways(row, theirs, row.edges(Edges.of(graph)), x, gradient),
        1,
        options,
        floor_step(row.products(width, width), x[None], graph.num_edges, row.heads),
        kinks=row.kinks,
    )
    first = [1e3 * seconds(lambda: step_of(ours, [x], [gradient], (make(),))()) for _ in range(3)]
    plan = max(0.0, statistics.median(first) - found["milliseconds"]["ours"]["median"])
    return {"settings": row.settings, "plan": plan, "first": first, **found}


def measured_sparse(row: Row, graph: Graph, features: Tensor, width: int, options: Options) -> dict[str, Any]:
    """One row on sparse features, which are data: gradients are by the parameters alone.

    PyG is given them dense, and sparse where its layer takes that.
    """
    torch.manual_seed(0)
    ours, theirs = twins(row, features.shape[1], width)
    edges, gradient = row.edges(Edges.of(graph)), torch.randn(graph.num_nodes, width)
    shapes = {"dense": features.to_dense(), "sparse": features}
    found = contest(
        step_of(ours, [features], [gradient], (graph,), False),
        [way for data, x in shapes.items() for way in single_ways(row, theirs, edges, x, gradient, data)],
        1,
        options,
        kinks=row.kinks,
    )
    return {"settings": row.settings, **found}

"""Pools over the nodes near a node: max, min or mean over all nodes with at most r edges on the way to it.

    y[c, t] = max / min / mean of x[c, s] over the nodes s from which a path of at most r edges leads to t, t included

Symbols: r = `steps`. Shapes: `(B, N, C)` to the same. Cost: one value a pair of near nodes and channel; the pairs are
found once and kept with the graph's plan. Which neighbours there are counts, not how often an edge stands, nor its
weight. On a grid's graph with all diagonals these are the grid's windows of size 2r + 1, shorter at the border.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gconv.domains.batch import Parts
from gconv.domains.graph import Graph
from gconv.domains.structure import Structure
from gconv.functional import propagate
from gconv.functional.extremes import extreme
from gconv.functional.segments import part_max, part_mean


def near(graph: Graph, steps: int) -> Structure:
    """The pairs (s, t) of nodes with at most `steps` edges on the way from s to t, as edges; kept with the graph.

    >>> near(Graph(torch.tensor([[0, 1], [1, 2]])), 2).num_edges
    6
    """
    return graph.plan.keep(("near", steps), lambda: _near(graph, steps))


def _near(graph: Graph, steps: int) -> Structure:
    nodes = torch.arange(graph.num_nodes).expand(2, -1)
    reached = _pairs(nodes, graph.num_nodes)
    step = _pairs(torch.cat([graph.edge_index.cpu(), nodes], 1), graph.num_nodes)  # a node is near itself
    for _ in range(steps):
        reached = reached @ step
    target, source = (torch.from_numpy(end).long().to(graph.device) for end in reached.nonzero())
    return Structure(source, target, graph.num_nodes, graph.num_nodes)


def _pairs(edges: Tensor, num_nodes: int) -> Any:
    """A matrix that is true where an edge leads from the column's node to the row's."""
    import scipy.sparse as sp

    source, target = edges.numpy()
    return sp.csr_array((torch.ones(len(source)).bool().numpy(), (target, source)), shape=(num_nodes, num_nodes))


def largest_near(x: Tensor, graph: Graph, steps: int) -> Tensor:
    """The largest value among the near nodes; equal ones share the gradient."""
    return extreme(x, near(graph, steps), choices=graph.plan.choices)


def smallest_near(x: Tensor, graph: Graph, steps: int) -> Tensor:
    """The smallest value among the near nodes."""
    return extreme(x, near(graph, steps), largest=False, choices=graph.plan.choices)


def mean_near(x: Tensor, graph: Graph, steps: int) -> Tensor:
    """The mean over the near nodes."""
    pairs = near(graph, steps)
    weight = graph.plan.keep(("near", steps, "mean"), lambda: _shares(pairs))
    return propagate(x, pairs, weight)


def _shares(pairs: Structure) -> Tensor:
    return torch.bincount(pairs.target).double().reciprocal()[pairs.target]


def one_node(graph: Graph) -> Graph:
    """The graph of a single node without edges, on which a pool over all nodes of `graph` ends; the same every time.

    Of a batch it has one such node for each graph.
    """

    def build() -> Graph:
        batch = None if graph.batch is None else torch.arange(graph.num_graphs, device=graph.device)
        edges = torch.zeros(2, 0, dtype=torch.long, device=graph.device)
        return Graph(edges, graph.num_graphs, batch=batch, num_graphs=graph.num_graphs)

    return graph.plan.keep("one node", build)


# By what is done to the values: over all nodes, and over those within some steps.
WHOLE: dict[str, Callable[[Tensor, Parts | None], Tensor]] = {"max": part_max, "mean": part_mean}
WITHIN: dict[str, Callable[[Tensor, Graph, int], Tensor]] = {
    "max": largest_near,
    "min": smallest_near,
    "mean": mean_near,
}

"""The costs of graph layers, so that `summary` counts a network on a graph as it counts one on a grid.

Each layer states its multiply-adds, the edges that it touches and the hops that it sees (`gconv.work`). Pools, norms
and sums count no multiply-adds and no edges, as on the grid. A field off the grid is in hops: h hops count as 2h + 1
cells. A layer that does not say what it does, of a user's own, is named, and left out of the totals.
"""

from __future__ import annotations

from torch import Tensor

from gconv.domains.graph import Graph
from gconv.layer import GraphLayer
from gconv.pooling import Flatten
from grid_cnn.accounting import POINT, Cost, Window, cost, is_view, summary, window
from grid_cnn.domain import Domain

__all__ = ["summary"]

_COUNTED = ("spatial", "spectral")


@cost.register
def _(layer: GraphLayer, x: Tensor, y: Tensor, domain: Domain | None) -> Cost:
    if layer.kind not in _COUNTED or not isinstance(domain, Graph):
        return Cost()
    work = layer.work(domain, x.shape[-1])
    if work is None:
        return Cost(known=False)
    biases = sum(p.numel() for name, p in layer.named_parameters() if name.rpartition(".")[2] == "bias")
    reached = layer.codomain(domain)
    assert reached is not None
    return Cost(work.multiply_adds, work.multiply_adds + biases * reached.num_nodes, work.edges)


@window.register
def _(layer: GraphLayer, x: Tensor, domain: Domain | None) -> Window | None:
    work = layer.work(domain, x.shape[-1]) if isinstance(domain, Graph) else None
    if work is None:
        return POINT
    if work.window is not None or work.hops is None:
        return work.window
    return (2 * work.hops + 1,), (1,), (1,)


@is_view.register
def _(layer: Flatten) -> bool:
    return True

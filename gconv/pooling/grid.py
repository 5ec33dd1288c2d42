"""Pools over the blocks of a grid's graph: a grid pool told on nodes.

    y[c, t] = pool over the cells of window t of x[c, ·]

for a signal `(B, N, C)` or `(N, C)`, whose nodes are the cells of a grid in row-major order; the result lives on the
graph of the pooled grid under the same rule of neighbourhood. It equals the grid pool cell by cell: memory is read as a
channels-last picture, and nothing is copied. No parameters.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor

from gconv.domains.graph import Graph
from gconv.layer import GraphLayer, GraphLike
from grid_cnn import Domain, Grid
from grid_cnn.pool import WindowPool


class GridPool(GraphLayer):
    """Pool a grid's graph as `pool` pools the grid.

    Args:
        pool: a windowed pool of `grid_cnn`, such as `MaxPool2d(2)`.

    Raises:
        ValueError: on a graph that is not a grid's, or of other axes than the pool's.

    >>> import torch
    >>> from gconv import grid_graph
    >>> from grid_cnn import MaxPool2d
    >>> GridPool(MaxPool2d(2))(torch.zeros(3, 16, 5), grid_graph((4, 4))).shape
    torch.Size([3, 4, 5])
    """

    kind = "pooling"
    reference = "equal to the grid's own pool, cell by cell"

    def __init__(self, pool: WindowPool) -> None:
        super().__init__()
        self.pool = pool

    def codomain(self, domain: Domain | None) -> Graph | None:
        """The graph of the pooled grid."""
        if not isinstance(domain, Graph):
            return None
        return domain.on(cast(Grid, self.pool.codomain(self._grid(domain))))

    def _grid(self, graph: Graph) -> Grid:
        if graph.grid is None or graph.grid.ndim != self.pool.ndim:
            raise ValueError(
                f"{type(self.pool).__name__} pools the blocks of a grid of {self.pool.ndim} axes, and {graph!r} is not "
                "the graph of one; build it with grid_graph(), or use a global pool"
            )
        return graph.grid

    def forward(self, x: Tensor, edge_index: GraphLike = None) -> Tensor:
        """The pooled signal on `codomain(graph)`."""
        graph, _ = self.resolve(x, edge_index)
        grid = self._grid(graph)
        self.pool.codomain(grid)
        picture = (x if x.dim() == 3 else x[None]).unflatten(1, grid.size).movedim(-1, 1)
        out = self.pool.pool(picture).movedim(1, -1).flatten(1, -2)
        return out if x.dim() == 3 else out[0]

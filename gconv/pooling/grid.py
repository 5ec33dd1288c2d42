"""Pools of a grid told on nodes: over the blocks of a grid's graph, or over the steps of any other graph.

    y[c, t] = pool over the cells of window t of x[c, ·]                          on the graph of a grid
    y[c, t] = pool over all nodes with at most ⌊k/2⌋ edges on the way to t        elsewhere: k odd, stride 1, 'same'
    y[c]    = pool over all nodes, as a signal on one node                        elsewhere: adaptive, size 1

for a signal `(B, N, C)` or `(N, C)`. On a grid's graph the nodes are the cells in row-major order, the result lives on
the graph of the pooled grid under the same rule of neighbourhood, and equals the grid pool cell by cell: memory is
read as a channels-last picture, and nothing is copied. On other graphs t itself belongs to its window, there is no
padding to count, and equal maxima share the gradient. No parameters, but those of the pool, if it has any.
"""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor

from gconv.domains.graph import Graph
from gconv.layer import GraphLayer, GraphLike
from gconv.pooling.hops import WHOLE, WITHIN, near, one_node
from gconv.work import Work
from grid_cnn import Domain
from grid_cnn.adaptive import AdaptivePool
from grid_cnn.pool import Pool, WindowPool


class GridPool(GraphLayer):
    """Pool a grid's graph as `pool` pools the grid; other graphs where the pool has a meaning without cells.

    Args:
        pool: a pool of `grid_cnn`, such as `MaxPool2d(2)` or `AdaptiveAvgPool2d(1)`.

    Raises:
        ValueError: on a graph that is not a grid's, for a pool that needs blocks of cells; on a grid of other axes.

    >>> import torch
    >>> from gconv import Graph, grid_graph
    >>> from grid_cnn import MaxPool2d
    >>> GridPool(MaxPool2d(2))(torch.zeros(3, 16, 5), grid_graph((4, 4))).shape
    torch.Size([3, 4, 5])
    >>> path = Graph(torch.tensor([[0, 1, 2], [1, 2, 3]]))
    >>> GridPool(MaxPool2d(3, 1, 1))(torch.tensor([[4.0], [1.0], [2.0], [0.0]]), path).squeeze(1)
    tensor([4., 4., 2., 2.])
    """

    kind = "pooling"
    equation = "y[t, c] = max, min or mean of x[s, c] over the window of t"
    cost = "k · N' · C, k nodes in each of N' windows"
    reference = "equal to the grid's own pool, cell by cell"

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.pool = pool
        self.in_channels = pool.in_channels

    def codomain(self, domain: Domain | None) -> Graph | None:
        """The graph of the pooled grid; elsewhere the graph itself, or one node (of a batch, one a graph)."""
        if not isinstance(domain, Graph):
            return None
        if domain.grid is not None and domain.grid.ndim == self.pool.ndim:
            grid = self.pool.codomain(domain.grid)
            assert grid is not None
            return domain.on(grid)
        return one_node(domain) if self._steps(domain) is None else domain

    def work(self, graph: Graph, channels: int) -> Work:
        """k values of every window; elsewhere those of the near nodes, or of all."""
        pool, reached = self.pool, self.codomain(graph)
        assert reached is not None
        if graph.grid is None:
            steps = self._steps(graph)
            read = graph.num_nodes if steps is None else near(graph, steps).num_edges
            return Work(read * channels, read, steps)
        window = pool.window(graph.grid)
        read = reached.num_nodes * math.prod(window[0])
        return Work(read * channels, read, pool.reach(graph.grid), window)

    def _steps(self, graph: Graph) -> int | None:
        """How many steps the window reaches on a graph without cells; None for all nodes.

        Raises:
            ValueError: if the pool has no meaning there.
        """
        pool = self.pool
        if graph.grid is None and isinstance(pool, AdaptivePool) and set(pool.output_size) == {1}:
            return None
        if graph.grid is None and isinstance(pool, WindowPool) and pool.reduction in WITHIN:
            size, plain = pool.kernel_size[0], set(pool.stride) == {1} and set(pool.dilation) == {1}
            if plain and size % 2 and set(pool.kernel_size) == {size} and set(pool.padding) == {size // 2}:
                return size // 2
        raise ValueError(
            f"{type(pool).__name__} pools the blocks of a grid of {pool.ndim} axes, and {graph!r} is not the graph of "
            "one; build it with grid_graph(), or use a global pool, an adaptive one to size 1, or one with odd "
            f"kernel_size k, stride 1 and padding (k - 1) / 2, where this one has {pool.extra_repr()}"
        )

    def forward(self, x: Tensor, edge_index: GraphLike = None) -> Tensor:
        """The pooled signal on `codomain(graph)`."""
        graph, _ = self.resolve(x, edge_index)
        self.codomain(graph)
        signals = x if x.dim() == 3 else x[None]
        if graph.grid is not None:
            picture = signals.unflatten(1, graph.grid.size).movedim(-1, 1)
            out = self.pool.pool(picture).movedim(1, -1).flatten(1, -2)
        else:
            steps = self._steps(graph)
            reduction = self.pool.reduction
            out = WHOLE[reduction](signals, graph.parts) if steps is None else WITHIN[reduction](signals, graph, steps)
        return cast(Tensor, out if x.dim() == 3 else out[0])

"""From a signal on a graph to one vector: global pools and flatten.

    mean: y[c] = (1/N) Σ_i x[i, c]        max: y[c] = max_i x[i, c]        flatten: y[c N + i] = x[i, c]

Shapes: `(B, N, C)` to `(B, C)`, flattened to `(B, C · N)`; `(N, C)` to the same without B; of a batch of G different
graphs the pools give a row a graph, `(..., G, C)`. Cost: N · C additions a signal. No parameters. Flatten is
channel-major, so that on a grid's graph the dense layers behind it read the very order that they read on the grid.
"""

from __future__ import annotations

from torch import Tensor

from gconv.domains.graph import Graph
from gconv.functional.segments import part_max, part_mean
from gconv.layer import GraphLayer, GraphLike
from gconv.parts import Batch, parts_of
from gconv.work import Work
from grid_cnn.layer import LeavesDomain


class GlobalAvgPool(GraphLayer, LeavesDomain):
    """The mean of every channel over all nodes; of a batch over those of each graph.

    >>> import torch
    >>> from gconv import grid_graph
    >>> GlobalAvgPool()(torch.ones(2, 16, 3), grid_graph((4, 4))).shape
    torch.Size([2, 3])
    >>> GlobalAvgPool()(torch.ones(16, 3), torch.arange(16) // 4).shape
    torch.Size([4, 3])
    """

    kind = "pooling"
    equation = "y[c] = (1/N) Σ_i x[i, c]"
    cost = "N · C"
    reference = "Lin, Chen and Yan, Network in network (2014), section 3.2"

    def forward(self, x: Tensor, edge_index: Batch = None, batch_size: int | None = None) -> Tensor:
        """The mean over the nodes: `(..., C)`, or `(..., G, C)` for a batch of G graphs.

        Args:
            edge_index: a graph; or the graph of each node, `(N,)`, as `torch_geometric.nn.global_mean_pool` takes it.
            batch_size: how many graphs there are; None for what the graph says.
        """
        parts = parts_of(self, x, edge_index, batch_size)
        out = part_mean(x, parts)
        return out.squeeze(-2) if parts is None else out

    def work(self, graph: Graph, channels: int) -> Work:
        """Every number once."""
        return Work(graph.num_nodes * channels, hops=None)


class GlobalMaxPool(GraphLayer, LeavesDomain):
    """The largest value of every channel over all nodes; of a batch over those of each graph.

    >>> import torch
    >>> from gconv import grid_graph
    >>> GlobalMaxPool()(torch.ones(2, 16, 3), grid_graph((4, 4))).shape
    torch.Size([2, 3])
    """

    kind = "pooling"
    equation = "y[c] = max_i x[i, c]"
    cost = "N · C"
    reference = "the largest value over all nodes"

    def forward(self, x: Tensor, edge_index: Batch = None, batch_size: int | None = None) -> Tensor:
        """The largest value over the nodes: `(..., C)`, or `(..., G, C)` for a batch of G graphs.

        Args:
            edge_index: a graph; or the graph of each node, `(N,)`, as `torch_geometric.nn.global_max_pool` takes it.
            batch_size: how many graphs there are; None for what the graph says.
        """
        parts = parts_of(self, x, edge_index, batch_size)
        out = part_max(x, parts)
        return out.squeeze(-2) if parts is None else out

    def work(self, graph: Graph, channels: int) -> Work:
        """Every number once."""
        return Work(graph.num_nodes * channels, hops=None)


class Flatten(GraphLayer, LeavesDomain):
    """All values of a signal as one vector, channel-major, nodes in order.

    >>> import torch
    >>> from gconv import grid_graph
    >>> Flatten()(torch.ones(2, 16, 3), grid_graph((4, 4))).shape
    torch.Size([2, 48])
    """

    kind = "pooling"
    equation = "y[c N + i] = x[i, c]"
    cost = "none"
    transfers = "if it has as many nodes, in the same order: a dense layer follows"
    reference = "equal to flattening the picture"

    def forward(self, x: Tensor, edge_index: GraphLike = None) -> Tensor:
        """The vector of all values.

        Raises:
            ValueError: on a batch of several graphs, whose nodes belong to different vectors.
        """
        graph, _ = self.resolve(x, edge_index)
        if graph.num_graphs > 1:
            raise ValueError(f"Flatten reads all nodes as one graph, got {graph!r}; end the network in a global pool")
        return x.transpose(-1, -2).flatten(-2)

    def work(self, graph: Graph, channels: int) -> Work:
        """Nothing but another order."""
        return Work(0, hops=None)

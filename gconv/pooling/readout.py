"""From a signal on a graph to one vector: global pools and flatten.

    mean: y[c] = (1/N) Σ_i x[i, c]        max: y[c] = max_i x[i, c]        flatten: y[c N + i] = x[i, c]

Shapes: `(B, N, C)` to `(B, C)`, flattened to `(B, C · N)`; `(N, C)` to the same without B. No parameters. Flatten is
channel-major, so that on a grid's graph the dense layers behind it read the very order that they read on the grid.
"""

from __future__ import annotations

from torch import Tensor

from gconv.layer import GraphLayer, GraphLike
from grid_cnn.layer import LeavesDomain


def _whole(layer: GraphLayer, x: Tensor, graph: GraphLike) -> None:
    """Check the signal, and refuse a PyG batch of several graphs, whose nodes belong to different results."""
    count = getattr(graph, "num_graphs", 1)
    if count > 1:
        raise ValueError(
            f"{type(layer).__name__} reads all nodes as one graph, and this batch holds {count}; pool each of them, as "
            "torch_geometric.nn.global_mean_pool(x, batch) does"
        )
    layer.resolve(x, graph)


class GlobalAvgPool(GraphLayer, LeavesDomain):
    """The mean of every channel over all nodes.

    >>> import torch
    >>> from gconv import grid_graph
    >>> GlobalAvgPool()(torch.ones(2, 16, 3), grid_graph((4, 4))).shape
    torch.Size([2, 3])
    """

    kind = "pooling"
    reference = "Lin, Chen and Yan, Network in network (2014), section 3.2"

    def forward(self, x: Tensor, edge_index: GraphLike = None) -> Tensor:
        """The mean over the nodes."""
        _whole(self, x, edge_index)
        return x.mean(-2)


class GlobalMaxPool(GraphLayer, LeavesDomain):
    """The largest value of every channel over all nodes.

    >>> import torch
    >>> from gconv import grid_graph
    >>> GlobalMaxPool()(torch.ones(2, 16, 3), grid_graph((4, 4))).shape
    torch.Size([2, 3])
    """

    kind = "pooling"
    reference = "the largest value over all nodes"

    def forward(self, x: Tensor, edge_index: GraphLike = None) -> Tensor:
        """The largest value over the nodes."""
        _whole(self, x, edge_index)
        return x.amax(-2)


class Flatten(GraphLayer, LeavesDomain):
    """All values of a signal as one vector, channel-major, nodes in order.

    >>> import torch
    >>> from gconv import grid_graph
    >>> Flatten()(torch.ones(2, 16, 3), grid_graph((4, 4))).shape
    torch.Size([2, 48])
    """

    kind = "pooling"
    reference = "equal to flattening the picture"

    def forward(self, x: Tensor, edge_index: GraphLike = None) -> Tensor:
        """The vector of all values."""
        _whole(self, x, edge_index)
        return x.transpose(-1, -2).flatten(-2)

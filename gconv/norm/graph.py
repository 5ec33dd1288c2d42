"""Graph normalisation: channel by channel over the nodes of each graph, with a learned share of the mean taken off.

    y[i, c] = γ[c] d[i, c] / √(mean of d[., c]² + ε) + β[c],   d[i, c] = x[i, c] - α[c] mean of x[., c]

with means over the nodes of the graph that node i belongs to; each of several signals on one shared graph is a graph
of its own. Symbols: γ, β, α = `weight`, `bias`, `mean_scale`.
Shapes: `(N, C)` or `(B, N, C)` to the same. Cost: 4 · N · C multiply-adds a signal.
Reference: Cai, Luo, Xu, He, Liu and Wang, GraphNorm: a principled approach to accelerating graph neural network
training (2021), equation 6.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gconv.domains.graph import Graph
from gconv.functional.segments import part_mean, spread
from gconv.layer import GraphLayer
from gconv.parts import Batch, maybe_parts_of
from gconv.work import Work
from grid_cnn.conv import check_channels


class GraphNorm(GraphLayer):
    """`torch_geometric.nn.GraphNorm`: same arguments, same state dict, same numbers, for many signals too.

    Args:
        in_channels: channels of a node. eps: ε.

    Raises:
        ValueError: for a signal or a graph vector that does not fit.

    >>> from gconv import grid_graph
    >>> GraphNorm(3)(torch.ones(2, 16, 3), grid_graph((4, 4))).abs().max()
    tensor(0., grad_fn=<MaxBackward1>)
    """

    kind = "normalisation"
    equation = "y = γ (x - α mean) / √(mean square of (x - α mean) + ε) + β, over the nodes of a graph"
    cost = "4 · N · C"
    reference = "Cai et al. (2021), equation 6"

    def __init__(self, in_channels: int, eps: float = 1e-5, device: torch.device | str | None = None) -> None:
        super().__init__()
        check_channels(in_channels, in_channels)
        self.in_channels, self.eps = in_channels, eps
        self.weight = nn.Parameter(torch.empty(in_channels, device=device))
        self.bias = nn.Parameter(torch.empty(in_channels, device=device))
        self.mean_scale = nn.Parameter(torch.empty(in_channels, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """γ and α of one, β of zero."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        nn.init.ones_(self.mean_scale)

    def forward(self, x: Tensor, batch: Batch = None, batch_size: int | None = None) -> Tensor:
        """The normalised signal.

        Args:
            batch: a graph, or the graph of each node, `(N,)`; None where all nodes of a signal are one graph.
            batch_size: how many graphs there are; None for what `batch` says.
        """
        parts = maybe_parts_of(self, x, batch, batch_size)
        centred = x - spread(part_mean(x, parts) * self.mean_scale, parts)
        deviation = (part_mean(centred.square(), parts) + self.eps).sqrt()
        return self.weight * centred / spread(deviation, parts) + self.bias

    def work(self, graph: Graph, channels: int) -> Work:
        """Two means, a difference and a product for every number."""
        return Work(4 * graph.num_nodes * channels, hops=None)

    def extra_repr(self) -> str:
        return f"{self.in_channels}"

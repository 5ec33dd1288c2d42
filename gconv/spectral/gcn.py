"""Graph convolution of Kipf and Welling: a first-order spectral filter with shared weights.

    X' = D̂^{-1/2} Â D̂^{-1/2} X Θ + b,   Â = A + I,  D̂_ii = Σ_j Â_ij

Symbols: Θ = `lin.weight` transposed, `(C_in, C_out)`; b = `bias`; A holds `edge_weight` or ones.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`. Cost: (E + N) · min(C_in, C_out) + N · C_in · C_out
multiply-adds a signal (weights go first where that is narrower).
Reference: Kipf and Welling, Semi-supervised classification with graph convolutional networks (2017), equation 8.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from gconv import lazy
from gconv.domains.graph import Graph
from gconv.functional.polynomial import polynomial
from gconv.inherited import Aggregated
from gconv.layer import GraphLayer, GraphLike
from gconv.spectral.normalized import AVERAGES, normalized_adjacency
from gconv.work import Work, num_entries


class GCNConv(GraphLayer):
    """`torch_geometric.nn.GCNConv`: same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node; `in_channels` -1 for what the first call tells.
        improved: Â = A + 2 I, where A has weights (as in PyG: without weights it changes nothing).
        cached: taken for PyG's sake; plans are always kept.
        add_self_loops: give every node a loop that it lacks; None: as `normalize`.
        normalize: scale by degrees; else the raw weights are used.
        bias: add b.
        kwargs: PyG's further arguments, `gconv.inherited.Aggregated`.

    Raises:
        ValueError: for `add_self_loops` without `normalize`, or a signal that does not fit.

    >>> layer = GCNConv(16, 32)
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spectral"
    equation = "X' = D̂^(-1/2) Â D̂^(-1/2) X Θ + b"
    cost = "(E + N) · min(C_in, C_out) + N · C_in · C_out"
    reference = "Kipf and Welling (2017), equation 8"
    takes_sparse = True
    aggregations = AVERAGES

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        improved: bool = False,
        cached: bool = False,
        add_self_loops: bool | None = None,
        normalize: bool = True,
        bias: bool = True,
        **kwargs: Unpack[Aggregated],
    ) -> None:
        super().__init__(**kwargs)
        width = lazy.check_width(type(self).__name__, in_channels, out_channels)
        add_self_loops = normalize if add_self_loops is None else add_self_loops
        if add_self_loops and not normalize:
            raise ValueError("add_self_loops=True belongs to normalize=True; add loops to the graph itself instead")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.improved, self.cached, self.add_self_loops, self.normalize = improved, cached, add_self_loops, normalize
        self.lin = lazy.linear(width, out_channels, bias=False)
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()
        lazy.await_widths(self)

    def reset_parameters(self) -> None:
        """Draw Θ by Glorot's rule; b starts at zero."""
        lazy.draw(nn.init.xavier_uniform_, self.lin)
        lazy.draw(nn.init.zeros_, self.bias)

    def forward(self, x: Tensor, edge_index: GraphLike = None, edge_weight: Tensor | None = None) -> Tensor:
        """The filtered signal on the same graph."""
        graph, learned = self.resolve(x, edge_index, edge_weight)
        operator, weight = normalized_adjacency(
            graph,
            learned,
            x.dtype,
            aggr=self.aggr,
            improved=self.improved,
            add_self_loops=self.add_self_loops,
            normalize=self.normalize,
        )
        return polynomial(x, operator, self.lin.weight.t()[None], self.bias, edge_weight=weight, first=1)

    def work(self, graph: Graph, channels: int) -> Work:
        """A sum over the edges and loops, and the product."""
        edges = num_entries(graph, self.add_self_loops and self.normalize)
        products = graph.num_nodes * channels * self.out_channels
        return Work(edges * min(channels, self.out_channels) + products, edges, 1)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}"

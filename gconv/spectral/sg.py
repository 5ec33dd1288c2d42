"""Simplified graph convolution: K steps of GCN's smoothing, then one product.

    X' = S^K X Θ + b,   S = D̂^{-1/2} Â D̂^{-1/2},   Â = A + I,  D̂_ii = Σ_j Â_ij

Symbols: Θ = `lin.weight` transposed, `(C_in, C_out)`; b = `lin.bias`; A holds `edge_weight` or ones. The product runs
first where that is narrower; with `cached` S^K X is kept while the signal stays the same.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`. Cost: K · (E + N) · min(C_in, C_out) + N · C_in · C_out
multiply-adds a signal.
Reference: Wu, Souza, Zhang, Fifty, Yu and Weinberger, Simplifying graph convolutional networks (2019), equation 8.
"""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from gconv import lazy
from gconv.domains.graph import Graph
from gconv.functional.polynomial import polynomial
from gconv.functional.product import dense
from gconv.functional.series import series
from gconv.inherited import Aggregated
from gconv.layer import GraphLayer, GraphLike
from gconv.spectral.kept import Kept
from gconv.spectral.normalized import AVERAGES, check_steps, normalized_adjacency
from gconv.work import Work, num_entries


class SGConv(GraphLayer):
    """`torch_geometric.nn.SGConv`: same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node; -1 for an `in_channels` that the first signal tells.
        K: the number of steps.
        cached: keep S^K X while the same signal comes on the same graph (PyG keeps it whatever comes).
        add_self_loops: give every node a loop that it lacks.
        bias: add b.
        kwargs: PyG's further arguments, `gconv.inherited.Aggregated`.

    Raises:
        ValueError: for K < 0, or a signal that does not fit.

    >>> import torch
    >>> layer = SGConv(16, 32, K=2)
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spectral"
    equation = "X' = S^K X Θ + b, S = D̂^(-1/2) Â D̂^(-1/2)"
    cost = "K · (E + N) · min(C_in, C_out) + N · C_in · C_out"
    reference = "Wu et al. (2019), equation 8"
    takes_sparse = True
    aggregations = AVERAGES

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        K: int = 1,
        cached: bool = False,
        add_self_loops: bool = True,
        bias: bool = True,
        **kwargs: Unpack[Aggregated],
    ) -> None:
        super().__init__(**kwargs)
        width, _ = lazy.check_widths(in_channels, out_channels)
        check_steps("SGConv", K)
        self.in_channels, self.out_channels, self.K = in_channels, out_channels, K
        self.cached, self.add_self_loops = cached, add_self_loops
        self.lin = lazy.linear(width, out_channels, bias)
        self._kept = Kept()
        lazy.await_widths(self)

    def reset_parameters(self) -> None:
        """Draw Θ and b as `torch.nn.Linear` does."""
        self.lin.reset_parameters()
        self._kept.clear()

    def forward(self, x: Tensor, edge_index: GraphLike = None, edge_weight: Tensor | None = None) -> Tensor:
        """The filtered signal on the same graph."""
        graph, learned = self.resolve(x, edge_index, edge_weight)
        operator, weight = normalized_adjacency(
            graph, learned, x.dtype, aggr=self.aggr, add_self_loops=self.add_self_loops
        )
        if self.cached and learned is None:
            alone = (0.0,) * self.K + (1.0,)
            return self.lin(self._kept.of(x, graph, lambda: series(dense(x), operator, alone)))
        return polynomial(x, operator, self.lin.weight.t()[None], self.lin.bias, edge_weight=weight, first=self.K)

    def work(self, graph: Graph, channels: int) -> Work:
        """K sums over the edges and loops, and the product."""
        edges = self.K * num_entries(graph, self.add_self_loops)
        products = graph.num_nodes * channels * self.out_channels
        return Work(edges * min(channels, self.out_channels) + products, edges, self.K)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, K={self.K}"

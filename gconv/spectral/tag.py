"""Topology adaptive convolution: a polynomial of order K in the normalised adjacency.

    X' = Σ_{k=0}^{K} S^k X Θ_k + b,   S = D^{-1/2} A D^{-1/2}

Symbols: Θ_k = `lins[k].weight` transposed; b = `bias`; A holds `edge_weight` or ones, without loops of its own making;
D its degrees over targets. Without `normalize` S = A.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`. Cost: K · E · min(C_in, C_out) + (K + 1) · N · C_in · C_out
multiply-adds a signal.
Reference: Du, Zhang, Wu, Moura and Kar, Topology adaptive graph convolutional networks (2017), equation 3.
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
from gconv.work import Work


class TAGConv(GraphLayer):
    """`torch_geometric.nn.TAGConv`: same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node; `in_channels` -1 for what the first call tells.
        K: the number of hops; there are K + 1 terms.
        bias: add b.
        normalize: scale by degrees; else the raw weights are used.
        kwargs: PyG's further arguments, `gconv.inherited.Aggregated`.

    Raises:
        ValueError: for K < 0, or a signal that does not fit.

    >>> layer = TAGConv(16, 32, K=2)
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spectral"
    equation = "X' = Σ_{k=0..K} S^k X Θ_k + b, S = D^(-1/2) A D^(-1/2)"
    cost = "K · E · min(C_in, C_out) + (K + 1) · N · C_in · C_out"
    reference = "Du, Zhang, Wu, Moura and Kar (2017), equation 3"
    takes_sparse = True
    aggregations = AVERAGES

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        K: int = 3,
        bias: bool = True,
        normalize: bool = True,
        **kwargs: Unpack[Aggregated],
    ) -> None:
        super().__init__(**kwargs)
        width = lazy.check_width(type(self).__name__, in_channels, out_channels)
        if isinstance(K, bool) or not isinstance(K, int) or K < 0:
            raise ValueError(f"K, the number of hops, is a whole number >= 0; got {K!r}")
        self.in_channels, self.out_channels, self.K, self.normalize = in_channels, out_channels, K, normalize
        self.lins = nn.ModuleList(lazy.linear(width, out_channels, bias=False) for _ in range(K + 1))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()
        lazy.await_widths(self)

    def reset_parameters(self) -> None:
        """Draw every Θ_k as `torch.nn.Linear` does; b starts at zero."""
        for lin in self.lins:
            lin.reset_parameters()  # pyright: ignore[reportCallIssue]
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, edge_index: GraphLike = None, edge_weight: Tensor | None = None) -> Tensor:
        """The filtered signal on the same graph."""
        graph, learned = self.resolve(x, edge_index, edge_weight)
        operator, weight = normalized_adjacency(
            graph, learned, x.dtype, aggr=self.aggr, add_self_loops=False, normalize=self.normalize
        )
        coefficients = torch.stack([lin.weight.t() for lin in self.lins])  # pyright: ignore[reportCallIssue, reportArgumentType]
        return polynomial(x, operator, coefficients, self.bias, edge_weight=weight)

    def work(self, graph: Graph, channels: int) -> Work:
        """K sums over the edges, and K + 1 products."""
        edges = self.K * graph.num_edges
        products = (self.K + 1) * graph.num_nodes * channels * self.out_channels
        return Work(edges * min(channels, self.out_channels) + products, edges, self.K)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, K={self.K}"

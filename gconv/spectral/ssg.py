"""Simple spectral graph convolution: the mean of K steps of GCN's smoothing and the signal itself, then one product.

    X' = ( α X + (1 - α) / K Σ_{k=1}^{K} S^k X ) Θ + b,   S = D̂^{-1/2} Â D̂^{-1/2},   Â = A + I,  D̂_ii = Σ_j Â_ij

Symbols: α = `alpha`; Θ = `lin.weight` transposed, `(C_in, C_out)`; b = `lin.bias`; A holds `edge_weight` or ones. The
product runs first where that is narrower; with `cached` the mean is kept while the signal stays the same.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`. Cost: K · (E + N) · min(C_in, C_out) + N · C_in · C_out
multiply-adds a signal.
Reference: Zhu and Koniusz, Simple spectral graph convolution (2021), equation 7.
"""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from gconv import lazy
from gconv.domains.graph import Graph
from gconv.functional.product import dense, is_sparse, product
from gconv.functional.series import series
from gconv.inherited import Aggregated
from gconv.layer import GraphLayer, GraphLike
from gconv.spectral.kept import Kept
from gconv.spectral.normalized import AVERAGES, check_share, check_steps, normalized_adjacency
from gconv.work import Work, num_entries


class SSGConv(GraphLayer):
    """`torch_geometric.nn.SSGConv`: same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node; -1 for an `in_channels` that the first signal tells.
        alpha: α, the share of the signal itself, from 0 to 1.
        K: the number of steps.
        cached: keep the mean while the same signal comes on the same graph (PyG keeps it whatever comes).
        add_self_loops: give every node a loop that it lacks.
        bias: add b.
        kwargs: PyG's further arguments, `gconv.inherited.Aggregated`.

    Raises:
        ValueError: for K < 0, an α that is no share, or a signal that does not fit.

    >>> import torch
    >>> layer = SSGConv(16, 32, alpha=0.1, K=4)
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spectral"
    equation = "X' = (α X + (1 - α)/K Σ_{k=1..K} S^k X) Θ + b"
    cost = "K · (E + N) · min(C_in, C_out) + N · C_in · C_out"
    reference = "Zhu and Koniusz (2021), equation 7"
    takes_sparse = True
    aggregations = AVERAGES

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        alpha: float,
        K: int = 1,
        cached: bool = False,
        add_self_loops: bool = True,
        bias: bool = True,
        **kwargs: Unpack[Aggregated],
    ) -> None:
        super().__init__(**kwargs)
        width, _ = lazy.check_widths(in_channels, out_channels)
        check_share("SSGConv", "alpha", alpha)
        check_steps("SSGConv", K)
        self.in_channels, self.out_channels, self.alpha, self.K = in_channels, out_channels, alpha, K
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
        shares = (self.alpha, *((1 - self.alpha) / self.K for _ in range(self.K)))

        def mean(signal: Tensor) -> Tensor:
            return series(signal, operator, shares, edge_weight=weight)

        if self.cached and learned is None:
            return self.lin(self._kept.of(x, graph, lambda: mean(dense(x))))
        if not is_sparse(x) and self.lin.in_features <= self.lin.out_features:
            return self.lin(mean(x))
        out = mean(product(x, self.lin.weight))
        return out if self.lin.bias is None else out + self.lin.bias

    def work(self, graph: Graph, channels: int) -> Work:
        """K sums over the edges and loops, and the product."""
        edges = self.K * num_entries(graph, self.add_self_loops)
        products = graph.num_nodes * channels * self.out_channels
        return Work(edges * min(channels, self.out_channels) + products, edges, self.K)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, K={self.K}, alpha={self.alpha}"

"""ChebNet's convolution: a polynomial of order K - 1 in the scaled Laplacian, local to K - 1 hops.

    X' = Σ_{k=0}^{K-1} T_k(L̂) X Θ_k + b,   L̂ = 2 L / λmax - I

with T_k the Chebyshev polynomials. Symbols: Θ_k = `lins[k].weight` transposed; b = `bias`; L by `normalization`.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`. Cost: (K - 1)(E + N) · min(C_in, C_out) + K · N ·
C_in · C_out multiply-adds a signal by the recurrence, N² (C_in + C_out) + N · C_in · C_out through the eigenbasis.
Reference: Defferrard, Bresson and Vandergheynst, Convolutional neural networks on graphs with fast localized spectral
filtering (2016), equation 4.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from gconv import lazy
from gconv.domains.graph import Graph
from gconv.domains.operators import Normalization, chebyshev_weights, edge_weights, laplacian_weights
from gconv.domains.plan import check_normalization
from gconv.functional.chebyshev import chebyshev_filter
from gconv.functional.polynomial import polynomial
from gconv.inherited import SOURCE_TO_TARGET, Aggregated
from gconv.layer import GraphLayer, GraphLike
from gconv.work import Work, num_entries


class ChebConv(GraphLayer):
    """`torch_geometric.nn.ChebConv`: same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node; `in_channels` -1 for what the first call tells.
        K: the number of terms; reaches K - 1 hops.
        normalization: of the Laplacian: 'sym', 'rw' or None (combinatorial).
        bias: add b.
        kwargs: PyG's further arguments, `gconv.inherited.Aggregated`.

    Raises:
        ValueError: for K < 1, an unknown normalisation, or a signal that does not fit.

    >>> layer = ChebConv(16, 32, K=3)
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])).shape
    torch.Size([4, 32])
    """

    kind = "spectral"
    equation = "X' = Σ_{k<K} T_k(2 L / λmax - I) X Θ_k + b"
    cost = "(K - 1) · (E + N) · min(C_in, C_out) + K · N · C_in · C_out, or N² · (C_in + C_out) + N · C_in · C_out"
    reference = "Defferrard, Bresson and Vandergheynst (2016), equation 4"
    aggregations = ("add", "sum")
    flows = (SOURCE_TO_TARGET,)  # a Laplacian stays what it is, so that this is no matter of whither edges lead
    takes_sparse = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        K: int,
        normalization: Normalization = "sym",
        bias: bool = True,
        **kwargs: Unpack[Aggregated],
    ) -> None:
        super().__init__(**kwargs)
        width = lazy.check_width(type(self).__name__, in_channels, out_channels)
        check_normalization(normalization)
        if isinstance(K, bool) or not isinstance(K, int) or K < 1:
            raise ValueError(f"K, the number of Chebyshev terms, is a whole number >= 1; got {K!r}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.normalization: Normalization = normalization
        self.lins = nn.ModuleList(lazy.linear(width, out_channels, bias=False) for _ in range(K))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()
        lazy.await_widths(self)

    def reset_parameters(self) -> None:
        """Draw every Θ_k by Glorot's rule; b starts at zero."""
        lazy.draw(nn.init.xavier_uniform_, *self.lins)  # pyright: ignore[reportArgumentType]
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(
        self,
        x: Tensor,
        edge_index: GraphLike = None,
        edge_weight: Tensor | None = None,
        batch: Tensor | None = None,
        lambda_max: float | Tensor | None = None,
        *,
        form: str | None = None,
    ) -> Tensor:
        """The filtered signal on the same graph.

        Args:
            batch: the graph that each node belongs to, `(N,)`, where `lambda_max` has one value a graph; None for what
                the graph says.
            lambda_max: λmax; None for twice the largest entry of L, which is 2 for 'sym', of each graph of a batch.
            form: 'eigenbasis', 'fused' or a form of its steps, or None for the engine's choice.
        """
        graph, learned = self.resolve(x, edge_index, edge_weight)
        coefficients = torch.stack([lin.weight.t() for lin in self.lins])  # pyright: ignore[reportCallIssue, reportArgumentType]
        if isinstance(lambda_max, Tensor) and lambda_max.numel() == 1 and not lambda_max.requires_grad:
            lambda_max = float(lambda_max)
        if isinstance(lambda_max, float | int) and not lambda_max > 0:
            raise ValueError(f"lambda_max, the largest eigenvalue, is a positive number or None; got {lambda_max!r}")
        if learned is None and not isinstance(lambda_max, Tensor):
            return chebyshev_filter(x, graph, coefficients, self.normalization, lambda_max, form, bias=self.bias)
        return self._learned(x, graph, learned, batch, lambda_max, coefficients)

    def _learned(
        self,
        x: Tensor,
        graph: Graph,
        learned: Tensor | None,
        batch: Tensor | None,
        lambda_max: float | Tensor | None,
        coefficients: Tensor,
    ) -> Tensor:
        """With weights, or a λmax a graph, that no plan can keep."""
        weight = edge_weights(graph, x.dtype) if learned is None else learned.to(x.dtype)
        structure, weight = laplacian_weights(graph, weight, self.normalization)
        if isinstance(lambda_max, Tensor) and lambda_max.numel() > 1:
            batch = graph.batch if batch is None else batch
            if batch is None:
                raise ValueError(f"lambda_max has {lambda_max.numel()} values; pass batch, the graph of each node, too")
            if not torch.compiler.is_compiling() and not bool((lambda_max.detach() > 0).all()):
                raise ValueError(
                    "lambda_max, the largest eigenvalue of each graph, is positive; got "
                    f"{lambda_max.detach().min().item()}"
                )
            lambda_max = lambda_max.reshape(-1)[batch[structure.source]]
        _, weight = chebyshev_weights(structure, weight, lambda_max, graph.parts)
        return polynomial(x, structure, coefficients, self.bias, edge_weight=weight, chebyshev=True)

    def work(self, graph: Graph, channels: int) -> Work:
        """By the recurrence: K - 1 sums over the edges and the diagonal of L̂, and K products."""
        steps, out = len(self.lins) - 1, self.out_channels
        entries = num_entries(graph, True)  # a Laplacian has no other loops than its diagonal
        products = (steps + 1) * graph.num_nodes * channels * out
        return Work(steps * entries * min(channels, out) + products, steps * (entries - graph.num_nodes), steps)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, K={len(self.lins)}, normalization={self.normalization!r}"

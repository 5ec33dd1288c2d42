"""Personalised PageRank propagation: K steps of GCN's smoothing, each drawn back to the signal by a share.

    X^(0) = X,   X^(k) = (1 - α) S X^(k-1) + α X,   X' = X^(K),   S = D̂^{-1/2} Â D̂^{-1/2},   Â = A + I

Symbols: α = `alpha`; A holds `edge_weight` or ones; without `normalize` S = A. With `dropout` each step leaves out
entries of S, in training, and what one step left out the next ones leave out too, as in PyG.

Shapes: `(N, C)` or `(B, N, C)` to the same. Cost: K · (E + N) · C multiply-adds a signal. No parameters.
Reference: Gasteiger (Klicpera), Bojchevski and Günnemann, Predict then propagate: graph neural networks meet
personalized PageRank (2019), equation 4.
"""

from __future__ import annotations

from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from gconv.domains.graph import Graph
from gconv.domains.operators import Operator
from gconv.domains.structure import Structure
from gconv.functional.propagate import propagate
from gconv.functional.series import series
from gconv.inherited import Aggregated
from gconv.layer import GraphLayer, GraphLike
from gconv.spectral.normalized import AVERAGES, check_share, check_steps, normalized_adjacency
from gconv.work import Work, num_entries


class APPNP(GraphLayer):
    """`torch_geometric.nn.APPNP`: same arguments, same numbers.

    Args:
        K: the number of steps.
        alpha: α, the share of the signal itself in every step, from 0 to 1.
        dropout: the probability with which an entry of S is left out, in training.
        cached: taken for PyG's sake; plans are always kept.
        add_self_loops: give every node a loop that it lacks.
        normalize: scale by degrees; else the raw weights are used.
        kwargs: PyG's further arguments, `gconv.inherited.Aggregated`.

    Raises:
        ValueError: for K < 0, an α or a dropout that is no share, or a signal that does not fit.

    >>> layer = APPNP(K=10, alpha=0.1)
    >>> layer(torch.ones(3, 1), torch.tensor([[0, 1], [1, 0]])).flatten()
    tensor([1., 1., 1.])
    """

    kind = "spectral"
    equation = "X_k = (1 - α) S X_{k-1} + α X, X' = X_K"
    cost = "K · (E + N) · C"
    reference = "Gasteiger, Bojchevski and Günnemann (2019), equation 4"
    aggregations = AVERAGES

    def __init__(
        self,
        K: int,
        alpha: float,
        dropout: float = 0.0,
        cached: bool = False,
        add_self_loops: bool = True,
        normalize: bool = True,
        **kwargs: Unpack[Aggregated],
    ) -> None:
        super().__init__(**kwargs)
        check_steps("APPNP", K)
        check_share("APPNP", "alpha", alpha)
        check_share("APPNP", "dropout", dropout)
        self.K, self.alpha, self.dropout, self.cached = K, alpha, dropout, cached
        self.add_self_loops, self.normalize = add_self_loops, normalize

    def reset_parameters(self) -> None:
        """Nothing to draw: there are no parameters."""

    def forward(self, x: Tensor, edge_index: GraphLike = None, edge_weight: Tensor | None = None) -> Tensor:
        """The smoothed signal on the same graph."""
        graph, learned = self.resolve(x, edge_index, edge_weight)
        operator, weight = normalized_adjacency(
            graph, learned, x.dtype, aggr=self.aggr, add_self_loops=self.add_self_loops, normalize=self.normalize
        )
        if self.training and self.dropout:
            return self._with_dropout(x, operator, weight)
        left = 1 - self.alpha
        shares = (*(self.alpha * left**k for k in range(self.K)), left**self.K)
        return series(x, operator, shares, edge_weight=weight)

    def _with_dropout(self, x: Tensor, operator: Operator | Structure, weight: Tensor | None) -> Tensor:
        if isinstance(operator, Operator):
            structure, weight = operator.structure, operator.weight.to(x.dtype)
        else:
            structure = operator
        weight = torch.ones(structure.num_edges, dtype=x.dtype, device=x.device) if weight is None else weight
        out = x
        for _ in range(self.K):
            weight = F.dropout(weight, self.dropout)
            out = (1 - self.alpha) * propagate(out, structure, weight) + self.alpha * x
        return out

    def work(self, graph: Graph, channels: int) -> Work:
        """K sums over the edges and loops."""
        edges = self.K * num_entries(graph, self.add_self_loops and self.normalize)
        return Work(edges * channels, edges, self.K)

    def extra_repr(self) -> str:
        return f"K={self.K}, alpha={self.alpha}"

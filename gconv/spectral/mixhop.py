"""MixHop: several powers of GCN's operator side by side, each with a matrix of its own.

    X' = ‖_{p in P} S^p X Θ_p + b,   S = D̂^{-1/2} Â D̂^{-1/2},   Â = A + I,  D̂_ii = Σ_j Â_ij

Symbols: P = `powers`; Θ_p = `lins[p].weight` transposed, `(C_in, C_out)`; b = `bias`, `(|P| C_out,)`; A holds
`edge_weight` or ones; ‖ sets results side by side, in the order of P. What is narrower goes through the sums: X, or
those products X Θ_p that still have steps to go.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, |P| C_out)`. Cost, with K = max P: K · (E + N) · C_in (or, if less,
Σ_p p · (E + N) · C_out) + |P| · N · C_in · C_out multiply-adds a signal.
Reference: Abu-El-Haija et al., MixHop: higher-order graph convolutional architectures via sparsified neighborhood
mixing (2019), equation 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack, cast

import torch
from torch import Tensor, nn

from gconv import lazy
from gconv.domains.graph import Graph
from gconv.domains.operators import Operator
from gconv.domains.structure import Structure
from gconv.functional.polynomial_terms import terms
from gconv.functional.product import is_sparse, product
from gconv.functional.propagate import propagate
from gconv.inherited import Aggregated
from gconv.layer import GraphLayer, GraphLike
from gconv.spectral.normalized import AVERAGES, normalized_adjacency
from gconv.work import Work, num_entries


class MixHopConv(GraphLayer):
    """`torch_geometric.nn.MixHopConv`: same arguments, same state dict, same numbers.

    Args:
        in_channels: channels of a node, -1 for what the first signal tells. out_channels: those of each power's result.
        powers: P, whole numbers >= 0 in any order; None for 0, 1, 2.
        add_self_loops: give every node a loop that it lacks.
        bias: add b.
        kwargs: PyG's further arguments, `gconv.inherited.Aggregated`.

    Raises:
        ValueError: for powers that are no such numbers, or a signal that does not fit.

    >>> layer = MixHopConv(16, 32, powers=[0, 1, 3])
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 96])
    """

    kind = "spectral"
    equation = "X' = ‖_{p in P} S^p X Θ_p + b"
    cost = "min(max P · C_in, Σ_p p · C_out) · (E + N) + |P| · N · C_in · C_out"
    reference = "Abu-El-Haija et al. (2019), equation 2"
    takes_sparse = True
    aggregations = AVERAGES

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        powers: Sequence[int] | None = None,
        add_self_loops: bool = True,
        bias: bool = True,
        **kwargs: Unpack[Aggregated],
    ) -> None:
        super().__init__(**kwargs)
        width, _ = lazy.check_widths(in_channels, out_channels)
        powers = [0, 1, 2] if powers is None else list(powers)
        if not powers or any(isinstance(p, bool) or not isinstance(p, int) or p < 0 for p in powers):
            raise ValueError(f"MixHopConv: powers are whole numbers >= 0, at least one; got {powers!r}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.powers, self.add_self_loops = powers, add_self_loops
        self.lins = nn.ModuleList(
            lazy.linear(width, out_channels, False) if power in powers else nn.Identity()
            for power in range(max(powers) + 1)
        )
        self.bias = nn.Parameter(torch.empty(len(powers) * out_channels)) if bias else None
        self.reset_parameters()
        lazy.await_widths(self)

    def reset_parameters(self) -> None:
        """Draw every Θ_p as `torch.nn.Linear` does; b starts at zero."""
        for power in self.powers:
            self._linear(power).reset_parameters()
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, edge_index: GraphLike = None, edge_weight: Tensor | None = None) -> Tensor:
        """The powers' results side by side, on the same graph."""
        graph, learned = self.resolve(x, edge_index, edge_weight)
        operator, weight = normalized_adjacency(
            graph, learned, x.dtype, aggr=self.aggr, add_self_loops=self.add_self_loops
        )
        wide, different = x.shape[-1] * max(self.powers), sorted(set(self.powers))
        if is_sparse(x) or sum(different) * self.out_channels < wide:
            found = self._products_first(x, operator, weight, different)
        else:
            every = terms(lambda signal: propagate(signal, operator, weight), x, max(self.powers) + 1, 0, False)
            found = {p: self._linear(p)(term) for p, term in enumerate(every) if p in different}
        out = torch.cat([found[power] for power in self.powers], -1)
        return out if self.bias is None else out + self.bias

    def _products_first(
        self, x: Tensor, operator: Operator | Structure, weight: Tensor | None, powers: list[int]
    ) -> dict[int, Tensor]:
        """Every step sums the products that have steps to go, side by side."""
        every = product(x, torch.cat([self._linear(power).weight for power in powers]))
        found, done = {}, 0
        for power in powers:
            for _ in range(power - done):
                every = propagate(every, operator, weight)
            found[power], every, done = every[..., : self.out_channels], every[..., self.out_channels :], power
        return found

    def work(self, graph: Graph, channels: int) -> Work:
        """As many sums as the highest power, of the signal or of the products that have steps to go; a product each."""
        steps, powers = max(self.powers), set(self.powers)
        entries = num_entries(graph, self.add_self_loops)
        products = len(powers) * graph.num_nodes * channels * self.out_channels
        sums = entries * min(steps * channels, sum(powers) * self.out_channels)
        return Work(sums + products, steps * entries, steps)

    def _linear(self, power: int) -> nn.Linear:
        return cast(nn.Linear, self.lins[power])

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, powers={self.powers}"

"""Higher-order graph network's convolution: a node beside the weighted sum of its neighbours.

    x'_i = W_1 x_i + W_2 aggr_{j in N(i)} e_ji x_j + b

Symbols: W_1 = `lin_root.weight`; W_2, b = `lin_rel.weight`, `lin_rel.bias`; e = `edge_weight` or ones; aggr = the sum,
the mean (over the number of neighbours, not over their weights), the largest, the smallest, channel by channel, or
another of `SAGEConv`'s. 0 for a node without neighbours.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`; of a pair `(..., N_s, C_s)` and `(..., N_t, C_t)` to
`(..., N_t, C_out)`. Cost: E · min(C_in, C_out) + 2 N · C_in · C_out multiply-adds a signal (largest, smallest,
median: no sums). Reference: Morris, Ritzert, Fey, Hamilton, Lenssen, Rattan and Grohe, Weisfeiler and Leman go neural:
higher-order graph neural networks (2019), equation 5.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from gconv import lazy
from gconv.domains.graph import Graph
from gconv.functional.edgewise import SUMS, Reduction
from gconv.functional.polynomial import polynomial
from gconv.functional.product import dense, product
from gconv.inherited import Inherited
from gconv.layer import GraphLayer, GraphLike
from gconv.pairs import Ends, Signals, Size
from gconv.spatial.reductions import weighted_operator, weighted_reduction
from gconv.work import Work, summed


class GraphConv(GraphLayer):
    """`torch_geometric.nn.GraphConv`: same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node; `in_channels` also (of the sources, of the targets), and -1 for
            what the first call tells.
        aggr: 'add' (or 'sum'), 'mean', 'max', 'min', 'median', 'std', 'var' or 'softmax' over the neighbours.
        bias: add b.
        kwargs: PyG's further arguments, `gconv.inherited.Inherited`.

    Raises:
        ValueError: for an unknown `aggr`, or a signal that does not fit.

    >>> layer = GraphConv(16, 32)
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spatial"
    equation = "W₁ x + W₂ (sum, mean, largest or smallest of eⱼ xⱼ) + b"
    cost = "E · min(C_in, C_out) + 2 N · C_in · C_out"
    reference = "Morris, Ritzert, Fey, Hamilton, Lenssen, Rattan and Grohe (2019), equation 5"
    takes_sparse = True
    of_target = frozenset({"lin_root"})

    def __init__(
        self,
        in_channels: lazy.Channels,
        out_channels: int,
        aggr: Reduction = "add",
        bias: bool = True,
        **kwargs: Unpack[Inherited],
    ) -> None:
        super().__init__(**kwargs)
        source, target = lazy.check_widths(in_channels, out_channels)
        self.reduce_by(aggr)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.lin_rel = lazy.linear(source, out_channels, bias)
        self.lin_root = lazy.linear(target, out_channels, bias=False)
        lazy.await_widths(self)

    def reset_parameters(self) -> None:
        """Draw both matrices and b as `torch.nn.Linear` does."""
        self.lin_rel.reset_parameters()
        self.lin_root.reset_parameters()

    def forward(
        self, x: Signals, edge_index: GraphLike = None, edge_weight: Tensor | None = None, size: Size = None
    ) -> Tensor:
        """The aggregated signal on the targets.

        Args:
            x: a signal, or a pair (x_source, x_target); without x_target nothing is added to the aggregate.
            edge_weight: `(E,)`; None for the graph's own.
            size: (number of sources, number of targets); needed where x_target is None.
        """
        ends = self.ends(x, edge_index, edge_weight, size)
        near, bias = self.lin_rel.weight.t(), self.lin_rel.bias
        if self.aggr not in SUMS:
            found = weighted_reduction(dense(ends.source), ends, self.aggr)
            return self._with_root(self.lin_rel(found), ends)
        operator, weight = weighted_operator(ends, self.aggr)
        if not ends.paired:  # powers 0 and 1 of the operator, in one pass
            both = torch.stack([self.lin_root.weight.t(), near])
            return polynomial(ends.source, operator, both, bias, edge_weight=weight)
        out = polynomial(ends.source, operator, near[None], bias, edge_weight=weight, first=1)
        return self._with_root(out, ends)

    def _with_root(self, out: Tensor, ends: Ends) -> Tensor:
        return out if ends.target is None else out + product(ends.target, self.lin_root.weight)

    def work(self, graph: Graph, channels: int) -> Work:
        """The reduction over the edges, and the products with W_1 and W_2."""
        edges, out = graph.num_edges, self.out_channels
        width = min(channels, out) if self.aggr in SUMS else channels
        return Work(summed(edges, width, self.aggr) + 2 * graph.num_nodes * channels * out, edges, 1)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, aggr={self.aggr!r}"

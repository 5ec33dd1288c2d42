"""GraphSAGE: a node beside what its neighbours have in common.

    x'_i = Θ_r x_i + Θ_l aggr_{j in N(i)} x_j + b

    project     x_j is replaced by relu(Θ_p x_j + b_p)
    normalize   x'_i is divided by its length, max(|x'_i|, 1e-12)

Symbols: Θ_r = `lin_r.weight`; Θ_l, b = `lin_l.weight`, `lin_l.bias`; Θ_p, b_p = `lin.weight`, `lin.bias`; aggr = the
mean, the sum, the largest or the smallest, channel by channel; 0 for a node without neighbours. Weights of edges do
not count.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`. Cost: E · min(C_in, C_out) + 2 N · C_in · C_out
multiply-adds a signal (largest, smallest: E · C_in comparisons).
Reference: Hamilton, Ying and Leskovec, Inductive representation learning on large graphs (2017), algorithm 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gconv.domains.graph import Graph
from gconv.functional.extremes import extreme
from gconv.functional.polynomial import polynomial
from gconv.functional.product import is_sparse, product
from gconv.layer import GraphLayer, GraphLike
from grid_cnn.conv import check_channels

_AGGREGATIONS = ("mean", "add", "sum", "max", "min")


class SAGEConv(GraphLayer):
    """`torch_geometric.nn.SAGEConv`: same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node.
        aggr: 'mean', 'add' (or 'sum'), 'max' or 'min' over the neighbours.
        normalize: scale every result to length 1.
        root_weight: add Θ_r x_i.
        project: send the neighbours through a linear layer and a ReLU first.
        bias: add b.

    Raises:
        ValueError: for an unknown `aggr`, or a signal that does not fit.

    >>> layer = SAGEConv(16, 32, aggr="max")
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spatial"
    reference = "Hamilton, Ying and Leskovec (2017), algorithm 1"
    takes_sparse = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        aggr: str = "mean",
        normalize: bool = False,
        root_weight: bool = True,
        project: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_channels(in_channels, out_channels)
        if aggr not in _AGGREGATIONS:
            raise ValueError(f"SAGEConv: aggr is one of {', '.join(map(repr, _AGGREGATIONS))}; got {aggr!r}")
        self.in_channels, self.out_channels, self.aggr = in_channels, out_channels, aggr
        self.normalize, self.root_weight, self.project = normalize, root_weight, project
        self.lin = nn.Linear(in_channels, in_channels) if project else None
        self.lin_l = nn.Linear(in_channels, out_channels, bias=bias)
        self.lin_r = nn.Linear(in_channels, out_channels, bias=False) if root_weight else None

    def reset_parameters(self) -> None:
        """Draw all matrices and biases as `torch.nn.Linear` does."""
        for lin in (self.lin, self.lin_l, self.lin_r):
            if lin is not None:
                lin.reset_parameters()

    def forward(self, x: Tensor, edge_index: GraphLike = None, size: tuple[int, int] | None = None) -> Tensor:
        """The aggregated signal on the same graph.

        Args:
            size: taken for PyG's sake: (N, N), since sources and targets are the same nodes.
        """
        graph, _ = self.resolve(x, edge_index)
        self.check_size(size, graph)
        out = self._extreme(x, graph) if self.aggr in ("max", "min") else self._sum(x, graph)
        return F.normalize(out, dim=-1) if self.normalize else out

    def _extreme(self, x: Tensor, graph: Graph) -> Tensor:
        near = extreme(self._projected(x), graph, largest=self.aggr == "max")
        out = self.lin_l(near)
        return out if self.lin_r is None else out + product(x, self.lin_r.weight)

    def _sum(self, x: Tensor, graph: Graph) -> Tensor:
        operator = graph.plan.mean() if self.aggr == "mean" else graph.plan.sum()
        near, bias = self.lin_l.weight.t(), self.lin_l.bias
        if self.lin_r is not None and self.lin is None:  # powers 0 and 1 of the operator, in one pass
            return polynomial(x, operator, torch.stack([self.lin_r.weight.t(), near]), bias)
        out = polynomial(self._projected(x), operator, near[None], bias, first=1)
        return out if self.lin_r is None else out + product(x, self.lin_r.weight)

    def _projected(self, x: Tensor) -> Tensor:
        if self.lin is None:
            return x.to_dense() if is_sparse(x) and self.aggr in ("max", "min") else x
        return product(x, self.lin.weight, self.lin.bias).relu()

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, aggr={self.aggr!r}"

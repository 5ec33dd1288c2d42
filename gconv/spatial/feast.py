"""FeaStNet's convolution: each neighbour is shared out among H matrices by what it and the node hold.

    x'_i = 1/|N(i)| Σ_{j in N(i)} Σ_{h=1}^{H} q_h(x_i, x_j) W_h x_j + b,   q(x_i, x_j) = softmax( u (x_j - x_i) + c )

Symbols: W_h = `lin.weight`, head by head; u = `u.weight`, `(H, C_in)`; c = `c`; b = `bias`. N(i) holds i itself with
`add_self_loops`.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`; of a pair `(..., N_s, C_in)` and `(..., N_t, C_in)` to
`(..., N_t, C_out)`. Cost: N · C_in · H · (C_out + 1) + (E + N) · H · C_out multiply-adds a signal. Reference: Verma,
Boyer and Verbeek, FeaStNet: feature-steered graph convolutions for 3D shape analysis (2018), equations 5 and 6.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from gconv import lazy
from gconv.domains.graph import Graph
from gconv.domains.structure import Structure
from gconv.functional.feast import soft_assignment
from gconv.inherited import Aggregated
from gconv.layer import GraphLayer, GraphLike
from gconv.pairs import Signals
from gconv.spatial.heads import check_heads
from gconv.work import Work, num_entries


class FeaStConv(GraphLayer):
    """`torch_geometric.nn.FeaStConv`: same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node; `in_channels` -1 for what the first call tells.
        heads: H, the number of matrices.
        add_self_loops: a node is its own neighbour; loops that are there are replaced.
        bias: add b.
        kwargs: PyG's further arguments, `gconv.inherited.Aggregated`.

    Raises:
        ValueError: for a signal that does not fit.

    >>> layer = FeaStConv(16, 32, heads=4)
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spatial"
    equation = "mean of Σₕ qₕ(xⱼ, x) Θₕ xⱼ + b, q a softmax over the heads"
    cost = "N · C_in · H · (C_out + 1) + (E + N) · H · C_out"
    reference = "Verma, Boyer and Verbeek (2018), equations 5 and 6"
    aggregations = ("mean", "add", "sum")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 1,
        add_self_loops: bool = True,
        bias: bool = True,
        **kwargs: Unpack[Aggregated],
    ) -> None:
        super().__init__(**kwargs)
        width = lazy.check_width("FeaStConv", in_channels, out_channels)
        check_heads(heads, 0.0)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.heads, self.add_self_loops = heads, add_self_loops
        self.lin = lazy.linear(width, heads * out_channels, bias=False)
        self.u = lazy.linear(width, heads, bias=False)
        self.c = nn.Parameter(torch.empty(heads))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()
        lazy.await_widths(self)

    def reset_parameters(self) -> None:
        """Draw W and u by PyG's rules, c from N(0, 0.1²); b starts at zero."""
        lazy.draw(_uniform, self.lin, self.u)
        nn.init.normal_(self.c, std=0.1)
        if self.bias is not None:
            nn.init.normal_(self.bias, std=0.1)

    def forward(self, x: Signals, edge_index: GraphLike = None, *, form: str | None = None) -> Tensor:
        """The filtered signal on the targets.

        Args:
            x: a signal, or a pair (x_source, x_target).
            form: 'fused', 'gather', 'portable', or None for the engine's choice.
        """
        ends = self.ends(x, edge_index, needs_target=True)
        graph, structure = ends.graph, ends.structure.with_loops[0] if self.add_self_loops else ends.structure
        source, target = ends.signals()
        assert target is not None
        dtype = source.dtype
        projected = self.lin(source)
        projected = ends.table(projected, None).unflatten(-1, (self.heads, self.out_channels))
        near = ends.table(self.u(source), self.u(target) if ends.paired else None).to(projected.dtype)
        shares = _mean if self.aggr == "mean" else _ones
        weight = graph.plan.keep(("feast", self.aggr, self.add_self_loops, dtype), lambda: shares(structure, dtype))
        out = soft_assignment(projected, near, self.c, weight, graph, ends.square(structure), form)
        out = ends.drop(ends.rows(out))
        return out if self.bias is None else out + self.bias

    def work(self, graph: Graph, channels: int) -> Work:
        """The products with W and u, and over the edges and loops a sum of H shares."""
        edges = num_entries(graph, self.add_self_loops)
        products = graph.num_nodes * channels * self.heads * (self.out_channels + 1)
        return Work(products + edges * self.heads * self.out_channels, edges, 1)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, heads={self.heads}"


def _mean(structure: Structure, dtype: torch.dtype) -> Tensor:
    """The weights with which a sum over the edges is a mean; nodes without edges have none."""
    return structure.in_degree.clamp(min=1).double().reciprocal()[structure.target].to(dtype)


def _ones(structure: Structure, dtype: torch.dtype) -> Tensor:
    return torch.ones(structure.num_edges, dtype=dtype, device=structure.target.device)


def _uniform(weight: Tensor) -> None:
    bound = weight.shape[1] ** -0.5
    nn.init.uniform_(weight, -bound, bound)

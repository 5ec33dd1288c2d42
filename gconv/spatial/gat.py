"""Graph attention: neighbours weighted by a softmax of scores that add up from both ends of an edge.

    x'_i = Σ_{j in N(i) ∪ {i}} α_ij Θ x_j + b,   α_ij = softmax_j( leaky( a_s · Θ x_j + a_t · Θ x_i + a_e · Θ_e e_ij ) )

by H heads, which are joined side by side (`concat`) or averaged. Symbols: Θ = `lin.weight`; a_s, a_t, a_e = `att_src`,
`att_dst`, `att_edge`; Θ_e = `lin_edge.weight`; b = `bias`.

Where `in_channels` is a pair, Θ is `lin_src` for sources and `lin_dst` for targets.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, H · C_out)`, or `(..., N, C_out)` averaged; of a pair `(..., N_s,
C_s)` and `(..., N_t, C_t)` to `(..., N_t, H · C_out)`. Cost: N · (C_in + 2) · H · C_out + (E + N) · H · C_out
multiply-adds a signal. Reference: Veličković, Cucurull, Casanova, Romero, Liò and Bengio, Graph attention networks
(2018), equations 1 to 6.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from gconv import lazy
from gconv.domains.graph import Graph
from gconv.functional.attention import attention
from gconv.functional.product import product
from gconv.inherited import Aggregated
from gconv.layer import GraphLayer, GraphLike
from gconv.pairs import Ends, Signals, Size
from gconv.spatial.heads import check_fill, check_heads, loops_and_features, with_heads_joined
from gconv.work import Work, num_entries


class GATConv(GraphLayer):
    """`torch_geometric.nn.GATConv`: same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node; `out_channels` of each head; `in_channels` also (of the sources,
            of the targets), with matrices of their own, and -1 for what the first call tells.
        heads: H.
        concat: join the heads side by side; else average them.
        negative_slope: of leaky.
        dropout: the probability of dropping a coefficient in training.
        add_self_loops: every node attends to itself; loops that are there are replaced.
        edge_dim: the width of the edges' features, or None if they have no say.
        fill_value: the features of added loops: a number, a tensor, or how to reduce those of the edges into the node
            ('mean', 'add', 'min', 'max', 'mul').
        bias: add b.
        residual: add a linear map of x_i.
        kwargs: PyG's further arguments, `gconv.inherited.Aggregated`.

    Raises:
        ValueError: for edge features that are missing or of another width, or a signal that does not fit.

    >>> layer = GATConv(16, 8, heads=4)
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spatial"
    equation = "Σ αⱼ Θ xⱼ over heads + b, α a softmax of leaky(aₛ·Θxⱼ + aₜ·Θx)"
    cost = "N · (C_in + 2) · H · C_out + (E + N) · H · C_out"
    reference = "Veličković et al. (2018), equations 1 to 6"
    aggregations = ("add", "sum")
    takes_sparse = True
    of_target = frozenset({"lin_dst", "res"})

    def __init__(
        self,
        in_channels: lazy.Channels,
        out_channels: int,
        heads: int = 1,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        add_self_loops: bool = True,
        edge_dim: int | None = None,
        fill_value: float | Tensor | str = "mean",
        bias: bool = True,
        residual: bool = False,
        **kwargs: Unpack[Aggregated],
    ) -> None:
        super().__init__(**kwargs)
        source, target = lazy.check_widths(in_channels, out_channels)
        check_heads(heads, dropout)
        check_fill(fill_value)
        self.in_channels, self.out_channels, self.heads, self.concat = in_channels, out_channels, heads, concat
        self.negative_slope, self.dropout, self.add_self_loops = negative_slope, dropout, add_self_loops
        self.edge_dim, self.fill_value, self.residual = edge_dim, fill_value, residual
        total = heads * out_channels
        two = isinstance(in_channels, tuple | list)
        self.lin = None if two else lazy.linear(source, total, bias=False)
        self.lin_src = lazy.linear(source, total, bias=False) if two else None
        self.lin_dst = lazy.linear(target, total, bias=False) if two else None
        self.att_src = nn.Parameter(torch.empty(1, heads, out_channels))
        self.att_dst = nn.Parameter(torch.empty(1, heads, out_channels))
        self.lin_edge = None if edge_dim is None else nn.Linear(edge_dim, total, bias=False)
        self.att_edge = None if edge_dim is None else nn.Parameter(torch.empty(1, heads, out_channels))
        width = total if concat else out_channels
        self.res = lazy.linear(target, width, bias=False) if residual else None
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        self.reset_parameters()
        lazy.await_widths(self)

    def reset_parameters(self) -> None:
        """Draw everything by Glorot's rule; b starts at zero."""
        lazy.draw(nn.init.xavier_uniform_, self.lin, self.lin_src, self.lin_dst, self.lin_edge, self.res)
        lazy.draw(lazy.glorot, self.att_src, self.att_dst, self.att_edge)
        lazy.draw(nn.init.zeros_, self.bias)

    def forward(
        self,
        x: Signals,
        edge_index: GraphLike = None,
        edge_attr: Tensor | None = None,
        size: Size = None,
        return_attention_weights: bool | None = None,
        *,
        form: str | None = None,
    ) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
        """The attended signal on the targets.

        Args:
            x: a signal, or a pair (x_source, x_target); without x_target the scores are those of the sources alone.
            edge_attr: features of the edges, `(E, edge_dim)`; None for the graph's own.
            size: (number of sources, number of targets); needed where x_target is None.
            return_attention_weights: give `(edge_index, α)` as well, loops included; α `(E', H)` or `(B, E', H)`. Of a
                sparse adjacency: (the adjacency of α, α).
            form: 'fused', 'gather', 'portable', or None for the engine's choice.
        """
        ends = self.ends((x, x) if self.lin is None and isinstance(x, Tensor) else x, edge_index, size=size)
        structure, features = loops_and_features(self, ends, edge_attr)
        r = None
        if self.lin_edge is not None and self.att_edge is not None and features is not None:
            edge_weight = self.lin_edge.weight.unflatten(0, (self.heads, self.out_channels))
            r = features @ torch.einsum("hcd,hc->dh", edge_weight, self.att_edge[0])
        out, alpha = attention(
            self._projected(ends), self.att_src[0], self.att_dst[0], ends.square(structure), r,
            slope=self.negative_slope, dropout=self.dropout if self.training else 0.0, form=form,
            weights=bool(return_attention_weights), choices=ends.graph.plan.choices,
        )  # fmt: skip
        return with_heads_joined(self, ends.rows(out), ends, structure, alpha, edge_index)

    def _projected(self, ends: Ends) -> Tensor:
        """Θ x of both ends in one table, `(S, N, H, C_out)`."""
        mine, theirs = (self.lin_src, self.lin_dst) if self.lin is None else (self.lin, self.lin)
        assert mine is not None
        assert theirs is not None
        source = product(ends.source, mine.weight)
        target = product(ends.target, theirs.weight) if ends.paired and ends.target is not None else None
        table = ends.table(ends.lift(source), None if target is None else ends.lift(target))
        return table.unflatten(-1, (self.heads, self.out_channels))

    def work(self, graph: Graph, channels: int) -> Work:
        """The products, the scores of both ends at the nodes, and a weighted sum over the edges and loops."""
        nodes, total = graph.num_nodes, self.heads * self.out_channels
        edges = num_entries(graph, self.add_self_loops)
        products = (
            nodes * channels * (total * (1 + (self.lin is None)) + (0 if self.res is None else self.res.out_features))
        )
        return Work(products + 2 * nodes * total + edges * total, edges, 1)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, heads={self.heads}"

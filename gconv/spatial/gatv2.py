"""Graph attention with dynamic scores: the vector of attention goes behind the nonlinearity.

    x'_i = Σ_{j in N(i) ∪ {i}} α_ij Θ_s x_j + b,   α_ij = softmax_j( a · leaky( Θ_s x_j + Θ_t x_i + Θ_e e_ij ) )

by H heads, which are joined side by side (`concat`) or averaged. Symbols: Θ_s = `lin_l`, Θ_t = `lin_r`, Θ_e =
`lin_edge`; a = `att`; b = `bias`.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, H · C_out)`, or `(..., N, C_out)` averaged; of a pair
`(..., N_s, C_s)` and `(..., N_t, C_t)` to `(..., N_t, H · C_out)`. Cost: 2 N · C_in · H · C_out + 2 (E + N) · H · C_out
multiply-adds a signal. Reference: Brody, Alon and Yahav, How attentive are graph attention networks? (2022), equation
7.
"""

from __future__ import annotations

from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gconv import lazy
from gconv.domains.graph import Graph
from gconv.functional.attention import dynamic_attention
from gconv.inherited import Aggregated
from gconv.layer import GraphLayer, GraphLike
from gconv.pairs import Ends, Signals
from gconv.spatial.heads import check_fill, check_heads, loops_and_features, with_heads_joined
from gconv.work import Work, num_entries


class GATv2Conv(GraphLayer):
    """`torch_geometric.nn.GATv2Conv`: same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node; `out_channels` of each head; `in_channels` also (of the sources,
            of the targets), and -1 for what the first call tells.
        heads: H.
        concat: join the heads side by side; else average them.
        negative_slope: of leaky.
        dropout: the probability of dropping a coefficient in training.
        add_self_loops: every node attends to itself; loops that are there are replaced.
        edge_dim: the width of the edges' features, or None if they have no say.
        fill_value: the features of added loops: a number, a tensor, or how to reduce those of the edges into the node
            ('mean', 'add', 'min', 'max', 'mul').
        bias: add b, and a bias in Θ_s and Θ_t.
        share_weights: Θ_t is Θ_s.
        residual: add a linear map of x_i.
        kwargs: PyG's further arguments, `gconv.inherited.Aggregated`.

    Raises:
        ValueError: for edge features that are missing or of another width, or a signal that does not fit.

    >>> layer = GATv2Conv(16, 8, heads=4)
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spatial"
    equation = "Σ αⱼ Θₛ xⱼ over heads + b, α a softmax of a·leaky(Θₛ xⱼ + Θₜ x)"
    cost = "2 N · C_in · H · C_out + 2 (E + N) · H · C_out"
    reference = "Brody, Alon and Yahav (2022), equation 7"
    aggregations = ("add", "sum")
    of_target = frozenset({"lin_r", "res"})

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
        share_weights: bool = False,
        residual: bool = False,
        **kwargs: Unpack[Aggregated],
    ) -> None:
        super().__init__(**kwargs)
        source, target = lazy.check_widths(in_channels, out_channels)
        check_heads(heads, dropout)
        check_fill(fill_value)
        self.in_channels, self.out_channels, self.heads, self.concat = in_channels, out_channels, heads, concat
        self.negative_slope, self.dropout, self.add_self_loops = negative_slope, dropout, add_self_loops
        self.edge_dim, self.fill_value, self.share_weights = edge_dim, fill_value, share_weights
        self.residual = residual
        total = heads * out_channels
        self.lin_l = lazy.linear(source, total, bias)
        self.lin_r = self.lin_l if share_weights else lazy.linear(target, total, bias)
        self.att = nn.Parameter(torch.empty(1, heads, out_channels))
        self.lin_edge = None if edge_dim is None else nn.Linear(edge_dim, total, bias=False)
        width = total if concat else out_channels
        self.res = lazy.linear(target, width, bias=False) if residual else None
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        self.reset_parameters()
        lazy.await_widths(self)

    def reset_parameters(self) -> None:
        """Draw everything by Glorot's rule, the biases of Θ_s and Θ_t as `torch.nn.Linear` does; b starts at zero."""
        for lin in (self.lin_l, self.lin_r):
            lin.reset_parameters()
        lazy.draw(nn.init.xavier_uniform_, self.lin_l, self.lin_r, self.lin_edge, self.res)
        lazy.draw(lazy.glorot, self.att)
        lazy.draw(nn.init.zeros_, self.bias)

    def forward(
        self,
        x: Signals,
        edge_index: GraphLike = None,
        edge_attr: Tensor | None = None,
        return_attention_weights: bool | None = None,
        *,
        form: str | None = None,
    ) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
        """The attended signal on the targets.

        Args:
            x: a signal, or a pair (x_source, x_target).
            edge_attr: features of the edges, `(E, edge_dim)`; None for the graph's own.
            return_attention_weights: give `(edge_index, α)` as well, loops included; α `(E', H)` or `(B, E', H)`. Of a
                sparse adjacency: (the adjacency of α, α).
            form: 'fused', 'gather', 'portable', or None for the engine's choice.
        """
        ends = self.ends(x, edge_index, needs_target=True)
        structure, features = loops_and_features(self, ends, edge_attr)
        r = None if self.lin_edge is None else self.lin_edge(features).unflatten(-1, (self.heads, self.out_channels))
        out, alpha = dynamic_attention(
            self._table(ends), self.att[0], ends.square(structure), r, slope=self.negative_slope,
            dropout=self.dropout if self.training else 0.0, form=form, weights=bool(return_attention_weights),
            choices=ends.graph.plan.choices,
        )  # fmt: skip
        return with_heads_joined(self, ends.rows(out), ends, structure, alpha, edge_index)

    def _table(self, ends: Ends) -> Tensor:
        """Θ_s x and Θ_t x side by side, `(S, N, 2, H, C_out)`; once where both are the same.

        Of a pair: one table of both ends' nodes, each with the one of the two that is read.
        """
        source, target = ends.signals()
        if not ends.paired:
            table = self._both(source)
        else:
            assert target is not None
            table = ends.table(self.lin_l(source), self.lin_r(target))
        return table.unflatten(-1, (-1, self.heads, self.out_channels))

    def _both(self, x: Tensor) -> Tensor:
        """Θ_s x and Θ_t x side by side, in one product; Θ_s x alone where both are the same."""
        if self.share_weights:
            return self.lin_l(x)
        weight = torch.cat([self.lin_l.weight, self.lin_r.weight])
        bias = None if self.lin_l.bias is None else torch.cat([self.lin_l.bias, self.lin_r.bias])
        return F.linear(x, weight, bias)

    def work(self, graph: Graph, channels: int) -> Work:
        """The products, and over the edges and loops a score and a weighted sum."""
        total, edges = self.heads * self.out_channels, num_entries(graph, self.add_self_loops)
        width = total * (1 if self.share_weights else 2) + (0 if self.res is None else self.res.out_features)
        return Work(graph.num_nodes * channels * width + 2 * edges * total, edges, 1)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, heads={self.heads}"

"""Graph transformer: neighbours weighted by a softmax of inner products of queries and keys.

    x'_i = W_1 x_i + Σ_{j in N(i)} α_ij (W_2 x_j + W_6 e_ij),   α_ij = softmax_j( W_3 x_i · (W_4 x_j + W_6 e_ij) / √C )

    beta    x'_i = β_i W_1 x_i + (1 - β_i) m_i with m_i the sum, β_i = sigmoid( w_5 · (m_i ‖ W_1 x_i ‖ m_i - W_1 x_i) )

by H heads, which are joined side by side (`concat`) or averaged. Symbols: W_1 = `lin_skip`, W_2 = `lin_value`, W_3 =
`lin_query`, W_4 = `lin_key`, W_6 = `lin_edge`, w_5 = `lin_beta`. W_6 stays with the nodes: its transpose takes queries
to the features, and what attention makes of the features goes through it once a node.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, H · C)`, or `(..., N, C)` averaged, C = C_out; of a pair `(..., N_s,
C_s)` and `(..., N_t, C_t)` to `(..., N_t, ...)`. Cost: 4 N · C_in · H · C + 2 E · H · (C + D) + 2 N · H · C · D
multiply-adds a signal, D features an edge. Reference: Shi, Huang, Feng, Zhong, Wang and Sun, Masked label prediction:
unified message passing model for semi-supervised classification (2021), equations 3 to 5.
"""

from __future__ import annotations

import math
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gconv import lazy
from gconv.domains.graph import Graph
from gconv.functional.attention import dot_attention
from gconv.inherited import Aggregated
from gconv.layer import GraphLayer, GraphLike
from gconv.pairs import Ends, Signals
from gconv.spatial.heads import check_heads, edges_given
from gconv.work import Work


class TransformerConv(GraphLayer):
    """`torch_geometric.nn.TransformerConv`: same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node; `out_channels` of each head. `in_channels` also (of the sources,
            of the targets), and -1 for what the first call tells.
        heads: H.
        concat: join the heads side by side; else average them.
        beta: weigh the sum against W_1 x_i; counts only with `root_weight`.
        dropout: the probability of dropping a coefficient in training.
        edge_dim: the width of the edges' features, or None if they have no say.
        bias: a bias in W_1 to W_4.
        root_weight: add W_1 x_i.
        kwargs: PyG's further arguments, `gconv.inherited.Aggregated`.

    Raises:
        ValueError: for edge features that are missing, of another width or not asked for, or a signal that does not
        fit.

    >>> layer = TransformerConv(16, 8, heads=4)
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spatial"
    equation = "W₁ xᵢ + Σ αⱼ (W₂ xⱼ + W₆ e), α a softmax of W₃ xᵢ · (W₄ xⱼ + W₆ e) / √C_out"
    cost = "4 N · C_in · H · C_out + 2 E · H · (C_out + D) + 2 N · H · C_out · D"
    reference = "Shi, Huang, Feng, Zhong, Wang and Sun (2021), equations 3 to 5"
    aggregations = ("add", "sum")
    of_target = frozenset({"lin_query", "lin_skip"})

    def __init__(
        self,
        in_channels: lazy.Channels,
        out_channels: int,
        heads: int = 1,
        concat: bool = True,
        beta: bool = False,
        dropout: float = 0.0,
        edge_dim: int | None = None,
        bias: bool = True,
        root_weight: bool = True,
        **kwargs: Unpack[Aggregated],
    ) -> None:
        super().__init__(**kwargs)
        source, target = lazy.check_widths(in_channels, out_channels)
        check_heads(heads, dropout)
        self.in_channels, self.out_channels, self.heads, self.concat = in_channels, out_channels, heads, concat
        self.beta, self.root_weight, self.dropout, self.edge_dim = beta and root_weight, root_weight, dropout, edge_dim
        total = heads * out_channels
        width = total if concat else out_channels
        self.lin_key = lazy.linear(source, total, bias)
        self.lin_query = lazy.linear(target, total, bias)
        self.lin_value = lazy.linear(source, total, bias)
        self.lin_edge = None if edge_dim is None else nn.Linear(edge_dim, total, bias=False)
        self.lin_skip = lazy.linear(target, width, bias)  # PyG has it without root_weight too
        self.lin_beta = nn.Linear(3 * width, 1, bias=False) if self.beta else None
        lazy.await_widths(self)

    def reset_parameters(self) -> None:
        """Draw all matrices and biases as `torch.nn.Linear` does."""
        for lin in (self.lin_key, self.lin_query, self.lin_value, self.lin_edge, self.lin_skip, self.lin_beta):
            if lin is not None:
                lin.reset_parameters()

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
            return_attention_weights: whatever it is, if it is no None: give `(edge_index, α)` as well, α `(E, H)` or
                `(B, E, H)`, before dropout. Of a sparse adjacency: itself, and α in the order of its entries.
            form: 'fused', 'gather', 'portable', or None for the engine's choice.
        """
        ends = self.ends(x, edge_index, needs_target=True)
        if edge_attr is not None and self.edge_dim is None:
            raise ValueError(
                f"TransformerConv was made without edge_dim, so it reads no edge_attr {tuple(edge_attr.shape)}; pass "
                f"edge_dim={edge_attr.shape[-1]} to its constructor"
            )
        query, key, value, own = self._projected(ends)
        u = f = by_head = None
        if self.lin_edge is not None:
            by_head = self.lin_edge.weight.unflatten(0, (self.heads, self.out_channels))
            f = self.edge_features(ends.graph, edge_attr, self.lin_edge.in_features, query.dtype)
            u = torch.einsum("sthc,hcd->sthd", query, by_head)
        out, features, alpha = dot_attention(
            query, key, value, ends.structure, u, f, dropout=self.dropout if self.training else 0.0, form=form,
            weights=return_attention_weights is not None, choices=ends.graph.plan.choices,
        )  # fmt: skip
        if features is not None and by_head is not None:
            out = out + torch.einsum("sthd,hcd->sthc", features, by_head)
        out = self._with_own(out.flatten(-2) if self.concat else out.mean(-2), own)
        if alpha is None:
            return ends.drop(out)
        sparse = isinstance(edge_index, Tensor) and edge_index.layout is not torch.strided
        return ends.drop(out), (edge_index if sparse else edges_given(ends.structure, self.flow), ends.drop(alpha))

    def _projected(self, ends: Ends) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Scaled queries, keys and values by heads, and W_1 x_i; of one signal in one product."""
        source, target = ends.signals()
        assert target is not None
        scale = 1.0 / math.sqrt(self.out_channels)
        near = [self.lin_key, self.lin_value]
        here = [self.lin_query, *[self.lin_skip] * self.root_weight]
        if ends.paired:
            (key, value), (query, *own) = _side_by_side(source, near), _side_by_side(target, here)
        else:
            key, value, query, *own = _side_by_side(source, near + here)
        by_heads = (self.heads, self.out_channels)
        query, key, value = (t.unflatten(-1, by_heads) for t in (query * scale, key, value))
        return query, key, value, own[0] if own else None

    def _with_own(self, out: Tensor, own: Tensor | None) -> Tensor:
        if own is None:
            return out
        if self.lin_beta is None:
            return out + own
        beta = self.lin_beta(torch.cat([out, own, out - own], -1)).sigmoid()
        return torch.lerp(out, own, beta)

    def work(self, graph: Graph, channels: int) -> Work:
        """The products, a score and a weighted sum of every edge, and W_6 on either side of them at the nodes."""
        nodes, edges, total = graph.num_nodes, graph.num_edges, self.heads * self.out_channels
        width, features = self.lin_skip.out_features, self.edge_dim or 0
        products = nodes * (channels * (3 * total + self.root_weight * width) + 2 * total * features)
        beta = 0 if self.lin_beta is None else nodes * 3 * width
        return Work(products + beta + 2 * edges * (total + self.heads * features), edges, 1)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, heads={self.heads}"


def _side_by_side(x: Tensor, linears: list[nn.Linear]) -> tuple[Tensor, ...]:
    """What several linear layers make of the same signals, in one product."""
    biases = tuple(lin.bias for lin in linears)
    bias = torch.cat(biases) if biases[0] is not None else None
    found = F.linear(x, torch.cat(tuple(lin.weight for lin in linears)), bias)
    return found.split([lin.out_features for lin in linears], -1)

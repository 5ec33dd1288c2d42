"""Graph attention: neighbours weighted by a softmax of scores that add up from both ends of an edge.

    x'_i = Σ_{j in N(i) ∪ {i}} α_ij Θ x_j + b,   α_ij = softmax_j( leaky( a_s · Θ x_j + a_t · Θ x_i + a_e · Θ_e e_ij ) )

by H heads, which are joined side by side (`concat`) or averaged. Symbols: Θ = `lin.weight`; a_s, a_t, a_e = `att_src`,
`att_dst`, `att_edge`; Θ_e = `lin_edge.weight`; b = `bias`.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, H · C_out)`, or `(..., N, C_out)` averaged. Cost: N · C_in · H ·
C_out + E · H · C_out multiply-adds a signal. Reference: Veličković, Cucurull, Casanova, Romero, Liò and Bengio, Graph
attention networks (2018), equations 1 to 6.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gconv.functional.attention import attention
from gconv.functional.product import product
from gconv.layer import GraphLayer, GraphLike
from gconv.spatial.heads import check_heads, loops_and_features, with_heads_joined
from grid_cnn.conv import check_channels


class GATConv(GraphLayer):
    """`torch_geometric.nn.GATConv`: same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node; `out_channels` of each head.
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

    Raises:
        ValueError: for edge features that are missing or of another width, or a signal that does not fit.

    >>> layer = GATConv(16, 8, heads=4)
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spatial"
    reference = "Veličković et al. (2018), equations 1 to 6"
    takes_sparse = True

    def __init__(
        self,
        in_channels: int,
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
    ) -> None:
        super().__init__()
        check_channels(in_channels, out_channels)
        check_heads(heads, dropout)
        self.in_channels, self.out_channels, self.heads, self.concat = in_channels, out_channels, heads, concat
        self.negative_slope, self.dropout, self.add_self_loops = negative_slope, dropout, add_self_loops
        self.edge_dim, self.fill_value = edge_dim, fill_value
        total = heads * out_channels
        self.lin = nn.Linear(in_channels, total, bias=False)
        self.att_src = nn.Parameter(torch.empty(1, heads, out_channels))
        self.att_dst = nn.Parameter(torch.empty(1, heads, out_channels))
        self.lin_edge = None if edge_dim is None else nn.Linear(edge_dim, total, bias=False)
        self.att_edge = None if edge_dim is None else nn.Parameter(torch.empty(1, heads, out_channels))
        width = total if concat else out_channels
        self.res = nn.Linear(in_channels, width, bias=False) if residual else None
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw everything by Glorot's rule; b starts at zero."""
        for lin in (self.lin, self.lin_edge, self.res):
            if lin is not None:
                nn.init.xavier_uniform_(lin.weight)
        for vector in (self.att_src, self.att_dst, self.att_edge):
            if vector is not None:
                nn.init.xavier_uniform_(vector)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(
        self,
        x: Tensor,
        edge_index: GraphLike = None,
        edge_attr: Tensor | None = None,
        size: tuple[int, int] | None = None,
        return_attention_weights: bool | None = None,
        *,
        form: str | None = None,
    ) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
        """The attended signal on the same graph.

        Args:
            edge_attr: features of the edges, `(E, edge_dim)`; None for the graph's own.
            size: taken for PyG's sake: (N, N), since sources and targets are the same nodes.
            return_attention_weights: give `(edge_index, α)` as well, loops included; α `(E', H)` or `(B, E', H)`.
            form: 'fused', 'gather', 'portable', or None for the engine's choice.
        """
        graph, _ = self.resolve(x, edge_index)
        self.check_size(size, graph)
        structure, features = loops_and_features(self, graph, edge_attr, x.dtype)
        projected = product(x, self.lin.weight)
        projected = (projected if x.dim() == 3 else projected[None]).unflatten(-1, (self.heads, self.out_channels))
        r = None
        if self.lin_edge is not None and self.att_edge is not None and features is not None:
            edge_weight = self.lin_edge.weight.unflatten(0, (self.heads, self.out_channels))
            r = features @ torch.einsum("hcd,hc->dh", edge_weight, self.att_edge[0])
        out, alpha = attention(
            projected, self.att_src[0], self.att_dst[0], structure, r, slope=self.negative_slope,
            dropout=self.dropout if self.training else 0.0, form=form, weights=bool(return_attention_weights),
            choices=graph.plan.choices,
        )  # fmt: skip
        return with_heads_joined(self, out, x, structure, alpha)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, heads={self.heads}"

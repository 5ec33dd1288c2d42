"""Residual gated graph convolution: each channel of a neighbour passes a gate that both ends of the edge set.

    x'_i = W_1 x_i + Σ_{j in N(i)} σ( W_3 x_i + W_4 x_j ) ⊙ W_2 x_j + b

    edge_dim    x_i and x_j are joined to the edge's features under W_2, W_3 and W_4; what these make of the features is
                worked out once for all signals

Symbols: W_1 = `lin_skip`, W_2 = `lin_value`, W_3 = `lin_key`, W_4 = `lin_query`, all but W_1 with biases; b = `bias`;
σ = `act`.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`; of a pair `(..., N_s, C_s)` and `(..., N_t, C_t)` to
`(..., N_t, C_out)`. Cost: 4 N · C_in · C_out + E · C_out multiply-adds a signal. Reference: Bresson and Laurent,
Residual gated graph ConvNets (2017), equation 11.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gconv import lazy
from gconv.domains.graph import Graph
from gconv.functional.edgewise import Reduction
from gconv.functional.gated import gated_sum
from gconv.inherited import Inherited
from gconv.layer import GraphLayer, GraphLike
from gconv.pairs import Signals
from gconv.work import Work, summed


class ResGatedGraphConv(GraphLayer):
    """`torch_geometric.nn.ResGatedGraphConv`: same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node; `in_channels` also (of the sources, of the targets), and -1 for
            what the first call tells (without `edge_dim`).
        act: σ, a module or a function; None for a sigmoid.
        edge_dim: the width of the edges' features, or None if they have no say.
        root_weight: add W_1 x_i.
        bias: add b.
        aggr: 'add' over the neighbours, or another of `SAGEConv`'s.
        kwargs: PyG's further arguments, `gconv.inherited.Inherited`.

    Raises:
        TypeError: if `act` cannot be called.
        ValueError: for edge features that are missing, of another width or not asked for, an open width with
        `edge_dim`, or a signal that does not fit.

    >>> layer = ResGatedGraphConv(16, 32)
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spatial"
    equation = "W₁ x + Σ σ(W₃ x + W₄ xⱼ) ⊙ W₂ xⱼ + b"
    cost = "4 N · C_in · C_out + E · C_out"
    reference = "Bresson and Laurent (2017), equation 11"
    of_target = frozenset({"lin_key", "lin_skip"})

    def __init__(
        self,
        in_channels: lazy.Channels,
        out_channels: int,
        act: Callable[[Tensor], Tensor] | None = None,
        edge_dim: int | None = None,
        root_weight: bool = True,
        bias: bool = True,
        aggr: Reduction = "add",
        **kwargs: Unpack[Inherited],
    ) -> None:
        super().__init__(**kwargs)
        source, target = lazy.check_widths(in_channels, out_channels)
        self.reduce_by(aggr)
        if act is not None and not callable(act):
            raise TypeError(f"ResGatedGraphConv takes a module or a function as its act, got {type(act).__name__}")
        if edge_dim is not None and lazy.OPEN in (source, target):
            raise ValueError(
                f"ResGatedGraphConv: edge_dim={edge_dim} needs the widths of the nodes; got in_channels={in_channels!r}"
            )
        self.in_channels, self.out_channels, self.edge_dim = in_channels, out_channels, edge_dim
        self.root_weight = root_weight
        self.act = nn.Sigmoid() if act is None else act
        more = edge_dim or 0
        self.lin_key = lazy.linear(target if target == lazy.OPEN else target + more, out_channels)
        self.lin_query = lazy.linear(source if source == lazy.OPEN else source + more, out_channels)
        self.lin_value = lazy.linear(source if source == lazy.OPEN else source + more, out_channels)
        self.lin_skip = lazy.linear(target, out_channels, bias=False) if root_weight else None
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        lazy.await_widths(self)

    def reset_parameters(self) -> None:
        """Draw all matrices and their biases as `torch.nn.Linear` does; b starts at zero."""
        for lin in (self.lin_key, self.lin_query, self.lin_value, self.lin_skip):
            if lin is not None:
                lin.reset_parameters()
        lazy.draw(nn.init.zeros_, self.bias)

    def forward(
        self,
        x: Signals,
        edge_index: GraphLike = None,
        edge_attr: Tensor | None = None,
        *,
        form: str | None = None,
    ) -> Tensor:
        """The gated signal on the targets.

        Args:
            x: a signal, or a pair (x_source, x_target).
            edge_attr: features of the edges, `(E, edge_dim)`; None for the graph's own.
            form: 'fused', 'gather', 'portable', or None for the engine's choice.
        """
        ends = self.ends(x, edge_index, needs_target=True)
        if edge_attr is not None and self.edge_dim is None:
            raise ValueError(
                f"ResGatedGraphConv was made without edge_dim, so it reads no edge_attr {tuple(edge_attr.shape)}; pass "
                f"edge_dim={edge_attr.shape[-1]} to its constructor"
            )
        source, target = ends.signals()
        assert target is not None
        more = self.edge_dim or 0
        near = [_of_nodes(lin, more) for lin in (self.lin_query, self.lin_value)]
        here: list[tuple[Tensor, Tensor | None]] = [_of_nodes(self.lin_key, more)]
        here += [(self.lin_skip.weight, self.bias)] if self.lin_skip is not None else []
        widths = [2 * self.out_channels, self.out_channels, *[self.out_channels] * (self.lin_skip is not None)]
        if ends.paired:
            sides, (key, *own) = _side_by_side(source, near), _side_by_side(target, here).split(widths[1:], -1)
        else:
            sides, key, *own = _side_by_side(source, [*near, *here]).split(widths, -1)
        along = None
        if self.edge_dim is not None:
            features = self.edge_features(ends.graph, edge_attr, more, source.dtype)
            query, value, at_key = (lin.weight[:, -more:] for lin in (self.lin_query, self.lin_value, self.lin_key))
            along = F.linear(features, torch.cat([query + at_key, value])).to(key.dtype)
        out = gated_sum(
            key, sides, along, ends.structure, self.act, aggr=self.aggr, form=form, choices=ends.graph.plan.choices
        )
        if own:
            out = out + own[0]
        elif self.bias is not None:
            out = out + self.bias
        return ends.drop(out)

    def work(self, graph: Graph, channels: int) -> Work:
        """The products, and the sum of the gated values over the edges."""
        edges, out = graph.num_edges, self.out_channels
        products = graph.num_nodes * channels * out * (3 + self.root_weight)
        return Work(products + summed(edges, out, self.aggr), edges, 1)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, edge_dim={self.edge_dim}"


def _of_nodes(lin: nn.Linear, more: int) -> tuple[Tensor, Tensor]:
    """The part of a linear layer that reads the nodes, with its bias: all but the last `more` columns."""
    return lin.weight[:, : lin.in_features - more], lin.bias


def _side_by_side(x: Tensor, parts: Sequence[tuple[Tensor, Tensor | None]]) -> Tensor:
    """What several linear maps make of the same signals, in one product."""
    biases = [weight.new_zeros(len(weight)) if bias is None else bias for weight, bias in parts]
    return F.linear(x, torch.cat([weight for weight, _ in parts]), torch.cat(biases))

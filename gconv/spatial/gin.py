"""Graph isomorphism network: a network on every node plus the sum of its neighbours.

    x'_i = h( (1 + ε) x_i + Σ_{j in N(i)} x_j )

Symbols: h = `nn`; ε = `eps`, of one entry, learned or not. Weights of edges do not count.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`; of a pair `(..., N_s, C_in)` and `(..., N_t, C_in)` to
`(..., N_t, C_out)`; h sees rows `(N, C_in)` or `(B · N, C_in)`. Cost: E + N times the narrower side of the first linear
layer of h, and that of h on N rows, a signal. A linear layer at the beginning of h goes into one pass with the sums
(and is counted twice there while ε is learned). Reference: Xu, Hu, Leskovec and Jegelka, How powerful are graph neural
networks? (2019), equation 4.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gconv.domains.graph import Graph
from gconv.functional.edgewise import ADDITIONS, REDUCTIONS
from gconv.functional.polynomial import polynomial
from gconv.functional.propagate import propagate
from gconv.functional.rowwise import modules_of, split_first
from gconv.inherited import Aggregated
from gconv.layer import GraphLayer, GraphLike
from gconv.pairs import Ends, Signals, Size
from gconv.spatial.edge import reset_module
from gconv.spatial.reductions import reduction
from gconv.work import Work, a_row, summed
from grid_cnn.layer import ELEMENTWISE

Network = Callable[[Tensor], Tensor]


class GINConv(GraphLayer):
    """`torch_geometric.nn.GINConv`: same arguments, same state dict, same numbers.

    Args:
        nn: h, a module (or a function) that maps rows `(n, C_in)` to rows `(n, C_out)`; its parameters stay as
            they are.
        eps: ε, or its first value.
        train_eps: learn ε.
        kwargs: PyG's further arguments, `gconv.inherited.Aggregated`.

    Raises:
        TypeError: if `nn` cannot be called. ValueError: for a signal that does not fit, or an `nn` that does not give
        a row for a row.

    >>> layer = GINConv(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32)))
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spatial"
    equation = "h((1 + ε) x + Σ xⱼ)"
    cost = "(E + N) · min(C_in, first width of h) + N · cost of h"
    reference = "Xu, Hu, Leskovec and Jegelka (2019), equation 4.1"
    aggregations = tuple(REDUCTIONS)

    def __init__(self, nn: Network, eps: float = 0.0, train_eps: bool = False, **kwargs: Unpack[Aggregated]) -> None:
        super().__init__(**kwargs)
        if not callable(nn):
            raise TypeError(f"GINConv takes a network that maps rows to rows as nn, got {type(nn).__name__}")
        self.nn, self.initial_eps = nn, eps
        if train_eps:
            self.eps = torch.nn.Parameter(torch.empty(1))
        else:
            self.register_buffer("eps", torch.empty(1))
        torch.nn.init.constant_(self.eps, eps)

    @property
    def in_channels(self) -> int | None:
        """The channels that `nn` begins with, if it begins with a linear layer."""
        modules = modules_of(self.nn) if isinstance(self.nn, nn.Module) else []
        first = next((module for module in modules if not isinstance(module, ELEMENTWISE)), None)
        return first.in_features or None if isinstance(first, nn.Linear) else None  # a lazy one has 0 as yet

    def reset_parameters(self) -> None:
        """Draw the parameters of `nn` by its own layers' rules; ε starts at `eps`."""
        if isinstance(self.nn, nn.Module):
            reset_module(self.nn)
        nn.init.constant_(self.eps, self.initial_eps)

    def forward(self, x: Signals, edge_index: GraphLike = None, size: Size = None) -> Tensor:
        """The signal on the targets after h.

        Args:
            x: a signal, or a pair (x_source, x_target); without x_target h sees the sums alone.
            size: (number of sources, number of targets); needed where x_target is None.
        """
        ends = self.ends(x, edge_index, size=size)
        if self.aggr not in ADDITIONS:
            out = reduction(ends.source, ends, self.aggr)
            return _by_rows([self.nn], out if ends.target is None else out + (1.0 + self.eps) * ends.target)
        first, rest = self._parts()
        if first is None:
            return _by_rows(rest, self._between(ends))
        out = self._between(ends, first) if ends.paired else self._first(ends.source, ends.graph, first)
        return _by_rows(rest, out) if rest else out

    def work(self, graph: Graph, channels: int) -> Work:
        """The sums over the edges and of a node's own signal, on the narrower side of h's first linear layer; and h."""
        nodes, edges = graph.num_nodes, graph.num_edges
        if self.aggr not in ADDITIONS:
            own = nodes * (channels + a_row(self.nn, channels)[0])
            return Work(summed(edges, channels, self.aggr) + own, edges, 1)
        first, _ = self._parts()
        width = channels if first is None else min(channels, first.out_features)
        twice = nodes * first.weight.numel() if first is not None and self.eps.requires_grad else nodes * width
        return Work(edges * width + twice + nodes * a_row(self.nn, channels)[0], edges, 1)

    def _parts(self) -> tuple[nn.Linear | None, list[Network]]:
        """The linear layer that goes into one pass with the sums, if there is one, and what comes after it."""
        if isinstance(self.nn, nn.Module):
            first, rest = split_first(self.nn)
            if first is not None and _unwatched(self.nn, first):
                return first, list(rest)
        return None, [self.nn]

    def _between(self, ends: Ends, first: nn.Linear | None = None) -> Tensor:
        """The sums over the sources and the targets' own signals, of a pair; and the first linear layer on both."""
        if first is None:
            out = propagate(ends.source, ends.structure if ends.paired else ends.graph.plan.sum())
            return out if ends.target is None else torch.addcmul(out, ends.target, 1.0 + self.eps)
        out = polynomial(ends.source, ends.structure, first.weight.t()[None], first.bias, first=1)
        return out if ends.target is None else out + (1.0 + self.eps) * F.linear(ends.target, first.weight)

    def _first(self, x: Tensor, graph: Graph, first: nn.Linear) -> Tensor:
        """The sums and the first linear layer, in one pass."""
        weight = first.weight.t()
        if self.eps.requires_grad:
            return polynomial(x, graph.plan.sum(), torch.stack([(1.0 + self.eps) * weight, weight]), first.bias)
        return polynomial(x, graph.plan.sum(), weight[None], first.bias, own=1.0 + self.eps, first=1)


def _by_rows(networks: list[Network], x: Tensor) -> Tensor:
    """The networks, one after the other, on all nodes of all signals as rows."""
    rows = out = x.reshape(-1, x.shape[-1])
    for network in networks:
        out = network(out)
    if out.dim() != 2 or out.shape[0] != rows.shape[0]:
        raise ValueError(
            f"GINConv: nn maps rows (n, C_in) to rows (n, C_out); it made {tuple(out.shape)} of {tuple(rows.shape)}"
        )
    return out.reshape(*x.shape[:-1], out.shape[-1])


def _unwatched(*modules: nn.Module) -> bool:
    """Whether no hook would miss these modules' calls."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return not any(getattr(module, kind) for module in modules for kind in kinds)

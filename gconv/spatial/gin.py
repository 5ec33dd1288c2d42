"""Graph isomorphism network: a network on every node plus the sum of its neighbours.

    x'_i = h( (1 + ε) x_i + Σ_{j in N(i)} x_j )

Symbols: h = `nn`; ε = `eps`, of one entry, learned or not. Weights of edges do not count.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`; h sees rows `(N, C_in)` or `(B · N, C_in)`. Cost: E times
the narrower side of the first linear layer of h, and that of h on N rows, a signal. A linear layer at the beginning of
h goes into one pass with the sums (and is counted twice there while ε is learned).
Reference: Xu, Hu, Leskovec and Jegelka, How powerful are graph neural networks? (2019), equation 4.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from gconv.domains.graph import Graph
from gconv.domains.operators import Operator, lattice_stencil
from gconv.domains.structure import Structure
from gconv.functional.polynomial import polynomial
from gconv.functional.propagate import propagate
from gconv.layer import GraphLayer, GraphLike


class GINConv(GraphLayer):
    """`torch_geometric.nn.GINConv`: same arguments, same state dict, same numbers.

    Args:
        nn: h, a module (or a function) that maps rows `(n, C_in)` to rows `(n, C_out)`. As in PyG its parameters are
            drawn anew.
        eps: ε, or its first value.
        train_eps: learn ε.

    Raises:
        TypeError: if `nn` cannot be called. ValueError: for a signal that does not fit, or an `nn` that does not give
        a row for a row.

    >>> layer = GINConv(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32)))
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spatial"
    reference = "Xu, Hu, Leskovec and Jegelka (2019), equation 4.1"

    def __init__(self, nn: Callable[[Tensor], Tensor], eps: float = 0.0, train_eps: bool = False) -> None:
        super().__init__()
        if not callable(nn):
            raise TypeError(f"GINConv takes a network that maps rows to rows as nn, got {type(nn).__name__}")
        self.nn, self.initial_eps = nn, eps
        if train_eps:
            self.eps = torch.nn.Parameter(torch.empty(1))
        else:
            self.register_buffer("eps", torch.empty(1))
        self.reset_parameters()

    @property
    def in_channels(self) -> int | None:
        """The channels that `nn` begins with, if it begins with a linear layer."""
        first = _first_linear(self.nn)
        return None if first is None else first.in_features

    def reset_parameters(self) -> None:
        """Draw the parameters of `nn` as its modules do; ε starts at `eps`."""
        if isinstance(self.nn, nn.Module):
            _reset(self.nn)
        with torch.no_grad():
            self.eps.fill_(self.initial_eps)

    def forward(self, x: Tensor, edge_index: GraphLike = None, size: tuple[int, int] | None = None) -> Tensor:
        """The signal on the same graph after h.

        Args:
            size: taken for PyG's sake: (N, N), since sources and targets are the same nodes.
        """
        graph, _ = self.resolve(x, edge_index)
        self.check_size(size, graph)
        first = _first_linear(self.nn)
        if first is None or not _unwatched(self.nn, first):
            return self._rows(self.nn, self._sums(x, graph))
        out = self._first(x, graph, first)
        return self._rows(self._rest, out) if isinstance(self.nn, nn.Sequential) else out

    def _operator(self, graph: Graph) -> Operator | None:
        """A + (1 + ε) I, if ε is a number that can be read without waiting; None while it is learned or traced."""
        if self.eps.requires_grad or self.eps.device.type != "cpu" or torch.compiler.is_compiling():
            return None
        eps = float(self.eps)
        return graph.plan.keep(("gin", eps), lambda: _with_own(graph, 1.0 + eps))

    def _sums(self, x: Tensor, graph: Graph) -> Tensor:
        operator = self._operator(graph)
        if operator is not None:
            return propagate(x, operator)
        return propagate(x, graph.plan.sum()) + (1.0 + self.eps) * x

    def _first(self, x: Tensor, graph: Graph, first: nn.Linear) -> Tensor:
        """The sums and the first linear layer, in one pass."""
        operator, weight = self._operator(graph), first.weight.t()
        if operator is not None:
            return polynomial(x, operator, weight[None], first.bias, first=1)
        return polynomial(x, graph.plan.sum(), torch.stack([(1.0 + self.eps) * weight, weight]), first.bias)

    def _rest(self, rows: Tensor) -> Tensor:
        assert isinstance(self.nn, nn.Sequential)
        for module in list(self.nn)[1:]:
            rows = module(rows)
        return rows

    def _rows(self, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """`network` on all nodes of all signals, as rows."""
        rows = x.reshape(-1, x.shape[-1])
        out = network(rows)
        if out.dim() != 2 or out.shape[0] != rows.shape[0]:
            raise ValueError(
                f"GINConv: nn maps rows (n, C_in) to rows (n, C_out); it made {tuple(out.shape)} of {tuple(rows.shape)}"
            )
        return out.reshape(*x.shape[:-1], out.shape[-1])


def _first_linear(network: Callable[[Tensor], Tensor]) -> nn.Linear | None:
    """The linear layer that a network is, or begins with."""
    first = network[0] if type(network) is nn.Sequential and len(network) else network
    return first if type(first) is nn.Linear else None


def _unwatched(*modules: Callable[[Tensor], Tensor]) -> bool:
    """Whether calling these modules runs no hooks, so that their parameters are all there is to them."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return not any(getattr(module, kind) for module in modules for kind in hooks)


def _reset(module: nn.Module) -> None:
    """Draw parameters anew: a module's own way, else its children's."""
    reset = getattr(module, "reset_parameters", None)
    if reset is not None:
        reset()
    else:
        for child in module.children():
            _reset(child)


def _with_own(graph: Graph, own: float) -> Operator:
    """A + own · I with A unweighted; the loops that the graph has stay beside it."""
    structure = graph.plan.keep("edges and a loop a node", lambda: _and_loops(graph.structure))
    weight = torch.ones(structure.num_edges, dtype=torch.float64, device=graph.device)
    weight[graph.num_edges :] = own
    stencil = lattice_stencil(graph)
    if stencil is not None:
        stencil = replace(stencil, diagonal=torch.full((graph.num_nodes,), own, dtype=torch.float64, device=graph.device))
    return Operator(f"sum + {own:g} own", structure, weight, stencil)


def _and_loops(structure: Structure) -> Structure:
    nodes = torch.arange(structure.num_targets, device=structure.source.device)
    source, target = torch.cat([structure.source, nodes]), torch.cat([structure.target, nodes])
    return Structure(source, target, structure.num_sources, structure.num_targets)

"""Diffusion convolution (DCNN): what random walks of every length bring to a node, each length weighted by itself.

    Z = f( W ⊙ P* X ),   (P* X)_h = P^h X  for h = 0 ... H - 1,   P = D^{-1} A
    X' = Z W_d + b       with `out_channels`; the H results of a node side by side, Z itself, without

Symbols: H = `hops`; W = `weight`, `(H, F)`, a number a length and feature; f = `act`; W_d = `lin.weight` transposed,
`(H F, C_out)`, the paper's dense layer of every node; b = `lin.bias`; A holds `edge_weight` or ones. A node reads the
sources of its edges: a walk steps from target to source, and D sums over the edges into a node (which on an undirected
graph are the paper's). A node without edges has P = 0.

Shapes: `(N, F)` or `(B, N, F)` to `(..., N, C_out)`, or `(..., N, H · F)`, length by length.
Cost: (H - 1) · E · F + H · N · F, and with `out_channels` H · N · F · C_out more, multiply-adds a signal.
Reference: Atwood and Towsley, Diffusion-convolutional neural networks (2016), equations 1 to 4.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gconv.domains.graph import Graph
from gconv.domains.operators import Operator, degrees, edge_weights, inverse_power
from gconv.domains.structure import Structure
from gconv.functional.polynomial_terms import terms
from gconv.functional.propagate import propagate
from gconv.layer import GraphLayer, GraphLike
from gconv.work import Work
from grid_cnn.conv import check_channels


class DiffusionConv(GraphLayer):
    """Diffusion convolution, for the classes of nodes.

    Args:
        in_channels: F, features of a node.
        out_channels: C_out of the dense layer; None for Z itself, of `hops * in_channels` channels.
        hops: H, how many lengths of walks count, 0 among them.
        act: f, or None.
        bias: add b.

    Raises:
        ValueError: for hops < 1, or a signal that does not fit.

    >>> from gconv import grid_graph
    >>> DiffusionConv(3, 7, hops=4)(torch.zeros(2, 16, 3), grid_graph((4, 4))).shape
    torch.Size([2, 16, 7])
    >>> DiffusionConv(3, hops=4)(torch.zeros(16, 3), grid_graph((4, 4))).shape
    torch.Size([16, 12])
    """

    kind = "spatial"
    equation = "X' = f(W ⊙ [X, P X ... P^(H-1) X]) W_d + b, P = D^(-1) A"
    cost = "(H - 1) · E · F + H · N · F · (C_out + 1)"
    reference = "Atwood and Towsley (2016), equations 1 to 4"

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        hops: int = 2,
        act: Callable[[Tensor], Tensor] | None = torch.tanh,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_channels(in_channels, in_channels if out_channels is None else out_channels)
        if isinstance(hops, bool) or not isinstance(hops, int) or hops < 1:
            raise ValueError(f"DiffusionConv: hops, how many lengths of walks, is a whole number >= 1; got {hops!r}")
        self.in_channels, self.hops, self.act = in_channels, hops, act
        self.out_channels = hops * in_channels if out_channels is None else out_channels
        self.weight = nn.Parameter(torch.empty(hops, in_channels))
        self.lin = None if out_channels is None else nn.Linear(hops * in_channels, out_channels, bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw W by Glorot's rule, the dense layer as `torch.nn.Linear` does."""
        nn.init.xavier_uniform_(self.weight)
        if self.lin is not None:
            self.lin.reset_parameters()

    def forward(self, x: Tensor, edge_index: GraphLike = None, edge_weight: Tensor | None = None) -> Tensor:
        """The diffused signal on the same graph."""
        graph, learned = self.resolve(x, edge_index, edge_weight)
        walk, weight = _walk(graph, learned, x.dtype)
        lengths = terms(lambda signal: propagate(signal, walk, weight), x, self.hops, 0, False)
        z = torch.cat([length * row for length, row in zip(lengths, self.weight, strict=True)], -1)
        z = z if self.act is None else self.act(z)
        return z if self.lin is None else self.lin(z)

    def work(self, graph: Graph, channels: int) -> Work:
        """H - 1 sums over the edges, a product with W, and the dense layer."""
        nodes, edges = graph.num_nodes, (self.hops - 1) * graph.num_edges
        wide = self.hops * channels
        dense = 0 if self.lin is None else nodes * wide * self.out_channels
        return Work(edges * channels + nodes * wide + dense, edges, self.hops - 1)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, hops={self.hops}"


def _walk(graph: Graph, learned: Tensor | None, dtype: torch.dtype) -> tuple[Operator | Structure, Tensor | None]:
    """P as an operator; or its structure and weights, where those are being learned."""
    structure = graph.structure

    def weights(given: Tensor) -> Tensor:
        return given * inverse_power(degrees(structure, given, structure.target), -1.0)[structure.target]

    if learned is not None:
        return structure, weights(learned.to(dtype))
    if graph.edge_weight is None:
        return graph.plan.mean(), None
    return graph.plan.keep("walk", lambda: Operator("walk", structure, weights(edge_weights(graph)))), None

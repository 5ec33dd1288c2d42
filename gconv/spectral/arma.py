"""ARMA convolution: stacks of recursive steps that approach a rational filter.

    X_k^(0)   = X
    X_k^(t+1) = σ( S X_k^(t) W_k^(t) + drop(X) V_k^(t) + b_k^(t) ),   S = D^{-1/2} A D^{-1/2}
    X'        = 1/K Σ_{k=1}^{K} X_k^(T)

Symbols: K = `num_stacks`; T = `num_layers`; W^(0) = `init_weight`, `(K, C_in, C_out)`; W^(t) = `weight[t - 1]`,
`(K, C_out, C_out)`; V^(t) = `root_weight[t]`, `(K, C_in, C_out)`; b^(t) = `bias[t]`, `(K, 1, C_out)`; σ = `act`; A
holds `edge_weight` or ones. With `shared_weights` W, V and b are the same in all steps, but for the first, whose W
is W^(0).

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`. Cost: K · E · min(C_in, C_out) + (T - 1) K · E · C_out
+ N · K · C_out ((T + 1) · C_in + (T - 1) · C_out) multiply-adds a signal (shared: 2 C_in in place of (T + 1) C_in).
Reference: Bianchi, Grattarola, Livi and Alippi, Graph neural networks with convolutional ARMA filters (2021),
equations 6 and 10.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gconv import lazy
from gconv.domains.graph import Graph
from gconv.domains.operators import Operator
from gconv.domains.structure import Structure
from gconv.functional.polynomial import polynomial
from gconv.inherited import Aggregated
from gconv.layer import GraphLayer, GraphLike
from gconv.spectral.normalized import AVERAGES, normalized_adjacency
from gconv.work import Work

_RELU = nn.ReLU()


class ARMAConv(GraphLayer):
    """`torch_geometric.nn.ARMAConv`: same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node; `in_channels` -1 for what the first call tells.
        num_stacks: K, filters side by side, averaged.
        num_layers: T, the steps of each.
        shared_weights: the same matrices in all steps.
        act: σ, or None.
        dropout: the probability with which an entry of X is left out of drop(X), in training.
        bias: add b.
        kwargs: PyG's further arguments, `gconv.inherited.Aggregated`.

    Raises:
        TypeError: if `act` cannot be called.
        ValueError: for numbers of stacks or layers < 1, what is no probability, or a signal that does not fit.

    >>> layer = ARMAConv(16, 32, num_stacks=3, num_layers=2)
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spectral"
    equation = "X' = mean over stacks of T steps σ(S X W + X_0 V + b)"
    cost = "K · E · (min(C_in, C_out) + (T - 1) · C_out) + N · K · C_out · ((T + 1) · C_in + (T - 1) · C_out)"
    reference = "Bianchi, Grattarola, Livi and Alippi (2021), equations 6 and 10"
    aggregations = AVERAGES

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_stacks: int = 1,
        num_layers: int = 1,
        shared_weights: bool = False,
        act: Callable[[Tensor], Tensor] | None = _RELU,
        dropout: float = 0.0,
        bias: bool = True,
        **kwargs: Unpack[Aggregated],
    ) -> None:
        super().__init__(**kwargs)
        width = lazy.check_width(type(self).__name__, in_channels, out_channels)
        for name, value in (("num_stacks", num_stacks), ("num_layers", num_layers)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} takes a whole number >= 1, got {value!r}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout takes a probability, got {dropout!r}")
        if act is not None and not callable(act):
            raise TypeError(f"ARMAConv takes a module or a function as its act, or None; got {type(act).__name__}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.num_stacks, self.num_layers, self.shared_weights = num_stacks, num_layers, shared_weights
        self.act, self.dropout = act, dropout
        steps = 1 if shared_weights else num_layers
        self.weight = nn.Parameter(torch.empty(max(1, steps - 1), num_stacks, out_channels, out_channels))
        self.init_weight = lazy.parameter(self, "init_weight", num_stacks, width, out_channels)
        self.root_weight = lazy.parameter(self, "root_weight", steps, num_stacks, width, out_channels)
        self.bias = nn.Parameter(torch.empty(steps, num_stacks, 1, out_channels)) if bias else None
        self.reset_parameters()
        lazy.await_widths(self)

    def reset_parameters(self) -> None:
        """Draw every matrix by Glorot's rule, as PyG does; b starts at zero."""
        lazy.draw(lazy.glorot, self.weight, self.init_weight, self.root_weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, edge_index: GraphLike = None, edge_weight: Tensor | None = None) -> Tensor:
        """The filtered signal on the same graph."""
        graph, learned = self.resolve(x, edge_index, edge_weight)
        operator, weight = normalized_adjacency(graph, learned, x.dtype, aggr=self.aggr, add_self_loops=False)
        dropping = self.training and self.dropout > 0
        roots = [F.dropout(x, self.dropout) for _ in range(self.num_layers)] if dropping else None
        stacks = [self._stack(x, roots, operator, weight, stack) for stack in range(self.num_stacks)]
        return stacks[0] if self.num_stacks == 1 else reduce(torch.add, stacks) / self.num_stacks

    def _stack(
        self, x: Tensor, roots: list[Tensor] | None, operator: Operator | Structure, weight: Tensor | None, stack: int
    ) -> Tensor:
        """All steps of one stack; `roots`: drop(X) of each step, None where it is X itself."""
        out, added = x, None
        repeats = roots is None and self.shared_weights and self.num_layers > 1  # all steps add the same numbers
        for step in range(self.num_layers):
            place = 0 if self.shared_weights else step
            matrix = self.init_weight[stack] if step == 0 else self.weight[max(place - 1, 0), stack]
            root, bias = self.root_weight[place, stack], None if self.bias is None else self.bias[place, stack, 0]
            if step == 0 and roots is None and not repeats:  # powers 0 and 1 of S, in one pass
                out = polynomial(x, operator, torch.stack([root, matrix]), bias, edge_weight=weight)
            else:
                if added is None or not repeats:
                    added = F.linear(x if roots is None else roots[step], root.t(), bias)
                out = polynomial(out, operator, matrix[None], edge_weight=weight, first=1) + added
            out = out if self.act is None else self.act(out)
        return out

    def work(self, graph: Graph, channels: int) -> Work:
        """Of each stack T sums over the edges, and the products of W and V in every step."""
        stacks, steps, out = self.num_stacks, self.num_layers, self.out_channels
        edges = stacks * steps * graph.num_edges
        sums = stacks * graph.num_edges * (min(channels, out) + (steps - 1) * out)
        roots = 1 if self.shared_weights else steps
        products = stacks * graph.num_nodes * out * ((roots + 1) * channels + (steps - 1) * out)
        return Work(sums + products, edges, steps)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, num_stacks={self.num_stacks}, num_layers={self.num_layers}, "
            f"shared_weights={self.shared_weights}"
        )

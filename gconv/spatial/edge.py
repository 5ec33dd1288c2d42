"""Edge convolution: a network on what a node holds and how its neighbour differs, reduced over the neighbours.

    x'_i = max_{j in N(i)}  h( x_i ‖ x_j - x_i )

Symbols: h = `nn`, of 2 C_in inputs. Where h begins with a linear layer W = [W_1 W_2], that layer runs on nodes, not on
edges: h's first result on an edge is (W_1 - W_2) x_i + W_2 x_j + b; and where it ends with one, and messages are
summed, that one runs on nodes too.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`. Cost: that of h an edge, but for its linear ends. Reference:
Wang, Sun, Liu, Sarma, Bronstein and Solomon, Dynamic graph CNN for learning on point clouds (2019), equation 7.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from gconv.domains.graph import Graph
from gconv.functional.edgewise import Reduction, check_reduction, edgewise, of_difference, of_neighbour, of_sum
from gconv.functional.rowwise import modules_of, split_first, split_last
from gconv.layer import GraphLayer, GraphLike
from grid_cnn.layer import ELEMENTWISE


class EdgeConv(GraphLayer):
    """`torch_geometric.nn.EdgeConv`: same arguments, same state dict, same numbers.

    Args:
        nn: h, a module from `(..., 2 C_in)` to `(..., C_out)`.
        aggr: 'max', 'min', 'mean' or 'add' over the neighbours.

    Raises:
        TypeError: if `nn` is no module.
        ValueError: for an unknown `aggr`, or a signal that does not fit.

    >>> layer = EdgeConv(nn.Sequential(nn.Linear(2 * 16, 32), nn.ReLU(), nn.Linear(32, 32)))
    >>> import torch
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spatial"
    reference = "Wang et al. (2019), equation 7"

    def __init__(self, nn: nn.Module, aggr: Reduction = "max") -> None:
        super().__init__()
        check_module("EdgeConv", nn)
        check_reduction("EdgeConv", aggr)
        self.nn = nn
        self.aggr: Reduction = aggr
        self.in_channels = _channels(nn)

    def reset_parameters(self) -> None:
        """Draw h's parameters by its own layers' rules."""
        reset_module(self.nn)

    def forward(self, x: Tensor, edge_index: GraphLike = None) -> Tensor:
        """The filtered signal on the same graph."""
        graph, _ = self.resolve(x, edge_index)
        signals = x if x.dim() == 3 else x[None]
        out = self._filtered(signals, graph)
        return out if x.dim() == 3 else out[0]

    def _filtered(self, x: Tensor, graph: Graph) -> Tensor:
        structure = graph.structure
        first, rest = split_first(self.nn)
        if first is None:
            return edgewise(x, x, structure, of_difference, [self.nn], self.aggr, width=4)
        mine, theirs = first.weight.chunk(2, 1)
        own, near = F.linear(x, mine - theirs, first.bias), F.linear(x, theirs)
        adds = self.aggr in ("add", "sum")
        arrived = (structure.in_degree if adds else structure.in_degree > 0).to(own.dtype)[:, None]
        if not rest:
            return edgewise(own, near, structure, of_neighbour, [], self.aggr) + own * arrived
        body, last = split_last(rest) if adds or self.aggr == "mean" else (rest, None)
        out = edgewise(own, near, structure, of_sum, body, self.aggr, width=4)
        if last is None:
            return out
        out = F.linear(out, last.weight)
        return out if last.bias is None else out + arrived * last.bias.to(out.dtype)

    def extra_repr(self) -> str:
        return f"aggr={self.aggr!r}"


def _channels(network: nn.Module) -> int | None:
    """C_in, if the network's first layers tell."""
    after = (m for m in modules_of(network) if not isinstance(m, ELEMENTWISE))
    first = next(after, None)
    return first.in_features // 2 or None if isinstance(first, nn.Linear) else None  # a lazy one has 0 as yet


def check_module(layer: str, module: object) -> None:
    """Refuse what is no module.

    Raises:
        TypeError: saying what it is.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"{layer} takes a torch module as its nn, got {type(module).__name__}")


def reset_module(module: nn.Module) -> None:
    """Call `reset_parameters` of all parts that have it."""
    for part in module.modules():
        reset: Callable[[], None] | None = getattr(part, "reset_parameters", None)
        if reset is not None:
            reset()

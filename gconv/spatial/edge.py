"""Edge convolution: a network on what a node holds and how its neighbour differs, reduced over the neighbours.

    x'_i = max_{j in N(i)}  h( x_i ‖ x_j - x_i )

Symbols: h = `nn`, of 2 C_in inputs. Where h begins with a linear layer W = [W_1 W_2], that layer runs on nodes, not on
edges: h's first result on an edge is (W_1 - W_2) x_i + W_2 x_j + b; and where it ends with one, and messages are
summed, that one runs on nodes too.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`; of a pair `(..., N_s, C_in)` and `(..., N_t, C_in)` to
`(..., N_t, C_out)`. Cost: that of h an edge, but for its linear ends, and the
sum over the edges, E times the width that is summed. Reference:
Wang, Sun, Liu, Sarma, Bronstein and Solomon, Dynamic graph CNN for learning on point clouds (2019), equation 7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

from torch import Tensor, nn

from gconv.domains.graph import Graph
from gconv.functional.differences import differences
from gconv.functional.edgewise import Reduction
from gconv.functional.rowwise import modules_of, split_first, split_last
from gconv.inherited import Inherited
from gconv.layer import GraphLayer, GraphLike
from gconv.pairs import Signals
from gconv.work import Work, a_row, summed
from grid_cnn.layer import ELEMENTWISE


class EdgeConv(GraphLayer):
    """`torch_geometric.nn.EdgeConv`: same arguments, same state dict, same numbers.

    Args:
        nn: h, a module from `(..., 2 C_in)` to `(..., C_out)`.
        aggr: 'max', 'min', 'mean', 'add', 'median', 'std', 'var' or 'softmax' over the neighbours.
        kwargs: PyG's further arguments, `gconv.inherited.Inherited`.

    Raises:
        TypeError: if `nn` is no module.
        ValueError: for an unknown `aggr`, or a signal that does not fit.

    >>> layer = EdgeConv(nn.Sequential(nn.Linear(2 * 16, 32), nn.ReLU(), nn.Linear(32, 32)))
    >>> import torch
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spatial"
    equation = "largest (or smallest, mean, sum) of h(x ‖ xⱼ - x)"
    cost = "N · linear ends of h + E · (rest of h + width), width of what is summed: none of a largest"
    reference = "Wang et al. (2019), equation 7"

    def __init__(self, nn: nn.Module, aggr: Reduction = "max", **kwargs: Unpack[Inherited]) -> None:
        super().__init__(**kwargs)
        check_module("EdgeConv", nn)
        self.reduce_by(aggr)
        self.nn = nn
        self.in_channels = channels_of(nn)

    def reset_parameters(self) -> None:
        """Draw h's parameters by its own layers' rules."""
        reset_module(self.nn)

    def forward(self, x: Signals, edge_index: GraphLike = None) -> Tensor:
        """The filtered signal on the targets; x is a signal, or a pair (x_source, x_target) of equal widths."""
        ends = self.ends(x, edge_index, needs_target=True)
        near, own = ends.signals()
        assert own is not None
        if near.shape[-1] != own.shape[-1]:
            raise ValueError(
                f"EdgeConv looks at differences x_source - x_target, of equal widths; got {near.shape[-1]} and "
                f"{own.shape[-1]} channels"
            )
        return ends.drop(differences(own, near, ends.structure, self.nn, self.aggr))

    def work(self, graph: Graph, channels: int) -> Work:
        """h on the edges, but for its linear ends, which run on nodes."""
        return edge_work(self.nn, self.aggr, graph.num_nodes, graph.num_edges, channels)

    def extra_repr(self) -> str:
        return f"aggr={self.aggr!r}"


def edge_work(network: nn.Module, aggr: Reduction, nodes: int, edges: int, channels: int) -> Work:
    """What h does on so many edges: its linear ends count once a node (`functional.differences`)."""
    whole, out = a_row(network, 2 * channels)
    first, rest = split_first(network)
    if first is None:
        return Work(edges * whole + summed(edges, out, aggr), edges, 1)
    last = split_last(rest)[1] if aggr in ("add", "sum", "mean") else None
    ends = first.weight.numel() + (0 if last is None else last.weight.numel())
    width = out if last is None else last.in_features
    return Work(nodes * ends + edges * (whole - ends) + summed(edges, width, aggr), edges, 1)


def channels_of(network: nn.Module) -> int | None:
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

"""Graph isomorphism convolution with edge features: a network on a node and what it hears along its edges.

    x'_i = h( (1 + ε) x_i + Σ_{j in N(i)} relu( x_j + Θ e_ji + b ) )

Symbols: h = `nn`; ε = `eps`; Θ, b = `lin.weight`, `lin.bias`, where there is an `edge_dim`; else e_ji itself is added.
What edges add is worked out once for all signals.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`; of a pair `(..., N_s, C_in)` and `(..., N_t, C_in)` to
`(..., N_t, C_out)`. Cost: (E + N) · C_in, and that of h a node. References: Hu, Liu, Gomes, Zitnik, Liang, Pande and
Leskovec, Strategies for pre-training graph neural networks (2020), equation A.1; Xu, Hu, Leskovec and Jegelka, How
powerful are graph neural networks? (2019), equation 4.1.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from gconv.domains.graph import Graph
from gconv.functional.edgewise import Reduction
from gconv.functional.rectified import rectified_sum
from gconv.functional.rowwise import modules_of
from gconv.inherited import Inherited
from gconv.layer import GraphLayer, GraphLike
from gconv.pairs import Signals, Size
from gconv.spatial.edge import check_module, reset_module
from gconv.work import Work, a_row, summed
from grid_cnn.layer import ELEMENTWISE


class GINEConv(GraphLayer):
    """`torch_geometric.nn.GINEConv`: same arguments, same state dict, same numbers.

    Args:
        nn: h, a module that maps rows `(n, C_in)` to rows `(n, C_out)`; its parameters stay as they are.
        eps: ε, or its first value.
        train_eps: learn ε.
        edge_dim: the width of the edges' features; None if it is C_in, and they are added as they are.
        aggr: 'add' over the neighbours, or another of `SAGEConv`'s.
        kwargs: PyG's further arguments, `gconv.inherited.Inherited`.

    Raises:
        TypeError: if `nn` is no module.
        ValueError: for edge features that are missing or of another width, an `nn` that does not tell C_in where
        `edge_dim` needs it, or a signal that does not fit.

    >>> layer = GINEConv(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32)), edge_dim=2)
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]]), torch.zeros(3, 2)).shape
    torch.Size([4, 32])
    """

    kind = "spatial"
    equation = "h((1 + ε) x + Σ relu(xⱼ + Θ e + b))"
    cost = "(E + N) · C_in + N · cost of h"
    reference = "Hu et al. (2020), equation A.1"

    def __init__(
        self,
        nn: nn.Module,
        eps: float = 0.0,
        train_eps: bool = False,
        edge_dim: int | None = None,
        aggr: Reduction = "add",
        **kwargs: Unpack[Inherited],
    ) -> None:
        super().__init__(**kwargs)
        check_module("GINEConv", nn)
        self.reduce_by(aggr)
        self.nn, self.initial_eps, self.edge_dim = nn, eps, edge_dim
        self.in_channels = _channels(nn)
        if train_eps:
            self.eps = torch.nn.Parameter(torch.empty(1))
        else:
            self.register_buffer("eps", torch.empty(1))
        torch.nn.init.constant_(self.eps, eps)
        if edge_dim is not None and self.in_channels is None:
            raise ValueError(
                f"GINEConv: with edge_dim={edge_dim} its nn must begin with a layer of known in_features, which the "
                f"edges' features are taken to; got {type(nn).__name__}"
            )
        self.lin = None if edge_dim is None else torch.nn.Linear(edge_dim, self.in_channels)

    def reset_parameters(self) -> None:
        """Draw the parameters of `nn` and Θ by their own layers' rules; ε starts at `eps`."""
        reset_module(self.nn)
        nn.init.constant_(self.eps, self.initial_eps)
        if self.lin is not None:
            self.lin.reset_parameters()

    def forward(
        self,
        x: Signals,
        edge_index: GraphLike = None,
        edge_attr: Tensor | None = None,
        size: Size = None,
        *,
        form: str | None = None,
    ) -> Tensor:
        """The signal on the targets after h.

        Args:
            x: a signal, or a pair (x_source, x_target); without x_target nothing is added to the sum.
            edge_attr: features of the edges, `(E, edge_dim)`, or `(E, C_in)`; None for the graph's own.
            size: (number of sources, number of targets); needed where x_target is None.
            form: 'fused', 'gather', 'portable', or None for the engine's choice.
        """
        ends = self.ends(x, edge_index, size=size)
        source, target = ends.signals()
        width = source.shape[-1] if self.lin is None else self.lin.in_features
        features = self.edge_features(ends.graph, edge_attr, width, source.dtype)
        along = features if self.lin is None else self.lin(features).to(source.dtype)
        out = rectified_sum(source, along, ends.structure, aggr=self.aggr, form=form, choices=ends.graph.plan.choices)
        out = out if target is None else out + (1.0 + self.eps) * target
        return ends.drop(self.nn(out.flatten(0, 1)).unflatten(0, out.shape[:2]))

    def work(self, graph: Graph, channels: int) -> Work:
        """The sums over the edges and a node's own signal, and h on the nodes."""
        nodes, edges = graph.num_nodes, graph.num_edges
        return Work(summed(edges, channels, self.aggr) + nodes * (channels + a_row(self.nn, channels)[0]), edges, 1)

    def extra_repr(self) -> str:
        return f"edge_dim={self.edge_dim}, aggr={self.aggr!r}"


def _channels(network: nn.Module) -> int | None:
    """C_in, if the network's first layers tell."""
    first = next((m for m in modules_of(network) if not isinstance(m, ELEMENTWISE)), None)
    told = (getattr(first, name, None) for name in ("in_features", "in_channels"))
    return next((width for width in told if isinstance(width, int) and width > 0), None)

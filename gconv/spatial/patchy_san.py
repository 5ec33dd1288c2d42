"""PATCHY-SAN: receptive fields of k nodes in canonical order, and a 1-D convolution over them.

    y_i = b + Σ_{m=1}^{k} W_m x_{n(i, m)},   i = 1 ... w

n(i, m) the m-th node that the i-th selected one sees (`gconv.domains.fields`); an empty place reads zero. As a
convolution: the fields, one after the other, are a line of w · k nodes, over which a kernel of k goes by steps of k.
Symbols: W = `weight`, `(C_out, C_in, k)`, as in `torch.nn.Conv1d`; b = `bias`; w = `num_selected`; k = `kernel_size`.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., w, C_out)`, on the line of selected nodes. Cost: w · k · C_in · C_out
multiply-adds a signal, beside the plan, made once for a graph. Weights, directions and features of edges are not looked
at. Reference: Niepert, Ahmed and Kutzkov, Learning convolutional neural networks for graphs (2016).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gconv.domains.fields import Fields, receptive_fields
from gconv.domains.graph import Graph
from gconv.domains.labeling import LABELINGS
from gconv.functional.propagate import propagate
from gconv.layer import GraphLayer, GraphLike
from gconv.work import Work
from grid_cnn import Domain
from grid_cnn.conv import check_channels


class PatchySanConv(GraphLayer):
    """A 1-D convolution over the receptive fields of selected nodes.

    The result lives on the line of the selected nodes, the graph of a grid with one axis: further one-dimensional
    convolutions and pools go there, and a dense head, since w does not depend on the graph.

    Args:
        in_channels, out_channels: channels of a node.
        num_selected: w, how many nodes are looked at; where a graph has fewer, the rest read zeros.
        kernel_size: k, how many nodes each of them sees, itself the first.
        stride: every so many-th node of the sequence is taken.
        labeling: what puts nodes in order: 'betweenness', 'degree' or 'wl' (`gconv.domains.labeling`).
        bias: add b.

    Raises:
        ValueError: for an unknown labeling, numbers below 1, or a signal that does not fit.

    >>> from gconv import grid_graph
    >>> graph, layer = grid_graph((8, 8)), PatchySanConv(1, 6, num_selected=16, kernel_size=9)
    >>> layer(torch.zeros(2, 64, 1), graph).shape, layer.codomain(graph)
    (torch.Size([2, 16, 6]), Graph(16 grid, num_nodes=16, num_edges=30))
    """

    kind = "spatial"
    equation = "b + Σₘ Wₘ xₙ₍ᵢ,ₘ₎, the k nodes that i sees in canonical order"
    cost = "w · k · C_in · C_out"
    transfers = "yes"
    reference = "Niepert et al. (2016), algorithms 1 to 4"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_selected: int,
        kernel_size: int,
        stride: int = 1,
        labeling: str = "betweenness",
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_channels(in_channels, out_channels)
        for name, count in (("num_selected", num_selected), ("kernel_size", kernel_size), ("stride", stride)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ValueError(f"{name} takes a whole number >= 1, got {count!r}")
        if labeling not in LABELINGS:
            raise ValueError(f"labeling is one of {', '.join(map(repr, LABELINGS))}; got {labeling!r}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.num_selected, self.kernel_size, self.stride, self.labeling = num_selected, kernel_size, stride, labeling
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights as torch's convolutions do, U(±1 / sqrt(k · C_in))."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)

    def fields(self, graph: Graph) -> Fields:
        """The receptive fields on a graph, kept with it."""
        settings = self.num_selected, self.kernel_size, self.stride, self.labeling
        return graph.plan.keep(("receptive fields", *settings), lambda: receptive_fields(graph, *settings))

    def codomain(self, domain: Domain | None) -> Graph | None:
        """The line of the selected nodes; of a batch of graphs, a batch of lines."""
        return self.fields(domain).line if isinstance(domain, Graph) else None

    def forward(self, x: Tensor, edge_index: GraphLike = None) -> Tensor:
        """The convolved signal on the line of selected nodes."""
        graph, _ = self.resolve(x, edge_index)
        signals = x if x.dim() == 3 else x[None]
        seen = propagate(signals, self.fields(graph).slots).unflatten(1, (-1, self.kernel_size))
        out = F.linear(seen.flatten(2), self.weight.transpose(1, 2).flatten(1), self.bias)
        return out if x.dim() == 3 else out[0]

    def work(self, graph: Graph, channels: int) -> Work:
        """The product over the fields; which nodes those hold is for the labeling to say, so that any may be seen."""
        fields = self.fields(graph)
        return Work(fields.table.numel() * channels * self.out_channels, fields.slots.num_edges, None)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, num_selected={self.num_selected}, "
            f"kernel_size={self.kernel_size}, stride={self.stride}, labeling={self.labeling!r}"
        )

"""Edge-conditioned convolution: a network makes each edge's matrix out of the edge's features.

    x'_i = Θ x_i + Σ_{j in N(i)} x_j h(e_ij) + b,   h(e) of shape (C_in, C_out)

Symbols: h = `nn`, from D features to C_in · C_out numbers; Θ = `lin.weight`; b = `bias`. No matrix is made an edge
where it can be helped: where edges have few different features, h runs on those alone (on a regular grid's graph the
layer is then a convolution); and where h ends with a linear layer of K inputs, h(e) = Σ_k g_k(e) M_k + M_0, and sums
over neighbours weighted by g come before the products with the K + 1 matrices.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`; of a pair `(..., N_s, C_s)` and `(..., N_t, C_t)` to
`(..., N_t, C_out)`, with h of shape (C_s, C_out). Cost: (K + 1) E · C_in + (K + 2) N · C_in · C_out multiply-adds
a signal. References: Gilmer, Schoenholz, Riley, Vinyals and Dahl, Neural message passing for quantum chemistry (2017),
section 5; Simonovsky and Komodakis, Dynamic edge-conditioned filters in convolutional neural networks on graphs (2017),
equation 2.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from gconv import lazy
from gconv.domains.graph import Graph
from gconv.functional.edge_matrices import edge_messages
from gconv.functional.edgewise import SUMS, Reduction, edgewise, of_neighbour
from gconv.functional.forms import pick
from gconv.functional.kernels import kernel_sum
from gconv.functional.offsets import collapsed
from gconv.functional.propagate import propagate, sum_forms
from gconv.functional.rowwise import is_a_function, modules_of, split_last
from gconv.inherited import Inherited
from gconv.layer import GraphLayer, GraphLike
from gconv.pairs import Ends, Signals, Size
from gconv.spatial.edge import check_module, reset_module
from gconv.work import Work, summed


class NNConv(GraphLayer):
    """`torch_geometric.nn.NNConv`: same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node; `in_channels` also (of the sources, of the targets), and -1 for
            what the first call tells.
        nn: h, a module from `(E, D)` to `(E, in_channels · out_channels)`.
        aggr: 'add', 'mean', 'max', 'min', 'median', 'std', 'var' or 'softmax' over the neighbours.
        root_weight: add Θ x_i.
        bias: add b.
        kwargs: PyG's further arguments, `gconv.inherited.Inherited`.

    Raises:
        TypeError: if `nn` is no module.
        ValueError: for edge features that are missing, a network of another width, or a signal that does not fit.

    >>> from gconv import grid_graph
    >>> network = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3 * 6))
    >>> NNConv(3, 6, network)(torch.zeros(2, 64, 3), grid_graph((8, 8))).shape
    torch.Size([2, 64, 6])
    """

    of_target = frozenset({"lin"})
    kind = "spatial"
    equation = "Θ x + Σ h(e) xⱼ + b, h(e) a matrix"
    cost = "(K + 1) · E · C_in + (K + 2) · N · C_in · C_out"
    transfers = "if its edge features mean the same"
    reference = "Gilmer et al. (2017), section 5; Simonovsky and Komodakis (2017), equation 2"

    def __init__(
        self,
        in_channels: lazy.Channels,
        out_channels: int,
        nn: nn.Module,
        aggr: Reduction = "add",
        root_weight: bool = True,
        bias: bool = True,
        **kwargs: Unpack[Inherited],
    ) -> None:
        super().__init__(**kwargs)
        _, target = lazy.check_widths(in_channels, out_channels)
        check_module("NNConv", nn)
        self.reduce_by(aggr)
        self.in_channels, self.out_channels, self.nn, self.root_weight = in_channels, out_channels, nn, root_weight
        self.lin = lazy.linear(target, out_channels, bias=False) if root_weight else None
        self.bias = torch.nn.Parameter(torch.zeros(out_channels)) if bias else None
        lazy.await_widths(self)

    def reset_parameters(self) -> None:
        """Draw h's and Θ's parameters by their own rules; b starts at zero."""
        reset_module(self.nn)
        if self.lin is not None:
            self.lin.reset_parameters()
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(
        self,
        x: Signals,
        edge_index: GraphLike = None,
        edge_attr: Tensor | None = None,
        size: Size = None,
        *,
        form: str | None = None,
    ) -> Tensor:
        """The filtered signal on the targets.

        Args:
            x: a signal, or a pair (x_source, x_target); without x_target Θ adds nothing.
            edge_attr: features of the edges, `(E, D)`; None for the graph's own.
            size: (number of sources, number of targets); needed where x_target is None.
            form: 'collapsed' (few different features), 'fused', 'gather', 'portable', or None for the engine's choice.
        """
        ends = self.ends(x, edge_index, size=size)
        graph = ends.graph
        given = graph.edge_attr if edge_attr is None else edge_attr
        if given is None:
            raise ValueError(f"NNConv needs edge_attr (E, D), features of the edges; {graph!r} has none")
        width = 1 if given.dim() == 1 else given.shape[1]
        features = self.edge_features(graph, edge_attr, width, ends.source.dtype).clone()  # h may work in place
        out = ends.drop(self._summed(ends, features, edge_attr is None or edge_attr is graph.edge_attr, form))
        out = out if self.lin is None or ends.target is None else out + self.lin(ends.target)
        return out if self.bias is None else out + self.bias

    def work(self, graph: Graph, channels: int) -> Work:
        """The sums over the edges before the products with h's matrices; a product an edge where h ends otherwise."""
        nodes, edges, size = graph.num_nodes, graph.num_edges, channels * self.out_channels
        root = 0 if self.lin is None else nodes * size
        _, last = split_last(modules_of(self.nn))
        if last is None or self.aggr not in ("add", "sum", "mean"):
            return Work(edges * size + summed(edges, self.out_channels, self.aggr) + root, edges, 1)
        terms = last.in_features + (last.bias is not None)
        return Work(terms * (edges * channels + nodes * size) + root, edges, 1)

    def _summed(self, ends: Ends, features: Tensor, own: bool, form: str | None) -> Tensor:
        x, graph, structure = ends.lift(ends.source), ends.graph, ends.structure
        reduces = self.aggr not in SUMS
        few = own and not ends.paired and not reduces and is_a_function(self.nn)
        kinds = graph.plan.edge_kinds() if few else None
        able = ("fused", *sum_forms(x.device)) + ("collapsed",) * (kinds is not None)
        why = "no two edges need have the same features" if kinds is None else f"{len(kinds)} different edges"
        what = f"edge-conditioned convolution, {x.shape[-1]}→{self.out_channels}"
        chosen = pick(form, able, able[-1] if kinds is not None else "fused", why, graph.plan.choices, what)
        if chosen == "collapsed" and kinds is not None:
            return collapsed(x, graph, kinds, self._of_features, self.aggr == "mean")
        mean = graph.plan.mean_weights(x.dtype) if self.aggr == "mean" else None
        body, last = split_last(modules_of(self.nn))
        if last is None or reduces or last.out_features != x.shape[-1] * self.out_channels:
            size = 2 * x.shape[-1] * self.out_channels
            messages = edge_messages(x, structure, self.nn(features), self._matrices, size)
            if not reduces:
                return propagate(messages, structure.arrivals, mean)
            nothing = messages.new_zeros(len(messages), structure.num_targets, 0)
            return edgewise(nothing, messages, structure.arrivals, of_neighbour, [], self.aggr)
        weight = torch.nn.Sequential(*body)(features)
        matrices = self._matrices(last.weight.t())
        if last.bias is not None:
            weight = torch.cat([weight, weight.new_ones(len(weight), 1)], 1)
            matrices = torch.cat([matrices, self._matrices(last.bias[None])])
        weight = weight if mean is None else weight * mean[:, None]
        steps = None if chosen == "collapsed" else chosen
        return kernel_sum(x, structure, weight, matrices, form=steps, choices=graph.plan.choices)

    def _of_features(self, features: Tensor) -> Tensor:
        """h's matrices of features that are kept: h may work in place."""
        return self._matrices(self.nn(features.clone()))

    def _matrices(self, flat: Tensor) -> Tensor:
        width = self.in_channels[0] if isinstance(self.in_channels, tuple | list) else self.in_channels
        if flat.shape[-1] != width * self.out_channels:
            raise ValueError(
                f"NNConv's nn gives {flat.shape[-1]} numbers an edge; it needs in_channels · out_channels = "
                f"{width} · {self.out_channels} = {width * self.out_channels}"
            )
        return flat.unflatten(-1, (width, self.out_channels))

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, aggr={self.aggr!r}"

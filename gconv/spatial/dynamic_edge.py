"""Dynamic edge convolution: edge convolution on the graph of nearest neighbours in the space of the channels.

    x'_i = max_{j in N_k(i)}  h( x_i ‖ x_j - x_i ),   N_k(i): the k nodes whose x_j is nearest to x_i, i among them

Symbols: h = `nn`, of 2 C_in inputs; k by name. The neighbours are found anew in every call, for each of several signals
by itself, and within each graph of a batch; the edges of a graph that is passed are not read. Where a graph has fewer
than k nodes, all of them are neighbours. For pairs (x_source, x_target) a target's neighbours are sources.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`. Cost: N² · C_in for the neighbours, and that of h for each
of N · k edges but for its linear ends, a signal.
Reference: Wang, Sun, Liu, Sarma, Bronstein and Solomon, Dynamic graph CNN for learning on point clouds (2019), section
3.2.
"""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor, nn

from gconv.domains.batch import Parts
from gconv.domains.graph import Graph
from gconv.domains.structure import Structure
from gconv.functional.differences import differences
from gconv.functional.edgewise import REDUCTIONS, Reduction
from gconv.functional.knn import nearest
from gconv.inherited import SOURCE_TO_TARGET, Inherited
from gconv.layer import GraphLayer
from gconv.pairs import Signals, check_pair, is_pair
from gconv.parts import Batch, is_vector, maybe_parts_of, parts_of_vector
from gconv.spatial.edge import channels_of, check_module, edge_work, reset_module
from gconv.work import Work


class DynamicEdgeConv(GraphLayer):
    """`torch_geometric.nn.DynamicEdgeConv`: same arguments, state dict and numbers, without a further package.

    Args:
        nn: h, a module from `(..., 2 C_in)` to `(..., C_out)`.
        k: the number of neighbours, the node itself among them.
        aggr: 'max', 'min', 'mean' or 'add' over the neighbours.
        num_workers: taken for PyG's sake.
        kwargs: PyG's further arguments, `gconv.inherited.Inherited`.

    Raises:
        TypeError: if `nn` is no module.
        ValueError: for an unknown `aggr`, k < 1, or a signal that does not fit.

    >>> layer = DynamicEdgeConv(nn.Linear(2 * 3, 32), k=4)
    >>> layer(torch.rand(2, 100, 3)).shape
    torch.Size([2, 100, 32])
    """

    kind = "spatial"
    equation = "x'_i = max h(x_i ‖ x_j - x_i) over the k nearest j in feature space"
    cost = "N² · C_in + N · linear ends of h + N · k · (rest of h + width), width of what is summed"
    reference = "Wang et al. (2019), section 3.2"
    flows = (SOURCE_TO_TARGET,)  # as in PyG: neighbours are found for the targets

    def __init__(
        self, nn: nn.Module, k: int, aggr: Reduction = "max", num_workers: int = 1, **kwargs: Unpack[Inherited]
    ) -> None:
        super().__init__(**kwargs)
        check_module("DynamicEdgeConv", nn)
        self.reduce_by(aggr)
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"DynamicEdgeConv: k, the number of neighbours, is a whole number >= 1; got {k!r}")
        self.nn, self.k, self.num_workers = nn, k, num_workers
        self.in_channels = channels_of(nn)

    def reset_parameters(self) -> None:
        """Draw h's parameters by its own layers' rules."""
        reset_module(self.nn)

    def forward(self, x: Signals, batch: Batch | tuple[Tensor | None, Tensor | None] = None) -> Tensor:
        """The filtered signal.

        Args:
            x: a signal, or a pair (x_source, x_target).
            batch: the graph of each node, `(N,)` (of a pair a pair of such), or a graph; None for one graph.
        """
        (source, target), (sources, targets) = self._ends(x, batch)
        near, own = (signal if signal.dim() == 3 else signal[None] for signal in (source, target))
        out = self._filtered(near, own, sources, targets)
        return out if target.dim() == 3 else out[0]

    def _ends(self, x: Signals, batch: Any) -> tuple[tuple[Tensor, Tensor], tuple[Parts | None, Parts | None]]:
        """Both signals, and the graphs of their nodes."""
        if not is_pair(x):
            assert isinstance(x, Tensor) or x is not None
            parts = maybe_parts_of(self, x, batch)  # pyright: ignore[reportArgumentType]
            return (x, x), (parts, parts)  # pyright: ignore[reportReturnType]
        source, target = check_pair("DynamicEdgeConv", x, True)
        assert target is not None
        for signal in (source, target):
            self.check_signal(signal)
        if source.shape[-1] != target.shape[-1]:
            raise ValueError(
                f"DynamicEdgeConv looks for neighbours among sources and targets of one width; got {source.shape[-1]} "
                f"and {target.shape[-1]} channels"
            )
        vectors = batch if is_pair(batch) else (batch, batch)
        if all(vector is None for vector in vectors):
            return (source, target), (None, None)
        if len(vectors) != 2 or not all(is_vector(vector) for vector in vectors):
            raise ValueError(
                "DynamicEdgeConv: with a pair, batch is a pair too, the graph of each source and of each target, or "
                f"None; got {type(batch).__name__}"
            )
        count = max(int(vector.max()) + 1 if vector.numel() else 1 for vector in vectors)
        ends = zip(vectors, (source, target), strict=True)
        sources, targets = (parts_of_vector(self, vector, signal.shape[-2], count) for vector, signal in ends)
        return (source, target), (sources, targets)

    def _filtered(self, near: Tensor, own: Tensor, sources: Parts | None, targets: Parts | None) -> Tensor:
        signals, count = own.shape[0], own.shape[1]
        x, filled, back = _by_graph(near, sources)
        y, wanted, rows = _by_graph(own, targets)
        places, there = nearest(x, y, self.k, filled)
        places = back.gather(1, places.flatten(1)).view(places.shape)  # nodes, not places among those of a graph
        if torch.compiler.is_compiling():
            found = self._traced(near.flatten(0, 1), own.flatten(0, 1), places, rows, there)
            if wanted is not None:
                found = found.masked_fill(~wanted[..., None], 0).flatten(0, 1)
                found = found.new_zeros(signals * count, found.shape[-1]).index_add(0, rows.flatten(), found)
            return found.view(signals, count, found.shape[-1])
        ends = rows[..., None].expand_as(places)
        if there is not None and wanted is not None:
            there = there & wanted[..., None]
            ends, places = ends[there], places[there]
        structure = Structure(places.flatten(), ends.flatten(), near.shape[0] * near.shape[1], signals * count)
        out = differences(own.flatten(0, 1)[None], near.flatten(0, 1)[None], structure, self.nn, self.aggr)
        return out.view(signals, count, out.shape[-1])

    def _traced(self, near: Tensor, own: Tensor, places: Tensor, rows: Tensor, there: Tensor | None) -> Tensor:
        """The same as plain torch operations, which a compiler takes: a message for every place, filled or not."""
        mine = own[rows][:, :, None].expand(*places.shape, -1)
        messages = self.nn(torch.cat([mine, near[places] - mine], -1))
        if there is None:
            return REDUCTIONS[self.aggr](messages)
        return _MASKED[self.aggr](messages, there[..., None])

    def work(self, graph: Graph, channels: int) -> Work:
        """All distances, and h on the k nearest of every node, which may be any."""
        nodes = graph.num_nodes
        found = edge_work(self.nn, self.aggr, nodes, nodes * min(self.k, nodes), channels)
        return Work(nodes * nodes * channels + found.multiply_adds, found.edges, None)

    def extra_repr(self) -> str:
        return f"k={self.k}, aggr={self.aggr!r}"


def _masked_mean(messages: Tensor, there: Tensor) -> Tensor:
    return (messages * there).sum(-2) / there.sum(-2).clamp(min=1)


_MASKED = {
    "add": lambda messages, there: (messages * there).sum(-2),
    "sum": lambda messages, there: (messages * there).sum(-2),
    "mean": _masked_mean,
    "max": lambda messages, there: messages.masked_fill(~there, -torch.inf).amax(-2),
    "min": lambda messages, there: messages.masked_fill(~there, torch.inf).amin(-2),
}


def _by_graph(x: Tensor, parts: Parts | None) -> tuple[Tensor, Tensor | None, Tensor]:
    """Signals `(S, N, C)` as a table a graph, `(S · G, M, C)`; which rows are filled; which node each is."""
    signals, count, _ = x.shape
    first = torch.arange(signals, device=x.device)[:, None] * count
    if parts is None:
        return x, None, first + torch.arange(count, device=x.device)
    slots, filled = parts.slots
    rows = (first[:, :, None] + slots).flatten(0, 1)
    return x.flatten(0, 1)[rows], filled.repeat(signals, 1), rows

"""Several graphs as one, their disjoint union: nodes and edges one graph after the other, nothing padded.

    node i of graph g is node offset(g) + i of the union, and `batch` says g of every node

Whatever follows edges runs on the union as on one graph; what looks at a whole graph (pools, normalisation) reads
`batch`. `batch_graphs` makes a union, `unbatch` takes it apart again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gconv.domains.structure import Structure, constant

if TYPE_CHECKING:
    from gconv.domains.graph import Graph

_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclass(frozen=True, eq=False)
class Parts:
    """Which graph each node belongs to, `batch` `(N,)` in any order, and how many graphs there are."""

    batch: Tensor
    count: int

    @cached_property
    @constant
    def structure(self) -> Structure:
        """Nodes as sources, graphs as targets: what is summed over it is summed graph by graph."""
        nodes = torch.arange(len(self.batch), device=self.batch.device)
        return Structure(nodes, self.batch, len(self.batch), self.count)

    @cached_property
    @constant
    def sizes(self) -> Tensor:
        """The number of nodes of each graph, `(G,)`."""
        return torch.bincount(self.batch, minlength=self.count)

    @cached_property
    @constant
    def slots(self) -> tuple[Tensor, Tensor]:
        """The nodes of each graph in a row as long as the longest, `(G, M)`, and which places are filled."""
        order, sizes = torch.argsort(self.batch, stable=True), self.sizes
        places = torch.arange(max(1, int(sizes.max())), device=self.batch.device)
        filled = places < sizes[:, None]
        table = torch.zeros(filled.shape, dtype=torch.long, device=self.batch.device)
        table[filled] = order
        return table, filled

    def __repr__(self) -> str:
        return f"{self.count} graphs, {len(self.batch)} nodes"


def check_vector(batch: object, num_nodes: int | None, count: int | None, name: str = "batch") -> None:
    """Refuse what does not say of each node which graph it belongs to.

    Raises:
        TypeError: for what is no tensor of whole numbers. ValueError: for a wrong shape or range.
    """
    if not isinstance(batch, Tensor) or batch.dtype not in _WHOLE:
        kind = batch.dtype if isinstance(batch, Tensor) else type(batch).__name__
        raise TypeError(f"{name} takes a tensor (N,) of whole numbers, the graph of each node; got {kind}")
    if batch.dim() != 1 or (num_nodes is not None and len(batch) != num_nodes):
        raise ValueError(
            f"{name} has shape ({'N' if num_nodes is None else num_nodes},) here; got {tuple(batch.shape)}; pass for "
            "each node the number of its graph"
        )
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise ValueError(f"the number of graphs is a whole number >= 1 or None, got {count!r}")
    if batch.device.type == "meta" or not batch.numel():
        return
    low, high = int(batch.min()), int(batch.max())
    if low < 0 or (count is not None and high >= count):
        node = int(((batch < 0) | (batch >= (high + 1 if count is None else count))).nonzero()[0])
        limit = "" if count is None else f" to {count - 1}"
        raise ValueError(f"{name}[{node}] = {int(batch[node])}; graphs are numbered from 0{limit}")


def check_graphs(graph: Graph) -> None:
    """Refuse a batch vector that does not fit its graph.

    Raises:
        TypeError, ValueError: as `check_vector`; for edges between two graphs; for a number of graphs without `batch`.
    """
    if graph.batch is None:
        if graph.num_graphs not in (None, 1):
            raise ValueError(f"num_graphs={graph.num_graphs!r} needs batch, the graph of each node, `(N,)`")
        return
    check_vector(graph.batch, graph.num_nodes, graph.num_graphs)
    if graph.batch.device != graph.edge_index.device:
        raise ValueError(f"batch is on {graph.batch.device}, edge_index on {graph.edge_index.device}; move one")
    source, target = graph.batch[graph.edge_index]
    if bool((source != target).any()):
        edge = int((source != target).nonzero()[0])
        raise ValueError(
            f"edge_index[:, {edge}] = {graph.edge_index[:, edge].tolist()} joins graphs {int(source[edge])} and "
            f"{int(target[edge])} of a batch; the graphs of a batch have no edges between them"
        )


def batch_graphs(graphs: Sequence[Graph]) -> Graph:
    """The disjoint union of graphs, as one graph with `batch`; unions among them are taken as their graphs.

    Weights of one are filled in where only some graphs have weights; attributes and positions all have, or none.

    Raises:
        ValueError: for no graph, several devices, or attributes or positions that only some have, or of other widths.

    >>> from gconv import Graph
    >>> pair, path = Graph(torch.tensor([[0], [1]])), Graph(torch.tensor([[0, 1], [1, 2]]))
    >>> union = batch_graphs([pair, path])
    >>> union, union.edge_index.tolist(), union.batch.tolist()
    (Graph(num_nodes=5, num_edges=3, num_graphs=2), [[0, 2, 3], [1, 3, 4]], [0, 0, 1, 1, 1])
    """
    from gconv.domains.graph import Graph

    graphs = list(graphs)
    if not graphs:
        raise ValueError("batch_graphs takes at least one graph, got none")
    device = graphs[0].device
    if any(graph.device != device for graph in graphs):
        places = sorted({str(graph.device) for graph in graphs})
        raise ValueError(f"batch_graphs takes graphs on one device, got {', '.join(places)}; move them with .to()")
    nodes = torch.tensor([graph.num_nodes for graph in graphs])
    edges = torch.tensor([graph.num_edges for graph in graphs])
    counts = torch.tensor([graph.num_graphs for graph in graphs])
    shifts, firsts = (nodes.cumsum(0) - nodes).to(device), (counts.cumsum(0) - counts).to(device)
    index = torch.cat([graph.edge_index for graph in graphs], 1) + shifts.repeat_interleave(edges.to(device))
    batch = firsts.repeat_interleave(nodes.to(device))
    if any(graph.batch is not None for graph in graphs):
        zeros = batch.new_zeros
        batch = batch + torch.cat([zeros(g.num_nodes) if g.batch is None else g.batch for g in graphs])
    weight = None
    if any(graph.edge_weight is not None for graph in graphs):
        weight = torch.cat([_weights(graph, device) for graph in graphs])
    attributes, pos = (_together(name, graphs) for name in ("edge_attr", "pos"))
    return Graph(index, int(nodes.sum()), weight, attributes, pos, batch=batch, num_graphs=int(counts.sum()))


def _weights(graph: Graph, device: torch.device) -> Tensor:
    return torch.ones(graph.num_edges, device=device) if graph.edge_weight is None else graph.edge_weight


def _together(name: str, graphs: Sequence[Graph]) -> Tensor | None:
    given: list[Tensor | None] = [getattr(graph, name) for graph in graphs]
    tensors = [tensor for tensor in given if tensor is not None]
    if not tensors:
        return None
    if len(tensors) < len(given):
        place = next(number for number, tensor in enumerate(given) if tensor is None)
        raise ValueError(f"graph {place} of {len(given)} has no {name}, others have; give it to all, or to none")
    shapes = {tuple(tensor.shape[1:]) for tensor in tensors}
    if len(shapes) > 1:
        raise ValueError(f"{name} of a batch has one width; got {', '.join(map(str, sorted(shapes)))}")
    return torch.cat(tensors)


def unbatch(graph: Graph) -> list[Graph]:
    """The graphs of a union, in order; of a graph without `batch` the graph itself.

    Raises:
        ValueError: for a graph of the batch that has no node: there is no such graph.

    >>> from gconv import Graph
    >>> path = Graph(torch.tensor([[0, 1], [1, 2]]))
    >>> unbatch(batch_graphs([path, path]))
    [Graph(num_nodes=3, num_edges=2), Graph(num_nodes=3, num_edges=2)]
    """
    from gconv.domains.graph import Graph

    if graph.batch is None:
        return [graph]
    found, number = [], graph.batch.new_empty(graph.num_nodes)
    for place in range(graph.num_graphs):
        nodes = (graph.batch == place).nonzero().squeeze(1)
        if not nodes.numel():
            raise ValueError(f"graph {place} of {graph.num_graphs} has no node")
        number[nodes] = torch.arange(len(nodes), device=nodes.device)
        kept = (graph.batch[graph.edge_index[0]] == place).nonzero().squeeze(1)
        weight, attributes = (None if t is None else t[kept] for t in (graph.edge_weight, graph.edge_attr))
        pos = None if graph.pos is None else graph.pos[nodes]
        found.append(Graph(number[graph.edge_index[:, kept]], len(nodes), weight, attributes, pos))
    return found

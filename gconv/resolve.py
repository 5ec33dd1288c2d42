"""Which graph a call means: the `Graph` of a PyG `Data`, an `edge_index` or a sparse adjacency, kept weakly."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from gconv.domains.graph import Graph
from gconv.domains.structure import Structure
from grid_cnn import Grid

T = TypeVar("T")

# What a layer takes as its second argument: a Graph, a PyG Data or Batch, a (2, E) tensor, a sparse adjacency.
GraphLike = Any

_GRAPHS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


class Between(NamedTuple):
    """Edges from sources to other targets: as they are, and as one graph whose nodes are targets, then sources."""

    structure: Structure
    graph: Graph


def as_graph(
    graph: GraphLike, layer: str, num_nodes: int | None, edge_weight: Tensor | None
) -> tuple[Graph, Tensor | None]:
    """The `Graph` of whatever a layer was called with, and the weights that came with it.

    Raises:
        TypeError: for something that is no graph, None and a `Grid` above all.
    """
    if isinstance(graph, Graph):
        return graph, edge_weight
    if isinstance(graph, Tensor):
        if graph.layout is not torch.strided:
            edges, weight, features = _entries(graph)
            return Graph(edges, graph.shape[0], edge_attr=features), weight if edge_weight is None else edge_weight
        return remember(_GRAPHS, graph, num_nodes, lambda: Graph(graph, cast(int, num_nodes))), edge_weight
    held = _data(graph, layer)
    edge_weight = held.edge_weight if edge_weight is None and "edge_weight" in held else edge_weight
    counted = any(name in held for name in ("num_nodes", "x", "pos"))  # else PyG guesses by the largest index
    found, _ = as_graph(held.edge_index, layer, held.num_nodes if counted else num_nodes, None)
    return _with_graphs(_with_attributes(found, held, ("edge_attr", "pos")), held), edge_weight


def as_pair(
    graph: GraphLike, layer: str, size: tuple[int, int], edge_weight: Tensor | None
) -> tuple[Between, Tensor | None]:
    """The edges from `size[0]` sources to `size[1]` targets that a layer was called with, and their weights.

    Raises:
        TypeError: for something that is no graph. ValueError: for edges that lead beyond the nodes.
    """
    if isinstance(graph, Graph):
        if size != (graph.num_nodes,) * 2:
            raise ValueError(
                f"{layer}: a pair of {size[0]} sources and {size[1]} targets does not fit {graph!r}, whose nodes are "
                "both; pass edge_index, from sources to targets"
            )
        joint = graph.plan.keep("targets, then sources", lambda: _joint(graph, graph.structure))
        return Between(graph.structure, joint), graph.edge_weight if edge_weight is None else edge_weight
    if isinstance(graph, Tensor):
        if graph.layout is not torch.strided:
            if tuple(graph.shape[:2]) != size[::-1]:
                raise ValueError(
                    f"{layer}: the adjacency of {size[0]} sources and {size[1]} targets has shape {size[::-1]}, a row "
                    f"a target; got {tuple(graph.shape)}"
                )
            edges, weight, features = _entries(graph)
            found = _between(edges, layer, size)
            found = found._replace(graph=found.graph.having(edge_attr=features))
            return found, weight if edge_weight is None else edge_weight
        return remember(_GRAPHS, graph, size, lambda: _between(graph, layer, size)), edge_weight
    held = _data(graph, layer)
    edge_weight = held.edge_weight if edge_weight is None and "edge_weight" in held else edge_weight
    found, _ = as_pair(held.edge_index, layer, size, None)
    return found._replace(graph=_with_attributes(found.graph, held, ("edge_attr",))), edge_weight


def _entries(adjacency: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """The edges of a sparse adjacency, row by row, with its values: weights, if there is one an edge; and features."""
    coo = adjacency.to_sparse_coo().coalesce()
    values = coo.values()
    return coo.indices().flip(0), values if values.dim() == 1 else None, values


def held_by(graph: GraphLike, name: str) -> Tensor | None:
    """The tensor that a PyG `Data` holds under a name, if a layer was called with one, and it does."""
    data = sys.modules.get("torch_geometric.data.data")
    found = graph.get(name) if data is not None and isinstance(graph, data.BaseData) else None
    return found if isinstance(found, Tensor) else None


def with_tensor(graph: Graph, name: str, tensor: Tensor) -> Graph:
    """`graph.having(name=tensor)`, the same object while the tensor lives unedited."""
    if tensor.requires_grad:  # kept by the graph as it is: the entry would keep its own key alive
        return graph.having(**{name: tensor})
    value = one_an_edge(tensor) if name == "edge_weight" else tensor
    # Kept with the graph, so that neither outlives the other.
    return remember(graph.derived, tensor, name, lambda: graph.having(**{name: value}))


def one_an_edge(weight: Tensor) -> Tensor:
    """Weights `(E,)`, which PyG takes as `(E, 1)` too."""
    return weight[:, 0] if weight.dim() == 2 and weight.shape[1] == 1 else weight


def turned(graph: Graph) -> Graph:
    """The graph with its edges the other way round, sharing the sorted rows; asked twice, the same object."""
    return graph.plan.keep("edges turned round", lambda: _turned(graph))


def _turned(graph: Graph) -> Graph:
    other = replace(graph, edge_index=graph.edge_index.flip(0), lattice=None, _family={})
    object.__setattr__(other, "structure", graph.structure.flipped)
    return other


def _data(graph: GraphLike, layer: str) -> Any:
    """What a layer was called with as a PyG `Data`.

    Raises:
        TypeError: if it is none, or has no edges.
    """
    data = sys.modules.get("torch_geometric.data.data")  # loaded if and only if the caller has made a Data
    if data is not None and isinstance(graph, data.BaseData):
        if getattr(graph, "edge_index", None) is None:
            raise TypeError(f"{layer} was called with a PyG Data without edge_index")
        return graph
    if graph is None:
        raise TypeError(
            f"{layer} was called without a domain: call layer(x, graph), or wrap the net in bind(net, graph)"
        )
    if isinstance(graph, Grid):
        raise TypeError(f"{layer} works on a Graph, got {graph!r}; make its graph with grid_graph({graph.size})")
    raise TypeError(
        f"{layer} takes a Graph, a PyG Data or an edge_index (2, E) as its domain, got {type(graph).__name__}"
    )


def _with_attributes(graph: Graph, held: Any, names: tuple[str, ...]) -> Graph:
    """The graph with those tensors of a `Data` that it can hold."""
    for name in names:
        tensor = held.get(name)
        if isinstance(tensor, Tensor) and tensor.dim() <= 2 and (name != "pos" or tensor.is_floating_point()):
            graph = with_tensor(graph, name, tensor)
    return graph


def _with_graphs(graph: Graph, held: Any) -> Graph:
    """The graph with the graph vector of a `Batch`, or of a `Data` that has one."""
    batch = held.get("batch")
    if not isinstance(batch, Tensor):
        return graph
    count = getattr(held, "num_graphs", None)  # of a Batch alone, which may end in graphs without nodes
    return remember(graph.derived, batch, ("batch", count), lambda: graph.having(batch=batch, num_graphs=count))


def _between(edge_index: Tensor, layer: str, size: tuple[int, int]) -> Between:
    """Checked edges from sources to targets."""
    most = int(edge_index.max()) + 1 if edge_index.numel() else 1
    checked = Graph(edge_index, max(*size, most))
    for row, (end, count) in enumerate(zip(("source", "target"), size, strict=True)):
        beyond = (checked.edge_index[row] >= count).nonzero()
        if beyond.numel():
            edge = int(beyond[0])
            raise ValueError(
                f"{layer}: edge_index[:, {edge}] = {checked.edge_index[:, edge].tolist()} leads beyond the last of "
                f"{count} {end}s; size is (number of sources, number of targets), here {size}"
            )
    structure = Structure(checked.edge_index[0], checked.edge_index[1], *size)
    return Between(structure, _joint(checked, structure))


def _joint(graph: Graph, structure: Structure) -> Graph:
    """The edges of a structure between targets, then sources, as the nodes of one graph; with the graph's features."""
    joined = structure.joined
    edges = torch.stack([joined.source, joined.target])
    joint = Graph(edges, joined.num_targets, edge_attr=graph.edge_attr)
    object.__setattr__(joint, "structure", joined)
    return joint


def remember(cache: WeakTensorKeyDictionary, tensor: Tensor, key: object, build: Callable[[], T]) -> T:
    """What `build` makes of `tensor`, kept until the tensor dies or is edited in place."""
    if tensor.is_inference():  # has no version counter: an edit could be missed
        return build()
    if tensor not in cache or cache[tensor][0] != tensor._version:
        cache[tensor] = tensor._version, {}
    kept = cache[tensor][1]
    if key not in kept:
        kept[key] = build()
    return kept[key]

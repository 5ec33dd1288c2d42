"""What all graph layers share: how they are called, and what they check."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from gconv.domains.graph import Graph
from grid_cnn import Grid, Layer

T = TypeVar("T")

# What a layer takes as its second argument: a Graph, a PyG Data or Batch, a (2, E) tensor, a sparse adjacency.
GraphLike = Any

_GRAPHS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


class GraphLayer(Layer):
    """A layer for signals `(N, C)` or `(B, N, C)` on a graph.

    It is called with a `Graph`, with a PyG `Data` or `Batch`, or with `edge_index` and PyG's further arguments in PyG's
    order. The plan of a bare `edge_index` is kept for as long as the tensor lives and stays unedited; an edit in place
    is seen, but not one through `.data` or shared numpy memory, which torch does not count.
    """

    kind: ClassVar[str] = "spatial"
    reference: ClassVar[str] = ""
    takes_sparse: ClassVar[bool] = False  # also a sparse (N, C), which is data: bags of words, one-hot features

    def check(self, x: Tensor, graph: Graph) -> None:
        """Refuse a signal that does not fit the graph or the layer.

        Raises:
            TypeError: for what is no tensor. ValueError: for nodes, channels or a device that do not fit.
        """
        name = type(self).__name__
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} takes one tensor (N, C) or (B, N, C) as its signal, got {type(x).__name__}")
        if x.dim() not in (2, 3):
            raise ValueError(f"{name} takes a signal (N, C) or (B, N, C), got shape {tuple(x.shape)}")
        if x.layout is not torch.strided and not (self.takes_sparse and x.dim() == 2):
            raise ValueError(f"{name} takes no sparse signal of shape {tuple(x.shape)}; pass x.to_dense()")
        if x.shape[-2] != graph.num_nodes:
            raise ValueError(f"{name}: a signal of {x.shape[-2]} nodes, {tuple(x.shape)}, does not fit {graph!r}")
        if self.in_channels is not None and x.shape[-1] != self.in_channels:
            raise ValueError(f"{name} expects {self.in_channels} channels, got {x.shape[-1]}: {tuple(x.shape)}")
        if x.device != graph.device:
            raise ValueError(f"{name}: the signal is on {x.device}, the graph on {graph.device}; move one with .to()")

    def edge_features(self, graph: Graph, edge_attr: Tensor | None, width: int, dtype: torch.dtype) -> Tensor:
        """The features of all edges, `(E, width)`: those of the call, else the graph's own.

        Raises:
            ValueError: if there are none, or they have another width.
        """
        name, given = type(self).__name__, graph.edge_attr if edge_attr is None else edge_attr
        if given is None:
            raise ValueError(f"{name} needs edge_attr (E, {width}), features of the edges; {graph!r} has none")
        given = given[:, None] if given.dim() == 1 else given
        if given.shape != (graph.num_edges, width):
            raise ValueError(f"{name}: edge_attr has shape ({graph.num_edges}, {width}) here, got {tuple(given.shape)}")
        return given.to(dtype)

    def check_size(self, size: tuple[int, int] | None, graph: Graph) -> None:
        """Refuse a PyG `size` that means other sources than targets.

        Raises:
            ValueError: if it is not (N, N).
        """
        if size is not None and tuple(size) != (graph.num_nodes,) * 2:
            name = type(self).__name__
            raise ValueError(f"{name} has the same {graph.num_nodes} sources and targets here; got size={size!r}")

    def resolve(self, x: Tensor, graph: GraphLike, edge_weight: Tensor | None = None) -> tuple[Graph, Tensor | None]:
        """The graph that a call means, checked against `x`; and its weights, if they are being learned.

        Raises:
            TypeError: if there is no graph. ValueError: if something does not fit.
        """
        if isinstance(graph, Graph) and edge_weight is None:
            self.check(x, graph)
            own = graph.edge_weight
            return graph, own if own is not None and own.requires_grad else None
        nodes = x.shape[-2] if isinstance(x, Tensor) and x.dim() >= 2 else None
        found, edge_weight = as_graph(graph, type(self).__name__, nodes, edge_weight)
        self.check(x, found)
        if edge_weight is None:
            return found, None
        if edge_weight.requires_grad or torch.compiler.is_compiling():  # no plan is made while tracing
            if edge_weight.shape != (found.num_edges,):
                raise ValueError(
                    f"{type(self).__name__}: edge_weight has shape ({found.num_edges},) here, one number an edge; got "
                    f"{tuple(edge_weight.shape)}"
                )
            if not torch.compiler.is_compiling() and not bool(torch.isfinite(edge_weight.detach()).all()):
                raise ValueError(f"{type(self).__name__}: edge_weight holds entries that are not finite")
            return found, edge_weight
        return _with(found, "edge_weight", edge_weight), None


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
            coo = graph.to_sparse_coo().coalesce()
            return Graph(coo.indices().flip(0), graph.shape[0]), coo.values() if edge_weight is None else edge_weight
        return _remember(_GRAPHS, graph, num_nodes, lambda: Graph(graph, cast(int, num_nodes))), edge_weight
    data = sys.modules.get("torch_geometric.data.data")  # loaded if and only if the caller has made a Data
    if data is not None and isinstance(graph, data.BaseData):
        held = cast(Any, graph)
        if getattr(held, "edge_index", None) is None:
            raise TypeError(f"{layer} was called with a PyG Data without edge_index")
        edge_weight = held.edge_weight if edge_weight is None and "edge_weight" in held else edge_weight
        counted = any(name in held for name in ("num_nodes", "x", "pos"))  # else PyG guesses by the largest index
        found, _ = as_graph(held.edge_index, layer, held.num_nodes if counted else num_nodes, None)
        for name in ("edge_attr", "pos"):
            tensor = held.get(name)
            if isinstance(tensor, Tensor) and tensor.dim() <= 2 and (name != "pos" or tensor.is_floating_point()):
                found = _with(found, name, tensor)
        return found, edge_weight
    if graph is None:
        raise TypeError(
            f"{layer} was called without a domain: call layer(x, graph), or wrap the net in bind(net, graph)"
        )
    if isinstance(graph, Grid):
        raise TypeError(f"{layer} works on a Graph, got {graph!r}; make its graph with grid_graph({graph.size})")
    raise TypeError(
        f"{layer} takes a Graph, a PyG Data or an edge_index (2, E) as its domain, got {type(graph).__name__}"
    )


def _with(graph: Graph, name: str, tensor: Tensor) -> Graph:
    """`graph.having(name=tensor)`, the same object while the tensor lives unedited."""
    if tensor.requires_grad:  # kept by the graph as it is: the entry would keep its own key alive
        return graph.having(**{name: tensor})
    # Kept with the graph, so that neither outlives the other.
    return _remember(graph.derived, tensor, name, lambda: graph.having(**{name: tensor}))


def _remember(cache: WeakTensorKeyDictionary, tensor: Tensor, key: object, build: Callable[[], T]) -> T:
    """What `build` makes of `tensor`, kept until the tensor dies or is edited in place."""
    if tensor.is_inference():  # has no version counter: an edit could be missed
        return build()
    if tensor not in cache or cache[tensor][0] != tensor._version:
        cache[tensor] = tensor._version, {}
    kept = cache[tensor][1]
    if key not in kept:
        kept[key] = build()
    return kept[key]

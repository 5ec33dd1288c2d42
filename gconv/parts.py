"""Which graphs a call means, of a layer that looks at whole graphs: norms, readouts, neighbours in feature space."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from gconv.domains.batch import Parts, check_vector
from gconv.layer import GraphLayer
from gconv.resolve import GraphLike, remember

_PARTS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()

# A graph with or without `batch`, or PyG's graph vector (N,) alone.
Batch = GraphLike


def is_vector(batch: object) -> bool:
    """Whether this is PyG's graph vector, and not the edges of a graph."""
    return isinstance(batch, Tensor) and batch.dim() == 1 and batch.layout is torch.strided


def parts_of_vector(layer: GraphLayer, batch: Tensor, num_nodes: int, count: int | None = None) -> Parts:
    """The graphs that a graph vector names, kept while the tensor lives unedited.

    Raises:
        TypeError, ValueError: if it is none, or does not fit the nodes.
    """

    def build() -> Parts:
        check_vector(batch, num_nodes, count, f"{type(layer).__name__}: batch")
        found = count if count is not None else int(batch.max()) + 1 if batch.numel() else 1
        return Parts(batch.long().clone(), found)

    return remember(_PARTS, batch, (num_nodes, count), build)


def parts_of(layer: GraphLayer, x: Tensor, batch: Batch, count: int | None = None) -> Parts | None:
    """The graphs that a call means; None where all nodes of a signal are one.

    Args:
        batch: a graph, a PyG `Data` or `Batch`, an `edge_index`, or the graph of each node, `(N,)`.
        count: how many graphs there are, PyG's `batch_size`; None for what `batch` says.

    Raises:
        TypeError: if there is no graph. ValueError: if something does not fit.
    """
    if is_vector(batch):
        layer.check_signal(x)
        if x.device != batch.device:
            name = type(layer).__name__
            raise ValueError(f"{name}: the signal is on {x.device}, batch on {batch.device}; move one with .to()")
        return parts_of_vector(layer, batch, x.shape[-2], count)
    graph, _ = layer.resolve(x, batch)
    if count is not None and count != graph.num_graphs:
        raise ValueError(f"{type(layer).__name__}: batch_size={count!r} does not fit {graph!r}")
    return graph.parts


def maybe_parts_of(layer: GraphLayer, x: Tensor, batch: Batch, count: int | None = None) -> Parts | None:
    """`parts_of` for layers that read no neighbour, whose graph may be left out: None is one graph."""
    if batch is None:
        layer.check_signal(x)
        return None
    return parts_of(layer, x, batch, count)

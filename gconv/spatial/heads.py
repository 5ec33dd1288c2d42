"""What the attention layers share: loops with features, and heads joined or averaged."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from gconv.domains.graph import Graph
from gconv.domains.structure import Structure
from gconv.functional.product import product

# PyG's names of the ways to reduce the features of edges into a node, and torch's.
_REDUCTIONS = {"mean": "mean", "add": "sum", "sum": "sum", "min": "amin", "max": "amax", "mul": "prod"}


class Attentive(Protocol):
    """An attention layer as seen from here."""

    concat: bool
    add_self_loops: bool
    edge_dim: int | None
    fill_value: float | Tensor | str
    bias: nn.Parameter | None
    res: nn.Linear | None

    def edge_features(self, graph: Graph, edge_attr: Tensor | None, width: int, dtype: torch.dtype) -> Tensor:
        """The features of all edges."""
        ...


def check_heads(heads: int, dropout: float) -> None:
    """Refuse what is no number of heads or no probability.

    Raises:
        ValueError: naming it.
    """
    if isinstance(heads, bool) or not isinstance(heads, int) or heads < 1:
        raise ValueError(f"heads takes a whole number >= 1, got {heads!r}")
    if not 0 <= dropout <= 1:
        raise ValueError(f"dropout takes a probability, got {dropout!r}")


def loops_and_features(
    layer: Attentive, graph: Graph, edge_attr: Tensor | None, dtype: torch.dtype
) -> tuple[Structure, Tensor | None]:
    """The edges that attention runs over, and their features `(E', edge_dim)` if the layer reads any."""
    features = None if layer.edge_dim is None else layer.edge_features(graph, edge_attr, layer.edge_dim, dtype)
    if not layer.add_self_loops:
        return graph.structure, features
    structure, kept = graph.structure.with_loops
    if features is None:
        return structure, None
    features = features[kept]
    target = structure.target[: kept.numel()]
    return structure, torch.cat([features, _of_loops(features, target, graph.num_nodes, layer.fill_value)])


def _of_loops(features: Tensor, target: Tensor, num_nodes: int, fill: float | Tensor | str) -> Tensor:
    shape = num_nodes, features.shape[1]
    if isinstance(fill, str):
        if fill not in _REDUCTIONS:
            raise ValueError(f"fill_value is a number, a tensor, or one of {', '.join(_REDUCTIONS)}; got {fill!r}")
        index = target[:, None].expand_as(features)
        empty = features.new_ones(shape) if fill == "mul" else features.new_zeros(shape)
        return empty.scatter_reduce(0, index, features, _REDUCTIONS[fill], include_self=False)
    value = torch.as_tensor(fill, dtype=features.dtype, device=features.device)
    return value.expand(shape)


def with_heads_joined(
    layer: Attentive, out: Tensor, x: Tensor, structure: Structure, alpha: Tensor | None
) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
    """`(S, N, H, C)` as the layer's result, in the shape of the call; with the coefficients if there are any."""
    out = out.flatten(-2) if layer.concat else out.mean(-2)
    out = out if x.dim() == 3 else out[0]
    if layer.res is not None:
        out = out + product(x, layer.res.weight)
    out = out if layer.bias is None else out + layer.bias
    if alpha is None:
        return out
    return out, (torch.stack([structure.source, structure.target]), alpha if x.dim() == 3 else alpha[0])

"""What the attention layers share: loops with features, heads joined or averaged, coefficients given back."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from gconv.domains.graph import Graph
from gconv.domains.structure import Structure
from gconv.functional.product import product
from gconv.inherited import SOURCE_TO_TARGET
from gconv.layer import GraphLike
from gconv.pairs import Ends

# PyG's names of the ways to reduce the features of edges into a node, and torch's.
_REDUCTIONS = {"mean": "mean", "add": "sum", "sum": "sum", "min": "amin", "max": "amax", "mul": "prod"}


class Attentive(Protocol):
    """An attention layer as seen from here."""

    concat: bool
    add_self_loops: bool
    edge_dim: int | None
    fill_value: float | Tensor | str
    flow: str
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


def check_fill(fill: object) -> None:
    """Refuse what is no way to make the features of a loop.

    Raises:
        ValueError: naming the ways.
    """
    if isinstance(fill, str) and fill not in _REDUCTIONS:
        raise ValueError(f"fill_value is a number, a tensor, or one of {', '.join(_REDUCTIONS)}; got {fill!r}")


def loops_and_features(layer: Attentive, ends: Ends, edge_attr: Tensor | None) -> tuple[Structure, Tensor | None]:
    """The edges that attention runs over, and their features `(E', edge_dim)` if the layer reads any.

    Loops, of a pair too, are edges between equal numbers.
    """
    dtype = ends.source.dtype
    features = None if layer.edge_dim is None else layer.edge_features(ends.graph, edge_attr, layer.edge_dim, dtype)
    if not layer.add_self_loops:
        return ends.structure, features
    structure, kept = ends.structure.with_loops
    if features is None:
        return structure, None
    features = features[kept]
    # By the end that `edge_index` names second, whichever way messages go: as in PyG.
    second = structure.target if layer.flow == SOURCE_TO_TARGET else structure.source
    loops = structure.num_edges - kept.numel()
    filled = _of_loops(features, second[: kept.numel()], structure.num_targets, layer.fill_value)[:loops]
    return structure, torch.cat([features, filled])


def _of_loops(features: Tensor, target: Tensor, num_nodes: int, fill: float | Tensor | str) -> Tensor:
    shape = num_nodes, features.shape[1]
    if isinstance(fill, str):
        index = target[:, None].expand_as(features)
        empty = features.new_ones(shape) if fill == "mul" else features.new_zeros(shape)
        return empty.scatter_reduce(0, index, features, _REDUCTIONS[fill], include_self=False)
    value = torch.as_tensor(fill, dtype=features.dtype, device=features.device)
    return value.expand(shape)


def with_heads_joined(
    layer: Attentive, out: Tensor, ends: Ends, structure: Structure, alpha: Tensor | None, given: GraphLike
) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
    """`(S, N_t, H, C)` as the layer's result, in the shape of the call; with the coefficients if there are any."""
    out = out.flatten(-2) if layer.concat else out.mean(-2)
    out = ends.drop(out)
    if layer.res is not None and ends.target is not None:
        out = out + product(ends.target, layer.res.weight)
    out = out if layer.bias is None else out + layer.bias
    return out if alpha is None else (out, coefficients(structure, ends.drop(alpha), given, layer.flow))


def edges_given(structure: Structure, flow: str) -> Tensor:
    """`edge_index` as the call had it, whichever way messages went."""
    rows = structure.source, structure.target
    return torch.stack(rows if flow == SOURCE_TO_TARGET else rows[::-1])


def coefficients(structure: Structure, alpha: Tensor, given: GraphLike, flow: str) -> tuple[Tensor, Tensor]:
    """What `return_attention_weights` gives: `edge_index` and α `(E, H)` or `(B, E, H)`.

    Where the layer was called with a sparse adjacency and one signal: an adjacency of the same layout with α as its
    values, `(N_t, N_s, H)`, and α in the order of its entries.
    """
    if not isinstance(given, Tensor) or given.layout is torch.strided or alpha.dim() == 3:
        return edges_given(structure, flow), alpha
    order = torch.argsort(structure.target * structure.num_sources + structure.source, stable=True)
    index = torch.stack([structure.target[order], structure.source[order]])
    alpha = alpha.index_select(0, order)
    shape = structure.num_targets, structure.num_sources, alpha.shape[1]
    if given.layout is torch.sparse_csr:
        offsets = structure.rows.offsets[: structure.num_targets + 1].long()
        return torch.sparse_csr_tensor(offsets, index[1], alpha, shape), alpha
    return torch.sparse_coo_tensor(index, alpha, shape, is_coalesced=True), alpha

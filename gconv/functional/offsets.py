"""Edges with few different attributes: one matrix for each, and on a regular grid's graph one convolution for all.

    y[t] = Σ_{e into t} x[source(e)] M(attribute of e)

On a grid of fixed neighbourhoods the attributes are the offsets to the neighbours, at most 3^d - 1, and the sum is a
convolution of three taps an axis (`collapsed`); elsewhere it is a sum by kinds of edges.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gconv.domains.graph import Graph
from gconv.domains.lattice import Lattice
from gconv.domains.plan import Kinds
from gconv.functional.directional import Window, directional
from gconv.functional.kernels import kind_sum


def lattice_offsets(graph: Graph, dtype: torch.dtype) -> Tensor | None:
    """The different offsets of a regular grid's graph, `(offsets, d)`; None for every other graph."""
    lattice = graph.lattice
    if lattice is None or not lattice.offsets:
        return None
    return graph.plan.keep(("offsets", dtype), lambda: torch.tensor(lattice.offsets, dtype=dtype, device=graph.device))


def collapsed(x: Tensor, graph: Graph, kinds: Kinds, matrices: Callable[[Tensor], Tensor], mean: bool) -> Tensor:
    """The sum, or mean, over the neighbours with the matrices of the different attributes alone: `(S, N, C_out)`.

    Args:
        x: `(S, N, C_in)`. kinds: the graph's own. matrices: of attributes `(U, D)`, `(U, C_in, C_out)`.
    """
    offsets = lattice_offsets(graph, x.dtype)
    if offsets is not None:
        out = by_offsets(x, graph, matrices(offsets))
        return out * graph.plan.inverse_in_degree(x.dtype)[:, None] if mean else out
    weight = graph.plan.mean_weights(x.dtype) if mean else None
    made = matrices(kinds.values.to(x.dtype))
    return kind_sum(x, kinds.forth, kinds.back, weight, made, choices=graph.plan.choices)


def by_offsets(x: Tensor, graph: Graph, matrices: Tensor) -> Tensor:
    """The sum on a regular grid's graph: `(S, N, C_in)`, a matrix an offset `(offsets, C_in, C_out)`."""
    lattice = graph.lattice
    assert lattice is not None
    ndim = lattice.grid.ndim
    place = graph.plan.keep("offset places", lambda: _places(lattice).to(graph.device))
    taps = matrices.new_zeros(3**ndim, *matrices.shape[1:]).index_copy(0, place, matrices)
    ones = (1,) * ndim
    window = Window((3,) * ndim, ones, ((1, 1),) * ndim, ones, "zeros")
    return directional(x, graph, taps.permute(2, 1, 0).unflatten(2, (3,) * ndim), None, window)


def _places(lattice: Lattice) -> Tensor:
    """Where the offsets lie in a kernel of three taps an axis, counted row by row."""
    radix = 3 ** torch.arange(lattice.grid.ndim - 1, -1, -1)
    return ((torch.tensor(lattice.offsets) + 1) * radix).sum(1)

"""Attention step by step in plain torch operations: scores and coefficients are tensors `(S, E, H)`, edges in order.

What is dropped out, returned, exported or differentiated twice goes this way; the fused forms are held to it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gconv.domains.structure import Structure
from gconv.functional.propagate import propagate


def additive_scores(x: Tensor, a: Tensor, b: Tensor, r: Tensor | None, structure: Structure, slope: float) -> Tensor:
    """leaky(a · x[source] + b · x[target] + r): `(S, N, H, C)`, `(H, C)` twice, `(E, H)` to `(S, E, H)`."""
    scores = (x * a).sum(-1).index_select(1, structure.source) + (x * b).sum(-1).index_select(1, structure.target)
    return F.leaky_relu(scores if r is None else scores + r, slope)


def dynamic_scores(
    x: Tensor, z: Tensor, r: Tensor | None, attention: Tensor, structure: Structure, slope: float
) -> Tensor:
    """Σ_c a_c leaky(x[source] + z[target] + r): `(S, n, H, C)`, `(S, T, H, C)`, `(E, H, C)`, `(H, C)`; `(S, E, H)`."""
    sums = x.index_select(1, structure.source) + z.index_select(1, structure.target)
    return (F.leaky_relu(sums if r is None else sums + r, slope) * attention).sum(-1)


def dot_scores(q: Tensor, k: Tensor, u: Tensor | None, f: Tensor | None, structure: Structure) -> Tensor:
    """q[target] · k[source] + u[target] · f: `(S, T, H, C)`, `(S, n, H, C)`, `(S, T, H, D)`, `(E, D)`; `(S, E, H)`."""
    scores = (q.index_select(1, structure.target) * k.index_select(1, structure.source)).sum(-1)
    if u is None or f is None:
        return scores
    return scores + (u.index_select(1, structure.target) * f[:, None]).sum(-1)


def row_softmax(scores: Tensor, structure: Structure) -> Tensor:
    """The softmax of `(S, E, H)` over the edges into a node."""
    shape = scores.shape[0], structure.num_targets, scores.shape[2]
    target = structure.target[None, :, None].expand_as(scores)
    highest = scores.detach().new_full(shape, -torch.inf).scatter_reduce(1, target, scores.detach(), "amax")
    powers = (scores - highest.index_select(1, structure.target)).exp()
    sums = powers.new_zeros(shape).index_add(1, structure.target, powers)
    return powers / sums.index_select(1, structure.target)


def weighted(x: Tensor, weights: Tensor, structure: Structure, form: str | None = None) -> Tensor:
    """Σ_e α_e x[source(e)] by heads: `(S, n, H, C)`, `(S, E, H)` to `(S, T, H, C)`."""
    return propagate(x, structure, weights, form=form)


def features_weighted(f: Tensor, weights: Tensor, structure: Structure, form: str | None = None) -> Tensor:
    """Σ_e α_e f_e by heads: `(E, D)`, `(S, E, H)` to `(S, T, H, D)`."""
    spread = f[:, None].expand(*weights.shape, f.shape[1])
    return propagate(spread, structure.arrivals, weights, form=form)


def additive_steps(x: Tensor, a: Tensor, b: Tensor, r: Tensor | None, structure: Structure, slope: float) -> Tensor:
    """Attention with additive scores, all of it."""
    return weighted(x, row_softmax(additive_scores(x, a, b, r, structure, slope), structure), structure)


def dynamic_steps(
    x: Tensor, z: Tensor, r: Tensor | None, attention: Tensor, structure: Structure, slope: float
) -> Tensor:
    """Attention with dynamic scores, all of it."""
    return weighted(x, row_softmax(dynamic_scores(x, z, r, attention, structure, slope), structure), structure)

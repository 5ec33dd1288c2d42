"""Sums over neighbours by relation, each with a matrix of its own.

    y[t] = Σ_r ( reduce_{e into t, of type r} x[source(e)] ) Θ_r,   Θ_r free, Σ_b c[r, b] V_b, or block-diagonal

Forms, equal to rounding:

    collapsed   sums by (target, type), then products, a few signals or rows at a time (`kernels`): where most targets
                have most types
    bases       sums weighted by c, then products with the V_b alone: where there are fewer of them than types
    gather      sums by those (type, target) that there are, then each type's product, a few signals at a time; in any
                form of a weighted sum

Shapes: x `(S, n, C_in)`, y `(S, T, C_out)`. Cost: E · C_in, and P · C_in · C_out multiply-adds a signal, P the number
of different (type, target). Reference: Schlichtkrull, Kipf, Bloem, van den Berg, Titov and Welling, Modeling relational
data with graph convolutional networks (2018), equations 2 to 4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gconv.domains.relations import Relations
from gconv.domains.structure import Structure
from gconv.functional.edgewise import SUMS, edgewise, of_neighbour
from gconv.functional.forms import pick
from gconv.functional.kernels import kernel_sum, kind_sum
from gconv.functional.messages import a_few_at_once
from gconv.functional.propagate import propagate, sum_forms


def composed(bases: Tensor, coefficients: Tensor) -> Tensor:
    """Θ_r of bases `(b, C_in, C_out)` and c `(R, b)`: `(R, C_in, C_out)`."""
    return (coefficients @ bases.flatten(1)).unflatten(1, bases.shape[1:])


def _whole(blocks: Tensor) -> Tensor:
    """Block-diagonal matrices of their blocks `(R, b, i, o)`: `(R, b · i, b · o)`."""
    return torch.diag_embed(blocks.permute(0, 2, 3, 1)).permute(0, 3, 1, 4, 2).flatten(3).flatten(1, 2)


def relational_sum(
    x: Tensor,
    relations: Relations,
    matrices: Tensor,
    coefficients: Tensor | None = None,
    aggr: str = "mean",
    *,
    form: str | None = None,
    choices: dict[str, str] | None = None,
) -> Tensor:
    """y of the module's docstring.

    Args:
        matrices: Θ `(R, C_in, C_out)`, their blocks `(R, b, C_in / b, C_out / b)`, or, with coefficients c `(R, b)`,
            the bases V `(b, C_in, C_out)`.
        aggr: 'add', 'sum', 'mean', or another of `edgewise`.
        form: 'collapsed', 'fused' (bases), a weighted sum's, or None for the engine's choice. choices: where to note
            it.

    >>> edges = Structure(torch.tensor([0, 1, 2]), torch.tensor([1, 1, 1]), 3, 3)
    >>> relations = Relations.of(edges, torch.tensor([1, 0, 1]))
    >>> relational_sum(torch.ones(1, 3, 1), relations, torch.tensor([[[2.0]], [[5.0]]]))[0, 1]
    tensor([7.])
    """
    sums, blocked = aggr in SUMS, matrices.dim() == 4
    targets, count = relations.structure.num_targets, len(relations.used)
    spread = targets * count * (matrices.shape[1] if blocked else 1)
    few = coefficients is not None and matrices.shape[0] < count
    able = ("collapsed",) * sums + ("fused",) * (sums and few) + sum_forms(x.device)
    if not sums:
        choice, why = able[0], "neighbours are not added up"
    elif few:
        choice, why = "fused", f"{matrices.shape[0]} bases for {count} types"
    elif spread <= 2 * relations.num_pairs:
        choice, why = "collapsed", "most targets have most types"
    else:
        choice, why = "gather", "few targets have many types"
    chosen = pick(form, able, choice, why, choices, f"sums of {count} relations, {aggr}")
    norm = relations.means.to(x.dtype) if aggr == "mean" else None
    if chosen == "fused" and coefficients is not None:
        weight = coefficients.index_select(0, relations.types)
        weight = weight if norm is None else weight * norm[:, None]
        return kernel_sum(x, relations.structure, weight.to(x.dtype), matrices, choices=choices)
    matrices = matrices if coefficients is None else composed(matrices, coefficients)
    matrices = matrices.index_select(0, relations.used)
    if chosen == "collapsed":
        return kind_sum(x, *relations.ways, norm, _whole(matrices) if blocked else matrices, choices=choices)

    def run(_: Tensor | None, x: Tensor) -> Tensor:
        if sums:
            found = propagate(x, relations.into_pairs, norm, form=chosen)
        else:
            nothing = x.new_zeros(x.shape[0], relations.num_pairs, 0)
            found = edgewise(nothing, x, relations.into_pairs, of_neighbour, [], aggr)
        products = [_product(part, m) for part, m in zip(found.split(relations.sizes, 1), matrices, strict=True)]
        return propagate(torch.cat(products, 1), relations.out_of_pairs, form=chosen)

    return a_few_at_once(run, None, x, relations.num_pairs * x.shape[2])


def _product(x: Tensor, matrix: Tensor) -> Tensor:
    """Signals `(S, P, C_in)` times a matrix `(C_in, C_out)`, or its blocks `(b, i, o)`."""
    if matrix.dim() == 2:
        return x @ matrix
    return torch.einsum("spbi,bio->spbo", x.unflatten(-1, matrix.shape[:2]), matrix).flatten(-2)


def embedded_sum(
    relations: Relations,
    looked_up: tuple[Structure, Structure],
    tables: Tensor,
    aggr: str = "mean",
    form: str | None = None,
) -> Tensor:
    """The same of one-hot signals: rows of Θ are looked up, `(1, T, C_out)`; `looked_up`: see `Relations.rows_of`.

    >>> edges = Structure(torch.tensor([0, 1]), torch.tensor([1, 1]), 2, 2)
    >>> relations = Relations.of(edges, torch.tensor([0, 0]))
    >>> rows = relations.rows_of(torch.tensor([0, 1]), 2)
    >>> embedded_sum(relations, rows, torch.tensor([[[2.0], [4.0]]]))[0, 1]
    tensor([3.])
    """
    to_targets, to_pairs = looked_up
    rows = tables.narrow(0, 0, relations.num_types).reshape(1, -1, tables.shape[2])
    if aggr in SUMS:
        norm = relations.means.to(rows.dtype) if aggr == "mean" else None
        return propagate(rows, to_targets, norm, form=form)
    nothing = rows.new_zeros(1, relations.num_pairs, 0)
    found = edgewise(nothing, rows, to_pairs, of_neighbour, [], aggr)
    return propagate(found, relations.out_of_pairs, form=form)

"""Edges that are shared out among kernels: each entry is an edge, one kernel, and a weight.

    y[t] = Σ_{entries n into t} w_n x[source(n)] Θ_{kernel(n)}

Splines and soft assignment to offsets are of this kind: of K kernels an edge has a few that do not vanish. Entries of
weight zero are left out. Shapes: x `(S, n, C_in)`, Θ `(K, C_in, C_out)`; y `(S, T, C_out)`. Cost: entries · C_in +
N · K · C_in · C_out multiply-adds a signal (sums go before products, unless the result is much narrower).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gconv.domains.structure import Structure, constant
from gconv.functional.kernels import kind_sum
from gconv.functional.propagate import portable


@dataclass(frozen=True, eq=False)
class Assignment:
    """Sorted entries, both ways, and their weights, `(entries,)`. Part of a plan."""

    forth: Structure
    back: Structure
    weight: Tensor

    @classmethod
    @constant
    def of(cls, edges: Structure, edge: Tensor, kernels: Tensor, weight: Tensor, count: int) -> Assignment:
        """Sort entries.

        Args:
            edges: what the entries share out. edge, kernels, weight: an edge, a kernel and a weight an entry.
            count: K.
        """
        kept = weight != 0
        edge, kernels, weight = edge[kept], kernels[kept], weight[kept]
        entries = Structure(edges.source[edge], edges.target[edge], edges.num_sources, edges.num_targets)
        return cls(entries.by_kind(kernels, count), entries.flipped.by_kind(kernels, count), weight)

    def __repr__(self) -> str:
        return f"{self.weight.numel()} entries"


def assigned_sum(
    x: Tensor,
    assignment: Assignment,
    matrices: Tensor,
    *,
    form: str | None = None,
    choices: dict[str, str] | None = None,
) -> Tensor:
    """y of the module's docstring.

    >>> import torch
    >>> edges = Structure(torch.tensor([0]), torch.tensor([1]), 2, 2)
    >>> entries = torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([0.25, 0.75])
    >>> shared = Assignment.of(edges, *entries, 2)
    >>> assigned_sum(torch.ones(1, 2, 1), shared, torch.tensor([[[4.0]], [[8.0]]]))[0, 1]
    tensor([7.])
    """
    return kind_sum(x, assignment.forth, assignment.back, assignment.weight, matrices, form=form, choices=choices)


def unsorted_sum(x: Tensor, edges: Structure, values: Tensor, indices: Tensor, matrices: Tensor) -> Tensor:
    """The same without a plan, products before sums: for entries that are not known before a compiler traces.

    Args:
        values, indices: weights and kernels of every edge, `(E, entries of an edge)`.
    """
    count, cin, cout = matrices.shape
    products = (x @ matrices.transpose(0, 1).reshape(cin, count * cout)).reshape(x.shape[0], -1, cout)
    source, target = edges.source[:, None] * count + indices, edges.target.repeat_interleave(values.shape[1])
    entries = Structure(source.flatten(), target, edges.num_sources * count, edges.num_targets)
    return portable(products, entries, values.flatten().to(products.dtype))

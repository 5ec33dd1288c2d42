"""Edges of several types: what sums by relation need to know of a graph, whatever the weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gconv.domains.structure import Structure, constant


@dataclass(frozen=True, eq=False)
class Relations:
    """Edges and their types; a type that no edge has costs nothing.

    Attributes:
        structure: the edges. types: `(E,)`, whole numbers from 0.
        used: the types that edges have, in order, `(U,)`; without edges type 0.
        ranks: each edge's place among them, `(E,)`.
        pair: for each edge its place among the different (type, target), type by type.
        pair_targets: the targets of those. sizes: how many of them each used type has.
    """

    structure: Structure
    types: Tensor
    used: Tensor
    ranks: Tensor
    pair: Tensor
    pair_targets: Tensor
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, structure: Structure, types: Tensor) -> Relations:
        """Sort edges by type and target.

        >>> edges = Structure(torch.tensor([0, 1, 2]), torch.tensor([1, 1, 1]), 3, 3)
        >>> Relations.of(edges, torch.tensor([4, 0, 4]))
        Relations(2 types, 2 pairs of type and target, 3 edges)
        """
        used, ranks = types.unique(return_inverse=True)
        used = used if len(used) else types.new_zeros(1)
        pairs, pair = (ranks * structure.num_targets + structure.target).unique(return_inverse=True)
        kinds = torch.div(pairs, structure.num_targets, rounding_mode="floor")
        sizes = torch.bincount(kinds, minlength=len(used)).tolist()
        return cls(structure, types, used, ranks, pair, pairs - kinds * structure.num_targets, tuple(sizes))

    @property
    def num_pairs(self) -> int:
        """The number of different (type, target)."""
        return self.pair_targets.numel()

    @cached_property
    def range(self) -> tuple[int, int]:
        """The smallest type and the largest."""
        return int(self.used[0]), int(self.used[-1])

    @property
    def num_types(self) -> int:
        """The largest type, and one."""
        return self.range[1] + 1

    @cached_property
    @constant
    def into_pairs(self) -> Structure:
        """The edges from their sources to their (type, target)."""
        return Structure(self.structure.source, self.pair, self.structure.num_sources, self.num_pairs)

    @cached_property
    @constant
    def out_of_pairs(self) -> Structure:
        """From each (type, target) to the target."""
        own = torch.arange(self.num_pairs, device=self.pair.device)
        return Structure(own, self.pair_targets, self.num_pairs, self.structure.num_targets)

    @cached_property
    @constant
    def ways(self) -> tuple[Structure, Structure]:
        """The edges into (target, used type), and back out of it: what `kind_sum` takes."""
        count = len(self.used)
        return self.structure.by_kind(self.ranks, count), self.structure.flipped.by_kind(self.ranks, count)

    @cached_property
    @constant
    def means(self) -> Tensor:
        """The weights with which sums by relation are means by relation, `(E,)`, in float64."""
        return torch.bincount(self.pair, minlength=self.num_pairs).double().reciprocal()[self.pair]

    @constant
    def rows_of(self, places: Tensor, count: int) -> tuple[Structure, Structure]:
        """The edges out of row (type, place of the source) of a table, into the targets, and into (type, target).

        Args:
            places: of each source, `(N_s,)`. count: how many places a type has.
        """
        rows, total = self.types * count + places[self.structure.source], self.num_types * count
        to_targets = Structure(rows, self.structure.target, total, self.structure.num_targets)
        return to_targets, Structure(rows, self.pair, total, self.num_pairs)

    def __repr__(self) -> str:
        count, pairs = len(self.used), self.num_pairs
        return f"Relations({count} types, {pairs} pairs of type and target, {self.structure.num_edges} edges)"

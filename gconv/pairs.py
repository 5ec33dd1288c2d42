"""Signals at both ends of the edges: PyG's pairs `(x_source, x_target)`, and one signal as the pair of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gconv.domains.graph import Graph
from gconv.domains.operators import Operator
from gconv.domains.structure import Structure

# A signal, or those of the sources and of the targets, of which the second may be missing.
Signals = Tensor | tuple[Tensor, Tensor | None]
# PyG's `size`: the number of sources and of targets; None for one that its tensor tells.
Size = tuple[int | None, int | None] | None


@dataclass(frozen=True, eq=False)
class Ends:
    """What a call means: the signals at both ends of the edges, and the edges.

    Attributes:
        source: the signals of the sources, `(..., N_s, C_s)`.
        target: the signals of the targets, `(..., N_t, C_t)`, or None. Of one signal: the same tensor.
        structure: the edges, from sources to targets.
        graph: their features, and the store of their plan. Of one signal: its graph. Of a pair: a graph whose nodes
            are the targets, then the sources; its `plan.mean_weights` and `plan.edge_kinds`, by edge, are the pair's.
        weight: weights of the edges that are being learned, `(E,)`, or None: the graph's own count.
        paired: whether this is a pair.
    """

    source: Tensor
    target: Tensor | None
    structure: Structure
    graph: Graph
    weight: Tensor | None
    paired: bool

    @property
    def batched(self) -> bool:
        """Whether there are many signals, `(B, N, C)`."""
        return self.source.dim() == 3

    def mean(self) -> tuple[Operator | Structure, Tensor | None]:
        """The mean over neighbours, whatever the weights, as `polynomial` and `propagate` take it."""
        if not self.paired:
            return self.graph.plan.mean(), None
        return self.structure, self.graph.plan.mean_weights(self.source.dtype)

    def sum(self) -> tuple[Operator | Structure, Tensor | None]:
        """The sum over neighbours, whatever the weights."""
        return (self.structure, None) if self.paired else (self.graph.plan.sum(), None)

    def square(self, structure: Structure) -> Structure:
        """`structure` (the edges, or those with loops) between the rows of a `table`."""
        return structure.joined if self.paired else structure

    def table(self, source: Tensor, target: Tensor | None, axis: int = 1) -> Tensor:
        """One table for both ends of an edge: of a pair the rows of the targets, then those of the sources.

        Without a target its rows are zeros. Of one signal: `source` itself.
        """
        if not self.paired:
            return source
        if target is None:
            shape = list(source.shape)
            shape[axis] = self.structure.num_targets
            target = source.new_zeros(shape)
        return torch.cat([target, source], axis)

    def rows(self, out: Tensor, axis: int = 1) -> Tensor:
        """The rows of the targets in what was made of a `table`."""
        return out.narrow(axis, 0, self.structure.num_targets) if self.paired else out

    def signals(self) -> tuple[Tensor, Tensor | None]:
        """Both signals as `(S, N, C)`, S = 1 for a single one."""
        return self.lift(self.source), None if self.target is None else self.lift(self.target)

    def lift(self, x: Tensor) -> Tensor:
        """A signal as `(S, N, C)`."""
        return x if self.batched else x[None]

    def drop(self, out: Tensor) -> Tensor:
        """A result `(S, N_t, C)` in the shape of the call."""
        return out if self.batched else out[0]


def is_pair(x: object) -> bool:
    """Whether a call's signal is a pair."""
    return isinstance(x, tuple | list)


def check_pair(layer: str, x: Any, needs_target: bool) -> tuple[Tensor, Tensor | None]:
    """A pair's signals.

    Raises:
        TypeError: for what is no pair of tensors. ValueError: for a target that is missing, or other leading sizes.
    """
    if len(x) != 2 or not isinstance(x[0], Tensor) or not isinstance(x[1], Tensor | None):
        kinds = ", ".join(type(part).__name__ for part in x)
        raise TypeError(f"{layer} takes a pair (x_source, x_target) of tensors, x_target may be None; got ({kinds})")
    source, target = x
    if target is None and needs_target:
        raise ValueError(f"{layer} reads the targets' signal too; got the pair (x_source, None)")
    if target is not None and source.shape[:-2] != target.shape[:-2]:
        raise ValueError(
            f"{layer}: the signals of a pair are (N_s, C_s) and (N_t, C_t), or (B, N_s, C_s) and (B, N_t, C_t); got "
            f"{tuple(source.shape)} and {tuple(target.shape)}"
        )
    return source, target


def pair_size(layer: str, source: Tensor, target: Tensor | None, size: Size, rows: int | None) -> tuple[int, int]:
    """How many sources and targets a pair has; `rows`: the rows of an adjacency, which are the targets.

    Raises:
        ValueError: if `size` does not fit the signals, or nothing tells the number of targets.
    """
    if size is not None and len(size) != 2:
        raise ValueError(f"{layer}: size is (number of sources, number of targets), got {size!r}")
    given = (None, rows if target is None else None) if size is None else size
    found: list[int] = []
    for end, x, count in zip(("source", "target"), (source, target), given, strict=True):
        if x is None and count is None:
            raise ValueError(
                f"{layer}: the pair (x_source, None) does not tell the number of targets; pass "
                f"size=(num_sources, num_targets), here size=({source.shape[-2]}, num_targets)"
            )
        if x is not None and count is not None and x.shape[-2] != count:
            raise ValueError(
                f"{layer}: size={size!r} does not fit the pair: x_{end} has {x.shape[-2]} nodes, {tuple(x.shape)}"
            )
        found.append(count if x is None else x.shape[-2])  # pyright: ignore[reportArgumentType]
    return found[0], found[1]

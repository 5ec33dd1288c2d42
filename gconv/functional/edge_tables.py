"""A few signals side by side, and the entries of their edges as tables: what fused sums over neighbours work on.

Signals `(b, n, C)` become a table `(n, b · C)`, edges a table `(E, b · C)` in the order of the sorted rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gconv.domains.blocks import at_once
from gconv.functional.rows import bags

# Numbers of a table of edges that is worked on at once: a few of them fit into the cache (on a GPU: `at_once`).
_BLOCK_NUMBERS = 1 << 18


@dataclass(frozen=True)
class Edges:
    """A structure's sorted rows as plain tensors, for one signal: what a custom operator can be given.

    `source` and `target` are each entry's nodes; `offsets` the rows'. The same in the order of the sorted columns:
    `target_back`, `offsets_back`; `to_columns` says which entry of the rows stands there.
    """

    source: Tensor
    target: Tensor
    offsets: Tensor
    target_back: Tensor
    offsets_back: Tensor
    to_columns: Tensor

    @property
    def num_targets(self) -> int:
        """Rows."""
        return self.offsets.numel() - 1

    @property
    def num_sources(self) -> int:
        """Columns."""
        return self.offsets_back.numel() - 1

    @cached_property
    def _entries(self) -> Tensor:
        return torch.arange(self.source.numel(), dtype=self.offsets.dtype, device=self.offsets.device)

    def into_targets(self, table: Tensor) -> Tensor:
        """Sums of a table's rows `(E, W)` at their targets, `(T, W)`."""
        return bags(table, self._entries, self.offsets, None)

    def into_sources(self, table: Tensor) -> Tensor:
        """Sums of a table's rows at their sources, `(n, W)`."""
        return bags(table, self.to_columns, self.offsets_back, None)


def blocks(x: Tensor, entries: int, most: int | None = None) -> Iterator[slice]:
    """Which of the signals `(S, n, W, ...)` are worked on together, where each takes W columns of `entries` rows.

    Args:
        most: numbers of a table that is worked on at once; None for as many as suit the device.

    >>> list(blocks(torch.zeros(5, 9, 2), 100, most=400))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    most = at_once(_BLOCK_NUMBERS, x.device) if most is None else most
    count = max(1, most // max(entries * x.shape[2], 1))
    for start in range(0, x.shape[0], count):
        yield slice(start, min(start + count, x.shape[0]))


def enter(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Signals `(b, n, C)` side by side, `(n, b · C)`, in a dtype, or their own."""
    return x.to(dtype or x.dtype).transpose(0, 1).reshape(x.shape[1], -1).contiguous()


def leave(table: Tensor, signals: Tensor) -> None:
    """Write `(n, b · C)` back into signals `(b, n, C)`."""
    signals.copy_(table.view(table.shape[0], signals.shape[0], -1).transpose(0, 1))

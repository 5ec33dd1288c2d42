"""A few signals side by side, and the entries of their edges as tables: what the fused messages work on.

Signals `(b, n, C)` become a table `(n, b · C)`, edges a table `(E, b · C)` in the order of the sorted rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gconv.domains.blocks import at_once

# Numbers of a table of edges that is worked on at once: a few of them fit into the cache (on a GPU: `at_once`).
_BLOCK_NUMBERS = 1 << 18


def blocks(x: Tensor, entries: int) -> Iterator[slice]:
    """Which of the signals `(S, n, C)` are worked on together."""
    count = max(1, at_once(_BLOCK_NUMBERS, x.device) // max(entries * x.shape[2], 1))
    for start in range(0, x.shape[0], count):
        yield slice(start, min(start + count, x.shape[0]))


def enter(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Signals `(b, n, C)` side by side, `(n, b · C)`."""
    return x.to(dtype).transpose(0, 1).reshape(x.shape[1], -1).contiguous()


def leave(table: Tensor, signals: Tensor) -> None:
    """Write `(n, b · C)` back into signals `(b, n, C)`."""
    signals.copy_(table.view(table.shape[0], signals.shape[0], -1).transpose(0, 1))

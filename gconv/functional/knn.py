"""The nearest neighbours of signals among each other: for every row of one table the k closest rows of another.

    near[t] = the k rows s with the smallest |x_s - y_t|²

in the space of the channels, signal by signal; a node is its own nearest one. Which of several equally distant rows are
taken is open. Distances come from one product, |x_s|² - 2 <x_s, y_t>, of rows whose mean is taken off, a block of rows
at a time; nothing is differentiated. Shapes: x `(G, n, C)`, y `(G, m, C)` to `(G, m, k)`. Cost: n · m · C multiply-adds
a signal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gconv.domains.blocks import at_once

# Numbers of the distances that are held at once.
_BLOCK_NUMBERS = 1 << 20


@torch.no_grad()
def nearest(x: Tensor, y: Tensor, k: int, filled: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """The k nearest rows of x for each row of y; all of them, where there are fewer.

    Args:
        x: `(G, n, C)`. y: `(G, m, C)`. filled: which rows of x are there, `(G, n)`; None for all.

    Returns:
        Their places `(G, m, min(k, n))`, nearest first, and which of those are rows that are there, or None.

    >>> points = torch.tensor([[[0.0], [1.0], [5.0]]])
    >>> nearest(points, points, 2)[0].tolist()
    [[[0, 1], [1, 0], [2, 1]]]
    """
    count = min(k, x.shape[1])
    kind = torch.promote_types(x.dtype, torch.float32)
    x, y = x.detach().to(kind), y.detach().to(kind)
    with torch.autocast(x.device.type, enabled=False):
        middle = x.mean(1, keepdim=True)
        x, y = x - middle, y - middle
        own = x.square().sum(-1)[:, None]
        own = own if filled is None else own.masked_fill(~filled[:, None], torch.inf)
        turned = x.transpose(1, 2)
        if torch.compiler.is_compiling():
            far, places = torch.baddbmm(own, y, turned, alpha=-2).topk(count, largest=False)
            return places, None if filled is None else far < torch.inf
        found = x.new_empty(*y.shape[:2], count, dtype=torch.long)
        there = None if filled is None else torch.empty_like(found, dtype=torch.bool)
        rows = max(1, at_once(_BLOCK_NUMBERS, x.device) // max(1, x.shape[1]))
        together = max(1, rows // max(1, y.shape[1]))
        for g in range(0, x.shape[0], together):
            graphs = slice(g, g + together)
            for start in range(0, y.shape[1], rows):
                part = slice(start, start + rows)
                far, places = torch.baddbmm(own[graphs], y[graphs, part], turned[graphs], alpha=-2).topk(
                    count, largest=False
                )
                found[graphs, part] = places
                if there is not None:
                    there[graphs, part] = far < torch.inf
    return found, there

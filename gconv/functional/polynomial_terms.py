"""The terms of a polynomial of an operator, and Clenshaw's rule that sums them; on anything that can apply it.

    powers      P_k(A) = A^k
    Chebyshev   P_0 = 1,  P_1 = A,  P_k = 2 A P_{k-1} - P_{k-2}

Reference: Clenshaw, A note on the summation of Chebyshev series (1955).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Apply = Callable[[Tensor], Tensor]


def terms(apply: Apply, x: Tensor, count: int, first: int, chebyshev: bool) -> Iterator[Tensor]:
    """P_k(A) x for k = first ... first + count - 1."""
    previous, term = None, x
    for k in range(first + count):
        if k >= first:
            yield term
        if k + 1 < first + count:
            following = apply(term)
            if chebyshev and previous is not None:
                following = torch.lerp(previous, following, 2.0)  # 2 following - previous
            previous, term = term, following


def clenshaw(apply: Apply, product: Callable[[int], Tensor], count: int, first: int, chebyshev: bool) -> Tensor:
    """Σ_k P_k(A) u_k with u_k = product(k - first)."""
    last = product(count - 1)
    if not chebyshev:
        for k in range(count - 2, -1, -1):
            last = apply(last) + product(k)
        for _ in range(first):
            last = apply(last)
        return last
    before = None
    for k in range(count - 2, -1, -1):
        following = apply(last)
        following = following.mul(2.0 if k else 1.0).add_(product(k))
        following = following if before is None else following - before
        before, last = last, following
    return last

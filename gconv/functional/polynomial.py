"""Filters that are polynomials of an operator: y = Σ_k P_k(A) x W_k + b.

    powers      P_k(A) = A^k                                                 GCN, SAGE, TAG ...
    Chebyshev   P_0 = 1,  P_1 = A,  P_k = 2 A P_{k-1} - P_{k-2}              ChebNet

Forms, equal to rounding: `fused` (sums and products in one pass that stores no term), or the steps of the recurrence,
each a weighted sum in one of its forms. Weights go first where they make the signals narrower.
Cost: (K - 1) E · min(C_in, C_out) + K · N · C_in · C_out multiply-adds a signal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gconv.domains.operators import Operator
from gconv.domains.structure import Structure
from gconv.functional.forms import pick
from gconv.functional.fused import fused_filter
from gconv.functional.polynomial_terms import Apply, clenshaw, terms
from gconv.functional.product import is_sparse, product
from gconv.functional.propagate import choice_of, propagate


def polynomial(
    x: Tensor,
    operator: Operator | Structure,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    edge_weight: Tensor | None = None,
    own: Tensor | None = None,
    first: int = 0,
    chebyshev: bool = False,
    form: str | None = None,
) -> Tensor:
    """The filter Σ_k P_k(A) x W_k + b above.

    Args:
        x: `(..., N, C_in)`, or sparse `(N, C_in)`.
        operator: A; or a structure, with its `edge_weight` `(E,)`, which may be learned (None: ones).
        own: a number `(1,)` that is not learned, for the filter of A + own I; None for that of A.
        weight: W, `(K, C_in, C_out)`. bias: b, `(C_out,)` or None.
        first: the lowest power. chebyshev: Chebyshev polynomials instead of powers (`first` is 0 then).
        form: 'fused', or its steps in a form of `propagate`; None for the engine's choice.

    Returns:
        `(..., N, C_out)`.

    Raises:
        ValueError: for a form that cannot run here.

    >>> from gconv import grid_graph
    >>> polynomial(torch.ones(2, 16, 3), grid_graph((4, 4)).plan.gcn(), torch.ones(2, 3, 5)).shape
    torch.Size([2, 16, 5])
    """
    if is_sparse(x):
        return _of_sparse(x, operator, weight, bias, edge_weight, own, first, chebyshev, form)
    if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:  # as the dense product would
        x = x.to(torch.get_autocast_dtype(x.device.type))
    weight, bias, own = weight.to(x.dtype), *(None if part is None else part.to(x.dtype) for part in (bias, own))
    count, cin, cout = weight.shape
    chosen = None
    if isinstance(operator, Operator):
        able, choice, why = choice_of(operator, "fused")
        what = f"{'Chebyshev filter' if chebyshev else 'filter'} of {count} terms, {cin}→{cout}"
        chosen = pick(form, ("fused", *able), choice, why, operator.choices, what)
        if chosen == "fused" and x.numel() and cout:
            signals = x.reshape(-1, *x.shape[-2:])
            return fused_filter(signals, operator, weight, bias, own, first, chebyshev).reshape(*x.shape[:-1], cout)
    apply = _applied(operator, edge_weight, own, "gather" if chosen == "fused" else chosen or form)
    if cin <= cout:
        found = list(terms(apply, x, count, first, chebyshev))
        out = torch.cat(found, -1) @ weight.flatten(0, 1)
    else:
        out = clenshaw(apply, lambda k: x @ weight[k], count, first, chebyshev)
    return out if bias is None else out + bias


def _of_sparse(
    x: Tensor,
    operator: Operator | Structure,
    weight: Tensor,
    bias: Tensor | None,
    edge_weight: Tensor | None,
    own: Tensor | None,
    first: int,
    chebyshev: bool,
    form: str | None,
) -> Tensor:
    """Products first, all in one pass over the signal's entries; then Clenshaw's rule."""
    count, cin, cout = weight.shape
    products = product(x, weight.permute(0, 2, 1).reshape(count * cout, cin)).unflatten(-1, (count, cout))
    apply = _applied(operator, edge_weight, own, None if form == "fused" else form)
    out = clenshaw(apply, lambda k: products[:, k], count, first, chebyshev)
    return out if bias is None else out + bias


def _applied(operator: Operator | Structure, edge_weight: Tensor | None, own: Tensor | None, form: str | None) -> Apply:
    """A + own I on signals."""

    def apply(signals: Tensor) -> Tensor:
        sums = propagate(signals, operator, edge_weight, form=form)
        return sums if own is None else torch.addcmul(sums, signals, own)

    return apply

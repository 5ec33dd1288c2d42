"""Polynomials of an operator whose coefficients are numbers: y = Σ_k c_k A^k x.

By Horner's rule, a few signals at a time, as a custom operator: no term is stored, and nothing is kept for the backward
pass, which is the same polynomial of Aᵀ:

    y = (... (c_K A x + c_{K-1} x) ...),   dx = Σ_k c_k (Aᵀ)^k dy

Forms, equal to rounding: `fused`, or the steps of the rule, each a weighted sum in one of its forms.
Shapes: `(..., N, C)` to the same. Cost: K · E · C multiply-adds a signal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from gconv.domains.operators import Operator
from gconv.domains.structure import Structure
from gconv.functional.custom import operator
from gconv.functional.forms import pick
from gconv.functional.fused import Sums, in_blocks
from gconv.functional.propagate import choice_of, propagate


def _horner(apply: Callable[[Tensor], Tensor], x: Tensor, coefficients: Sequence[float]) -> Tensor:
    total = x * coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        total = apply(total)
        total = total.add(x, alpha=coefficient) if coefficient else total
    return total


@operator("gconv::series")
def _series(
    x: Tensor,
    coefficients: Sequence[float],
    values: Tensor,
    index: Tensor,
    offsets: Tensor,
    copies: int,
    values_back: Tensor,
    index_back: Tensor,
    offsets_back: Tensor,
    copies_back: int,
) -> Tensor:
    x, out = x.contiguous(), x.new_empty(x.shape)
    parts, beside = in_blocks(x, x.shape[2], x.shape[2], copies)
    sums = Sums(values, index, offsets, x.shape[1], parts[0].stop, beside)
    for part in parts:
        apply = sums.of(part.stop - part.start)
        y = apply.room(out[part])
        y.copy_(_horner(apply, apply.enter(x[part]), coefficients))
        apply.leave(y, out[part])
    return out


@_series.register_fake
def _(x, *_) -> Tensor:
    return x.new_empty(x.shape)


def _setup(ctx, inputs, output) -> None:
    _, ctx.coefficients, *forth, copies, values, index, offsets, copies_back = inputs
    ctx.save_for_backward(*forth, values, index, offsets)
    ctx.copies = copies, copies_back


def _backward(ctx, grad: Tensor):
    forth, back = ctx.saved_tensors[:3], ctx.saved_tensors[3:]
    copies, copies_back = ctx.copies
    return _series(grad, ctx.coefficients, *back, copies_back, *forth, copies), *[None] * 9


_series.register_autograd(_backward, setup_context=_setup)


def series(
    x: Tensor,
    operator: Operator | Structure,
    coefficients: Sequence[float],
    *,
    edge_weight: Tensor | None = None,
    form: str | None = None,
) -> Tensor:
    """y of the module's docstring.

    Args:
        x: `(..., N, C)`.
        operator: A; or a structure, with its `edge_weight` `(E,)`, which may be learned (None: ones).
        coefficients: c_0 ... c_K.
        form: 'fused', or its steps as 'gather', 'stencil', 'dense' or 'portable'; None for the engine's choice.

    Raises:
        ValueError: for a form that cannot run here.

    >>> import torch
    >>> from gconv import Graph
    >>> path = Graph(torch.tensor([[0, 1], [1, 2]]))
    >>> series(torch.tensor([[1.0], [0.0], [0.0]]), path.plan.adjacency(), (1.0, 2.0, 4.0)).flatten()
    tensor([1., 2., 4.])
    """
    chosen = None
    if isinstance(operator, Operator):
        able, choice, why = choice_of(operator, "fused")
        what = f"series of {len(coefficients)} terms, {x.shape[-1]} channels"
        chosen = pick(form, ("fused", *able), choice, why, operator.choices, what)
        if chosen == "fused" and x.numel():
            structure, (values, values_back) = operator.structure, operator.values(x.dtype)
            rows, columns = structure.rows, structure.columns
            signals = x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
            return _series(
                signals, list(coefficients), values, rows.index, rows.offsets, rows.block,
                values_back, columns.index, columns.offsets, columns.block,
            ).reshape(x.shape)  # fmt: skip
    step = "gather" if chosen == "fused" else chosen or form
    return _horner(lambda signals: propagate(signals, operator, edge_weight, form=step), x, coefficients)

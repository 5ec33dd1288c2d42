"""A polynomial filter over a few signals at a time, as a custom operator: sums and products while in the cache.

The terms are never stored; the backward pass keeps x alone and works them out again. Whichever is narrower goes through
the sums:

    forward    the terms of x, or Clenshaw's rule on the products x W_k
    backward   z_k = P_k(A^T) dy, which gives dx = Σ z_k W_k^T and dW_k = x^T z_k; or the terms of x, which give
               dW_k = (P_k(A) x)^T dy, and Clenshaw's rule on the products dy W_k^T, which gives dx
"""

from __future__ import annotations

import torch
from torch import Tensor

from gconv.domains.blocks import at_once
from gconv.domains.operators import Operator
from gconv.functional.custom import operator
from gconv.functional.polynomial_terms import clenshaw, terms
from gconv.functional.rows import NARROW, _row_gather, bags

# Numbers of the widest signals that are worked on at once: a few such tables fit into the cache (on a GPU: `at_once`).
_BLOCK_NUMBERS = 1 << 19


class Sums:
    """A on a few signals, as rows of one table: signal after signal, or side by side where they are narrow."""

    def __init__(
        self,
        values: Tensor,
        index: Tensor,
        offsets: Tensor,
        nodes: int,
        most: int,
        beside: bool,
        own: Tensor | None = None,
    ) -> None:
        """`most`: how many signals there are in the largest block. `own`: how often each node counts itself besides."""
        self.nodes, self.own, self.beside, self.count = nodes, own, beside, most
        self._entries, self._index, self._offsets = values.numel(), index, offsets
        self._values = values if beside or most == 1 else values.repeat(most)

    def of(self, count: int) -> Sums:
        """The same for a block of so many signals."""
        self.count = count
        return self

    def __call__(self, table: Tensor) -> Tensor:
        width, copies = table.shape[1], 1 if self.beside else self.count
        rows = table.view(self.nodes, self.count * width) if self.beside else table
        entries = copies * self._entries
        index, offsets = self._index[:entries], self._offsets[: copies * self.nodes + 1]
        sums = bags(rows, index, offsets, self._values[:entries]).view(-1, width)
        return sums if self.own is None else sums.addcmul_(table, self.own)

    def enter(self, signals: Tensor) -> Tensor:
        """Signals `(b, N, C)` as a table `(b · N, C)`."""
        return (signals.transpose(0, 1) if self.beside else signals).reshape(-1, signals.shape[-1])

    def room(self, signals: Tensor) -> Tensor:
        """A table that `leave` takes: the memory of the (contiguous) signals themselves where it can be."""
        return torch.empty_like(signals).view(-1, signals.shape[-1]) if self.beside else signals.flatten(0, 1)

    def leave(self, table: Tensor, signals: Tensor) -> None:
        """Write a table back into signals."""
        if self.beside:
            signals.copy_(table.view(self.nodes, self.count, -1).transpose(0, 1))


def in_blocks(x: Tensor, widest: int, width: int, copies: int) -> tuple[list[slice], bool]:
    """Which of the signals `(S, N, C)` are worked on together, the most first, and whether side by side."""
    signals, nodes, _ = x.shape
    beside = width <= NARROW and signals > 1
    count = max(1, at_once(_BLOCK_NUMBERS, x.device) // max(nodes * widest, 1))
    count = min(count, signals if beside else copies)
    return [slice(start, min(start + count, signals)) for start in range(0, signals, count)], beside


@operator("gconv::polynomial")
def _polynomial(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    own: Tensor | None,
    first: int,
    chebyshev: bool,
    values: Tensor,
    index: Tensor,
    offsets: Tensor,
    copies: int,
    values_back: Tensor,
    index_back: Tensor,
    offsets_back: Tensor,
    copies_back: int,
) -> Tensor:
    signals, nodes, cin = x.shape
    count, _, cout = weight.shape
    out = x.new_empty(signals, nodes, cout)
    x = x.contiguous()
    parts, beside = in_blocks(x, max(cin, cout), min(cin, cout), copies)
    sums = Sums(values, index, offsets, nodes, parts[0].stop, beside, own)
    for part in parts:
        apply = sums.of(part.stop - part.start)
        table, y = apply.enter(x[part]), apply.room(out[part])
        if cin <= cout:
            for k, term in enumerate(terms(apply, table, count, first, chebyshev)):
                if k:
                    y.addmm_(term, weight[k])
                elif bias is None:
                    torch.mm(term, weight[0], out=y)
                else:
                    torch.addmm(bias, term, weight[0], out=y)
        else:
            total = clenshaw(apply, lambda k, table=table: table @ weight[k], count, first, chebyshev)
            y.copy_(total if bias is None else total + bias)
        apply.leave(y, out[part])
    return out


@_polynomial.register_fake
def _(x, weight, *_) -> Tensor:
    return x.new_empty(*x.shape[:2], weight.shape[2])


@operator("gconv::polynomial_backward")
def _polynomial_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    own: Tensor | None,
    need_x: bool,
    need_weight: bool,
    need_bias: bool,
    first: int,
    chebyshev: bool,
    values: Tensor,
    index: Tensor,
    offsets: Tensor,
    copies: int,
    values_back: Tensor,
    index_back: Tensor,
    offsets_back: Tensor,
    copies_back: int,
) -> tuple[Tensor, Tensor, Tensor]:
    _, nodes, cin = x.shape
    count, _, cout = weight.shape
    exact = torch.promote_types(x.dtype, torch.float32)
    grad_x = x.new_empty(x.shape if need_x else 0)
    grad_weight = x.new_zeros(weight.shape if need_weight else 0, dtype=exact)
    grad_bias = x.new_zeros(cout if need_bias else 0, dtype=exact)
    x, grad = x.contiguous(), grad.contiguous()
    turned = weight.transpose(1, 2)
    by_grad = cout <= cin * (need_x + need_weight)
    width = cout if by_grad else cin
    parts, beside = in_blocks(x, max(cin, cout), width, min(copies, copies_back))
    sums = Sums(values_back, index_back, offsets_back, nodes, parts[0].stop, beside, own)
    again = None if by_grad else Sums(values, index, offsets, nodes, parts[0].stop, beside, own)
    for part in parts:
        together = part.stop - part.start
        back = sums.of(together)
        table, dy = back.enter(x[part]), back.enter(grad[part])
        dx = back.room(grad_x[part]) if need_x else None
        if need_bias:
            grad_bias += dy.sum(0, dtype=exact)
        if by_grad:
            for k, z in enumerate(terms(back, dy, count, first, chebyshev)):
                if dx is not None:
                    torch.mm(z, turned[0], out=dx) if k == 0 else dx.addmm_(z, turned[k])
                if need_weight:
                    grad_weight[k] += table.t() @ z
        else:
            if need_weight and again is not None:
                for k, term in enumerate(terms(again.of(together), table, count, first, chebyshev)):
                    grad_weight[k] += term.t() @ dy
            if dx is not None:
                dx.copy_(clenshaw(back, lambda k, dy=dy: dy @ turned[k], count, first, chebyshev))
        if dx is not None:
            back.leave(dx, grad_x[part])
    return grad_x, grad_weight.to(weight.dtype), grad_bias.to(weight.dtype)


@_polynomial_backward.register_fake
def _(grad, x, weight, own, need_x, need_weight, need_bias, *_) -> tuple[Tensor, Tensor, Tensor]:
    return (
        x.new_empty(x.shape if need_x else 0),
        weight.new_empty(weight.shape if need_weight else 0),
        weight.new_empty(weight.shape[2] if need_bias else 0),
    )


def _setup(ctx, inputs, output) -> None:
    x, weight, bias, own, first, chebyshev, values, index, offsets, copies, *back, copies_back = inputs
    ctx.save_for_backward(x, weight, own, values, index, offsets, *back)
    ctx.settings = first, chebyshev, copies, copies_back, bias is not None


def _backward(ctx, grad: Tensor):
    x, weight, own, values, index, offsets, values_back, index_back, offsets_back = ctx.saved_tensors
    first, chebyshev, copies, copies_back, biased = ctx.settings
    need_x, need_weight, need_bias = (
        ctx.needs_input_grad[0],
        ctx.needs_input_grad[1],
        biased and ctx.needs_input_grad[2],
    )
    forth, back = (values, index, offsets, copies), (values_back, index_back, offsets_back, copies_back)
    if torch.is_grad_enabled():  # to be differentiated again: the same in steps that know their derivatives

        def apply(signals: Tensor) -> Tensor:
            sums = _row_gather(
                signals, values_back, values, index_back, offsets_back, x.shape[1], copies_back, index, offsets, copies,
                values.numel(), None, None,
            )  # fmt: skip
            return sums if own is None else torch.addcmul(sums, signals, own)

        z = torch.stack(list(terms(apply, grad, weight.shape[0], first, chebyshev)))
        found = (
            torch.einsum("ksno,kio->sni", z, weight) if need_x else None,
            torch.einsum("sni,ksno->kio", x, z) if need_weight else None,
            grad.sum((0, 1)) if need_bias else None,
        )
    else:
        needs = need_x, need_weight, need_bias
        given = _polynomial_backward(grad, x, weight, own, *needs, first, chebyshev, *forth, *back)
        found = tuple(g if need else None for g, need in zip(given, needs, strict=True))
    return *found, *[None] * 11


_polynomial.register_autograd(_backward, setup_context=_setup)


def fused_filter(
    x: Tensor,
    operator: Operator,
    weight: Tensor,
    bias: Tensor | None,
    own: Tensor | None,
    first: int,
    chebyshev: bool,
) -> Tensor:
    """Σ_k P_k(A + own I) x W_k + b for `x` `(S, N, C_in)`, `weight` `(K, C_in, C_out)`: `(S, N, C_out)`."""
    structure, (values, values_back) = operator.structure, operator.values(x.dtype)
    rows, columns = structure.rows, structure.columns
    return _polynomial(
        x, weight, bias, own, first, chebyshev, values, rows.index, rows.offsets, rows.block,
        values_back, columns.index, columns.offsets, columns.block,
    )  # fmt: skip

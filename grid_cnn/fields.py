"""A bilinear sum over fields with weights of their own at every position, a few rows of positions at a time.

    y[p, o] = Σ_t w[p, o, t] x[f(p, t)]
    x'[i] = Σ_{p, o, t: f(p, t) = i} w[p, o, t] y[p, o]        w'[p, o, t] = Σ_b y[p, o, b] x[f(p, t), b]

Symbols: p a position, t = (c, m) a channel and an offset of the kernel, f(p, t) = (c, S p + d m) the cell under it,
S = stride, d = dilation. Each of the three is linear in both of its arguments, and their derivatives are one another:
so all orders of derivatives stand. Shapes: x `(C, *size, B)`, the batch innermost, so that cells are rows that are
copied whole; w `(*out_size, O, C, *kernel)`; y `(*out_size, O, B)`. Cost: O · C · taps multiply-adds a position and
signal, as a batched product; the fields of all positions are as many numbers as x has, times the taps, and are never
held together: what a few rows of positions need stays in the cache, and is gathered again for the backward pass.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

# Numbers in the fields that are worked on at once: measured on the CPU, what its caches hold.
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Fields:
    """Which cells lie under a kernel at each of its positions.

    Args:
        size: of the padded signal. kernel, stride, dilation: an entry an axis, as `size`.

    >>> Fields((7,), (3,), (2,), (1,)).out_size
    (3,)
    """

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def out_size(self) -> tuple[int, ...]:
        """How many positions each axis has."""
        axes = zip(self.size, self.kernel, self.stride, self.dilation, strict=True)
        return tuple((n - d * (f - 1) - 1) // s + 1 for n, f, s, d in axes)

    def chunks(self, channels: int, batch: int) -> Iterator[tuple[int, int]]:
        """The first axis' positions in parts, each `(first, end)`, so that the fields of a part fit in a cache."""
        rows, *others = self.out_size
        row = math.prod((*others, channels, *self.kernel)) * batch
        step = max(1, min(rows, _CHUNK // max(row, 1)))
        return ((first, min(first + step, rows)) for first in range(0, rows, step))

    def gather(self, x: Tensor, first: int, end: int) -> Tensor:
        """The fields of the positions from `first` to `end`: `(positions, C · taps, B)`."""
        steps = x.stride()[1:-1]
        moves = [s * step for s, step in zip(self.stride, steps, strict=True)]
        taps = [d * step for d, step in zip(self.dilation, steps, strict=True)]
        positions = end - first, *self.out_size[1:]
        shape = *positions, x.shape[0], *self.kernel, x.shape[-1]
        strides = *moves, x.stride(0), *taps, 1
        fields = x[:, first * self.stride[0] :].as_strided(shape, strides)
        return fields.reshape(math.prod(positions), x.shape[0] * math.prod(self.kernel), x.shape[-1])

    def scatter(self, into: Tensor, fields: Tensor, first: int, end: int) -> None:
        """Add the fields of the positions from `first` to `end` to the cells that they lie over, offset by offset."""
        positions = end - first, *self.out_size[1:]
        parts = fields.view(*positions, into.shape[0], *self.kernel, into.shape[-1])
        parts = parts.movedim(len(positions), 0)
        starts = first, *[0] * (len(positions) - 1)
        for offset in itertools.product(*(range(f) for f in self.kernel)):
            axes = zip(starts, positions, offset, self.stride, self.dilation, strict=True)
            cells = [slice(s * p + d * m, s * (p + n - 1) + d * m + 1, s) for p, n, m, s, d in axes]
            into[(slice(None), *cells)].add_(parts[(..., *offset, slice(None))])


def local_sum(x: Tensor, weight: Tensor, fields: Fields) -> Tensor:
    """The sum y of the module's first equation.

    >>> x, weight = torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[[[1.0, 1.0]]], [[[10.0, 1.0]]]])
    >>> local_sum(x, weight, Fields((3,), (2,), (1,), (1,))).flatten()
    tensor([ 3., 23.])
    """
    return cast(Tensor, _Sum.apply(x, weight, fields))


def _matrices(weight: Tensor, fields: Fields, first: int, end: int) -> Tensor:
    """The weights of a few positions, `(positions, O, C · taps)`."""
    part = weight[first:end]
    ndim = len(fields.size)
    return part.reshape(math.prod(part.shape[:ndim]), part.shape[ndim], -1)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, fields: Fields) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.fields = fields
        x, ndim = x.contiguous(), len(fields.size)
        parts = [
            torch.bmm(_matrices(weight, fields, first, end), fields.gather(x, first, end))
            for first, end in fields.chunks(x.shape[0], x.shape[-1])
        ]
        return _joined(parts).view(*weight.shape[: ndim + 1], x.shape[-1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        grad_x = _Spread.apply(grads[0], weight, ctx.fields) if ctx.needs_input_grad[0] else None
        grad_weight = _Outer.apply(grads[0], x, ctx.fields) if ctx.needs_input_grad[1] else None
        return cast("Tensor | None", grad_x), cast("Tensor | None", grad_weight), None


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, weight: Tensor, fields: Fields) -> Tensor:
        ctx.save_for_backward(y, weight)
        ctx.fields = fields
        y, ndim = y.contiguous(), len(fields.size)
        channels, batch = weight.shape[ndim + 1], y.shape[-1]
        out = y.new_zeros(channels, *fields.size, batch)
        for first, end in fields.chunks(channels, batch):
            matrices = _matrices(weight, fields, first, end)
            fields.scatter(out, torch.bmm(matrices.mT, y[first:end].flatten(0, ndim - 1)), first, end)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        y, weight = ctx.saved_tensors
        grad_y = _Sum.apply(grads[0], weight, ctx.fields) if ctx.needs_input_grad[0] else None
        grad_weight = _Outer.apply(y, grads[0], ctx.fields) if ctx.needs_input_grad[1] else None
        return cast("Tensor | None", grad_y), cast("Tensor | None", grad_weight), None


class _Outer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, fields: Fields) -> Tensor:
        ctx.save_for_backward(y, x)
        ctx.fields = fields
        y, x, ndim = y.contiguous(), x.contiguous(), len(fields.size)
        parts = [
            torch.bmm(y[first:end].flatten(0, ndim - 1), fields.gather(x, first, end).mT)
            for first, end in fields.chunks(x.shape[0], x.shape[-1])
        ]
        return _joined(parts).view(*y.shape[:-1], x.shape[0], *fields.kernel)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        y, x = ctx.saved_tensors
        grad_y = _Sum.apply(x, grads[0], ctx.fields) if ctx.needs_input_grad[0] else None
        grad_x = _Spread.apply(y, grads[0], ctx.fields) if ctx.needs_input_grad[1] else None
        return cast("Tensor | None", grad_y), cast("Tensor | None", grad_x), None

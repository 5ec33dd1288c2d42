"""The arithmetic of sliding windows: borders and output sizes, O = (W - F + 2P) / S + 1."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

Padding = int | str | Sequence[int]


def per_axis(value: int | Sequence[int], ndim: int, name: str, least: int = 1) -> tuple[int, ...]:
    """`value` once for each of `ndim` axes, checked to be whole numbers of at least `least`."""
    axes = tuple(value) if isinstance(value, Iterable) else (value,) * ndim
    if len(axes) != ndim or any(isinstance(v, bool) or not isinstance(v, int) or v < least for v in axes):
        raise ValueError(f"{name} takes a whole number >= {least}, or {ndim} of them; got {value!r}")
    return axes


def border(kernel_size: Sequence[int], dilation: Sequence[int], padding: Padding) -> tuple[tuple[int, int], ...]:
    """How many cells `padding` adds before and after each axis.

    'valid' adds none. 'same' adds d(F - 1) in all, one more behind than before where that is odd (as torch does), so
    that a window of stride 1 keeps the size and one of stride S takes every S-th of its positions.
    """
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"padding takes 'same', 'valid' or whole numbers; got {padding!r}")
        totals = [d * (f - 1) if padding == "same" else 0 for f, d in zip(kernel_size, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((p, p) for p in per_axis(padding, len(kernel_size), "padding", least=0))


def positions(
    size: int, kernel: int, stride: int, dilation: int, before: int, after: int, ceil_mode: bool = False
) -> int:
    """The number of positions of a window along one axis, with that many cells added before and after.

    Raises:
        ValueError: if there is none.
    """
    extent = dilation * (kernel - 1) + 1
    room = size + before + after - extent
    count = (room + stride - 1 if ceil_mode else room) // stride + 1
    if count < 1:
        raise ValueError(
            f"the kernel is larger than the padded input: {extent} cells against {size} + {before + after} "
            "of padding; take a larger input, more padding or a smaller kernel"
        )
    return count - 1 if ceil_mode and (count - 1) * stride >= size + before else count


@overload
def output_size(
    size: int,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    *,
    ceil_mode: bool = False,
    strict: bool = False,
) -> int: ...
@overload
def output_size(
    size: Sequence[int],
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    *,
    ceil_mode: bool = False,
    strict: bool = False,
) -> tuple[int, ...]: ...
def output_size(
    size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    *,
    ceil_mode: bool = False,
    strict: bool = False,
) -> int | tuple[int, ...]:
    """The number of positions of a window, O = floor((W - d(F - 1) - 1 + P₀ + P₁) / S) + 1 for each axis.

    Args:
        size: W, one number, or one an axis; the answer has the same form.
        kernel_size: F. stride: S, None for F (as pools do). padding: cells on both sides, 'same' or 'valid'.
        dilation: d, the distance between two taps.
        ceil_mode: round up, keeping only windows that start inside the input or its left border (as torch's pools).
        strict: refuse sizes that the windows do not cover to the last cell.

    Raises:
        ValueError: if the window is larger than the padded input or, when strict, does not fit evenly.

    >>> output_size(7, 3, stride=2)
    3
    >>> output_size((227, 227), 11, stride=4)
    (55, 55)
    >>> output_size(7, 3, stride=3, strict=True)
    Traceback (most recent call last):
    ...
    ValueError: a window of 3 with stride 3 does not fit 7 cells: (7 - 3) / 3 + 1 = 2.33 is not whole; ...
    """
    sizes = per_axis(size, len(size) if isinstance(size, Sequence) else 1, "size")
    kernel = per_axis(kernel_size, len(sizes), "kernel_size")
    steps = per_axis(kernel if stride is None else stride, len(sizes), "stride")
    spread = per_axis(dilation, len(sizes), "dilation")
    out = []
    for w, f, s, d, (before, after) in zip(sizes, kernel, steps, spread, border(kernel, spread, padding), strict=True):
        count = positions(w, f, s, d, before, after, ceil_mode)
        extent, padded = d * (f - 1) + 1, w + before + after
        room = padded - extent
        if strict and room % s:
            raise ValueError(
                f"a window of {extent} with stride {s} does not fit {padded} cells: ({padded} - {extent}) / {s} + 1 = "
                f"{room / s + 1:.2f} is not whole; {padded - room % s} or {padded - room % s + s} cells would fit"
            )
        out.append(count)
    return tuple(out) if isinstance(size, Sequence) else out[0]

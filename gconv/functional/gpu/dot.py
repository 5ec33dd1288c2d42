"""The edge dots on a GPU: what the weights of the three sums have as their gradients.

    entries   d[s, q]    = <x[s, index[q]], y[s, t]>            q in row t
    heads     d[s, q, h] = <x[s, index[q], h], y[s, t, h]>
    kernels   d[q, k]    = Σ_s <x[s, index[q]], y[s, t, k]>

Each for every signal, or summed over signals in a fixed order. Shapes: `x` `(S, n, c)`, heads `(S, n, H, c)`; `y`
`(S, T, c)`, `(S, T, H, c)`, kernels `(S, T, K, c)`. Cost: a multiply-add and two reads for each number, of which those
of `y` come from the cache; only the dots are written.
"""

from __future__ import annotations

# pyright: reportInvalidTypeForm=false, reportPossiblyUnboundVariable=false
# (tl.constexpr is known to Triton alone, which also decides branches on constants)
from torch import Tensor

from gconv.functional.gpu.launch import (
    Tile,
    accumulator,
    check,
    entries_of,
    groups,
    jit,
    launch,
    parts,
    place_of,
    tl,
    wide,
)


@jit
def _dot(
    x, y, index, offsets, out, signals, group_size, columns, rows, entries, heads, channels,
    SHARED: tl.constexpr, ONCE: tl.constexpr,
    ROWS: tl.constexpr, HEADS: tl.constexpr, CHANNELS: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """One group of signals; SHARED: all heads read one x; ONCE: one signal of few channels, so y is read once."""
    group, row_tile, block = place_of(tl.cdiv(rows, ROWS), tl.cdiv(heads, HEADS))
    row = row_tile * ROWS + tl.arange(0, ROWS)
    head = block * HEADS + tl.arange(0, HEADS)
    lane = tl.arange(0, CHANNELS)
    begin, length, longest = entries_of(offsets, row, rows)
    first = group * group_size
    last = tl.minimum(first + group_size, signals)

    inside = (head < heads)[None, :, None] & (lane < channels)[None, None, :]
    own = y + (row.to(tl.int64)[:, None, None] * heads + head[None, :, None]) * channels + lane[None, None, :]
    own_there = (row < rows)[:, None, None]
    if SHARED:
        other = x + lane[None, None, :]
        other_inside = (lane < channels)[None, None, :]
        stride = channels
    else:
        other = x + head[None, :, None] * channels + lane[None, None, :]
        other_inside = inside
        stride = heads * channels
    if ONCE:
        mine = tl.load(own + first.to(tl.int64) * rows * heads * channels, mask=own_there & inside, other=0.0)
    source = tl.load(index + begin, mask=length > 0, other=0)
    for step in range(0, longest):
        present = step < length
        there = present[:, None, None]
        entry = begin + step
        following = tl.load(index + entry + 1, mask=step + 1 < length, other=0)
        neighbour = other + source.to(tl.int64)[:, None, None] * stride
        total = tl.zeros((ROWS, HEADS, CHANNELS), SUM)
        if ONCE:
            start = first.to(tl.int64) * columns * stride
            total += tl.load(neighbour + start, mask=other_inside & there, other=0.0).to(SUM) * mine.to(SUM)
        else:
            for signal in range(first, last):
                number = tl.zeros((), tl.int64) + signal
                for done in range(0, channels, CHANNELS):
                    left = (lane < channels - done)[None, None, :]
                    value = tl.load(
                        neighbour + number * columns * stride + done, mask=other_inside & there & left, other=0.0
                    )
                    against = tl.load(
                        own + number * rows * heads * channels + done, mask=own_there & inside & left, other=0.0
                    )
                    total += value.to(SUM) * against.to(SUM)
        place = (group.to(tl.int64) * entries + entry)[:, None] * heads + head[None, :]
        dots = tl.sum(total, 2)
        tl.store(out + place, dots.to(out.dtype.element_ty), mask=present[:, None] & (head < heads)[None, :])
        source = following


def _dots(x: Tensor, y: Tensor, index: Tensor, offsets: Tensor, shared: bool, total: bool) -> Tensor:
    """All dots: `(S, E, H)`, or with `total` `(E, H)`; x `(S, n, c)` where it is shared, else `(S, n, H, c)`."""
    signals, columns, channels = x.shape[0], x.shape[1], x.shape[-1]
    heads, entries, rows = y.shape[2], index.numel(), offsets.numel() - 1
    check(index, offsets, x=(x, tuple(x.shape)), y=(y, (signals, rows, heads, channels)))
    if not (entries and signals and heads and channels):
        return x.new_zeros((entries, heads) if total else (signals, entries, heads))
    tile = Tile.of(rows, heads, channels)
    programs = parts(rows, tile.rows) * parts(heads, tile.columns)
    size = parts(signals, groups(signals, programs)) if total else 1
    count = parts(signals, size)
    # Partial sums of groups stay wide until they are added up.
    out = x.new_empty(count, entries, heads, dtype=wide(x.dtype) if total else x.dtype)
    launch(
        _dot, count * programs, x.contiguous(), y.contiguous(), index.contiguous(), offsets.contiguous(), out,
        signals, size, columns, rows, entries, heads, channels,
        SHARED=shared, ONCE=size == 1 and tile.channels >= channels,
        ROWS=tile.rows, HEADS=tile.columns, CHANNELS=tile.channels, SUM=accumulator(x.dtype), warps=tile.warps,
    )  # fmt: skip
    if not total:
        return out
    return (out[0] if count == 1 else out.sum(0)).to(x.dtype)


def _check_dims(x: Tensor, y: Tensor, dims: int, shapes: str) -> None:
    if x.dim() != dims or y.dim() != dims or x.shape[0] != y.shape[0]:
        raise ValueError(f"x and y have shapes {shapes}, got {tuple(x.shape)} and {tuple(y.shape)}")


def edge_dot(x: Tensor, y: Tensor, index: Tensor, offsets: Tensor) -> Tensor:
    """The dot of each entry and signal, `(S, E)`.

    Args:
        x: `(S, n, c)`. y: `(S, T, c)`. index: `(E,)`, which of the n each entry reads. offsets: `(T + 1,)`.

    Raises:
        ValueError: for shapes that do not fit. ImportError: if Triton is missing.
    """
    _check_dims(x, y, 3, "(S, n, c) and (S, T, c)")
    return _dots(x.unsqueeze(2), y.unsqueeze(2), index, offsets, shared=False, total=False).squeeze(2)


def edge_dot_total(x: Tensor, y: Tensor, index: Tensor, offsets: Tensor) -> Tensor:
    """The dot of each entry summed over signals, `(E,)`: the gradient of a weight that signals share.

    Args:
        x: `(S, n, c)`. y: `(S, T, c)`. index, offsets: as `edge_dot` has them.

    Raises:
        ValueError: for shapes that do not fit. ImportError: if Triton is missing.
    """
    _check_dims(x, y, 3, "(S, n, c) and (S, T, c)")
    return _dots(x.unsqueeze(2), y.unsqueeze(2), index, offsets, shared=False, total=True).squeeze(1)


def heads_dot(x: Tensor, y: Tensor, index: Tensor, offsets: Tensor) -> Tensor:
    """The dot of each entry, signal and head, `(S, E, H)`.

    Args:
        x: `(S, n, H, c)`. y: `(S, T, H, c)`. index, offsets: as `edge_dot` has them.

    Raises:
        ValueError: for shapes that do not fit. ImportError: if Triton is missing.
    """
    _check_dims(x, y, 4, "(S, n, H, c) and (S, T, H, c)")
    return _dots(x, y, index, offsets, shared=False, total=False)


def heads_dot_total(x: Tensor, y: Tensor, index: Tensor, offsets: Tensor) -> Tensor:
    """The dot of each entry and head summed over signals, `(E, H)`.

    Args:
        x: `(S, n, H, c)`. y: `(S, T, H, c)`. index, offsets: as `edge_dot` has them.

    Raises:
        ValueError: for shapes that do not fit. ImportError: if Triton is missing.
    """
    _check_dims(x, y, 4, "(S, n, H, c) and (S, T, H, c)")
    return _dots(x, y, index, offsets, shared=False, total=True)


def kernels_dot(x: Tensor, y: Tensor, index: Tensor, offsets: Tensor) -> Tensor:
    """The dot of each entry and kernel summed over signals, `(E, K)`.

    Args:
        x: `(S, n, c)`, one for all kernels. y: `(S, T, K, c)`. index, offsets: as `edge_dot` has them.

    Raises:
        ValueError: for shapes that do not fit. ImportError: if Triton is missing.
    """
    if x.dim() != 3 or y.dim() != 4 or x.shape[0] != y.shape[0]:
        raise ValueError(f"x and y have shapes (S, n, c) and (S, T, K, c), got {tuple(x.shape)} and {tuple(y.shape)}")
    return _dots(x, y, index, offsets, shared=True, total=True)

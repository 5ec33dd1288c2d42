"""The weighted sum and its heads, on a GPU: rows gather their neighbours.

    y[s, t, h] = Σ_{q in row t} w[q, h] x[s, index[q], h]

Symbols ↔ arguments: w ↔ `weight` in the order of the sorted rows, or None for ones; row t is
`index[offsets[t]:offsets[t + 1]]`. Shapes: `x` `(S, n, c)`, with heads `(S, n, H, c)`; to `(S, T, c)`, `(S, T, H, c)`.
Cost: S · E · H · c multiply-adds and as many numbers read, from the cache where rows share neighbours; one write.
"""

from __future__ import annotations

# pyright: reportInvalidTypeForm=false
# (tl.constexpr is known to Triton alone)
from torch import Tensor

from gconv.functional.gpu.launch import SIGNALS, Tile, accumulator, check, entries_of, jit, launch, parts, place_of, tl


@jit
def _gather(
    x, weight, index, offsets, out, signals, columns, rows, entries, heads, head_channels, channels,
    WEIGHTED: tl.constexpr, BY_SIGNAL: tl.constexpr, BY_HEAD: tl.constexpr,
    ROWS: tl.constexpr, SIGNALS: tl.constexpr, CHANNELS: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """Heads lie side by side: to the gather they are channels, whose weights differ from head to head."""
    signal_tile, row_tile, block = place_of(tl.cdiv(rows, ROWS), tl.cdiv(channels, CHANNELS))
    signal = signal_tile * SIGNALS + tl.arange(0, SIGNALS)
    row = row_tile * ROWS + tl.arange(0, ROWS)
    channel = block * CHANNELS + tl.arange(0, CHANNELS)
    begin, length, longest = entries_of(offsets, row, rows)

    inside = (signal < signals)[:, None, None] & (channel < channels)[None, None, :]
    start = x + signal.to(tl.int64)[:, None, None] * columns * channels + channel[None, None, :]
    owner = signal.to(tl.int64) if BY_SIGNAL else tl.zeros((1,), tl.int64)
    head = channel // head_channels if BY_HEAD else tl.zeros((1,), tl.int32)
    weighed = (owner < signals)[:, None, None] & (head < heads)[None, None, :]
    weights = weight + owner[:, None, None] * entries * heads + head[None, None, :]

    total = tl.zeros((SIGNALS, ROWS, CHANNELS), SUM)
    # The index of the next entry is under way while the present one is read.
    source = tl.load(index + begin, mask=length > 0, other=0)
    for step in range(0, longest):
        there = (step < length)[None, :, None]
        entry = begin + step
        following = tl.load(index + entry + 1, mask=step + 1 < length, other=0)
        value = tl.load(start + source.to(tl.int64)[None, :, None] * channels, mask=inside & there, other=0.0)
        if WEIGHTED:
            factor = tl.load(weights + entry[None, :, None] * heads, mask=weighed & there, other=0.0)
            total += factor.to(SUM) * value.to(SUM)
        else:
            total += value.to(SUM)
        source = following
    target = out + (signal.to(tl.int64)[:, None, None] * rows + row[None, :, None]) * channels + channel[None, None, :]
    tl.store(target, total.to(out.dtype.element_ty), mask=inside & (row < rows)[None, :, None])


def row_gather(x: Tensor, weight: Tensor | None, index: Tensor, offsets: Tensor) -> Tensor:
    """The weighted sum over rows.

    Args:
        x: `(S, n, c)`.
        weight: None for ones, `(E,)`, or `(S, E)` where signals have their own; in the order of the sorted rows.
        index: `(E,)`, which of the n each entry reads. offsets: `(T + 1,)`, where each row begins.

    Raises:
        ValueError: for shapes that do not fit. ImportError: if Triton is missing.

    >>> row_gather(torch.ones(1, 3, 2, device="cuda"), None, index, offsets).shape  # doctest: +SKIP
    torch.Size([1, 4, 2])
    """
    if x.dim() != 3:
        raise ValueError(f"x has shape (S, n, c), got {tuple(x.shape)}; heads have heads_gather")
    return heads_gather(x.unsqueeze(2), None if weight is None else weight.unsqueeze(-1), index, offsets).squeeze(2)


def heads_gather(x: Tensor, weight: Tensor | None, index: Tensor, offsets: Tensor) -> Tensor:
    """The weighted sum over rows, each head with weights of its own.

    Args:
        x: `(S, n, H, c)`. weight: None for ones, `(E, H)` or `(S, E, H)`. index, offsets: as `row_gather` has them.

    Returns:
        `(S, T, H, c)`.

    Raises:
        ValueError: for shapes that do not fit. ImportError: if Triton is missing.
    """
    if x.dim() != 4:
        raise ValueError(f"x has shape (S, n, H, c), got {tuple(x.shape)}")
    signals, columns, heads, channels = x.shape
    entries, rows = index.numel(), offsets.numel() - 1
    by_signal = weight is not None and weight.dim() == 3
    shape = (signals, entries, heads) if by_signal else (entries, heads)
    check(index, offsets, x=(x, tuple(x.shape)), weight=(weight, shape))
    out = x.new_empty(signals, rows, heads, channels)
    if not out.numel():
        return out
    x = x.contiguous()
    weight = None if weight is None else weight.contiguous()
    tile = Tile.of(rows, min(signals, SIGNALS), heads * channels)
    programs = parts(signals, tile.columns) * parts(rows, tile.rows) * parts(heads * channels, tile.channels)
    launch(
        _gather, programs, x, x if weight is None else weight, index.contiguous(), offsets.contiguous(), out,
        signals, columns, rows, entries, heads, channels, heads * channels,
        WEIGHTED=weight is not None, BY_SIGNAL=by_signal, BY_HEAD=heads > 1 and weight is not None,
        ROWS=tile.rows, SIGNALS=tile.columns, CHANNELS=tile.channels, SUM=accumulator(x.dtype), warps=tile.warps,
    )  # fmt: skip
    return out

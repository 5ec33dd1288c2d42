"""Many kernels on a GPU: a weight for each entry and kernel, and the sum that carries gradients back.

    gather   y[s, t, k] = Σ_{q in row t} w[q, k] x[s, index[q]]
    sum      x[s, j]    = Σ_{q in row j} Σ_k w[q, k] y[s, index[q], k]        the transpose, over the transposed rows

Symbols ↔ arguments: w ↔ `weight` `(E, K)`, in the order of the rows that are given. Shapes: `(S, n, c)` to
`(S, T, K, c)`, and back. Cost: S · E · K · c multiply-adds; the gather reads a neighbour once for up to 32 kernels, and
the sum adds up over kernels before it writes, so that nothing of size (E, K, c) exists.
"""

from __future__ import annotations

# pyright: reportInvalidTypeForm=false
# (tl.constexpr is known to Triton alone)
from torch import Tensor

from gconv.functional.gpu.launch import Tile, accumulator, check, entries_of, jit, launch, parts, place_of, tl


@jit
def _gather(
    x, weight, index, offsets, out, columns, rows, kernels, channels, kernel_tiles,
    ROWS: tl.constexpr, KERNELS: tl.constexpr, CHANNELS: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """One signal, a tile of kernels, a tile of channels."""
    signal, row_tile, block = place_of(tl.cdiv(rows, ROWS), kernel_tiles * tl.cdiv(channels, CHANNELS))
    row = row_tile * ROWS + tl.arange(0, ROWS)
    kernel = block % kernel_tiles * KERNELS + tl.arange(0, KERNELS)
    channel = block // kernel_tiles * CHANNELS + tl.arange(0, CHANNELS)
    begin, length, longest = entries_of(offsets, row, rows)
    known, wanted = (channel < channels)[None, :], (kernel < kernels)[None, :]
    start = x + signal.to(tl.int64) * columns * channels + channel[None, :]

    total = tl.zeros((ROWS, KERNELS, CHANNELS), SUM)
    source = tl.load(index + begin, mask=length > 0, other=0)
    for step in range(0, longest):
        there = (step < length)[:, None]
        entry = begin + step
        following = tl.load(index + entry + 1, mask=step + 1 < length, other=0)
        value = tl.load(start + source.to(tl.int64)[:, None] * channels, mask=known & there, other=0.0)
        factor = tl.load(weight + entry[:, None] * kernels + kernel[None, :], mask=wanted & there, other=0.0)
        total += factor.to(SUM)[:, :, None] * value.to(SUM)[:, None, :]
        source = following
    place = (signal.to(tl.int64) * rows + row)[:, None, None] * kernels + kernel[None, :, None]
    inside = (row < rows)[:, None, None] & wanted[:, :, None] & known[:, None, :]
    tl.store(out + place * channels + channel[None, None, :], total.to(out.dtype.element_ty), mask=inside)


@jit
def _sum(
    y, weight, index, offsets, out, columns, rows, kernels, channels,
    ROWS: tl.constexpr, KERNELS: tl.constexpr, CHANNELS: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """One signal, all kernels, a tile of channels; kernels are added up within a lane until the row is done."""
    signal, row_tile, block = place_of(tl.cdiv(rows, ROWS), tl.cdiv(channels, CHANNELS))
    row = row_tile * ROWS + tl.arange(0, ROWS)
    lane = tl.arange(0, KERNELS)
    channel = block * CHANNELS + tl.arange(0, CHANNELS)
    begin, length, longest = entries_of(offsets, row, rows)
    known = (channel < channels)[None, None, :]
    start = y + signal.to(tl.int64) * columns * kernels * channels + channel[None, None, :]

    total = tl.zeros((ROWS, KERNELS, CHANNELS), SUM)
    source = tl.load(index + begin, mask=length > 0, other=0)
    for step in range(0, longest):
        there = (step < length)[:, None, None]
        entry = begin + step
        following = tl.load(index + entry + 1, mask=step + 1 < length, other=0)
        for first in range(0, kernels, KERNELS):
            kernel = (first + lane)[None, :, None]
            wanted = there & (kernel < kernels)
            neighbour = (source.to(tl.int64)[:, None, None] * kernels + kernel) * channels
            value = tl.load(start + neighbour, mask=wanted & known, other=0.0)
            factor = tl.load(weight + entry[:, None, None] * kernels + kernel, mask=wanted, other=0.0)
            total += factor.to(SUM) * value.to(SUM)
        source = following
    place = (signal.to(tl.int64) * rows + row)[:, None] * channels + channel[None, :]
    inside = (row < rows)[:, None] & (channel < channels)[None, :]
    tl.store(out + place, tl.sum(total, 1).to(out.dtype.element_ty), mask=inside)


def kernels_gather(x: Tensor, weight: Tensor, index: Tensor, offsets: Tensor) -> Tensor:
    """One weighted sum over rows for each kernel, `(S, T, K, c)`.

    Args:
        x: `(S, n, c)`. weight: `(E, K)`, in the order of the sorted rows.
        index: `(E,)`, which of the n each entry reads. offsets: `(T + 1,)`, where each row begins.

    Raises:
        ValueError: for shapes that do not fit. ImportError: if Triton is missing.
    """
    if x.dim() != 3 or weight.dim() != 2:
        raise ValueError(f"x has shape (S, n, c) and weight (E, K), got {tuple(x.shape)} and {tuple(weight.shape)}")
    signals, columns, channels = x.shape
    kernels, rows = weight.shape[1], offsets.numel() - 1
    check(index, offsets, x=(x, tuple(x.shape)), weight=(weight, (index.numel(), kernels)))
    out = x.new_empty(signals, rows, kernels, channels)
    if not out.numel():
        return out
    tile = Tile.of(rows, min(kernels, 32), channels)
    kernel_tiles = parts(kernels, tile.columns)
    launch(
        _gather, signals * parts(rows, tile.rows) * kernel_tiles * parts(channels, tile.channels),
        x.contiguous(), weight.contiguous(), index.contiguous(), offsets.contiguous(), out,
        columns, rows, kernels, channels, kernel_tiles,
        ROWS=tile.rows, KERNELS=tile.columns, CHANNELS=tile.channels, SUM=accumulator(x.dtype), warps=tile.warps,
    )  # fmt: skip
    return out


def kernels_sum(y: Tensor, weight: Tensor, index: Tensor, offsets: Tensor) -> Tensor:
    """The sum over rows and kernels, `(S, T, c)`: with the transposed rows, the gradient of `kernels_gather` by x.

    Args:
        y: `(S, n, K, c)`. weight: `(E, K)`, in the order of the rows that are given.
        index: `(E,)`, which of the n each entry reads. offsets: `(T + 1,)`, where each row begins.

    Raises:
        ValueError: for shapes that do not fit. ImportError: if Triton is missing.
    """
    if y.dim() != 4:
        raise ValueError(f"y has shape (S, n, K, c), got {tuple(y.shape)}")
    signals, columns, kernels, channels = y.shape
    rows = offsets.numel() - 1
    check(index, offsets, y=(y, tuple(y.shape)), weight=(weight, (index.numel(), kernels)))
    out = y.new_empty(signals, rows, channels)
    if not out.numel():
        return out
    tile = Tile.of(rows, min(kernels, 8), channels)
    launch(
        _sum, signals * parts(rows, tile.rows) * parts(channels, tile.channels),
        y.contiguous(), weight.contiguous(), index.contiguous(), offsets.contiguous(), out,
        columns, rows, kernels, channels,
        ROWS=tile.rows, KERNELS=tile.columns, CHANNELS=tile.channels, SUM=accumulator(y.dtype), warps=tile.warps,
    )  # fmt: skip
    return out

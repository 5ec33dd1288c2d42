"""GATv2's attention on a GPU: the gradient of the edges' features, which all signals share.

    dedge[q, h] = Σ_s dscore[s, q, h] att[h] leaky_relu'(z[s, q, h])

with dscore and z of `dynamic_gradient`. Arguments: as they are called there. Shapes: `edge_feature` `(E, H, c)`,
and so the result. Cost: a forward pass; signals are added one after the other, in up to 16 groups, and the groups' sums
in order.
"""

from __future__ import annotations

# pyright: reportInvalidTypeForm=false
# (tl.constexpr is known to Triton alone)
from torch import Tensor

from gconv.functional.gpu.additive import leaky, share_of, steepness
from gconv.functional.gpu.launch import Tile, accumulator, entries_of, groups, jit, launch, parts, place_of, tl


@jit
def _edges(
    grad, x_source, x_target, edge_feature, att, logsumexp, delta, index, offsets, out,
    signals, group_size, columns, rows, entries, heads, channels,
    SLOPE: tl.constexpr, ROWS: tl.constexpr, HEADS: tl.constexpr, CHANNELS: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """A group of signals, a tile of heads."""
    group, row_tile, block = place_of(tl.cdiv(rows, ROWS), tl.cdiv(heads, HEADS))
    row = row_tile * ROWS + tl.arange(0, ROWS)
    head = (block * HEADS + tl.arange(0, HEADS))[None, :]
    lane = tl.arange(0, CHANNELS)[None, None, :]
    begin, length, longest = entries_of(offsets, row, rows)
    wanted = head < heads
    inside = wanted[:, :, None] & (lane < channels)
    first = group * group_size
    last = tl.minimum(first + group_size, signals)

    direction = tl.load(att + head[:, :, None] * channels + lane, mask=inside, other=0.0).to(SUM)
    source = tl.load(index + begin, mask=length > 0, other=0)
    for step in range(0, longest):
        there = (step < length)[:, None] & wanted
        entry = begin + step
        following = tl.load(index + entry + 1, mask=step + 1 < length, other=0)
        read = inside & there[:, :, None]
        cells = (entry[:, None] * heads + head)[:, :, None] * channels + lane
        edge = tl.load(edge_feature + cells, mask=read, other=0.0).to(SUM)
        total = tl.zeros((ROWS, HEADS, CHANNELS), SUM)
        for signal in range(first, last):
            number = tl.zeros((), tl.int64) + signal
            place = (number * rows + row)[:, None] * heads + head
            own = place[:, :, None] * channels + lane
            neighbour = ((number * columns + source)[:, None] * heads + head)[:, :, None] * channels + lane
            mine = tl.load(grad + own, mask=read, other=0.0).to(SUM)
            value = tl.load(x_source + neighbour, mask=read, other=0.0).to(SUM)
            z = value + tl.load(x_target + own, mask=read, other=0.0).to(SUM) + edge
            norm = tl.load(logsumexp + place, mask=there, other=0.0)
            level = tl.load(delta + place, mask=there, other=0.0)
            share = tl.where(there, share_of(tl.sum(direction * leaky(z, SLOPE), 2), norm), 0.0)
            change = share * (tl.sum(value * mine, 2) - level)
            total += change[:, :, None] * direction * steepness(z, SLOPE)
        target = out + group.to(tl.int64) * entries * heads * channels + cells
        tl.store(target, total.to(out.dtype.element_ty), mask=read)
        source = following


def edge_gradient(
    grad: Tensor,
    delta: Tensor,
    logsumexp: Tensor,
    x_source: Tensor,
    x_target: Tensor,
    edge_feature: Tensor,
    att: Tensor,
    index: Tensor,
    offsets: Tensor,
    slope: float,
) -> Tensor:
    """The gradient by the edges' features, `(E, H, c)` in their dtype; arguments are contiguous and checked.

    Raises:
        ImportError: if Triton is missing.
    """
    signals, columns, heads, channels = x_source.shape
    entries, rows = index.numel(), offsets.numel() - 1
    tile = Tile.of(rows, heads, channels, whole=True)
    programs = parts(rows, tile.rows) * parts(heads, tile.columns)
    size = parts(signals, groups(signals, programs))
    count = parts(signals, size)
    out = delta.new_empty(count, entries, heads, channels)
    launch(
        _edges, count * programs, grad, x_source, x_target, edge_feature, att, logsumexp, delta, index, offsets, out,
        signals, size, columns, rows, entries, heads, channels, SLOPE=slope,
        ROWS=tile.rows, HEADS=tile.columns, CHANNELS=tile.channels, SUM=accumulator(grad.dtype), warps=tile.warps,
    )  # fmt: skip
    return (out[0] if count == 1 else out.sum(0)).to(edge_feature.dtype)

"""GATv2's attention on a GPU, backwards: the attention a[q, h] is found again from `logsumexp`.

    delta[t, h]     = <dy[t, h], y[t, h]>
    dscore[q, h]    = a[q, h] (<dy[t, h], x_source[index[q], h]> - delta[t, h])
    dz[q, h]        = dscore[q, h] att[h] leaky_relu'(z[q, h])
    dx_target[t]    = Σ_{q in row t} dz[q]                             one kernel over the rows,
    datt[h]         = Σ_{s, q} dscore[q, h] leaky_relu(z[q, h])        and the same one, a part a program
    dx_source[j]    = Σ_{q out of j} a[q] dy[t(q)] + dz[q]             one over the transposed rows
    dedge[q]        = Σ_s dz[q]                                        one over the rows, signal after signal

Shapes: as `dynamic` has them. Cost: three to four times the forward pass. Nothing of size (E, H, c) is written
but the gradient of `edge_feature`, where there is one.
"""

from __future__ import annotations

# pyright: reportInvalidTypeForm=false
# (tl.constexpr is known to Triton alone)
import torch
from torch import Tensor

from gconv.functional.gpu.additive import leaky, share_of, steepness
from gconv.functional.gpu.dynamic import check_dynamic
from gconv.functional.gpu.dynamic_edge import edge_gradient
from gconv.functional.gpu.launch import (
    Tile,
    accumulator,
    check,
    check_back,
    entries_of,
    jit,
    launch,
    parts,
    place_of,
    tl,
)


@jit
def _rows(
    grad, out, x_source, x_target, edge_feature, att, logsumexp, index, offsets, delta, grad_target, grad_att,
    columns, rows, heads, channels,
    EDGES: tl.constexpr, SLOPE: tl.constexpr,
    ROWS: tl.constexpr, HEADS: tl.constexpr, CHANNELS: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """One signal, a tile of heads: delta, the gradient of x_target and this program's part of that of att."""
    signal, row_tile, block = place_of(tl.cdiv(rows, ROWS), tl.cdiv(heads, HEADS))
    row = row_tile * ROWS + tl.arange(0, ROWS)
    head = (block * HEADS + tl.arange(0, HEADS))[None, :]
    lane = tl.arange(0, CHANNELS)[None, None, :]
    begin, length, longest = entries_of(offsets, row, rows)
    wanted = head < heads
    inside = wanted[:, :, None] & (lane < channels)
    present = (row < rows)[:, None] & wanted
    place = (signal.to(tl.int64) * rows + row)[:, None] * heads + head
    whole = place[:, :, None] * channels + lane
    full = inside & present[:, :, None]
    first = signal.to(tl.int64) * columns

    direction = tl.load(att + head[:, :, None] * channels + lane, mask=inside, other=0.0).to(SUM)
    own = tl.load(x_target + whole, mask=full, other=0.0).to(SUM)
    mine = tl.load(grad + whole, mask=full, other=0.0).to(SUM)
    level = tl.sum(mine * tl.load(out + whole, mask=full, other=0.0).to(SUM), 2)
    tl.store(delta + place, level, mask=present)
    norm = tl.load(logsumexp + place, mask=present, other=0.0)
    total = tl.zeros((ROWS, HEADS, CHANNELS), SUM)
    total_att = tl.zeros((ROWS, HEADS, CHANNELS), SUM)
    source = tl.load(index + begin, mask=length > 0, other=0)
    for step in range(0, longest):
        there = (step < length)[:, None] & wanted
        entry = begin + step
        following = tl.load(index + entry + 1, mask=step + 1 < length, other=0)
        read = inside & there[:, :, None]
        neighbour = ((first + source)[:, None] * heads + head)[:, :, None] * channels + lane
        value = tl.load(x_source + neighbour, mask=read, other=0.0).to(SUM)
        z = value + own
        if EDGES:
            edge = (entry[:, None] * heads + head)[:, :, None] * channels + lane
            z += tl.load(edge_feature + edge, mask=read, other=0.0).to(SUM)
        bent = leaky(z, SLOPE)
        share = tl.where(there, share_of(tl.sum(direction * bent, 2), norm), 0.0)
        change = (share * (tl.sum(value * mine, 2) - level))[:, :, None]
        total += change * direction * steepness(z, SLOPE)
        total_att += change * bent
        source = following
    tl.store(grad_target + whole, total.to(grad_target.dtype.element_ty), mask=full)
    part = (signal.to(tl.int64) * tl.cdiv(rows, ROWS) + row_tile) * heads * channels
    target = grad_att + part + head[:, :, None] * channels + lane
    tl.store(target, tl.sum(total_att, 0)[None, :, :], mask=inside)


@jit
def _columns(
    grad, x_source, x_target, edge_feature, att, logsumexp, delta, index, offsets, entry_of, grad_source,
    columns, rows, heads, channels,
    EDGES: tl.constexpr, SLOPE: tl.constexpr,
    ROWS: tl.constexpr, HEADS: tl.constexpr, CHANNELS: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """One signal, a tile of heads, over the transposed rows: the gradient of x_source."""
    signal, row_tile, block = place_of(tl.cdiv(columns, ROWS), tl.cdiv(heads, HEADS))
    column = row_tile * ROWS + tl.arange(0, ROWS)
    head = (block * HEADS + tl.arange(0, HEADS))[None, :]
    lane = tl.arange(0, CHANNELS)[None, None, :]
    begin, length, longest = entries_of(offsets, column, columns)
    wanted = head < heads
    inside = wanted[:, :, None] & (lane < channels)
    present = (column < columns)[:, None] & wanted
    place = (signal.to(tl.int64) * columns + column)[:, None] * heads + head
    whole = place[:, :, None] * channels + lane
    full = inside & present[:, :, None]
    first = signal.to(tl.int64) * rows

    direction = tl.load(att + head[:, :, None] * channels + lane, mask=inside, other=0.0).to(SUM)
    mine = tl.load(x_source + whole, mask=full, other=0.0).to(SUM)
    total = tl.zeros((ROWS, HEADS, CHANNELS), SUM)
    target = tl.load(index + begin, mask=length > 0, other=0)
    for step in range(0, longest):
        there = (step < length)[:, None] & wanted
        following = tl.load(index + begin + step + 1, mask=step + 1 < length, other=0)
        read = inside & there[:, :, None]
        row = (first + target)[:, None] * heads + head
        cells = row[:, :, None] * channels + lane
        value = tl.load(grad + cells, mask=read, other=0.0).to(SUM)
        z = mine + tl.load(x_target + cells, mask=read, other=0.0).to(SUM)
        if EDGES:
            entry = tl.load(entry_of + begin + step, mask=step < length, other=0).to(tl.int64)
            edge = (entry[:, None] * heads + head)[:, :, None] * channels + lane
            z += tl.load(edge_feature + edge, mask=read, other=0.0).to(SUM)
        norm = tl.load(logsumexp + row, mask=there, other=0.0)
        level = tl.load(delta + row, mask=there, other=0.0)
        share = tl.where(there, share_of(tl.sum(direction * leaky(z, SLOPE), 2), norm), 0.0)
        change = (share * (tl.sum(value * mine, 2) - level))[:, :, None]
        total += share[:, :, None] * value + change * direction * steepness(z, SLOPE)
        target = following
    tl.store(grad_source + whole, total.to(grad_source.dtype.element_ty), mask=full)


def dynamic_backward(
    grad: Tensor,
    out: Tensor,
    logsumexp: Tensor,
    x_source: Tensor,
    x_target: Tensor,
    edge_feature: Tensor | None,
    att: Tensor,
    index: Tensor,
    offsets: Tensor,
    index_back: Tensor,
    offsets_back: Tensor,
    entry_back: Tensor,
    slope: float,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """The gradients by x_source, x_target, edge_feature (None if that is) and att, each in its own dtype.

    Args:
        grad: by `out`, `(S, T, H, c)`. out, logsumexp: what `dynamic_forward` gave for the arguments that follow.
        index_back, offsets_back: the transposed rows: which of the T each entry reads, and where each of the n begins.
        entry_back: `(E,)`, which sorted entry each transposed entry is; read only where there are edge features.

    Raises:
        ValueError: for shapes that do not fit. ImportError: if Triton is missing.
    """
    check_dynamic(x_source, x_target, edge_feature, att, index, offsets)
    signals, columns, heads, channels = x_source.shape
    entries, rows = index.numel(), offsets.numel() - 1
    shape = signals, rows, heads, channels
    check(index, offsets, grad=(grad, shape), out=(out, shape), logsumexp=(logsumexp, shape[:3]))
    check_back(index_back, offsets_back, entry_back, entries, columns)
    grad, x_source, x_target = grad.contiguous(), x_source.contiguous(), x_target.contiguous()
    edge = att.contiguous() if edge_feature is None else edge_feature.contiguous()
    logsumexp, att = logsumexp.contiguous(), att.contiguous()
    index, offsets = index.contiguous(), offsets.contiguous()
    delta = torch.empty_like(logsumexp)
    grad_source, grad_target = torch.empty_like(x_source), torch.empty_like(x_target)
    tile = Tile.of(rows, heads, channels, whole=True)
    row_tiles = parts(rows, tile.rows)
    att_parts = logsumexp.new_empty(signals * row_tiles, heads, channels)
    launch(
        _rows, signals * row_tiles * parts(heads, tile.columns), grad, out.contiguous(), x_source, x_target, edge,
        att, logsumexp, index, offsets, delta, grad_target, att_parts, columns, rows, heads, channels,
        EDGES=edge_feature is not None, SLOPE=slope,
        ROWS=tile.rows, HEADS=tile.columns, CHANNELS=tile.channels, SUM=accumulator(grad.dtype), warps=tile.warps,
    )  # fmt: skip
    tile = Tile.of(columns, heads, channels, whole=True)
    launch(
        _columns, signals * parts(columns, tile.rows) * parts(heads, tile.columns), grad, x_source, x_target, edge,
        att, logsumexp, delta, index_back.contiguous(), offsets_back.contiguous(), entry_back.contiguous(),
        grad_source, columns, rows, heads, channels,
        EDGES=edge_feature is not None, SLOPE=slope,
        ROWS=tile.rows, HEADS=tile.columns, CHANNELS=tile.channels, SUM=accumulator(grad.dtype), warps=tile.warps,
    )  # fmt: skip
    grad_edge = None
    if edge_feature is not None:
        grad_edge = edge_gradient(grad, delta, logsumexp, x_source, x_target, edge, att, index, offsets, slope)
    return grad_source, grad_target, grad_edge, att_parts.sum(0).to(att.dtype)

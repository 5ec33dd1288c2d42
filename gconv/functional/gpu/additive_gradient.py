"""GAT's attention on a GPU, backwards: the attention a[q, h] is found again from `logsumexp`, and nothing else is kept.

    delta[t, h]      = <dy[t, h], y[t, h]>
    dscore[q, h]     = a[q, h] (<dy[t, h], x[index[q], h]> - delta[t, h]) leaky_relu'(score)
    dscore_target[t] = Σ_{q in row t} dscore[q]         one kernel over the rows
    dx[j]            = Σ_{q out of j} a[q] dy[t(q)]     one kernel over the transposed rows,
    dscore_source[j] = Σ_{q out of j} dscore[q]         and the same one

Shapes: as `additive` has them. Cost: twice the forward pass, and a write of the edges' gradients where they have
scores: one for each signal, which are then added in order.
"""

from __future__ import annotations

# pyright: reportInvalidTypeForm=false
# (tl.constexpr is known to Triton alone)
import torch
from torch import Tensor

from gconv.functional.gpu.additive import check_additive, leaky, share_of, steepness
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
    wide,
)


@jit
def _rows(
    grad, out, x, score_source, score_target, edge_score, logsumexp, index, offsets, delta, grad_target, grad_edge,
    columns, rows, entries, heads, channels,
    EDGES: tl.constexpr, SLOPE: tl.constexpr,
    ROWS: tl.constexpr, HEADS: tl.constexpr, CHANNELS: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """One signal, a tile of heads: delta, and the gradients of the targets' and the edges' scores."""
    signal, row_tile, block = place_of(tl.cdiv(rows, ROWS), tl.cdiv(heads, HEADS))
    row = row_tile * ROWS + tl.arange(0, ROWS)
    head = (block * HEADS + tl.arange(0, HEADS))[None, :]
    lane = tl.arange(0, CHANNELS)[None, None, :]
    begin, length, longest = entries_of(offsets, row, rows)
    wanted = head < heads
    inside = wanted[:, :, None] & (lane < channels)
    present = (row < rows)[:, None] & wanted
    place = (signal.to(tl.int64) * rows + row)[:, None] * heads + head
    first = signal.to(tl.int64) * columns

    whole = place[:, :, None] * channels + lane
    full = inside & present[:, :, None]
    mine = tl.load(grad + whole, mask=full, other=0.0).to(SUM)
    level = tl.sum(mine * tl.load(out + whole, mask=full, other=0.0).to(SUM), 2)
    tl.store(delta + place, level, mask=present)
    own = tl.load(score_target + place, mask=present, other=0.0).to(SUM)
    norm = tl.load(logsumexp + place, mask=present, other=0.0)
    total = tl.zeros((ROWS, HEADS), SUM)
    source = tl.load(index + begin, mask=length > 0, other=0)
    for step in range(0, longest):
        there = (step < length)[:, None] & wanted
        entry = begin + step
        following = tl.load(index + entry + 1, mask=step + 1 < length, other=0)
        neighbour = (first + source)[:, None] * heads + head
        value = tl.load(x + neighbour[:, :, None] * channels + lane, mask=inside & there[:, :, None], other=0.0)
        score = own + tl.load(score_source + neighbour, mask=there, other=0.0).to(SUM)
        if EDGES:
            score += tl.load(edge_score + entry[:, None] * heads + head, mask=there, other=0.0).to(SUM)
        share = tl.where(there, share_of(leaky(score, SLOPE), norm), 0.0)
        change = share * (tl.sum(value.to(SUM) * mine, 2) - level) * steepness(score, SLOPE)
        total += change
        if EDGES:
            edge = (signal.to(tl.int64) * entries + entry)[:, None] * heads + head
            tl.store(grad_edge + edge, change, mask=there)
        source = following
    tl.store(grad_target + place, total.to(grad_target.dtype.element_ty), mask=present)


@jit
def _columns(
    grad, x, score_source, score_target, edge_score, logsumexp, delta, index, offsets, entry_of, grad_x, grad_source,
    columns, rows, heads, channels,
    EDGES: tl.constexpr, SLOPE: tl.constexpr,
    ROWS: tl.constexpr, HEADS: tl.constexpr, CHANNELS: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """One signal, a tile of heads, over the transposed rows: the gradients of x and of the sources' scores."""
    signal, row_tile, block = place_of(tl.cdiv(columns, ROWS), tl.cdiv(heads, HEADS))
    column = row_tile * ROWS + tl.arange(0, ROWS)
    head = (block * HEADS + tl.arange(0, HEADS))[None, :]
    lane = tl.arange(0, CHANNELS)[None, None, :]
    begin, length, longest = entries_of(offsets, column, columns)
    wanted = head < heads
    inside = wanted[:, :, None] & (lane < channels)
    present = (column < columns)[:, None] & wanted
    place = (signal.to(tl.int64) * columns + column)[:, None] * heads + head
    first = signal.to(tl.int64) * rows

    whole = place[:, :, None] * channels + lane
    full = inside & present[:, :, None]
    mine = tl.load(x + whole, mask=full, other=0.0).to(SUM)
    own = tl.load(score_source + place, mask=present, other=0.0).to(SUM)
    total = tl.zeros((ROWS, HEADS, CHANNELS), SUM)
    total_score = tl.zeros((ROWS, HEADS), SUM)
    target = tl.load(index + begin, mask=length > 0, other=0)
    for step in range(0, longest):
        there = (step < length)[:, None] & wanted
        following = tl.load(index + begin + step + 1, mask=step + 1 < length, other=0)
        row = (first + target)[:, None] * heads + head
        value = tl.load(grad + row[:, :, None] * channels + lane, mask=inside & there[:, :, None], other=0.0).to(SUM)
        score = own + tl.load(score_target + row, mask=there, other=0.0).to(SUM)
        if EDGES:
            entry = tl.load(entry_of + begin + step, mask=step < length, other=0).to(tl.int64)
            score += tl.load(edge_score + entry[:, None] * heads + head, mask=there, other=0.0).to(SUM)
        norm = tl.load(logsumexp + row, mask=there, other=0.0)
        level = tl.load(delta + row, mask=there, other=0.0)
        share = tl.where(there, share_of(leaky(score, SLOPE), norm), 0.0)
        total += share[:, :, None] * value
        total_score += share * (tl.sum(value * mine, 2) - level) * steepness(score, SLOPE)
        target = following
    tl.store(grad_x + whole, total.to(grad_x.dtype.element_ty), mask=full)
    tl.store(grad_source + place, total_score.to(grad_source.dtype.element_ty), mask=present)


def additive_backward(
    grad: Tensor,
    out: Tensor,
    logsumexp: Tensor,
    x: Tensor,
    score_source: Tensor,
    score_target: Tensor,
    edge_score: Tensor | None,
    index: Tensor,
    offsets: Tensor,
    index_back: Tensor,
    offsets_back: Tensor,
    entry_back: Tensor,
    slope: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The gradients by x, score_source, score_target and edge_score (None if that is), each in its own dtype.

    Args:
        grad: by `out`, `(S, T, H, c)`. out, logsumexp: what `additive_forward` gave for the arguments that follow.
        index_back, offsets_back: the transposed rows: which of the T each entry reads, and where each of the n begins.
        entry_back: `(E,)`, which sorted entry each transposed entry is; read only where there are edge scores.

    Raises:
        ValueError: for shapes that do not fit. ImportError: if Triton is missing.
    """
    check_additive(x, score_source, score_target, edge_score, index, offsets)
    signals, columns, heads, channels = x.shape
    entries, rows = index.numel(), offsets.numel() - 1
    shape = signals, rows, heads, channels
    check(index, offsets, grad=(grad, shape), out=(out, shape), logsumexp=(logsumexp, shape[:3]))
    check_back(index_back, offsets_back, entry_back, entries, columns)
    grad, x = grad.contiguous(), x.contiguous()
    score_source, score_target, logsumexp = score_source.contiguous(), score_target.contiguous(), logsumexp.contiguous()
    edge = score_target if edge_score is None else edge_score.contiguous()
    kind = wide(x.dtype)
    delta = torch.empty_like(logsumexp)
    grad_x, grad_source, grad_target = map(torch.empty_like, (x, score_source, score_target))
    each = None if edge_score is None else x.new_empty(signals, entries, heads, dtype=kind)
    tile = Tile.of(rows, heads, channels, whole=True)
    launch(
        _rows, signals * parts(rows, tile.rows) * parts(heads, tile.columns), grad, out.contiguous(), x,
        score_source, score_target, edge, logsumexp, index.contiguous(), offsets.contiguous(), delta, grad_target,
        delta if each is None else each, columns, rows, entries, heads, channels,
        EDGES=each is not None, SLOPE=slope,
        ROWS=tile.rows, HEADS=tile.columns, CHANNELS=tile.channels, SUM=accumulator(x.dtype), warps=tile.warps,
    )  # fmt: skip
    tile = Tile.of(columns, heads, channels, whole=True)
    launch(
        _columns, signals * parts(columns, tile.rows) * parts(heads, tile.columns), grad, x,
        score_source, score_target, edge, logsumexp, delta, index_back.contiguous(), offsets_back.contiguous(),
        entry_back.contiguous(), grad_x, grad_source, columns, rows, heads, channels,
        EDGES=each is not None, SLOPE=slope,
        ROWS=tile.rows, HEADS=tile.columns, CHANNELS=tile.channels, SUM=accumulator(x.dtype), warps=tile.warps,
    )  # fmt: skip
    grad_edge = None if each is None or edge_score is None else each.sum(0).to(edge_score.dtype)
    return grad_x, grad_source, grad_target, grad_edge

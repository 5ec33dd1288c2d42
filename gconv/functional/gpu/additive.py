"""GAT's attention on a GPU: the scores, their softmax over a row and the weighted sum in one pass.

    score[q, h] = leaky_relu(score_source[index[q], h] + score_target[t, h] + edge_score[q, h])
    y[t, h]     = Σ_{q in row t} exp(score[q, h] - logsumexp[t, h]) x[index[q], h]

Symbols ↔ arguments: as they are called; `slope` is leaky_relu's. Shapes: `x` `(S, n, H, c)`, `score_source`
`(S, n, H)`, `score_target` `(S, T, H)`, `edge_score` None or `(E, H)`; to `y` `(S, T, H, c)` and `logsumexp`
`(S, T, H)`, from which backward finds the attention again. A row without entries gives 0 and -inf. Cost: S · E · H · c
multiply-adds; the softmax runs along (a maximum, a sum, a rescaling when the maximum grows), so nothing of size
(E, H) is kept. Reference: Veličković et al., Graph Attention Networks, 2018; Milakov and Gimelshein, Online normalizer
calculation for softmax, 2018.
"""

from __future__ import annotations

# pyright: reportInvalidTypeForm=false
# (tl.constexpr is known to Triton alone)
from torch import Tensor

from gconv.functional.gpu.launch import Tile, accumulator, check, entries_of, jit, launch, parts, place_of, tl, wide


@jit
def leaky(score, SLOPE: tl.constexpr):
    """leaky_relu."""
    return tl.where(score > 0, score, score * SLOPE)


@jit
def steepness(score, SLOPE: tl.constexpr):
    """leaky_relu's derivative; at 0 it is the slope, as torch has it."""
    one = tl.full(score.shape, 1.0, score.dtype)
    return tl.where(score > 0, one, one * SLOPE)


@jit
def online(score, highest, norm):
    """One step of the running softmax: this entry's share, what shrinks the sums so far, the new maximum and norm.

    Where nothing has come yet all are -inf, and -inf - 0 is taken for -inf - (-inf).
    """
    risen = tl.maximum(highest, score)
    base = tl.where(risen == float("-inf"), 0.0, risen)
    share = tl.exp(score - base)
    shrink = tl.exp(highest - base)
    return share, shrink, risen, norm * shrink + share


@jit
def share_of(score, logsumexp):
    """The attention, found again; a row of -inf alone has logsumexp -inf and shares of 0."""
    return tl.exp(score - tl.where(logsumexp == float("-inf"), 0.0, logsumexp))


@jit
def _forward(
    x, score_source, score_target, edge_score, index, offsets, out, logsumexp, columns, rows, heads, channels,
    EDGES: tl.constexpr, SLOPE: tl.constexpr,
    ROWS: tl.constexpr, HEADS: tl.constexpr, CHANNELS: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """One signal, a tile of heads, all channels of a head."""
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

    own = tl.load(score_target + place, mask=present, other=0.0).to(SUM)
    highest = tl.full((ROWS, HEADS), float("-inf"), SUM)
    norm = tl.zeros((ROWS, HEADS), SUM)
    total = tl.zeros((ROWS, HEADS, CHANNELS), SUM)
    source = tl.load(index + begin, mask=length > 0, other=0)
    for step in range(0, longest):
        there = (step < length)[:, None]
        entry = begin + step
        following = tl.load(index + entry + 1, mask=step + 1 < length, other=0)
        neighbour = (first + source)[:, None] * heads + head
        value = tl.load(x + neighbour[:, :, None] * channels + lane, mask=inside & there[:, :, None], other=0.0)
        score = own + tl.load(score_source + neighbour, mask=wanted & there, other=0.0).to(SUM)
        if EDGES:
            score += tl.load(edge_score + entry[:, None] * heads + head, mask=wanted & there, other=0.0).to(SUM)
        score = tl.where(there, leaky(score, SLOPE), float("-inf"))
        share, shrink, highest, norm = online(score, highest, norm)
        total = total * shrink[:, :, None] + share[:, :, None] * value.to(SUM)
        source = following
    empty = norm == 0
    norm = tl.where(empty, 1.0, norm)
    y = total / norm[:, :, None]
    tl.store(out + place[:, :, None] * channels + lane, y.to(out.dtype.element_ty), mask=inside & present[:, :, None])
    tl.store(logsumexp + place, tl.where(empty, float("-inf"), highest + tl.log(norm)), mask=present)


def check_additive(
    x: Tensor, score_source: Tensor, score_target: Tensor, edge_score: Tensor | None, index: Tensor, offsets: Tensor
) -> None:
    """Refuse tensors of other shapes than the module's docstring has.

    Raises:
        ValueError: naming the tensor.
    """
    if x.dim() != 4:
        raise ValueError(f"x has shape (S, n, H, c), got {tuple(x.shape)}")
    signals, columns, heads, _ = x.shape
    check(
        index,
        offsets,
        x=(x, tuple(x.shape)),
        score_source=(score_source, (signals, columns, heads)),
        score_target=(score_target, (signals, offsets.numel() - 1, heads)),
        edge_score=(edge_score, (index.numel(), heads)),
    )


def additive_forward(
    x: Tensor,
    score_source: Tensor,
    score_target: Tensor,
    edge_score: Tensor | None,
    index: Tensor,
    offsets: Tensor,
    slope: float,
) -> tuple[Tensor, Tensor]:
    """The attention's weighted sum, and the logarithm of the sum that it was divided by.

    Args:
        x: `(S, n, H, c)`. score_source: `(S, n, H)`. score_target: `(S, T, H)`. edge_score: None or `(E, H)`, in the
            order of the sorted rows. index: `(E,)`, which of the n each entry reads. offsets: `(T + 1,)`.
        slope: leaky_relu's, at negative scores.

    Returns:
        `(S, T, H, c)` in the dtype of x, and `(S, T, H)` in float32 (float64 for float64).

    Raises:
        ValueError: for shapes that do not fit. ImportError: if Triton is missing.
    """
    check_additive(x, score_source, score_target, edge_score, index, offsets)
    signals, columns, heads, channels = x.shape
    rows = offsets.numel() - 1
    out = x.new_empty(signals, rows, heads, channels)
    logsumexp = x.new_empty(signals, rows, heads, dtype=wide(x.dtype))
    tile = Tile.of(rows, heads, channels, whole=True)
    launch(
        _forward, signals * parts(rows, tile.rows) * parts(heads, tile.columns), x.contiguous(),
        score_source.contiguous(), score_target.contiguous(),
        (score_target if edge_score is None else edge_score).contiguous(),
        index.contiguous(), offsets.contiguous(), out, logsumexp, columns, rows, heads, channels,
        EDGES=edge_score is not None, SLOPE=slope,
        ROWS=tile.rows, HEADS=tile.columns, CHANNELS=tile.channels, SUM=accumulator(x.dtype), warps=tile.warps,
    )  # fmt: skip
    return out, logsumexp

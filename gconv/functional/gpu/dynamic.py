"""GATv2's attention on a GPU: the score looks at the sum of both ends, channel by channel.

    z[q, h]     = x_source[index[q], h] + x_target[t, h] + edge_feature[q, h]
    score[q, h] = <att[h], leaky_relu(z[q, h])>
    y[t, h]     = Σ_{q in row t} exp(score[q, h] - logsumexp[t, h]) x_source[index[q], h]

Symbols ↔ arguments: as they are called; `slope` is leaky_relu's. Shapes: `x_source` `(S, n, H, c)`, `x_target`
`(S, T, H, c)`, `edge_feature` None or `(E, H, c)`, `att` `(H, c)`; to `y` `(S, T, H, c)` and `logsumexp` `(S, T, H)`.
A row without entries gives 0 and -inf. Cost: S · E · H · c multiply-adds, twice; a neighbour is read once for its score
and its share of the sum. Reference: Brody, Alon and Yahav, How attentive are graph attention networks?, 2022.
"""

from __future__ import annotations

# pyright: reportInvalidTypeForm=false
# (tl.constexpr is known to Triton alone)
from torch import Tensor

from gconv.functional.gpu.additive import leaky, online
from gconv.functional.gpu.launch import Tile, accumulator, check, entries_of, jit, launch, parts, place_of, tl, wide


@jit
def _forward(
    x_source, x_target, edge_feature, att, index, offsets, out, logsumexp, columns, rows, heads, channels,
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
    whole = place[:, :, None] * channels + lane
    full = inside & present[:, :, None]
    first = signal.to(tl.int64) * columns

    direction = tl.load(att + head[:, :, None] * channels + lane, mask=inside, other=0.0).to(SUM)
    own = tl.load(x_target + whole, mask=full, other=0.0).to(SUM)
    highest = tl.full((ROWS, HEADS), float("-inf"), SUM)
    norm = tl.zeros((ROWS, HEADS), SUM)
    total = tl.zeros((ROWS, HEADS, CHANNELS), SUM)
    source = tl.load(index + begin, mask=length > 0, other=0)
    for step in range(0, longest):
        there = (step < length)[:, None]
        entry = begin + step
        following = tl.load(index + entry + 1, mask=step + 1 < length, other=0)
        neighbour = ((first + source)[:, None] * heads + head)[:, :, None] * channels + lane
        value = tl.load(x_source + neighbour, mask=inside & there[:, :, None], other=0.0).to(SUM)
        z = value + own
        if EDGES:
            edge = (entry[:, None] * heads + head)[:, :, None] * channels + lane
            z += tl.load(edge_feature + edge, mask=inside & there[:, :, None], other=0.0).to(SUM)
        score = tl.where(there, tl.sum(direction * leaky(z, SLOPE), 2), float("-inf"))
        share, shrink, highest, norm = online(score, highest, norm)
        total = total * shrink[:, :, None] + share[:, :, None] * value
        source = following
    empty = norm == 0
    norm = tl.where(empty, 1.0, norm)
    tl.store(out + whole, (total / norm[:, :, None]).to(out.dtype.element_ty), mask=full)
    tl.store(logsumexp + place, tl.where(empty, float("-inf"), highest + tl.log(norm)), mask=present)


def check_dynamic(
    x_source: Tensor, x_target: Tensor, edge_feature: Tensor | None, att: Tensor, index: Tensor, offsets: Tensor
) -> None:
    """Refuse tensors of other shapes than the module's docstring has.

    Raises:
        ValueError: naming the tensor.
    """
    if x_source.dim() != 4:
        raise ValueError(f"x_source has shape (S, n, H, c), got {tuple(x_source.shape)}")
    signals, _, heads, channels = x_source.shape
    check(
        index,
        offsets,
        x_source=(x_source, tuple(x_source.shape)),
        x_target=(x_target, (signals, offsets.numel() - 1, heads, channels)),
        edge_feature=(edge_feature, (index.numel(), heads, channels)),
        att=(att, (heads, channels)),
    )


def dynamic_forward(
    x_source: Tensor,
    x_target: Tensor,
    edge_feature: Tensor | None,
    att: Tensor,
    index: Tensor,
    offsets: Tensor,
    slope: float,
) -> tuple[Tensor, Tensor]:
    """GATv2's weighted sum, and the logarithm of the sum that it was divided by.

    Args:
        x_source: `(S, n, H, c)`. x_target: `(S, T, H, c)`. edge_feature: None or `(E, H, c)`, in the order of the
            sorted rows. att: `(H, c)`. index: `(E,)`, which of the n each entry reads. offsets: `(T + 1,)`.
        slope: leaky_relu's.

    Returns:
        `(S, T, H, c)` in the dtype of x_source, and `(S, T, H)` in float32 (float64 for float64).

    Raises:
        ValueError: for shapes that do not fit. ImportError: if Triton is missing.
    """
    check_dynamic(x_source, x_target, edge_feature, att, index, offsets)
    signals, columns, heads, channels = x_source.shape
    rows = offsets.numel() - 1
    out = x_source.new_empty(signals, rows, heads, channels)
    logsumexp = x_source.new_empty(signals, rows, heads, dtype=wide(x_source.dtype))
    tile = Tile.of(rows, heads, channels, whole=True)
    launch(
        _forward, signals * parts(rows, tile.rows) * parts(heads, tile.columns),
        x_source.contiguous(), x_target.contiguous(), (att if edge_feature is None else edge_feature).contiguous(),
        att.contiguous(), index.contiguous(), offsets.contiguous(), out, logsumexp, columns, rows, heads, channels,
        EDGES=edge_feature is not None, SLOPE=slope,
        ROWS=tile.rows, HEADS=tile.columns, CHANNELS=tile.channels, SUM=accumulator(x_source.dtype), warps=tile.warps,
    )  # fmt: skip
    return out, logsumexp

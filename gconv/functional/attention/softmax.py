"""The middle of attention, a few signals at a time: from scores on edges to weighted sums over neighbours, and back.

    α_e = exp(s_e) / Σ_{e' into t} exp(s_e'),   y[t] = Σ_{e into t} α_e x[source(e)]

    g_e = <dy[t], x[source(e)]>,   ds_e = α_e (g_e - Σ_{e' into t} α_e' g_e'),   dx[j] = Σ_{e out of j} α_e dy[t(e)]

Scores are tables `(E, W)` in the order of the sorted rows, a column a signal and head (W = b · H, signal by signal), so
that every step over edges works on whole rows; nodes' values are tables `(N, W)`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gconv.domains.blocks import at_once
from gconv.functional.edge_tables import Edges
from gconv.functional.rows import bags, dots

# Where all scores are smaller than this, their exponentials need no maximum taken off.
_SAFE = 40.0
# From so many entries on (on a CPU), heads and signals go one by one.
_LONG = 1 << 18


def exponentials(scores: Tensor, edges: Edges, bound: float) -> tuple[Tensor, Tensor]:
    """exp(s - m) and the reciprocals of its sums a row: `(E, W)`, `(T, W)`; `bound` is no less than any |s|."""
    if not bound < _SAFE:
        lengths = edges.offsets.long().diff()
        highest = torch.segment_reduce(scores, "max", lengths=lengths, axis=0, unsafe=True, initial=-torch.inf)
        scores = scores - highest.index_select(0, edges.target)
    powers = scores.exp()
    sums = edges.into_targets(powers)
    return powers, torch.where(sums > 0, sums.reciprocal(), torch.zeros_like(sums))


class Mixer:
    """Weighted sums of signals `(b, n, H, C)` with a weight an edge, signal and head."""

    def __init__(self, edges: Edges, heads: int) -> None:
        self.edges, self.heads = edges, heads
        self._one_by_one = edges.source.numel() * heads >= at_once(_LONG, edges.source.device)
        self._kept: dict[tuple[int, int, bool], tuple[Tensor, Tensor]] = {}

    def forth(self, x: Tensor, weights: Tensor) -> Tensor:
        """`(b, n, H, C)`, `(E, W)` to `(b, H, T, C)`."""
        edges = self.edges
        return self._sums(x, weights, edges.source, edges.offsets, edges.num_targets, head_first=False)

    def back(self, y: Tensor, weights: Tensor) -> Tensor:
        """`(b, H, T, C)`, `(E, W)` in the order of the columns, to `(b, H, n, C)`."""
        edges = self.edges
        return self._sums(y, weights, edges.target_back, edges.offsets_back, edges.num_sources, head_first=True)

    def dots(self, x: Tensor, y: Tensor) -> Tensor:
        """<y[t], x[source]> an edge: `(b, n, H, C)`, `(b, H, T, C)` to `(E, W)`."""
        edges, channels = self.edges, x.shape[-1]
        if self._one_by_one:
            found = [
                dots(x[i, :, h].contiguous(), y[i, h], edges.source, edges.offsets)
                for i in range(x.shape[0])
                for h in range(self.heads)
            ]
            return torch.stack(found, 1)
        index, offsets = self._tables(edges.source, edges.offsets, x.shape[1], x.shape[0], head_first=False)
        found = dots(x.reshape(-1, channels), y.reshape(-1, channels), index, offsets)
        return found.view(-1, edges.source.numel()).t().contiguous()

    def _sums(
        self, x: Tensor, weights: Tensor, near: Tensor, offsets: Tensor, num_rows: int, head_first: bool
    ) -> Tensor:
        count, channels = x.shape[0], x.shape[-1]
        columns = weights.t().contiguous()
        if self._one_by_one:
            out = x.new_empty(count, self.heads, num_rows, channels)
            for i in range(count):
                for h in range(self.heads):
                    rows = x[i, h] if head_first else x[i, :, h].contiguous()
                    out[i, h] = bags(rows, near, offsets, columns[i * self.heads + h])
            return out
        num_columns = x.shape[2 if head_first else 1]
        index, starts = self._tables(near, offsets, num_columns, count, head_first)
        found = bags(x.reshape(-1, channels), index, starts, columns.view(-1))
        return found.view(count, self.heads, num_rows, channels)

    def _tables(
        self, near: Tensor, offsets: Tensor, num_columns: int, count: int, head_first: bool
    ) -> tuple[Tensor, Tensor]:
        """Index and offsets for rows (signal, head, node), one structure after the other."""
        key = num_columns, count, head_first
        if key not in self._kept:
            self._kept[key] = self._made(near, offsets, *key)
        return self._kept[key]

    def _made(
        self, near: Tensor, offsets: Tensor, num_columns: int, count: int, head_first: bool
    ) -> tuple[Tensor, Tensor]:
        device, entries = near.device, near.numel()
        signal = torch.arange(count, dtype=near.dtype, device=device)[:, None, None]
        head = torch.arange(self.heads, dtype=near.dtype, device=device)[:, None]
        if head_first:
            index = (signal * self.heads + head) * num_columns + near
        else:
            index = (signal * num_columns + near) * self.heads + head
        starts = (signal * self.heads + head) * entries + offsets[:-1]
        end = starts.new_full((1,), count * self.heads * entries)
        return index.flatten(), torch.cat([starts.flatten(), end])


def largest(values: Tensor) -> float:
    """The largest size of any of the values; what is not a number counts as infinite."""
    low, high = (float(end) for end in torch.aminmax(values))
    return max(-low, high) if low <= high else math.inf


def by_heads(vectors: Tensor) -> Tensor:
    """`(H, C)` as the matrix `(H · C, H)` that takes all heads' products at once."""
    return torch.diag_embed(vectors.t(), dim1=0, dim2=2).flatten(0, 1)


def ends_by_heads(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """`(H, C)` of sources and of targets as the matrix `(H · C, 2 H)` that takes both ends' products at once."""
    return torch.cat([by_heads(a), by_heads(b)], 1).to(dtype)


def softmax_sums(x: Tensor, scores: Tensor, mixer: Mixer, bound: float, out: Tensor) -> None:
    """Write y `(b, T, H, C)` of x `(b, n, H, C)` and scores `(E, W)` to `out`."""
    count, _, heads, _ = x.shape
    powers, inverse = exponentials(scores, mixer.edges, bound)
    sums = mixer.forth(x, powers).transpose(1, 2)
    factors = inverse.view(-1, count, heads).transpose(0, 1)[..., None]
    if out.dtype == sums.dtype:
        torch.mul(sums, factors, out=out)
    else:
        out.copy_(sums * factors)


def softmax_sums_backward(grad: Tensor, x: Tensor, scores: Tensor, mixer: Mixer, bound: float) -> tuple[Tensor, Tensor]:
    """dx `(b, n, H, C)` and ds `(E, W)` of dy `(b, T, H, C)`."""
    count, _, heads, _ = x.shape
    edges = mixer.edges
    powers, inverse = exponentials(scores, edges, bound)
    factors = inverse.view(-1, count, heads).permute(1, 2, 0)[..., None]
    scaled = grad.new_empty(count, heads, edges.num_targets, grad.shape[-1])
    torch.mul(grad.transpose(1, 2), factors, out=scaled)
    slopes = mixer.dots(x, scaled).mul_(powers)
    means = edges.into_targets(slopes).mul_(inverse)
    slopes.addcmul_(powers, means.index_select(0, edges.target), value=-1.0)
    back = mixer.back(scaled, powers.index_select(0, edges.to_columns))
    return back.transpose(1, 2), slopes

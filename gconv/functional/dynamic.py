"""Attention with dynamic scores (GATv2), signal by signal, as a custom operator that stores no score.

    s_e[h] = Σ_c a[h, c] leaky( u_e[h, c] ),   u_e = x[source(e)] + z[target(e)] + r[e]
    y[t, h] = Σ_{e into t} α_e[h] x[source(e), h]

with α the softmax of s over the edges into a node. The `(E, H, C)` sums u are made a chunk of edges at a time, twice:
the backward pass works them out again.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from gconv.domains.structure import Structure
from gconv.functional.custom import operator
from gconv.functional.explicit import differentiable, dynamic_scores, row_softmax, weighted
from gconv.functional.softmax import Edges, blocks, by_heads, softmax_sums, softmax_sums_backward

# Numbers of the sums on edges that are made at once.
_CHUNK_NUMBERS = 1 << 21


def _chunks(edges: Edges, width: int) -> Iterator[slice]:
    size = max(1, _CHUNK_NUMBERS // width)
    for start in range(0, edges.source.numel(), size):
        yield slice(start, min(start + size, edges.source.numel()))


def _sums(x: Tensor, z: Tensor, r: Tensor | None, edges: Edges, part: slice) -> Tensor:
    """leaky's argument for one signal: `(n, D)`, `(T, D)`, `(E, D)` to `(edges of the part, D)`."""
    sums = x.index_select(0, edges.source[part]).add_(z.index_select(0, edges.target[part]))
    return sums if r is None else sums.add_(r[part])


def _scores(x: Tensor, z: Tensor, r: Tensor | None, attention: Tensor, edges: Edges, slope: float) -> Tensor:
    """Scores of signals `(b, n, D)` as a table `(E, W)`."""
    heads, width = attention.shape[0], x.shape[-1]
    scores = x.new_empty(edges.source.numel(), x.shape[0], heads)
    matrix = by_heads(attention)
    for i in range(x.shape[0]):
        for part in _chunks(edges, width):
            scores[part, i] = F.leaky_relu_(_sums(x[i], z[i], r, edges, part), slope) @ matrix
    return scores.flatten(1)


@operator("gconv::dynamic_attention")
def _dynamic(
    x: Tensor,
    z: Tensor,
    r: Tensor | None,
    attention: Tensor,
    slope: float,
    source: Tensor,
    target: Tensor,
    offsets: Tensor,
    target_back: Tensor,
    offsets_back: Tensor,
    to_columns: Tensor,
) -> Tensor:
    edges = Edges(source, target, offsets, target_back, offsets_back, to_columns)
    exact = torch.promote_types(x.dtype, torch.float32)
    out = x.new_zeros(x.shape[0], edges.num_targets, *x.shape[2:])
    if not out.numel() or not source.numel():
        return out
    attention, r = attention.to(exact), None if r is None else r.to(exact).flatten(1)
    for part in blocks(x, edges):
        signals = x[part].to(exact)
        scores = _scores(signals.flatten(2), z[part].to(exact).flatten(2), r, attention, edges, slope)
        softmax_sums(signals, scores, edges, float(scores.abs().amax()), out[part])
    return out


@_dynamic.register_fake
def _(x, z, *_) -> Tensor:
    return x.new_empty(x.shape[0], z.shape[1], *x.shape[2:])


@operator("gconv::dynamic_attention_backward")
def _dynamic_backward(
    grad: Tensor,
    x: Tensor,
    z: Tensor,
    r: Tensor | None,
    attention: Tensor,
    slope: float,
    source: Tensor,
    target: Tensor,
    offsets: Tensor,
    target_back: Tensor,
    offsets_back: Tensor,
    to_columns: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    edges = Edges(source, target, offsets, target_back, offsets_back, to_columns)
    exact = torch.promote_types(x.dtype, torch.float32)
    dx, dz = torch.zeros_like(x), torch.zeros_like(z)
    dr = x.new_zeros(0 if r is None else r.shape, dtype=exact).flatten(1 if r is not None else 0)
    da = attention.new_zeros(attention.shape, dtype=exact)
    if not grad.numel() or not source.numel():
        return dx, dz, dr.to(x.dtype).view(0 if r is None else r.shape), da.to(x.dtype)
    a, r = attention.to(exact), None if r is None else r.to(exact).flatten(1)
    heads, channels = attention.shape
    matrix = by_heads(a).t().contiguous()
    for block in blocks(x, edges):
        signals, others = x[block].to(exact), z[block].to(exact).flatten(2)
        flat = signals.flatten(2)
        scores = _scores(flat, others, r, a, edges, slope)
        through, slopes = softmax_sums_backward(
            grad[block].to(exact), signals, scores, edges, float(scores.abs().amax())
        )
        slopes = slopes.view(slopes.shape[0], -1, heads)
        for i in range(flat.shape[0]):
            on_edges = flat.new_empty(slopes.shape[0], heads * channels)
            for part in _chunks(edges, heads * channels):
                bent = F.leaky_relu_(_sums(flat[i], others[i], r, edges, part), slope)
                own = slopes[part, i]
                products = (own.t() @ bent).view(heads, heads, channels)
                da += products.diagonal().t()
                on_edges[part] = torch.ops.aten.leaky_relu_backward(own @ matrix, bent, slope, True)
            dz[block.start + i] = edges.into_targets(on_edges).view(-1, heads, channels)
            dx[block.start + i] = through[i] + edges.into_sources(on_edges).view(-1, heads, channels)
            if r is not None:
                dr += on_edges
    return dx, dz, dr.to(x.dtype).view(0 if r is None else (-1, heads, channels)), da.to(x.dtype)


@_dynamic_backward.register_fake
def _(grad, x, z, r, attention, *_) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dr = x.new_empty(0 if r is None else r.shape)
    return torch.empty_like(x), torch.empty_like(z), dr, attention.new_empty(attention.shape)


def _setup(ctx, inputs, output) -> None:
    *tensors, slope, source, target, offsets, target_back, offsets_back, to_columns = inputs
    ctx.save_for_backward(*tensors, source, target, offsets, target_back, offsets_back, to_columns)
    ctx.slope = slope


def _gradients(ctx, grad: Tensor):
    x, z, r, attention, *edges = ctx.saved_tensors
    if torch.is_grad_enabled():  # to be differentiated again: the same in steps that know their derivatives
        structure = Structure(edges[0].long(), edges[1].long(), x.shape[1], z.shape[1])

        def steps(x: Tensor, z: Tensor, r: Tensor | None, attention: Tensor) -> Tensor:
            scores = dynamic_scores(x, z, r, attention, structure, ctx.slope)
            return weighted(x, row_softmax(scores, structure), structure)

        gradients = differentiable(steps, (x, z, r, attention), grad)
    else:
        dx, dz, dr, da = _dynamic_backward(grad, x, z, r, attention, ctx.slope, *edges)
        gradients = dx, dz, None if r is None else dr, da
    return *gradients, *[None] * 7


_dynamic.register_autograd(_gradients, setup_context=_setup)


def fused_dynamic(
    x: Tensor, z: Tensor, r: Tensor | None, attention: Tensor, structure: Structure, slope: float
) -> Tensor:
    """y `(S, T, H, C)` of x `(S, n, H, C)`, z `(S, T, H, C)`, r `(E, H, C)` in the order of the edges, a `(H, C)`."""
    sorted_r = None if r is None else r.index_select(0, structure.rows.order)
    return _dynamic(x, z, sorted_r, attention, slope, *structure.entries)

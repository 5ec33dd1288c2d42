"""Attention with additive scores, a few signals at a time, as a custom operator that stores no score.

    s_e[h] = leaky( p[source(e), h] + q[target(e), h] + r[e, h] ),   y[t, h] = Σ_{e into t} α_e[h] x[source(e), h]

with α the softmax of s over the edges into a node. The backward pass works the scores out again.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gconv.domains.structure import Structure
from gconv.functional.explicit import additive_scores, differentiable, row_softmax, weighted
from gconv.functional.softmax import Edges, blocks, softmax_sums, softmax_sums_backward


def _table(values: Tensor) -> Tensor:
    """Values `(b, N, H)` as a table `(N, W)`."""
    return values.transpose(0, 1).flatten(1)


def _values(table: Tensor, count: int) -> Tensor:
    """A table `(N, W)` as values `(b, N, H)`."""
    return table.view(table.shape[0], count, -1).transpose(0, 1)


def _scores(p: Tensor, q: Tensor, r: Tensor | None, edges: Edges, slope: float) -> tuple[Tensor, float]:
    scores = _table(p).index_select(0, edges.source)
    scores += _table(q).index_select(0, edges.target)
    bound = float(p.abs().amax() + q.abs().amax()) if scores.numel() else 0.0
    if r is not None:
        scores.view(r.shape[0], -1, r.shape[1]).add_(r[:, None])
        bound += float(r.abs().amax()) if r.numel() else 0.0
    return F.leaky_relu_(scores, slope), bound * max(1.0, abs(slope))


@torch.library.custom_op("gconv::additive_attention", mutates_args=())
def _additive(
    x: Tensor,
    p: Tensor,
    q: Tensor,
    r: Tensor | None,
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
    r = None if r is None else r.to(exact)
    for part in blocks(x, edges):
        scores, bound = _scores(p[part].to(exact), q[part].to(exact), r, edges, slope)
        out[part] = softmax_sums(x[part].to(exact), scores, edges, bound)
    return out


@_additive.register_fake
def _(x, p, q, *_) -> Tensor:
    return x.new_empty(x.shape[0], q.shape[1], *x.shape[2:])


@torch.library.custom_op("gconv::additive_attention_backward", mutates_args=())
def _additive_backward(
    grad: Tensor,
    x: Tensor,
    p: Tensor,
    q: Tensor,
    r: Tensor | None,
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
    dx, dp, dq = torch.zeros_like(x), torch.zeros_like(p), torch.zeros_like(q)
    dr = x.new_zeros(0 if r is None else r.shape, dtype=exact)
    if not grad.numel() or not source.numel():
        return dx, dp, dq, dr.to(x.dtype)
    r = None if r is None else r.to(exact)
    for part in blocks(x, edges):
        count = x[part].shape[0]
        scores, bound = _scores(p[part].to(exact), q[part].to(exact), r, edges, slope)
        dx[part], slopes = softmax_sums_backward(grad[part].to(exact), x[part].to(exact), scores, edges, bound)
        slopes = torch.ops.aten.leaky_relu_backward(slopes, scores, slope, True)
        dp[part] = _values(edges.into_sources(slopes), count)
        dq[part] = _values(edges.into_targets(slopes), count)
        if r is not None:
            dr += slopes.view(slopes.shape[0], count, -1).sum(1)
    return dx, dp, dq, dr.to(x.dtype)


@_additive_backward.register_fake
def _(grad, x, p, q, r, *_) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(p), torch.empty_like(q), x.new_empty(0 if r is None else r.shape)


def _additive_setup(ctx, inputs, output) -> None:
    *tensors, slope, source, target, offsets, target_back, offsets_back, to_columns = inputs
    ctx.save_for_backward(*tensors, source, target, offsets, target_back, offsets_back, to_columns)
    ctx.slope = slope


def _additive_gradients(ctx, grad: Tensor):
    x, p, q, r, *edges = ctx.saved_tensors
    if torch.is_grad_enabled():  # to be differentiated again: the same in steps that know their derivatives
        structure = Structure(edges[0].long(), edges[1].long(), x.shape[1], q.shape[1])

        def steps(x: Tensor, p: Tensor, q: Tensor, r: Tensor | None) -> Tensor:
            return weighted(x, row_softmax(additive_scores(p, q, r, structure, ctx.slope), structure), structure)

        gradients = differentiable(steps, (x, p, q, r), grad)
    else:
        *gradients, dr = _additive_backward(grad, x, p, q, r, ctx.slope, *edges)
        gradients = *gradients, None if r is None else dr
    return *gradients, *[None] * 7


_additive.register_autograd(_additive_gradients, setup_context=_additive_setup)


def fused_additive(x: Tensor, p: Tensor, q: Tensor, r: Tensor | None, structure: Structure, slope: float) -> Tensor:
    """y `(S, T, H, C)` of x `(S, n, H, C)`, p `(S, n, H)`, q `(S, T, H)`, r `(E, H)` in the order of the edges."""
    sorted_r = None if r is None else r.index_select(0, structure.rows.order)
    return _additive(x, p, q, sorted_r, slope, *structure.entries)

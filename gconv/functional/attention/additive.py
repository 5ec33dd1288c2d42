"""Attention with additive scores, a few signals at a time, as a custom operator that stores no score.

    s_e[h]  = leaky( a[h] · x[source(e), h] + b[h] · x[target(e), h] + r[e, h] )
    y[t, h] = Σ_{e into t} α_e[h] x[source(e), h]

with α the softmax of s over the edges into a node. The backward pass works the scores out again.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from gconv.domains.structure import Structure
from gconv.functional.attention.softmax import Mixer, ends_by_heads, largest, softmax_sums, softmax_sums_backward
from gconv.functional.attention.steps import additive_steps
from gconv.functional.custom import differentiable, operator
from gconv.functional.edge_tables import Edges, blocks


def _sums(x: Tensor, matrix: Tensor, r: Tensor | None, edges: Edges, slope: float) -> tuple[Tensor, float]:
    """leaky's argument for signals `(b, N, H, C)` as a table `(E, W)`, and a bound of leaky's size."""
    count, nodes, heads, _ = x.shape
    ends = x.flatten(2) @ matrix
    bound = 2.0 * largest(ends)
    ends = ends.transpose(0, 1)  # (N, b, 2 H)
    p, q = (part.reshape(nodes, count * heads) for part in ends.split(heads, -1))
    scores = p.index_select(0, edges.source)
    scores += q.index_select(0, edges.target)
    if r is not None:
        scores.view(-1, count, heads).add_(r[:, None])
        bound += largest(r)
    return scores, bound * max(1.0, abs(slope))


@operator("gconv::additive_attention")
def _additive(
    x: Tensor,
    a: Tensor,
    b: Tensor,
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
    if not x.numel() or not source.numel():
        return x.new_zeros(x.shape)
    exact = torch.promote_types(x.dtype, torch.float32)
    out, matrix = x.new_empty(x.shape), ends_by_heads(a, b, exact)
    r = None if r is None else r.to(exact)
    mixer = Mixer(edges, x.shape[2])
    for part in blocks(x, source.numel()):
        signals = x[part].to(exact).contiguous()
        sums, bound = _sums(signals, matrix, r, edges, slope)
        softmax_sums(signals, F.leaky_relu_(sums, slope), mixer, bound, out[part])
    return out


@_additive.register_fake
def _(x, *_) -> Tensor:
    return x.new_empty(x.shape)


@operator("gconv::additive_attention_backward")
def _additive_backward(
    grad: Tensor,
    x: Tensor,
    a: Tensor,
    b: Tensor,
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
    nodes, heads, channels = x.shape[1:]
    dr = x.new_zeros(0 if r is None else r.shape, dtype=exact)
    if not x.numel() or not source.numel():
        return x.new_zeros(x.shape), a.new_zeros(a.shape), b.new_zeros(b.shape), dr.to(x.dtype)
    dx, matrix = x.new_empty(x.shape), ends_by_heads(a, b, exact)
    turned, dmatrix = matrix.t().contiguous(), torch.zeros_like(matrix)
    in_place = slope >= 0  # else the sign of leaky's argument does not survive it
    r, mixer = None if r is None else r.to(exact), Mixer(edges, heads)
    for part in blocks(x, source.numel()):
        signals = x[part].to(exact).contiguous()
        count = signals.shape[0]
        sums, bound = _sums(signals, matrix, r, edges, slope)
        scores = F.leaky_relu_(sums, slope) if in_place else F.leaky_relu(sums, slope)
        through, slopes = softmax_sums_backward(grad[part].to(exact), signals, scores, mixer, bound)
        slopes = torch.ops.aten.leaky_relu_backward(slopes, sums, slope, in_place)
        dp, dq = (ends.view(nodes, count, heads) for ends in (edges.into_sources(slopes), edges.into_targets(slopes)))
        dends = torch.cat([dp, dq], -1).transpose(0, 1).reshape(-1, 2 * heads)
        dmatrix.addmm_(signals.view(-1, heads * channels).t(), dends)
        if exact is x.dtype:
            dx[part].copy_(through).view(-1, heads * channels).addmm_(dends, turned)
        else:
            dx[part] = (dends @ turned).view(count, nodes, heads, channels).add_(through)
        if r is not None:
            dr += slopes.view(slopes.shape[0], count, -1).sum(1)
    da, db = (half.view(heads, channels, heads).diagonal(dim1=0, dim2=2).t() for half in dmatrix.split(heads, 1))
    return dx, da.to(a.dtype).contiguous(), db.to(b.dtype).contiguous(), dr.to(x.dtype)


@_additive_backward.register_fake
def _(grad, x, a, b, r, *_) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), a.new_empty(a.shape), b.new_empty(b.shape), x.new_empty(0 if r is None else r.shape)


def _setup(ctx, inputs, output) -> None:
    *tensors, slope, source, target, offsets, target_back, offsets_back, to_columns = inputs
    ctx.save_for_backward(*tensors, source, target, offsets, target_back, offsets_back, to_columns)
    ctx.slope = slope


def _gradients(ctx, grad: Tensor):
    x, a, b, r, *edges = ctx.saved_tensors
    if torch.is_grad_enabled():  # to be differentiated again: the same in steps that know their derivatives
        structure = Structure(edges[0].long(), edges[1].long(), x.shape[1], x.shape[1])
        steps = partial(additive_steps, structure=structure, slope=ctx.slope)
        gradients = differentiable(steps, (x, a, b, r), grad)
    else:
        *gradients, dr = _additive_backward(grad, x, a, b, r, ctx.slope, *edges)
        gradients = *gradients, None if r is None else dr
    return *gradients, *[None] * 7


_additive.register_autograd(_gradients, setup_context=_setup)


def fused_additive(x: Tensor, a: Tensor, b: Tensor, r: Tensor | None, structure: Structure, slope: float) -> Tensor:
    """y `(S, N, H, C)` of x `(S, N, H, C)`, a and b `(H, C)`, r `(E, H)` in the order of the edges."""
    sorted_r = None if r is None else r.index_select(0, structure.rows.order)
    return _additive(x, a, b, sorted_r, slope, *structure.entries)

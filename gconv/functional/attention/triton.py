"""Attention by the Triton kernels, as custom operators that know their derivatives: the form 'triton' of `attention`.

    additive   s_e[h] = leaky( a[h] · x[source(e), h] + b[h] · x[target(e), h] + r[e, h] )
    dynamic    s_e[h] = Σ_c a[h, c] leaky( x[source(e), h, c] + z[target(e), h, c] + r[e, h, c] )

    y[t, h] = Σ_{e into t} α_e[h] x[source(e), h],   α the softmax of s over the edges into a node

Each operator gives y and, for its backward pass, the logarithm of the sum that a softmax divides by; nothing of an edge
is kept. Differentiated twice, it goes by plain torch operations. Triton loads with the first call. Shapes: x, z, y
`(S, N, H, C)`; a, b `(H, C)`; r `(E, H)`, dynamic `(E, H, C)`. Cost: E · H · C multiply-adds a signal, dynamic twice.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from gconv.domains.structure import Structure
from gconv.functional import gpu
from gconv.functional.attention.softmax import ends_by_heads
from gconv.functional.attention.steps import additive_steps, dynamic_steps
from gconv.functional.custom import differentiable, operator


def _ends(x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The two scores of a node, `(S, N, H)` each, in float32 at least."""
    exact = torch.promote_types(x.dtype, torch.float32)
    both = x.flatten(2).to(exact) @ ends_by_heads(a, b, exact)
    source, target = both.split(a.shape[0], -1)
    return source.contiguous(), target.contiguous()


def _nothing(x: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """y and the logarithms where there is no number or no edge."""
    signals, _, heads, channels = x.shape
    exact = torch.promote_types(x.dtype, torch.float32)
    return x.new_zeros(signals, rows, heads, channels), x.new_full((signals, rows, heads), -torch.inf, dtype=exact)


def _fake(x: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    signals, _, heads, channels = x.shape
    exact = torch.promote_types(x.dtype, torch.float32)
    return x.new_empty(signals, rows, heads, channels), x.new_empty(signals, rows, heads, dtype=exact)


@operator("gconv::triton_additive")
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
) -> tuple[Tensor, Tensor]:
    if not x.numel() or not source.numel():
        return _nothing(x, x.shape[1])
    return gpu.additive_forward(x, *_ends(x, a, b), r, source, offsets, slope)


@_additive.register_fake
def _(x, *_) -> tuple[Tensor, Tensor]:
    return _fake(x, x.shape[1])


@operator("gconv::triton_additive_backward")
def _additive_backward(
    grad: Tensor,
    out: Tensor,
    logsumexp: Tensor,
    x: Tensor,
    a: Tensor,
    b: Tensor,
    r: Tensor | None,
    slope: float,
    source: Tensor,
    offsets: Tensor,
    target_back: Tensor,
    offsets_back: Tensor,
    to_columns: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dr = x.new_zeros(0) if r is None else r.new_zeros(r.shape)
    if not x.numel() or not source.numel():
        return x.new_zeros(x.shape), a.new_zeros(a.shape), b.new_zeros(b.shape), dr
    heads, channels = a.shape
    ends = _ends(x, a, b)
    through, dp, dq, found = gpu.additive_backward(
        grad, out, logsumexp, x, *ends, r, source, offsets, target_back, offsets_back, to_columns, slope
    )
    slopes = torch.cat([dp, dq], -1)
    dx = through + (slopes @ ends_by_heads(a, b, slopes.dtype).t()).view(x.shape)
    dmatrix = x.reshape(-1, heads * channels).to(slopes.dtype).t() @ slopes.flatten(0, 1)
    da, db = (half.view(heads, channels, heads).diagonal(dim1=0, dim2=2).t() for half in dmatrix.split(heads, 1))
    kept = dr if found is None else found
    return dx.to(x.dtype), da.to(a.dtype).contiguous(), db.to(b.dtype).contiguous(), kept


@_additive_backward.register_fake
def _(grad, out, logsumexp, x, a, b, r, *_) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dr = x.new_empty(0) if r is None else r.new_empty(r.shape)
    return x.new_empty(x.shape), a.new_empty(a.shape), b.new_empty(b.shape), dr


@operator("gconv::triton_dynamic")
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
) -> tuple[Tensor, Tensor]:
    if not x.numel() or not z.numel() or not source.numel():
        return _nothing(x, z.shape[1])
    return gpu.dynamic_forward(x, z, r, attention, source, offsets, slope)


@_dynamic.register_fake
def _(x, z, *_) -> tuple[Tensor, Tensor]:
    return _fake(x, z.shape[1])


@operator("gconv::triton_dynamic_backward")
def _dynamic_backward(
    grad: Tensor,
    out: Tensor,
    logsumexp: Tensor,
    x: Tensor,
    z: Tensor,
    r: Tensor | None,
    attention: Tensor,
    slope: float,
    source: Tensor,
    offsets: Tensor,
    target_back: Tensor,
    offsets_back: Tensor,
    to_columns: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dr = x.new_zeros(0) if r is None else r.new_zeros(r.shape)
    if not x.numel() or not z.numel() or not source.numel():
        return x.new_zeros(x.shape), z.new_zeros(z.shape), dr, attention.new_zeros(attention.shape)
    dx, dz, found, da = gpu.dynamic_backward(
        grad, out, logsumexp, x, z, r, attention, source, offsets, target_back, offsets_back, to_columns, slope
    )
    return dx, dz, dr if found is None else found, da


@_dynamic_backward.register_fake
def _(grad, out, logsumexp, x, z, r, attention, *_) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dr = x.new_empty(0) if r is None else r.new_empty(r.shape)
    return x.new_empty(x.shape), z.new_empty(z.shape), dr, attention.new_empty(attention.shape)


def _setup(ctx, inputs, output) -> None:
    *tensors, slope, source, target, offsets, target_back, offsets_back, to_columns = inputs
    edges = source, target, offsets, target_back, offsets_back, to_columns
    ctx.save_for_backward(*tensors, *output, *edges)
    ctx.mark_non_differentiable(output[1])
    ctx.slope = slope


def _additive_gradients(ctx, grad: Tensor, _: Tensor | None):
    x, a, b, r, out, logsumexp, source, target, *rows = ctx.saved_tensors
    if torch.is_grad_enabled():  # to be differentiated again: the same in steps that know their derivatives
        structure = Structure(source.long(), target.long(), x.shape[1], x.shape[1])
        steps = partial(additive_steps, structure=structure, slope=ctx.slope)
        found = differentiable(steps, (x, a, b, r), grad)
    else:
        *found, dr = _additive_backward(grad, out, logsumexp, x, a, b, r, ctx.slope, source, *rows)
        found = *found, None if r is None else dr
    return *found, *[None] * 7


def _dynamic_gradients(ctx, grad: Tensor, _: Tensor | None):
    x, z, r, attention, out, logsumexp, source, target, *rows = ctx.saved_tensors
    if torch.is_grad_enabled():  # to be differentiated again: the same in steps that know their derivatives
        structure = Structure(source.long(), target.long(), x.shape[1], z.shape[1])
        steps = partial(dynamic_steps, structure=structure, slope=ctx.slope)
        found = differentiable(steps, (x, z, r, attention), grad)
    else:
        dx, dz, dr, da = _dynamic_backward(grad, out, logsumexp, x, z, r, attention, ctx.slope, source, *rows)
        found = dx, dz, None if r is None else dr, da
    return *found, *[None] * 7


_additive.register_autograd(_additive_gradients, setup_context=_setup)
_dynamic.register_autograd(_dynamic_gradients, setup_context=_setup)


def triton_additive(x: Tensor, a: Tensor, b: Tensor, r: Tensor | None, structure: Structure, slope: float) -> Tensor:
    """y `(S, N, H, C)` of x `(S, N, H, C)`, a and b `(H, C)`, r `(E, H)` in the order of the edges."""
    sorted_r = None if r is None else r.index_select(0, structure.rows.order)
    return _additive(x, a, b, sorted_r, slope, *structure.entries)[0]


def triton_dynamic(
    x: Tensor, z: Tensor, r: Tensor | None, attention: Tensor, structure: Structure, slope: float
) -> Tensor:
    """y `(S, T, H, C)` of x `(S, n, H, C)`, z `(S, T, H, C)`, r `(E, H, C)` in the order of the edges, a `(H, C)`."""
    sorted_r = None if r is None else r.index_select(0, structure.rows.order)
    return _dynamic(x, z, sorted_r, attention, slope, *structure.entries)[0]

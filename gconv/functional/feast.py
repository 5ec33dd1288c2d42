"""Neighbours assigned softly to kernels by what they and the node hold (FeaSt), a few signals at a time.

    g_e[h] = softmax_h( a[source(e), h] - a[target(e), h] + c[h] )
    y[t]   = Σ_{e into t} w_e Σ_h g_e[h] x[source(e), h]

The custom operator stores no assignment: the backward pass works them out again. Shapes: x `(S, n, H, C)`, a
`(S, n, H)`, c `(H,)`, w `(E,)`; y `(S, n, C)`. Cost: E · H · C multiply-adds a signal. Reference: Verma, Boyer and
Verbeek, FeaStNet: feature-steered graph convolutions for 3D shape analysis (2018), equations 5 and 6.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gconv.domains.graph import Graph
from gconv.domains.structure import Structure
from gconv.functional.custom import differentiable, operator
from gconv.functional.edge_tables import Edges, blocks
from gconv.functional.forms import pick
from gconv.functional.propagate import propagate, sum_forms
from gconv.functional.rows import bags, dots


def _assignments(a: Tensor, c: Tensor, edges: Edges) -> Tensor:
    """g for signals `(b, n, H)`: `(E, H, b)`."""
    near = a.permute(1, 2, 0).contiguous()
    scores = near.index_select(0, edges.source)
    scores -= near.index_select(0, edges.target)
    scores += c[:, None]
    scores -= scores.amax(1, keepdim=True)
    powers = scores.exp_()
    return powers.div_(powers.sum(1, keepdim=True))


def _starts(offsets: Tensor, copies: int, length: int) -> Tensor:
    """Offsets of rows that stand one structure of `length` entries after the other."""
    first = torch.arange(copies, dtype=offsets.dtype, device=offsets.device)[:, None] * length
    return torch.cat([(first + offsets[:-1]).flatten(), offsets.new_full((1,), copies * length)])


def _tables(edges: Edges, heads: int, count: int) -> tuple[Tensor, Tensor]:
    """Rows (signal, target) that gather from rows (signal, node, head), entries (edge, head)."""
    signal = torch.arange(count, dtype=edges.source.dtype, device=edges.source.device)[:, None, None]
    head = torch.arange(heads, dtype=edges.source.dtype, device=edges.source.device)
    index = (signal * edges.num_sources + edges.source[:, None]) * heads + head
    return index.flatten(), _starts(edges.offsets * heads, count, edges.source.numel() * heads)


@operator("gconv::soft_assignment")
def _assign(
    x: Tensor,
    a: Tensor,
    c: Tensor,
    weight: Tensor,
    source: Tensor,
    target: Tensor,
    offsets: Tensor,
    target_back: Tensor,
    offsets_back: Tensor,
    to_columns: Tensor,
) -> Tensor:
    edges = Edges(source, target, offsets, target_back, offsets_back, to_columns)
    exact = torch.promote_types(x.dtype, torch.float32)
    heads, channels = x.shape[2:]
    out = x.new_zeros(x.shape[0], edges.num_targets, channels)
    if not out.numel() or not source.numel():
        return out
    for part in blocks(x, source.numel()):
        signals = x[part].to(exact)
        shares = _assignments(a[part].to(exact), c.to(exact), edges).mul_(weight.to(exact)[:, None, None])
        index, starts = _tables(edges, heads, signals.shape[0])
        sums = bags(signals.reshape(-1, channels), index, starts, shares.permute(2, 0, 1).reshape(-1))
        out[part] = sums.view(-1, edges.num_targets, channels)
    return out


@_assign.register_fake
def _(x, *_) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], x.shape[3])


@operator("gconv::soft_assignment_backward")
def _assign_backward(
    grad: Tensor,
    x: Tensor,
    a: Tensor,
    c: Tensor,
    weight: Tensor,
    source: Tensor,
    target: Tensor,
    offsets: Tensor,
    target_back: Tensor,
    offsets_back: Tensor,
    to_columns: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    edges = Edges(source, target, offsets, target_back, offsets_back, to_columns)
    exact = torch.promote_types(x.dtype, torch.float32)
    dc = c.new_zeros(c.shape, dtype=exact)
    if not grad.numel() or not source.numel():
        return x.new_zeros(x.shape), a.new_zeros(a.shape), dc.to(c.dtype)
    dx, da = x.new_empty(x.shape), a.new_empty(a.shape)
    heads, channels = x.shape[2:]
    edge_weight = weight.to(exact)[:, None, None]
    for part in blocks(x, source.numel()):
        signals, dy = x[part].to(exact), grad[part].to(exact)
        count = signals.shape[0]
        shares = _assignments(a[part].to(exact), c.to(exact), edges)
        index, starts = _tables(edges, heads, count)
        slopes = dots(signals.reshape(-1, channels), dy.reshape(-1, channels), index, starts)
        slopes = slopes.view(count, -1, heads).permute(1, 2, 0).mul(edge_weight)
        slopes = shares * (slopes - (shares * slopes).sum(1, keepdim=True))
        dc += slopes.sum((0, 2))
        table = slopes.flatten(1)
        change = edges.into_sources(table) - edges.into_targets(table)
        da[part] = change.view(-1, heads, count).permute(2, 0, 1)
        back = (shares * edge_weight).index_select(0, edges.to_columns).permute(2, 1, 0).reshape(-1)
        signal = torch.arange(count, dtype=target_back.dtype, device=target_back.device)[:, None, None]
        reads = (signal * edges.num_targets + target_back).expand(count, heads, -1).reshape(-1)
        spans = _starts(offsets_back, count * heads, source.numel())
        sums = bags(dy.reshape(-1, channels), reads, spans, back)
        dx[part] = sums.view(count, heads, -1, channels).transpose(1, 2)
    return dx, da, dc.to(c.dtype)


@_assign_backward.register_fake
def _(grad, x, a, c, *_) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), a.new_empty(a.shape), c.new_empty(c.shape)


def _setup(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx, grad: Tensor):
    x, a, c, *rest = ctx.saved_tensors
    if torch.is_grad_enabled():  # to be differentiated again: the same in steps that know their derivatives
        structure = Structure(rest[1].long(), rest[2].long(), x.shape[1], x.shape[1])
        gradients = differentiable(lambda x, a, c: _steps(x, a, c, rest[0], structure, "gather"), (x, a, c), grad)
    else:
        gradients = _assign_backward(grad, x, a, c, *rest)
    return *gradients, *[None] * 7


_assign.register_autograd(_gradients, setup_context=_setup)


def _steps(x: Tensor, a: Tensor, c: Tensor, weight: Tensor, structure: Structure, form: str) -> Tensor:
    scores = a.index_select(1, structure.source) - a.index_select(1, structure.target) + c
    return propagate(x, structure, scores.softmax(-1) * weight[:, None], form=form).sum(2)


def soft_assignment(
    x: Tensor, a: Tensor, c: Tensor, weight: Tensor, graph: Graph, structure: Structure, form: str | None = None
) -> Tensor:
    """y of the module's docstring; `structure`: the graph's edges, or those with loops; `weight` in their order.

    >>> graph = Graph(torch.tensor([[0], [1]]))
    >>> x, a = torch.ones(1, 2, 3, 4), torch.zeros(1, 2, 3)
    >>> soft_assignment(x, a, torch.zeros(3), torch.ones(1), graph, graph.structure)[0, 1]
    tensor([1., 1., 1., 1.])
    """
    what = f"soft assignment to {x.shape[2]} kernels, {x.shape[3]} channels"
    able = ("fused", *sum_forms(x.device))
    chosen = pick(form, able, "fused", "no assignment is stored", graph.plan.choices, what)
    if chosen != "fused":
        return _steps(x, a, c, weight, structure, chosen)
    return _assign(x, a, c, weight.index_select(0, structure.rows.order), *structure.entries)

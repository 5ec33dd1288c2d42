"""The positive part of a neighbour and its edge, summed over the neighbours, as a custom operator that stores no part.

    y[t] = Σ_{e into t} relu( x[source(e)] + r_e )

The backward pass makes the parts again, a few signals at a time. Shapes: x `(S, n, C)`; r `(E, C)`, all signals'; y
`(S, T, C)`. Cost: 2 E · C operations a signal. Reference: Hu, Liu, Gomes, Zitnik, Liang, Pande and Leskovec, Strategies
for pre-training graph neural networks (2020), equation A.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gconv.domains.structure import Structure
from gconv.functional.custom import differentiable, operator
from gconv.functional.edge_tables import Edges, blocks, enter, leave
from gconv.functional.edgewise import ADDITIONS
from gconv.functional.forms import pick
from gconv.functional.messages import reduced, steps
from gconv.functional.propagate import sum_forms


def _message(own: Tensor | None, near: Tensor, edge: Tensor | None) -> Tensor:
    return (near if edge is None else near + edge).relu()


def _parts(x: Tensor, r: Tensor, edges: Edges, exact: torch.dtype) -> Tensor:
    """relu(x + r) of signals `(b, n, C)`, `(E, b · C)`."""
    parts = enter(x, exact).index_select(0, edges.source)
    parts.view(-1, x.shape[0], x.shape[2]).add_(r[:, None])
    return parts.relu_()


@operator("gconv::rectified_sum")
def _rectified(
    x: Tensor,
    r: Tensor,
    source: Tensor,
    target: Tensor,
    offsets: Tensor,
    target_back: Tensor,
    offsets_back: Tensor,
    to_columns: Tensor,
) -> Tensor:
    edges = Edges(source, target, offsets, target_back, offsets_back, to_columns)
    out = x.new_zeros(x.shape[0], edges.num_targets, x.shape[2])
    if not out.numel() or not source.numel():
        return out
    exact = torch.promote_types(x.dtype, torch.float32)
    r = r.to(exact)
    for part in blocks(x, source.numel()):
        leave(edges.into_targets(_parts(x[part], r, edges, exact)), out[part])
    return out


@_rectified.register_fake
def _(x, r, source, target, offsets, *_) -> Tensor:
    return x.new_empty(x.shape[0], offsets.shape[0] - 1, x.shape[2])


@operator("gconv::rectified_sum_backward")
def _rectified_backward(
    grad: Tensor,
    x: Tensor,
    r: Tensor,
    need_edge: bool,
    source: Tensor,
    target: Tensor,
    offsets: Tensor,
    target_back: Tensor,
    offsets_back: Tensor,
    to_columns: Tensor,
) -> tuple[Tensor, Tensor]:
    edges = Edges(source, target, offsets, target_back, offsets_back, to_columns)
    exact = torch.promote_types(x.dtype, torch.float32)
    dx, dr = x.new_zeros(x.shape), x.new_zeros(r.shape if need_edge else 0, dtype=exact)
    if not grad.numel() or not source.numel():
        return dx, dr.to(x.dtype)
    r = r.to(exact)
    for part in blocks(x, source.numel()):
        parts = _parts(x[part], r, edges, exact)
        dy = enter(grad[part], exact).index_select(0, target)
        torch.ops.aten.threshold_backward.grad_input(dy, parts, 0.0, grad_input=dy)
        leave(edges.into_sources(dy), dx[part])
        if need_edge:
            dr += dy.view(source.numel(), -1, x.shape[2]).sum(1)
    return dx, dr.to(x.dtype)


@_rectified_backward.register_fake
def _(grad, x, r, need_edge, *_) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(r.shape if need_edge else 0)


def _setup(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx, grad: Tensor):
    x, r, *edges = ctx.saved_tensors
    if torch.is_grad_enabled():  # to be differentiated again: the same in steps that know their derivatives
        structure = Structure(edges[0].long(), edges[1].long(), x.shape[1], grad.shape[1])
        gradients = differentiable(lambda x, r: steps(_message, None, x, r, structure), (x, r), grad)
    else:
        dx, dr = _rectified_backward(grad, x, r, ctx.needs_input_grad[1], *edges)
        gradients = dx, dr if ctx.needs_input_grad[1] else None
    return *gradients, *[None] * 6


_rectified.register_autograd(_gradients, setup_context=_setup)


def rectified_sum(
    x: Tensor,
    r: Tensor,
    structure: Structure,
    *,
    aggr: str = "add",
    form: str | None = None,
    choices: dict[str, str] | None = None,
) -> Tensor:
    """y of the module's docstring; with another `aggr` of `edgewise` in place of the sum.

    Args:
        r: in the order of the edges.
        form: 'fused' (of a sum), a weighted sum's, or None for the engine's choice. choices: where to note it.

    >>> structure = Structure(torch.tensor([0, 1]), torch.tensor([2, 2]), 3, 3)
    >>> rectified_sum(torch.ones(1, 3, 1), torch.tensor([[1.0], [-3.0]]), structure).flatten()
    tensor([0., 0., 2.])
    """
    adds = aggr in ADDITIONS
    able = ("fused",) * adds + sum_forms(x.device)
    why = "no part is stored" if adds else "not a sum"
    chosen = pick(form, able, able[0], why, choices, f"{aggr} of {x.shape[2]} rectified channels")
    if chosen != "fused":
        return reduced(_message, None, x, r, structure, aggr, chosen)
    return _rectified(x, r.index_select(0, structure.rows.order), *structure.entries)

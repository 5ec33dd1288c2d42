"""Channels that each edge lets through or not: a gate a channel, as a custom operator that stores no gate.

    y[t] = Σ_{e into t} σ( k[t] + q[source(e)] + r_e ) ⊙ ( v[source(e)] + p_e )

With another function in σ's place the sums run step by step (`messages`). The backward pass makes gates and values
again, a few signals at a time, and reduces what it finds on the edges at their ends:

    dk[t] = Σ_{e into t} g_e,   dq[j] = Σ_{e out of j} g_e,   dv[j] = Σ_{e out of j} σ_e ⊙ dy[t],
    g_e   = dy[t] ⊙ (v[source(e)] + p_e) ⊙ σ_e ⊙ (1 - σ_e)

Shapes: k `(S, T, C)`; q and v side by side, `(S, n, 2 C)`; r and p side by side, `(E, 2 C)`, all signals'; y
`(S, T, C)`. Cost: 5 E · C operations a signal. Reference: Bresson and Laurent, Residual gated graph ConvNets (2017),
equation 11.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gconv.domains.structure import Structure
from gconv.functional.custom import differentiable, operator
from gconv.functional.edge_tables import Edges, blocks, enter, leave
from gconv.functional.edgewise import ADDITIONS
from gconv.functional.forms import pick
from gconv.functional.messages import Message, reduced, steps
from gconv.functional.propagate import sum_forms
from gconv.functional.rows import bags
from gconv.functional.rowwise import has_hooks


def _message(act: Callable[[Tensor], Tensor]) -> Message:
    """Gates times values; `act` sees rows, as it would in a network."""

    def message(own: Tensor | None, near: Tensor, edge: Tensor | None) -> Tensor:
        near = near if edge is None else near + edge
        query, value = near.chunk(2, -1)
        gates = query if own is None else query + own
        return act(gates.flatten(0, 1)).view_as(gates) * value

    return message


class _Gates:
    """Gates and values on the edges, as tables `(E, b · C)`."""

    def __init__(self, edges: Edges, num_sources: int) -> None:
        self.edges = edges
        # Both ends of an edge, one after the other, in a table of sources and then targets: added in one pass.
        self._pairs = torch.stack([edges.source, edges.target + num_sources], 1).flatten()
        self._starts = 2 * torch.arange(edges.source.numel() + 1, dtype=edges.source.dtype, device=edges.source.device)

    def __call__(self, own: Tensor, near: Tensor, edge: Tensor | None, exact: torch.dtype) -> tuple[Tensor, Tensor]:
        """σ and v + p of signals `(b, T, C)`, `(b, n, 2 C)`."""
        count, _, channels = own.shape
        query, value = (enter(half, exact) for half in near.chunk(2, -1))
        gates = bags(torch.cat([query, enter(own, exact)]), self._pairs, self._starts, None)
        values = value.index_select(0, self.edges.source)
        if edge is not None:
            r, p = edge[:, None].chunk(2, -1)
            gates.view(-1, count, channels).add_(r)
            values.view(-1, count, channels).add_(p)
        return gates.sigmoid_(), values


@operator("gconv::gated_sum")
def _gated(
    own: Tensor,
    near: Tensor,
    edge: Tensor | None,
    source: Tensor,
    target: Tensor,
    offsets: Tensor,
    target_back: Tensor,
    offsets_back: Tensor,
    to_columns: Tensor,
) -> Tensor:
    edges = Edges(source, target, offsets, target_back, offsets_back, to_columns)
    out = own.new_zeros(own.shape)
    if not own.numel() or not source.numel():
        return out
    exact = torch.promote_types(own.dtype, torch.float32)
    edge, made = None if edge is None else edge.to(exact), _Gates(edges, near.shape[1])
    for part in blocks(own, source.numel()):
        gates, values = made(own[part], near[part], edge, exact)
        leave(edges.into_targets(values.mul_(gates)), out[part])
    return out


@_gated.register_fake
def _(own, *_) -> Tensor:
    return own.new_empty(own.shape)


@operator("gconv::gated_sum_backward")
def _gated_backward(
    grad: Tensor,
    own: Tensor,
    near: Tensor,
    edge: Tensor | None,
    need_edge: bool,
    source: Tensor,
    target: Tensor,
    offsets: Tensor,
    target_back: Tensor,
    offsets_back: Tensor,
    to_columns: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    edges = Edges(source, target, offsets, target_back, offsets_back, to_columns)
    exact, channels = torch.promote_types(own.dtype, torch.float32), own.shape[2]
    down, dnear = own.new_zeros(own.shape), near.new_zeros(near.shape)
    dedge = own.new_zeros(0 if edge is None or not need_edge else edge.shape, dtype=exact)
    if not own.numel() or not source.numel():
        return down, dnear, dedge.to(own.dtype)
    edge, made = None if edge is None else edge.to(exact), _Gates(edges, near.shape[1])
    for part in blocks(own, source.numel()):
        gates, values = made(own[part], near[part], edge, exact)
        dy = enter(grad[part], exact).index_select(0, target)
        slopes = values.mul_(dy)
        torch.ops.aten.sigmoid_backward.grad_input(slopes, gates, grad_input=slopes)
        through = dy.mul_(gates)
        leave(edges.into_targets(slopes), down[part])
        leave(edges.into_sources(slopes), dnear[part, :, :channels])
        leave(edges.into_sources(through), dnear[part, :, channels:])
        if need_edge:
            for half, table in zip(dedge.chunk(2, -1), (slopes, through), strict=True):
                half += table.view(source.numel(), -1, channels).sum(1)
    return down, dnear, dedge.to(own.dtype)


@_gated_backward.register_fake
def _(grad, own, near, edge, need_edge, *_) -> tuple[Tensor, Tensor, Tensor]:
    dedge = own.new_empty(0 if edge is None or not need_edge else edge.shape)
    return own.new_empty(own.shape), near.new_empty(near.shape), dedge


def _setup(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx, grad: Tensor):
    own, near, edge, *edges = ctx.saved_tensors
    if torch.is_grad_enabled():  # to be differentiated again: the same in steps that know their derivatives
        structure = Structure(edges[0].long(), edges[1].long(), near.shape[1], own.shape[1])
        message = _message(torch.sigmoid)
        gradients = differentiable(lambda k, qv, rp: steps(message, k, qv, rp, structure), (own, near, edge), grad)
    else:
        need = edge is not None and ctx.needs_input_grad[2]
        down, dnear, dedge = _gated_backward(grad, own, near, edge, need, *edges)
        gradients = down, dnear, dedge if need else None
    return *gradients, *[None] * 6


_gated.register_autograd(_gradients, setup_context=_setup)


def gated_sum(
    own: Tensor,
    near: Tensor,
    edge: Tensor | None,
    structure: Structure,
    act: Callable[[Tensor], Tensor],
    *,
    aggr: str = "add",
    form: str | None = None,
    choices: dict[str, str] | None = None,
) -> Tensor:
    """y of the module's docstring; with another `aggr` of `edgewise` in place of the sum.

    Args:
        own: k. near: q and v. edge: r and p in the order of the edges, or None. act: σ, or what stands in its place.
        form: 'fused' (a sum, with a sigmoid), a weighted sum's, or None for the engine's choice. choices: where to
            note it.

    >>> structure = Structure(torch.tensor([0, 1]), torch.tensor([2, 2]), 3, 3)
    >>> near = torch.tensor([[[0.0, 2.0], [0.0, 4.0], [0.0, 8.0]]])
    >>> gated_sum(torch.zeros(1, 3, 1), near, None, structure, nn.Sigmoid())[0, 2]
    tensor([3.])
    """
    plain = isinstance(act, nn.Sigmoid) and type(act) is nn.Sigmoid and not has_hooks(act)
    able = ("fused",) * (plain and aggr in ADDITIONS) + sum_forms(own.device)
    why = "no gate is stored" if able[0] == "fused" else "not a sum of channels under a sigmoid"
    chosen = pick(form, able, able[0], why, choices, f"{aggr} of {own.shape[2]} gated channels")
    if chosen != "fused":
        return reduced(_message(act), own, near, edge, structure, aggr, chosen)
    return _gated(own, near, None if edge is None else edge.index_select(0, structure.rows.order), *structure.entries)

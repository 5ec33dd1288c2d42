"""A free network on every edge, then a reduction over the edges into a node, a few signals and rows at a time.

    y[t] = reduce_{e into t} f( own[t], near[source(e)] )

Rows of equally many edges make tables `(rows, degree)` without padding, so that every reduction is that of one axis.
Messages are made a piece at a time; the backward pass makes them again. Shapes: own `(S, T, A)`, near `(S, n, B)`; y
`(S, T, C)`; f takes `(b, rows, 1, A)` and `(b, rows, degree, B)` and gives `(b, rows, degree, C)`. Nodes without edges
get 0. Cost: E times that of f a signal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gconv.domains.structure import Piece, Structure, is_transformed
from gconv.functional.custom import differentiable
from gconv.functional.propagate import propagate
from gconv.functional.rowwise import acts_by_rows, is_a_function

Reduction = Literal["add", "sum", "mean", "max", "min", "median", "softmax", "std", "var"]
REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "add": lambda messages: messages.sum(-2),
    "sum": lambda messages: messages.sum(-2),
    "mean": lambda messages: messages.mean(-2),
    "max": lambda messages: messages.amax(-2),  # equal ones share the gradient
    "min": lambda messages: messages.amin(-2),
    "median": lambda messages: messages.median(-2).values,  # the lower of two in the middle
    "softmax": lambda messages: (messages.softmax(-2) * messages).sum(-2),
    "std": lambda messages: _deviation(_variance(messages)),
    "var": lambda messages: _variance(messages),
}
# The reductions that a weighted sum makes, those that add, and those that one neighbour's value makes.
ADDITIONS, EXTREMES = ("add", "sum"), ("max", "min")
SUMS = (*ADDITIONS, "mean")
_LEAST_VARIANCE = 1e-5
# Numbers of the messages that are made at once.
_PIECE_NUMBERS = 1 << 22


def _variance(messages: Tensor) -> Tensor:
    return messages.square().mean(-2) - messages.mean(-2).square()


def _deviation(variance: Tensor) -> Tensor:
    """The root, but 0, without a gradient, where it is too small for a derivative: as in PyG."""
    root = variance.clamp(min=_LEAST_VARIANCE).sqrt()
    return root.masked_fill(root <= _LEAST_VARIANCE**0.5, 0.0)


def check_reduction(layer: str, aggr: object) -> None:
    """Refuse what is no reduction.

    Raises:
        ValueError: naming the choices.
    """
    if not isinstance(aggr, str) or aggr not in REDUCTIONS:
        raise ValueError(f"{layer}: aggr is one of {', '.join(map(repr, REDUCTIONS))}; got {aggr!r}")


def of_neighbour(own: Tensor, near: Tensor) -> Tensor:
    """The neighbour's value alone."""
    return near


def of_sum(own: Tensor, near: Tensor) -> Tensor:
    """own + near."""
    return own + near


def of_difference(own: Tensor, near: Tensor) -> Tensor:
    """own ‖ near - own."""
    return torch.cat([own.expand_as(near), near - own], -1)


class _Again(torch.autograd.Function):
    """A function whose backward pass runs it again, under the same autocast, instead of keeping what it made."""

    @staticmethod
    def forward(ctx, run: Callable[..., Tensor], *inputs: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        kind = inputs[0].device.type
        ctx.casting = kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        ctx.run = run
        ctx.save_for_backward(*inputs)
        return run(*inputs)

    @staticmethod
    def backward(ctx, grad: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        kind, dtype, enabled = ctx.casting
        inputs = ctx.saved_tensors
        with torch.autocast(kind, dtype, enabled):
            if torch.is_grad_enabled():
                return None, *differentiable(ctx.run, inputs, grad)
            fresh = [t.detach().requires_grad_(need) for t, need in zip(inputs, ctx.needs_input_grad[1:], strict=True)]
            with torch.enable_grad():
                out = ctx.run(*fresh)
        found = iter(torch.autograd.grad(out, [t for t in fresh if t.requires_grad], grad, allow_unused=True))
        return None, *(next(found) if t.requires_grad else None for t in fresh)


def edgewise(
    own: Tensor,
    near: Tensor,
    structure: Structure,
    join: Callable[[Tensor, Tensor], Tensor],
    network: Sequence[nn.Module],
    aggr: str,
    *,
    width: int = 1,
) -> Tensor:
    """y of the module's docstring, with f(own, near) = network(join(own, near)).

    Args:
        join: `of_neighbour`, `of_sum` or `of_difference`.
        network: modules in a row. If one looks at more than one edge (batch statistics), they see all edges at once.
        width: how many times wider than `near` a message gets on its way.

    >>> structure = Structure(torch.tensor([0, 1]), torch.tensor([2, 2]), 3, 3)
    >>> x = torch.tensor([[[1.0], [5.0], [2.0]]])
    >>> edgewise(x, x, structure, of_neighbour, [], "max").flatten()
    tensor([0., 0., 5.])
    """
    if not all(acts_by_rows(part) for part in network):
        return _all_at_once(own, near, structure, join, network, aggr)
    if not structure.num_edges:  # zeros that know where they come from
        nothing = _through(network, join(own[:, :0, None], near[:, :0, None]))
        return nothing.sum((1, 2))[:, None].repeat(1, structure.num_targets, 1)
    traced = torch.compiler.is_compiling()
    anew = torch.is_grad_enabled() and not traced and not is_transformed()
    anew = anew and all(is_a_function(part) for part in network)
    whole = None if traced else nn.Sequential(*network)
    held = dict(whole.named_parameters()) if anew and whole is not None else {}
    names, parameters = list(held), list(held.values())
    found = []
    for piece in structure.by_degree:

        def run(mine: Tensor, near: Tensor, *parameters: Tensor, piece: Piece = piece) -> Tensor:
            messages = join(mine[:, :, None], propagate(near, piece.slots).unflatten(1, (mine.shape[1], piece.degree)))
            if parameters and whole is not None:  # those of the call: the module may hold others by the second run
                made = functional_call(whole, dict(zip(names, parameters, strict=True)), (messages,))
            else:
                made = _through(network, messages)
            return REDUCTIONS[aggr](made)

        mine = propagate(own, piece.rows)
        count = own.shape[0]
        if not traced:
            count = max(1, _PIECE_NUMBERS // max(1, piece.slots.num_edges * width * near.shape[-1]))
        done = [
            _Again.apply(run, m, n, *parameters) if anew else run(m, n)
            for m, n in zip(mine.split(count), near.split(count), strict=True)
        ]
        found.append(torch.cat(done))  # pyright: ignore[reportArgumentType, reportCallIssue]
    return propagate(torch.cat(found, 1), structure.out_of_pieces)


def _through(network: Sequence[nn.Module], x: Tensor) -> Tensor:
    for part in network:
        x = part(x)
    return x


def _all_at_once(
    own: Tensor,
    near: Tensor,
    structure: Structure,
    join: Callable[[Tensor, Tensor], Tensor],
    network: Sequence[nn.Module],
    aggr: str,
) -> Tensor:
    """The network called once for all edges of all signals, in the order of the edges: `(S · E, ...)`."""
    from_source = propagate(near, structure.departures).flatten(0, 1)
    from_target = propagate(own, structure.flipped.departures).flatten(0, 1)
    messages = _through(network, join(from_target, from_source)).unflatten(0, (own.shape[0], structure.num_edges))
    nothing = messages.new_zeros(own.shape[0], structure.num_targets, 1)
    return edgewise(nothing, messages, structure.arrivals, of_neighbour, [], aggr)

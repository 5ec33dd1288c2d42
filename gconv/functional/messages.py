"""Messages that are made entry by entry from both ends of an edge and its features, then reduced, step by step.

    y[t] = reduce_{e into t} m( own[t], near[source(e)], edge_e )

A few signals at a time; the backward pass makes their messages again. Shapes: own `(S, T, A)`, near `(S, n, B)`, edge
`(E, D)`, all signals'; y `(S, T, C)`. Nodes without edges get 0. Cost: that of m an edge. The fused forms of the two
messages that have one (`gated`, `rectified`) are held to these steps, and take them for second derivatives.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gconv.domains.blocks import at_once
from gconv.domains.structure import Structure, is_transformed
from gconv.functional.edgewise import ADDITIONS, edgewise, of_neighbour
from gconv.functional.propagate import propagate

Message = Callable[[Tensor | None, Tensor, Tensor | None], Tensor]
# Numbers of the messages that are made at once.
_BLOCK_NUMBERS = 1 << 20


def steps(
    message: Message,
    own: Tensor | None,
    near: Tensor,
    edge: Tensor | None,
    structure: Structure,
    aggr: str = "add",
    form: str | None = None,
) -> Tensor:
    """y of the module's docstring for all signals at once, in operations that know their derivatives.

    Args:
        message: m; it is given `(S, E, A)` or None, `(S, E, B)`, and `(E, D)` or None.
        aggr: 'add', 'sum', 'mean', 'max' or 'min'. form: of the sums over edges; None for the engine's choice.
    """
    at_source = propagate(near, structure.departures, form=form)
    at_target = None if own is None else propagate(own, structure.flipped.departures, form=form)
    made = message(at_target, at_source, edge)
    if aggr in ADDITIONS:
        return propagate(made, structure.arrivals, form=form)
    nothing = made.new_zeros(made.shape[0], structure.num_targets, 0)
    return edgewise(nothing, made, structure.arrivals, of_neighbour, [], aggr)


def reduced(
    message: Message,
    own: Tensor | None,
    near: Tensor,
    edge: Tensor | None,
    structure: Structure,
    aggr: str = "add",
    form: str | None = None,
) -> Tensor:
    """The same, a few signals at a time.

    >>> structure = Structure(torch.tensor([0, 1]), torch.tensor([2, 2]), 3, 3)
    >>> x = torch.tensor([[[1.0], [5.0], [2.0]]])
    >>> reduced(lambda own, near, edge: near * edge, None, x, torch.tensor([[3.0], [-1.0]]), structure, "max").flatten()
    tensor([0., 0., 3.])
    """

    def run(own: Tensor | None, near: Tensor) -> Tensor:
        return steps(message, own, near, edge, structure, aggr, form)

    return a_few_at_once(run, own, near, structure.num_edges * near.shape[-1])


def a_few_at_once(
    run: Callable[[Tensor | None, Tensor], Tensor], own: Tensor | None, near: Tensor, numbers: int
) -> Tensor:
    """`run(own, near)` for a few signals at a time; the backward pass runs it again.

    Args:
        own: `(S, ...)` or None. near: `(S, ...)`. numbers: how many of them a signal makes on its way.
    """
    if torch.compiler.is_compiling() or is_transformed() or near.shape[0] <= 1 or not numbers:
        return run(own, near)
    count = max(1, at_once(_BLOCK_NUMBERS, near.device) // numbers)
    parts = [None] * near.shape[0] if own is None else own.split(count)
    if not torch.is_grad_enabled():
        return torch.cat([run(*given) for given in zip(parts, near.split(count), strict=False)])
    return torch.cat(
        [checkpoint(run, *given, use_reentrant=False) for given in zip(parts, near.split(count), strict=False)]  # pyright: ignore[reportArgumentType]
    )

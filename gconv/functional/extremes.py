"""The largest, or smallest, number of each channel among the neighbours of a node.

    y[s, t] = max_{e into t} x[s, source(e)]      0 where no edge ends

Rows of equally many edges are reduced together as tables `(degree, rows)`, so many numbers at a time, and several
signals side by side where they are narrow: no `(S, E, C)` is made. Registered as custom operators with registered
backward passes. Equal neighbours share the gradient; no atomic additions, and the same bits from run to run:

    share[t] = dy[t] / n[t],   n[t] = number of edges into t whose source equals y[t]
    dx[j]    = Σ_{e out of j, x[j] = y[target(e)]} share[target(e)]          the spread
    u[t]     = mean over those n[t] edges of v[source(e)]                    its transpose, for double backward

Shapes: `(..., N, C)` to `(..., N, C)`. Cost: E · C comparisons a signal forward, 3 E · C backward.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import reduce

import torch
from torch import Tensor

from gconv.domains.graph import Graph
from gconv.domains.structure import Structure
from gconv.functional.custom import operator
from gconv.functional.edge_tables import blocks, enter, leave
from gconv.functional.forms import pick
from gconv.functional.propagate import propagate

# Numbers of a row of several signals side by side, and of the neighbours that are compared at once.
_WIDE = 512
_PIECE_NUMBERS = 1 << 18


def _over_rows(
    rows: Tensor,
    neighbours: Tensor,
    sizes: list[int],
    width: int,
    found: Callable[[Tensor, Tensor, int], Tensor],
    combine: Callable[[Tensor, Tensor], Tensor],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Row numbers, and what `found(own, near, degree)` makes of their neighbours, so many numbers at a time."""
    tall = max(1, _PIECE_NUMBERS // width)
    counts, degrees = sizes[::2], sizes[1::2]
    entries = [count * degree for count, degree in zip(counts, degrees, strict=True)]
    for every, table in zip(rows.split(counts), neighbours.split(entries), strict=True):
        places = table.view(every.numel(), -1).t()
        step = max(1, tall // places.shape[0])
        for own, near in zip(every.split(step), places.split(step, 1), strict=True):
            parts = (found(own, part.reshape(-1), part.shape[0]) for part in near.split(tall))
            yield own, reduce(combine, parts)


@operator("gconv::row_extreme")
def _row_extreme(
    x: Tensor,
    largest: bool,
    num_rows: int,
    rows: Tensor,
    sources: Tensor,
    row_sizes: list[int],
    columns: Tensor,
    targets: Tensor,
    column_sizes: list[int],
) -> Tensor:
    out = x.new_empty(x.shape[0], num_rows, x.shape[2])
    kind, combine = (torch.amax, torch.maximum) if largest else (torch.amin, torch.minimum)
    for group in blocks(x, 1, _WIDE):
        table = enter(x[group])
        width = table.shape[1]
        y = table.new_zeros(num_rows, width)

        def found(own: Tensor, near: Tensor, degree: int, table: Tensor = table) -> Tensor:
            return kind(table.index_select(0, near).view(degree, own.numel(), -1), 0)

        for own, value in _over_rows(rows, sources, row_sizes, width, found, combine):
            y.index_copy_(0, own, value)
        leave(y, out[group])
    return out


@_row_extreme.register_fake
def _(x, largest, num_rows, *_) -> Tensor:
    return x.new_empty(x.shape[0], num_rows, x.shape[2])


@operator("gconv::extreme_spread")
def _spread(
    grad: Tensor,
    x: Tensor,
    y: Tensor,
    rows: Tensor,
    sources: Tensor,
    row_sizes: list[int],
    columns: Tensor,
    targets: Tensor,
    column_sizes: list[int],
) -> Tensor:
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    for group in blocks(x, 1, _WIDE):
        table, reached, share = enter(x[group]), enter(y[group]), enter(grad[group]).clone()
        width = table.shape[1]

        def equals(own: Tensor, near: Tensor, degree: int, table: Tensor = table, reached: Tensor = reached) -> Tensor:
            at = table.index_select(0, near).view(degree, own.numel(), -1)
            return (at == reached.index_select(0, own)).sum(0)

        for own, count in _over_rows(rows, sources, row_sizes, width, equals, torch.add):
            share.index_copy_(0, own, share.index_select(0, own) / count.clamp(min=1))

        def found(
            own: Tensor,
            near: Tensor,
            degree: int,
            table: Tensor = table,
            reached: Tensor = reached,
            share: Tensor = share,
        ) -> Tensor:
            shape = degree, own.numel(), table.shape[1]
            other = reached.index_select(0, near).view(shape) != table.index_select(0, own)
            return share.index_select(0, near).view(shape).masked_fill_(other, 0).sum(0)

        dx = torch.zeros_like(table)
        for own, value in _over_rows(columns, targets, column_sizes, width, found, torch.add):
            dx.index_copy_(0, own, value)
        leave(dx, out[group])
    return out


@_spread.register_fake
def _(grad, x, *_) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@operator("gconv::extreme_select")
def _select(
    v: Tensor,
    x: Tensor,
    y: Tensor,
    rows: Tensor,
    sources: Tensor,
    row_sizes: list[int],
    columns: Tensor,
    targets: Tensor,
    column_sizes: list[int],
) -> Tensor:
    out = torch.empty_like(y, memory_format=torch.contiguous_format)
    for group in blocks(x, 1, _WIDE):
        table, reached, values = enter(x[group]), enter(y[group]), enter(v[group])
        width = table.shape[1]

        def found(
            own: Tensor,
            near: Tensor,
            degree: int,
            table: Tensor = table,
            reached: Tensor = reached,
            values: Tensor = values,
        ) -> Tensor:
            shape = degree, own.numel(), table.shape[1]
            other = table.index_select(0, near).view(shape) != reached.index_select(0, own)
            sums = values.index_select(0, near).view(shape).masked_fill_(other, 0).sum(0)
            return torch.stack([sums, (~other).sum(0).to(sums.dtype)])

        u = torch.zeros_like(reached)
        for own, (sums, count) in _over_rows(rows, sources, row_sizes, width, found, torch.add):
            u.index_copy_(0, own, sums / count.clamp(min=1))
        leave(u, out[group])
    return out


@_select.register_fake
def _(v, x, y, *_) -> Tensor:
    return torch.empty_like(y, memory_format=torch.contiguous_format)


def _extreme_setup(ctx, inputs, output) -> None:
    x, _, _, rows, sources, row_sizes, columns, targets, column_sizes = inputs
    ctx.save_for_backward(x, output, rows, sources, columns, targets)
    ctx.sizes = row_sizes, column_sizes


def _linear_setup(ctx, inputs, output) -> None:
    _, x, y, rows, sources, row_sizes, columns, targets, column_sizes = inputs
    ctx.save_for_backward(x, y, rows, sources, columns, targets)
    ctx.sizes = row_sizes, column_sizes


def _spread_back(ctx, grad: Tensor):
    x, y, rows, sources, columns, targets = ctx.saved_tensors
    row_sizes, column_sizes = ctx.sizes
    return _spread(grad, x, y, rows, sources, row_sizes, columns, targets, column_sizes), *[None] * 8


def _select_back(ctx, grad: Tensor):
    x, y, rows, sources, columns, targets = ctx.saved_tensors
    row_sizes, column_sizes = ctx.sizes
    return _select(grad, x, y, rows, sources, row_sizes, columns, targets, column_sizes), *[None] * 8


_row_extreme.register_autograd(_spread_back, setup_context=_extreme_setup)
_spread.register_autograd(_select_back, setup_context=_linear_setup)
_select.register_autograd(_spread_back, setup_context=_linear_setup)


def extreme(
    x: Tensor,
    graph: Graph | Structure,
    *,
    largest: bool = True,
    form: str | None = None,
    choices: dict[str, str] | None = None,
) -> Tensor:
    """y of the module's docstring, or the smallest.

    Args:
        x: `(..., N, C)`. graph: the edges, also as a structure, whose choice is noted in `choices`.
        largest: the largest; else the smallest.
        form: 'gather', 'portable' (plain torch operations), or None for the engine's choice.

    Raises:
        ValueError: for nodes that do not fit, or a form that cannot run here.

    >>> graph = Graph(torch.tensor([[0, 1, 1], [2, 2, 0]]))
    >>> extreme(torch.tensor([[3.0], [5.0], [4.0]]), graph).flatten()
    tensor([5., 0., 5.])
    """
    structure, choices = (graph.structure, graph.plan.choices) if isinstance(graph, Graph) else (graph, choices)
    if x.dim() < 2 or x.shape[-2] != structure.num_sources:
        raise ValueError(f"x has shape (..., {structure.num_sources}, channels) on this graph, got {tuple(x.shape)}")
    signals = x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
    name = "largest" if largest else "smallest"
    what = f"{name} of {x.shape[-1]} channels"
    chosen = pick(form, ("gather", "portable"), "gather", "sorted rows, nothing stored", choices, what)
    if chosen == "portable":
        out = _portable(signals, structure, largest)
    elif not signals.numel():
        out = propagate(signals, structure)
    else:
        out = _row_extreme(signals, largest, structure.num_targets, *structure.table, *structure.flipped.table)
    return out.reshape(*x.shape[:-2], *out.shape[-2:])


def _portable(x: Tensor, structure: Structure, largest: bool) -> Tensor:
    source, target = structure.source, structure.target
    near = x.index_select(1, source)
    place = target[None, :, None].expand_as(near)
    # Not from 0 on, whatever `include_self` says: torch would give 0 its share of the gradient where it is the largest.
    shape = x.shape[0], structure.num_targets, x.shape[2]
    start = x.new_full(shape, -torch.inf if largest else torch.inf)
    found = start.scatter_reduce(1, place, near, "amax" if largest else "amin", include_self=False)
    alone = torch.ones(structure.num_targets, dtype=torch.bool, device=x.device).index_fill(0, target, False)
    return found.masked_fill(alone[:, None], 0)

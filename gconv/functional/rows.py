"""The row-gather: y[s, t] = Σ_e w_e x[s, source(e)] over the edges into t, for S signals on one structure.

Registered as custom operators with registered backward passes, each of which is again one of the two operators, so
that double backward, `torch.compile` and `torch.export` work. Rows are sorted: no atomic additions, and the same bits
from run to run. On the CPU the work is `embedding_bag` with per-sample weights, several signals a call (`Rows.block`).

    dx[s, j] = Σ_{e out of j} w_e dy[s, target(e)]           the same gather, over the transposed rows
    dw_e     = Σ_s <dy[s, target(e)], x[s, source(e)]>       the edge dot
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gconv.domains.structure import Structure

# Numbers that the edge dot gathers at once from each side.
_CHUNK = 1 << 20


@torch.library.custom_op("gconv::row_gather", mutates_args=())
def _row_gather(
    x: Tensor,
    weight: Tensor | None,
    weight_back: Tensor | None,
    index: Tensor,
    offsets: Tensor,
    num_rows: int,
    block: int,
    index_back: Tensor,
    offsets_back: Tensor,
    block_back: int,
    order: Tensor,
    order_back: Tensor,
) -> Tensor:
    signals, columns, channels = x.shape
    out = x.new_empty(signals, num_rows, channels)
    if not out.numel():
        return out
    entries = order.numel()
    rows = x.contiguous().view(signals * columns, channels)
    per_block = None if weight is None else weight.repeat(min(block, signals))
    for first in range(0, signals, block):
        count = min(block, signals - first)
        out[first : first + count] = F.embedding_bag(
            index[: count * entries],
            rows[first * columns : (first + count) * columns],
            offsets[: count * num_rows + 1],
            mode="sum",
            per_sample_weights=None if per_block is None else per_block[: count * entries],
            include_last_offset=True,
        ).view(count, num_rows, channels)
    return out


@_row_gather.register_fake
def _(x, weight, weight_back, index, offsets, num_rows, *_) -> Tensor:
    return x.new_empty(x.shape[0], num_rows, x.shape[2])


@torch.library.custom_op("gconv::edge_dot", mutates_args=())
def _edge_dot(x: Tensor, y: Tensor, source: Tensor, target: Tensor) -> Tensor:
    signals, _, channels = x.shape
    edges = max(1, _CHUNK // max(signals * channels, 1))
    parts = [
        (x.index_select(1, s) * y.index_select(1, t)).sum((0, 2))
        for s, t in zip(source.split(edges), target.split(edges), strict=True)
    ]
    return torch.cat(parts) if parts else x.new_empty(0)


@_edge_dot.register_fake
def _(x: Tensor, y: Tensor, source: Tensor, target: Tensor) -> Tensor:
    return x.new_empty(source.shape[0])


def _gather_setup(ctx, inputs, output) -> None:
    x, weight, weight_back, index, offsets, num_rows, block, index_back, offsets_back, block_back, *orders = inputs
    learned = weight is not None and weight.requires_grad
    ctx.save_for_backward(
        x if learned else None, weight, weight_back, index, offsets, index_back, offsets_back, *orders
    )
    ctx.plan = num_rows, block, block_back, x.shape[1]


def _gather_backward(ctx, grad: Tensor):
    x, weight, weight_back, index, offsets, index_back, offsets_back, order, order_back = ctx.saved_tensors
    num_rows, block, block_back, columns = ctx.plan
    grad_x = grad_weight = None
    if weight is not None and weight_back is None:
        weight_back = weight.new_empty(weight.shape).index_copy(0, order, weight).index_select(0, order_back)
    if ctx.needs_input_grad[0]:
        grad_x = _row_gather(
            grad, weight_back, weight, index_back, offsets_back, columns, block_back, index, offsets, block,
            order_back, order,
        )  # fmt: skip
    if ctx.needs_input_grad[1]:
        entries = order.numel()
        counts = (offsets[1 : num_rows + 1] - offsets[:num_rows]).long()
        nodes = torch.arange(num_rows, device=grad.device)
        target = torch.repeat_interleave(nodes, counts, output_size=entries)
        grad_weight = _edge_dot(x, grad, index[:entries].long(), target)
    return grad_x, grad_weight, *[None] * 10


_row_gather.register_autograd(_gather_backward, setup_context=_gather_setup)


def _dot_setup(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _dot_backward(ctx, grad: Tensor):
    x, y, source, target = ctx.saved_tensors
    structure = Structure(source, target, x.shape[1], y.shape[1])
    grad_x = gather_transposed(y, structure, grad) if ctx.needs_input_grad[0] else None
    grad_y = gather(x, structure, grad) if ctx.needs_input_grad[1] else None
    return grad_x, grad_y, None, None


_edge_dot.register_autograd(_dot_backward, setup_context=_dot_setup)


def gather_sorted(x: Tensor, structure: Structure, weight: Tensor | None, weight_back: Tensor | None) -> Tensor:
    """The gather with weights in the order of the sorted rows (`weight_back`: of the sorted columns, if at hand).

    Shapes: `x` `(S, num_sources, C)`, weights `(E,)` or None for ones; to `(S, num_targets, C)`.
    """
    rows, columns = structure.rows, structure.columns
    return _row_gather(
        x, weight, weight_back, rows.index, rows.offsets, rows.num_rows, rows.block,
        columns.index, columns.offsets, columns.block, rows.order, columns.order,
    )  # fmt: skip


def gather(x: Tensor, structure: Structure, weight: Tensor | None) -> Tensor:
    """The gather with weights in the order of the edges."""
    return gather_sorted(x, structure, None if weight is None else weight[structure.rows.order], None)


def gather_transposed(x: Tensor, structure: Structure, weight: Tensor | None) -> Tensor:
    """The gather against the direction of the edges: `(S, num_targets, C) -> (S, num_sources, C)`."""
    return gather(
        x, Structure(structure.target, structure.source, structure.num_targets, structure.num_sources), weight
    )

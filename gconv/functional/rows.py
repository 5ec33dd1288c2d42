"""The row-gather: y[s, t] = Σ_e w_e x[s, source(e)] over the edges into t, for S signals on one structure.

Weights are ones, one number an edge that all signals share, `(E,)`, or one an edge and signal, `(S, E)`. Registered as
custom operators with registered backward passes, each of which is again one of the two operators, so that double
backward, `torch.compile` and `torch.export` work. Rows are sorted: no atomic additions, and the same bits from run to
run. The work is `embedding_bag` with per-sample weights and, for the weights' gradient, a product sampled at the edges.

    dx[s, j] = Σ_{e out of j} w_e dy[s, target(e)]           the same gather, over the transposed rows
    dw_e     = Σ_s <dy[s, target(e)], x[s, source(e)]>       the edge dot; without the sum where weights are a signal's
"""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor

from gconv.domains.structure import Structure
from gconv.functional.custom import operator

# Up to so many channels, signals are laid side by side in wider rows: fewer, longer entries (benchmarks/forms.py).
NARROW = 16
# Numbers of a row of several signals side by side.
_WIDE = 1024


def bags(x: Tensor, index: Tensor, offsets: Tensor, weight: Tensor | None) -> Tensor:
    """Sums of rows of `x` `(n, C)`: row r of the result adds `index[offsets[r]:offsets[r + 1]]`, weighted."""
    return F.embedding_bag(index, x, offsets, mode="sum", per_sample_weights=weight, include_last_offset=True)


def dots(x: Tensor, y: Tensor, index: Tensor, offsets: Tensor) -> Tensor:
    """<y[r], x[index[q]]> for each entry q of each row r: `(n, C)`, `(T, C)` to `(Q,)`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its sparse tensors beta
        pattern = torch.sparse_csr_tensor(
            offsets, index, y.new_zeros(index.shape), (y.shape[0], x.shape[0]), check_invariants=False
        )
        return torch.sparse.sampled_addmm(pattern, y, x.t(), beta=0.0).values()


@operator("gconv::row_gather")
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
    entries: int,
    to_rows: Tensor | None,
    to_columns: Tensor | None,
) -> Tensor:
    signals, columns, channels = x.shape
    out = x.new_empty(signals, num_rows, channels)
    if not out.numel():
        return out
    shared = weight is None or weight.dim() == 1
    if shared and signals > 1 and channels <= NARROW:
        per_block = max(1, _WIDE // channels)
        for first in range(0, signals, per_block):
            wide = x[first : first + per_block].transpose(0, 1).reshape(columns, -1)
            sums = bags(wide, index[:entries], offsets[: num_rows + 1], weight)
            out[first : first + per_block] = sums.view(num_rows, -1, channels).transpose(0, 1)
        return out
    rows = x.contiguous().view(signals * columns, channels)
    repeated = weight.repeat(min(block, signals)) if weight is not None and shared else None
    for first in range(0, signals, block):
        count = min(block, signals - first)
        own = repeated if shared or weight is None else weight[first : first + count].reshape(-1)
        out[first : first + count] = bags(
            rows[first * columns : (first + count) * columns],
            index[: count * entries],
            offsets[: count * num_rows + 1],
            None if own is None else own[: count * entries],
        ).view(count, num_rows, channels)
    return out


@_row_gather.register_fake
def _(x, weight, weight_back, index, offsets, num_rows, *_) -> Tensor:
    return x.new_empty(x.shape[0], num_rows, x.shape[2])


@operator("gconv::edge_dot")
def _edge_dot(
    x: Tensor,
    y: Tensor,
    shared: bool,
    index: Tensor,
    offsets: Tensor,
    block: int,
    index_back: Tensor,
    offsets_back: Tensor,
    block_back: int,
    to_rows: Tensor,
    to_columns: Tensor,
) -> Tensor:
    signals, _, channels = x.shape
    num_rows, entries = y.shape[1], to_rows.numel()
    if not x.numel() or not entries or not num_rows:
        return x.new_zeros(entries if shared else (signals, entries))
    exact = torch.promote_types(x.dtype, torch.float32)  # the sampled product knows no half precision
    x_rows, y_rows = x.to(exact).contiguous(), y.to(exact).contiguous()
    if shared:
        total = x_rows.new_zeros(entries)
        per_block = max(1, _WIDE // channels)
        for first in range(0, signals, per_block):
            x_wide, y_wide = (t[first : first + per_block].transpose(0, 1).flatten(1) for t in (x_rows, y_rows))
            total += dots(x_wide.contiguous(), y_wide.contiguous(), index[:entries], offsets[: num_rows + 1])
        return total.to(x.dtype)
    out = x.new_empty(signals, entries)
    for first in range(0, signals, block):
        count = min(block, signals - first)
        found = dots(
            x_rows[first : first + count].view(-1, channels),
            y_rows[first : first + count].view(-1, channels),
            index[: count * entries],
            offsets[: count * num_rows + 1],
        )
        out[first : first + count] = found.view(count, entries)
    return out


@_edge_dot.register_fake
def _(x, y, shared, index, offsets, block, index_back, offsets_back, block_back, to_rows, to_columns) -> Tensor:
    return x.new_empty(to_rows.shape[0] if shared else (x.shape[0], to_rows.shape[0]))


def _gather_setup(ctx, inputs, output) -> None:
    x, weight, weight_back, index, offsets, _, block, index_back, offsets_back, block_back, entries, *places = inputs
    learned = weight is not None and weight.requires_grad
    ctx.save_for_backward(
        x if learned else None, weight, weight_back, index, offsets, index_back, offsets_back, *places
    )
    ctx.plan = block, block_back, entries, x.shape[1]


def _gather_backward(ctx, grad: Tensor):
    x, weight, weight_back, index, offsets, index_back, offsets_back, to_rows, to_columns = ctx.saved_tensors
    block, block_back, entries, columns = ctx.plan
    grad_x = grad_weight = None
    if ctx.needs_input_grad[0]:
        if weight is not None and weight_back is None:
            weight_back = weight.index_select(-1, to_columns)
        grad_x = _row_gather(
            grad, weight_back, weight, index_back, offsets_back, columns, block_back, index, offsets, block, entries,
            to_columns, to_rows,
        )  # fmt: skip
    if ctx.needs_input_grad[1]:
        grad_weight = _edge_dot(
            x, grad, weight.dim() == 1, index, offsets, block, index_back, offsets_back, block_back, to_rows, to_columns
        )
    return grad_x, grad_weight, *[None] * 11


_row_gather.register_autograd(_gather_backward, setup_context=_gather_setup)


def _dot_setup(ctx, inputs, output) -> None:
    x, y, _, index, offsets, block, index_back, offsets_back, block_back, to_rows, to_columns = inputs
    ctx.save_for_backward(x, y, index, offsets, index_back, offsets_back, to_rows, to_columns)
    ctx.blocks = block, block_back


def _dot_backward(ctx, grad: Tensor):
    x, y, index, offsets, index_back, offsets_back, to_rows, to_columns = ctx.saved_tensors
    block, block_back = ctx.blocks
    grad_x = grad_y = None
    if ctx.needs_input_grad[0]:
        grad_x = _row_gather(
            y, grad.index_select(-1, to_columns), grad, index_back, offsets_back, x.shape[1], block_back,
            index, offsets, block, to_rows.numel(), to_columns, to_rows,
        )  # fmt: skip
    if ctx.needs_input_grad[1]:
        grad_y = _row_gather(
            x, grad, None, index, offsets, y.shape[1], block, index_back, offsets_back, block_back, to_rows.numel(),
            to_rows, to_columns,
        )  # fmt: skip
    return grad_x, grad_y, *[None] * 9


_edge_dot.register_autograd(_dot_backward, setup_context=_dot_setup)


def gather_sorted(x: Tensor, structure: Structure, weight: Tensor | None, weight_back: Tensor | None) -> Tensor:
    """The gather with weights in the order of the sorted rows (`weight_back`: of the sorted columns, if at hand).

    Shapes: `x` `(S, num_sources, C)`, weights `(E,)`, `(S, E)` or None for ones; to `(S, num_targets, C)`.
    """
    rows, columns = structure.rows, structure.columns
    learned = weight is not None and weight_back is None
    return _row_gather(
        x, weight, weight_back, rows.index, rows.offsets, rows.num_rows, rows.block, columns.index, columns.offsets,
        columns.block, structure.num_edges, *((structure.to_rows, structure.to_columns) if learned else (None, None)),
    )  # fmt: skip


def gather(x: Tensor, structure: Structure, weight: Tensor | None) -> Tensor:
    """The gather with weights in the order of the edges."""
    return gather_sorted(x, structure, None if weight is None else weight.index_select(-1, structure.rows.order), None)

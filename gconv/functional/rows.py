"""The row-gather: y[s, t] = Σ_e w_e x[s, source(e)] over the edges into t, for S signals on one structure.

Weights are ones, one number an edge that all signals share, `(E,)`, or one an edge and signal, `(S, E)`. Registered as
custom operators with registered backward passes, each of which is again one of the two operators, so that double
backward, `torch.compile` and `torch.export` work. Rows are sorted: no atomic additions, and the same bits from run to
run. An engine does the work (`engines`), the same one in every backward pass: 'bags' is `embedding_bag` with per-sample
weights and, for the weights' gradient, a product sampled at the edges.

    dx[s, j] = Σ_{e out of j} w_e dy[s, target(e)]           the same gather, over the transposed rows
    dw_e     = Σ_s <dy[s, target(e)], x[s, source(e)]>       the edge dot; without the sum where weights are a signal's
"""

from __future__ import annotations

from torch import Tensor

from gconv.domains.structure import Structure
from gconv.functional.custom import operator
from gconv.functional.engines import Kernels, Stacked, bags, dots, products

__all__ = ["NARROW", "bags", "dots", "gather", "gather_sorted"]

# Up to so many channels, signals are laid side by side in wider rows: fewer, longer entries (benchmarks/forms.py).
NARROW = 16
# Numbers of a row of several signals side by side.
_WIDE = 1024


_ENGINES = {
    "bags": lambda: Stacked(bags, NARROW, _WIDE),
    "sparse": lambda: Stacked(products),
    "triton": Kernels,
}


def _engine(name: str) -> Stacked | Kernels:
    """The engine of this name.

    Raises:
        ValueError: naming all engines.
    """
    if name not in _ENGINES:
        raise ValueError(f"unknown engine {name!r}: there are {', '.join(_ENGINES)}")
    return _ENGINES[name]()


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
    engine: str = "bags",
) -> Tensor:
    signals, _, channels = x.shape
    if not x.numel() or not num_rows:
        return x.new_zeros(signals, num_rows, channels)
    return _engine(engine).gather(x, weight, index, offsets, num_rows, block, entries)


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
    engine: str = "bags",
) -> Tensor:
    signals, entries = x.shape[0], to_rows.numel()
    if not x.numel() or not y.numel() or not entries:
        return x.new_zeros(entries if shared else (signals, entries))
    return _engine(engine).dot(x, y, shared, index, offsets, block, entries)


@_edge_dot.register_fake
def _(x, y, shared, index, offsets, block, index_back, offsets_back, block_back, to_rows, *_) -> Tensor:
    return x.new_empty(to_rows.shape[0] if shared else (x.shape[0], to_rows.shape[0]))


def _gather_setup(ctx, inputs, output) -> None:
    x, weight, weight_back, index, offsets, _, block, index_back, offsets_back, block_back, *rest = inputs
    entries, *places, engine = rest
    learned = weight is not None and weight.requires_grad
    ctx.save_for_backward(
        x if learned else None, weight, weight_back, index, offsets, index_back, offsets_back, *places
    )
    ctx.plan = block, block_back, entries, x.shape[1], engine


def _gather_backward(ctx, grad: Tensor):
    x, weight, weight_back, index, offsets, index_back, offsets_back, to_rows, to_columns = ctx.saved_tensors
    block, block_back, entries, columns, engine = ctx.plan
    grad_x = grad_weight = None
    if ctx.needs_input_grad[0]:
        if weight is not None and weight_back is None:
            weight_back = weight.index_select(-1, to_columns)
        grad_x = _row_gather(
            grad, weight_back, weight, index_back, offsets_back, columns, block_back, index, offsets, block, entries,
            to_columns, to_rows, engine,
        )  # fmt: skip
    if ctx.needs_input_grad[1] and weight is not None:
        grad_weight = _edge_dot(
            x, grad, weight.dim() == 1, index, offsets, block, index_back, offsets_back, block_back, to_rows,
            to_columns, engine,
        )  # fmt: skip
    return grad_x, grad_weight, *[None] * 12


_row_gather.register_autograd(_gather_backward, setup_context=_gather_setup)


def _dot_setup(ctx, inputs, output) -> None:
    x, y, _, index, offsets, block, index_back, offsets_back, block_back, to_rows, to_columns, engine = inputs
    ctx.save_for_backward(x, y, index, offsets, index_back, offsets_back, to_rows, to_columns)
    ctx.plan = block, block_back, engine


def _dot_backward(ctx, grad: Tensor):
    x, y, index, offsets, index_back, offsets_back, to_rows, to_columns = ctx.saved_tensors
    block, block_back, engine = ctx.plan
    grad_x = grad_y = None
    if ctx.needs_input_grad[0]:
        grad_x = _row_gather(
            y, grad.index_select(-1, to_columns), grad, index_back, offsets_back, x.shape[1], block_back,
            index, offsets, block, to_rows.numel(), to_columns, to_rows, engine,
        )  # fmt: skip
    if ctx.needs_input_grad[1]:
        grad_y = _row_gather(
            x, grad, None, index, offsets, y.shape[1], block, index_back, offsets_back, block_back, to_rows.numel(),
            to_rows, to_columns, engine,
        )  # fmt: skip
    return grad_x, grad_y, *[None] * 10


_edge_dot.register_autograd(_dot_backward, setup_context=_dot_setup)


def gather_sorted(
    x: Tensor, structure: Structure, weight: Tensor | None, weight_back: Tensor | None, engine: str = "bags"
) -> Tensor:
    """The gather with weights in the order of the sorted rows (`weight_back`: of the sorted columns, if at hand).

    Shapes: `x` `(S, num_sources, C)`, weights `(E,)`, `(S, E)` or None for ones; to `(S, num_targets, C)`.
    """
    rows, columns = structure.rows, structure.columns
    learned = weight is not None and weight_back is None
    return _row_gather(
        x, weight, weight_back, rows.index, rows.offsets, rows.num_rows, rows.block, columns.index, columns.offsets,
        columns.block, structure.num_edges, *((structure.to_rows, structure.to_columns) if learned else (None, None)),
        engine,
    )  # fmt: skip


def gather(x: Tensor, structure: Structure, weight: Tensor | None, engine: str = "bags") -> Tensor:
    """The gather with weights in the order of the edges."""
    sorted_weight = None if weight is None else weight.index_select(-1, structure.rows.order)
    return gather_sorted(x, structure, sorted_weight, None, engine)

"""Many kernels: sums over neighbours with K weights an edge, each sum with a matrix of its own.

    y[t] = Σ_{k=1}^{K} ( Σ_{e into t} w[e, k] x[source(e)] ) Θ_k

Forms, equal to rounding:

    fused    sums, then products, a few signals or rows at a time: no `(N, K, C)` is stored. The backward pass keeps x:
             z_k[j] = Σ_{e out of j} w[e, k] dy[t(e)], dx = Σ_k z_k Θ_k^T, dΘ_k = x^T z_k, dw[e, k] = <x Θ_k, dy[t]>
    steps    products, then sums, each a tensor of its own: where the result is much narrower than x

Where each edge has one kernel, its kind (edge attributes that take few values), the sums cost E, not E · K. Shapes: x
`(S, n, C_in)`, w `(E, K)`, Θ `(K, C_in, C_out)`; y `(S, T, C_out)`. Cost: E · K · C + N · K · C_in · C_out
multiply-adds a signal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from gconv.domains.blocks import at_once
from gconv.domains.structure import Structure
from gconv.functional.custom import differentiable, operator
from gconv.functional.forms import pick
from gconv.functional.propagate import propagate, sum_forms
from gconv.functional.rows import bags, dots

# Numbers of the sums by kernel that are made at once, on a CPU.
_BLOCK_NUMBERS = 1 << 20


def _pieces(x: Tensor, nodes: int, width: int, copies: int) -> Iterator[tuple[slice, slice]]:
    """Signals and rows that are worked on together: several whole ones of x `(S, n, C)`, or a part of one."""
    signals, numbers = x.shape[0], at_once(_BLOCK_NUMBERS, x.device)
    count = numbers // max(nodes * width, 1)
    if count >= 1:
        count = min(count, copies)
        for start in range(0, signals, count):
            yield slice(start, min(start + count, signals)), slice(0, nodes)
        return
    rows = max(1, numbers // width)
    for signal in range(signals):
        for start in range(0, nodes, rows):
            yield slice(signal, signal + 1), slice(start, min(start + rows, nodes))


def _entries(index: Tensor, offsets: Tensor, part: slice, rows: slice, total: int, per_row: int, entries: int):
    """Index and offsets of the rows of a piece, and where its weights begin and end."""
    if rows.start == 0 and rows.stop == total:
        count = part.stop - part.start
        return index[: count * entries], offsets[: count * total * per_row + 1], slice(0, entries)
    starts = offsets[rows.start * per_row : rows.stop * per_row + 1]
    first, last = int(starts[0]), int(starts[-1])
    return index[first:last], starts - first, slice(first, last)


def _repeated(weight: Tensor | None, span: slice, count: int) -> Tensor | None:
    return None if weight is None else weight[span].repeat(count)


@operator("gconv::kernel_sum")
def _kernel_sum(
    x: Tensor,
    weight: Tensor | None,
    weight_back: Tensor | None,
    matrices: Tensor,
    index: Tensor,
    offsets: Tensor,
    num_rows: int,
    copies: int,
    index_back: Tensor,
    offsets_back: Tensor,
    copies_back: int,
    entries: int,
) -> Tensor:
    signals, _, cin = x.shape
    count, _, cout = matrices.shape
    out = x.new_zeros(signals, num_rows, cout)
    if not out.numel() or not entries or not cin:
        return out
    x, flat = x.contiguous(), matrices.reshape(count * cin, cout)
    for part, rows in _pieces(x, num_rows, count * cin, copies):
        near, starts, span = _entries(index, offsets, part, rows, num_rows, count, entries)
        together = part.stop - part.start
        sums = bags(x[part].view(-1, cin), near, starts, _repeated(weight, span, together)).view(-1, count * cin)
        torch.mm(sums, flat, out=out[part, rows].view(-1, cout))
    return out


@_kernel_sum.register_fake
def _(x, weight, weight_back, matrices, index, offsets, num_rows, *_) -> Tensor:
    return x.new_empty(x.shape[0], num_rows, matrices.shape[2])


@operator("gconv::kernel_sum_backward")
def _kernel_sum_backward(
    grad: Tensor,
    x: Tensor,
    weight_back: Tensor | None,
    matrices: Tensor,
    need_weight: bool,
    index_back: Tensor,
    offsets_back: Tensor,
    copies_back: int,
    entries: int,
) -> tuple[Tensor, Tensor, Tensor]:
    _, nodes, cin = x.shape
    count, _, cout = matrices.shape
    exact = torch.promote_types(x.dtype, torch.float32)
    dx = torch.zeros_like(x, memory_format=torch.contiguous_format)
    dmatrices = x.new_zeros(cin, count * cout, dtype=exact)
    dweight = x.new_zeros(entries if need_weight else 0, dtype=exact)
    if x.numel() and grad.numel() and entries:
        x, grad = x.contiguous(), grad.contiguous()
        forth = matrices.transpose(0, 1).reshape(cin, count * cout)
        back = matrices.transpose(1, 2).reshape(count * cout, cin)
        for part, rows in _pieces(x, nodes, count * cout, copies_back):
            near, starts, span = _entries(index_back, offsets_back, part, rows, nodes, count, entries)
            together = part.stop - part.start
            own, dy = x[part, rows].reshape(-1, cin), grad[part].view(-1, cout)
            z = bags(dy, near, starts, _repeated(weight_back, span, together)).view(-1, count * cout)
            torch.mm(z, back, out=dx[part, rows].view(-1, cin))
            dmatrices += own.t() @ z
            if need_weight:
                products = (own @ forth).view(-1, cout)
                found = dots(dy.to(exact), products.to(exact), near, starts)
                dweight[span] += found.view(together, -1).sum(0)
    shaped = dmatrices.view(cin, count, cout).transpose(0, 1).to(matrices.dtype)
    return dx, shaped.contiguous(), dweight.to(x.dtype)


@_kernel_sum_backward.register_fake
def _(grad, x, weight_back, matrices, need_weight, index_back, offsets_back, copies_back, entries):
    dweight = x.new_empty(entries if need_weight else 0)
    return x.new_empty(x.shape), matrices.new_empty(matrices.shape), dweight


def _setup(ctx, inputs, output) -> None:
    x, _, weight_back, matrices, _, _, num_rows, _, index_back, offsets_back, copies_back, entries = inputs
    ctx.save_for_backward(x, weight_back, matrices, index_back, offsets_back)
    ctx.plan = num_rows, copies_back, entries


def _gradients(ctx, grad: Tensor):
    x, weight_back, matrices, index_back, offsets_back = ctx.saved_tensors
    num_rows, copies_back, entries = ctx.plan
    need_x, _, need_weight, need_matrices = ctx.needs_input_grad[:4]
    if torch.is_grad_enabled():  # to be differentiated again: the same in steps that know their derivatives
        rows = x.shape[1] * matrices.shape[0]
        lengths = offsets_back[: rows + 1].long().diff()
        source = torch.repeat_interleave(torch.arange(rows, device=x.device), lengths, output_size=entries)
        mixed = Structure(source, index_back[:entries].long(), rows, num_rows)
        found = differentiable(lambda x, w, m: _products_first(x, mixed, w, m, None), (x, weight_back, matrices), grad)
    else:
        given = _kernel_sum_backward(
            grad, x, weight_back, matrices, need_weight, index_back, offsets_back, copies_back, entries
        )
        dx, dmatrices, dweight = given
        found = dx if need_x else None, dweight if need_weight else None, dmatrices if need_matrices else None
    dx, dweight, dmatrices = found
    return dx, None, dweight, dmatrices, *[None] * 8


_kernel_sum.register_autograd(_gradients, setup_context=_setup)


def _products_first(x: Tensor, mixed: Structure, weight: Tensor | None, matrices: Tensor, form: str | None) -> Tensor:
    """The same, products before sums; `mixed`: edges from rows (node, kernel) to targets."""
    count, cin, cout = matrices.shape
    products = x @ matrices.transpose(0, 1).reshape(cin, count * cout)
    return propagate(products.reshape(x.shape[0], x.shape[1] * count, cout), mixed, weight, form=form)


def kernel_sum(
    x: Tensor,
    structure: Structure,
    weight: Tensor,
    matrices: Tensor,
    *,
    form: str | None = None,
    choices: dict[str, str] | None = None,
) -> Tensor:
    """y of the module's docstring.

    Args:
        x: `(S, n, C_in)`. weight: `(E, K)`, in the order of the edges. matrices: `(K, C_in, C_out)`.
        form: 'fused'; 'gather' or 'portable' (steps); None for the engine's choice. choices: where to note it.

    >>> structure = Structure(torch.tensor([0, 0]), torch.tensor([1, 1]), 2, 2)
    >>> kernel_sum(torch.ones(1, 2, 1), structure, torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.ones(2, 1, 1))[0, 1]
    tensor([10.])
    """
    count = weight.shape[1]
    flat = weight.reshape(-1)

    def entries(kernels: Structure) -> Tensor:
        return flat.index_select(0, kernels.rows.order)

    return _choose(
        x, structure.kernels(count), structure.flipped.kernels(count), flat, entries, matrices, form, choices
    )


def kind_sum(
    x: Tensor,
    forth: Structure,
    back: Structure,
    weight: Tensor | None,
    matrices: Tensor,
    *,
    form: str | None = None,
    choices: dict[str, str] | None = None,
) -> Tensor:
    """The same where each edge has one kernel alone, with weight 1 or `weight[e]` (`(E,)`).

    `forth` and `back` are `structure.by_kind` and `structure.flipped.by_kind`.

    >>> structure, kinds = Structure(torch.tensor([0, 0]), torch.tensor([1, 1]), 2, 2), torch.tensor([0, 1])
    >>> ways = structure.by_kind(kinds, 2), structure.flipped.by_kind(kinds, 2)
    >>> kind_sum(torch.ones(1, 2, 1), *ways, None, torch.tensor([[[1.0]], [[5.0]]]))[0, 1]
    tensor([6.])
    """

    def entries(kernels: Structure) -> Tensor | None:
        return None if weight is None else weight.index_select(0, kernels.rows.order)

    return _choose(x, forth, back, weight, entries, matrices, form, choices)


def _choose(
    x: Tensor,
    forth: Structure,
    back: Structure,
    weight: Tensor | None,
    entries: Callable[[Structure], Tensor | None],
    matrices: Tensor,
    form: str | None,
    choices: dict[str, str] | None,
) -> Tensor:
    if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:  # as the dense product would
        x = x.to(torch.get_autocast_dtype(x.device.type))
        weight, matrices = None if weight is None else weight.to(x.dtype), matrices.to(x.dtype)
    count, cin, cout = matrices.shape
    narrows = 2 * cout < cin
    why = "products first: the result is narrower" if narrows else "sums first, nothing stored"
    what = f"sum of {count} kernels, {cin}→{cout}"
    chosen = pick(form, ("fused", *sum_forms(x.device)), "gather" if narrows else "fused", why, choices, what)
    if chosen != "fused":
        return _products_first(x, back.flipped, weight, matrices, chosen)
    there, home = forth.rows, back.rows
    forth_weight, back_weight = entries(forth), entries(back)
    forth_weight = None if forth_weight is None else forth_weight.detach().to(x.dtype)
    return _kernel_sum(
        x, forth_weight, None if back_weight is None else back_weight.to(x.dtype), matrices,
        there.index, there.offsets, there.num_rows // count, there.block,
        home.index, home.offsets, home.block, forth.num_edges,
    )  # fmt: skip

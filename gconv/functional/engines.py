"""What computes a row-gather and an edge dot: the engines that `rows` chooses from by name.

    bags      torch's embedding_bag with per-sample weights, and its product sampled at the entries of a sparse matrix
    sparse    torch's product of a sparse matrix in compressed rows (MKL on a CPU, cuSPARSE on a GPU)
    triton    the kernels of `gpu`, on a GPU or through Triton's interpreter

All take what the operators of `rows` take. Shapes: x `(S, n, C)`, y `(S, T, C)`, weights `(E,)`, `(S, E)` or None for
ones; the gather gives `(S, T, C)`, the dot `(S, E)`, or `(E,)` where signals share it. Cost: S · E · C multiply-adds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gconv.domains.blocks import at_once
from gconv.functional import gpu


def bags(x: Tensor, index: Tensor, offsets: Tensor, weight: Tensor | None) -> Tensor:
    """Sums of rows of `x` `(n, C)`: row r of the result adds `index[offsets[r]:offsets[r + 1]]`, weighted."""
    return F.embedding_bag(index, x, offsets, mode="sum", per_sample_weights=weight, include_last_offset=True)


def products(x: Tensor, index: Tensor, offsets: Tensor, weight: Tensor | None) -> Tensor:
    """The same sums as the product of a sparse matrix with `x`."""
    # MKL knows no half precision; cuSPARSE sums it in float32 by itself.
    kind = x.dtype if x.is_cuda else torch.promote_types(x.dtype, torch.float32)
    values = x.new_ones(index.shape, dtype=kind) if weight is None else weight.to(kind)
    shape = offsets.numel() - 1, x.shape[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its sparse tensors beta
        matrix = torch.sparse_csr_tensor(offsets, index, values, shape, check_invariants=False)
        return (matrix @ x.to(kind)).to(x.dtype)


def dots(x: Tensor, y: Tensor, index: Tensor, offsets: Tensor) -> Tensor:
    """<y[r], x[index[q]]> for each entry q of each row r: `(n, C)`, `(T, C)` to `(Q,)`."""
    if index.numel() > y.shape[0] * x.shape[0]:  # parallel edges, more than there are places in a matrix
        rows = torch.repeat_interleave(offsets.long().diff(), output_size=index.numel())
        return (y.index_select(0, rows) * x.index_select(0, index)).sum(-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its sparse tensors beta
        pattern = torch.sparse_csr_tensor(
            offsets, index, y.new_zeros(index.shape), (y.shape[0], x.shape[0]), check_invariants=False
        )
        return torch.sparse.sampled_addmm(pattern, y, x.t(), beta=0.0).values()


@dataclass(frozen=True)
class Stacked:
    """A gather and a dot from a sum over rows of one table, in which signals stand one after the other or side by side.

    Args:
        sums: `bags` or `products`.
        narrow: up to so many channels, signals that share their weights are laid side by side; None: always.
        wide: numbers of such a row, on a CPU; None: those of all signals.
    """

    sums: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
    narrow: int | None = None
    wide: int | None = None

    def _beside(self, x: Tensor) -> int:
        """How many signals stand side by side."""
        signals, _, channels = x.shape
        return signals if self.wide is None else max(1, at_once(self.wide, x.device) // channels)

    def gather(
        self, x: Tensor, weight: Tensor | None, index: Tensor, offsets: Tensor, num_rows: int, block: int, entries: int
    ) -> Tensor:
        """The row-gather; nothing in it is empty but the entries."""
        signals, columns, channels = x.shape
        shared = weight is None or weight.dim() == 1
        if shared and signals > 1 and (self.narrow is None or channels <= self.narrow):
            out, count = x.new_empty(signals, num_rows, channels), self._beside(x)
            for first in range(0, signals, count):
                wide = x[first : first + count].transpose(0, 1).reshape(columns, -1)
                sums = self.sums(wide, index[:entries], offsets[: num_rows + 1], weight)
                out[first : first + count] = sums.view(num_rows, -1, channels).transpose(0, 1)
            return out
        rows = x.contiguous().view(signals * columns, channels)
        repeated = weight.repeat(min(block, signals)) if weight is not None and shared else None
        if signals <= block:  # the sums are the result: nothing to copy
            own = repeated if shared or weight is None else weight.reshape(-1)
            sums = self.sums(rows, index[: signals * entries], offsets[: signals * num_rows + 1], own)
            return sums.view(signals, num_rows, channels)
        out = x.new_empty(signals, num_rows, channels)
        for first in range(0, signals, block):
            count = min(block, signals - first)
            own = repeated if shared or weight is None else weight[first : first + count].reshape(-1)
            out[first : first + count] = self.sums(
                rows[first * columns : (first + count) * columns],
                index[: count * entries],
                offsets[: count * num_rows + 1],
                None if own is None else own[: count * entries],
            ).view(count, num_rows, channels)
        return out

    def dot(
        self, x: Tensor, y: Tensor, shared: bool, index: Tensor, offsets: Tensor, block: int, entries: int
    ) -> Tensor:
        """The edge dot; nothing in it is empty."""
        signals, _, channels = x.shape
        num_rows = y.shape[1]
        exact = torch.promote_types(x.dtype, torch.float32)  # the sampled product knows no half precision
        x_rows, y_rows = x.to(exact).contiguous(), y.to(exact).contiguous()
        if shared:
            total = x_rows.new_zeros(entries)
            count = self._beside(x)
            for first in range(0, signals, count):
                x_wide, y_wide = (t[first : first + count].transpose(0, 1).flatten(1) for t in (x_rows, y_rows))
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


class Kernels:
    """The same by the Triton kernels, for which all signals stand on the rows of one."""

    def gather(
        self, x: Tensor, weight: Tensor | None, index: Tensor, offsets: Tensor, num_rows: int, block: int, entries: int
    ) -> Tensor:
        """The row-gather."""
        return gpu.row_gather(x, weight, index[:entries], offsets[: num_rows + 1])

    def dot(
        self, x: Tensor, y: Tensor, shared: bool, index: Tensor, offsets: Tensor, block: int, entries: int
    ) -> Tensor:
        """The edge dot."""
        kernel = gpu.edge_dot_total if shared else gpu.edge_dot
        return kernel(x, y, index[:entries], offsets[: y.shape[1] + 1])

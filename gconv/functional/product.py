"""x W for signals that are dense, or sparse `(N, C)`: bags of words, one-hot features.

A sparse signal is itself a structure, from its columns to its rows: y[n] = Σ_{c in row n} x[n, c] W[c], the row-gather
of W's rows. Its sorted entries are kept while the tensor lives. Cost: entries · C_out multiply-adds.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from gconv.domains.structure import Structure, constant
from gconv.functional.rows import gather

_STRUCTURES: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def is_sparse(x: Tensor) -> bool:
    """Whether a signal is held as a sparse tensor."""
    return x.layout is not torch.strided


def dense(x: Tensor) -> Tensor:
    """The signal as a dense tensor."""
    return x.to_dense() if is_sparse(x) else x


def entries_of(x: Tensor) -> tuple[Structure, Tensor]:
    """A sparse signal's structure, columns to rows, and its values in the order of its edges."""
    held = x if x.layout is torch.sparse_csr else x.to_sparse_csr()
    if x not in _STRUCTURES:
        _STRUCTURES[x] = _structure(held)
    return _STRUCTURES[x], held.values()


@constant
def _structure(x: Tensor) -> Structure:
    rows, columns = x.shape
    counts = x.crow_indices().long().diff()
    own = torch.repeat_interleave(torch.arange(rows, device=x.device), counts)
    return Structure(x.col_indices().long().clone(), own, columns, rows)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b, as `torch.nn.functional.linear`: x `(..., C_in)` or sparse `(N, C_in)`, weight `(C_out, C_in)`.

    >>> x = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    >>> product(x.to_sparse_csr(), torch.tensor([[3.0, 5.0]])).flatten()
    tensor([10.,  3.])
    """
    if not is_sparse(x):
        return F.linear(x, weight, bias)
    structure, values = entries_of(x)
    y = gather(weight.t()[None], structure, values.to(weight.dtype))[0]
    return y if bias is None else y + bias

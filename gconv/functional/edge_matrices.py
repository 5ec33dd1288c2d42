"""A matrix on every edge, made and applied for so many edges at a time: m_e = x[source(e)] M_e."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gconv.domains.structure import Structure

# Numbers of matrices that are made at once.
_CHUNK_NUMBERS = 1 << 22


def edge_messages(
    x: Tensor, structure: Structure, features: Tensor, matrices: Callable[[Tensor], Tensor], size: int
) -> Tensor:
    """Messages `(S, E, C_out)` of signals `(S, n, C_in)`.

    Args:
        features: what the matrices are made from, `(E, D)`. matrices: `(e, D)` to `(e, C_in, C_out)`.
        size: the numbers of a matrix and of what is made on the way to it.
    """
    edges = max(1, _CHUNK_NUMBERS // size)
    messages = [
        torch.einsum("sec,eco->seo", x.index_select(1, source), matrices(part))
        for source, part in zip(structure.source.split(edges), features.split(edges), strict=True)
    ]
    return torch.cat(messages, 1)

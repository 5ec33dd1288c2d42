"""Tensor-product B-splines on uniform knots: which basis functions do not vanish at a point, and their values.

    B_p(u) = Π_d N^m_{d, p_d}(u_d)

with N^m_p the B-spline of degree m on equidistant knots. An open axis of k functions has k - m intervals on [0, 1]; a
closed one has k, and its functions wrap around, so that 0 and 1 are the same point. Of the k functions of an axis m + 1
do not vanish at u, those that begin at its interval and the m before; at the fraction v of the interval they are

    m = 1    1 - v, v
    m = 2    (1 - v)² / 2,   ½ + v - v²,   v² / 2
    m = 3    (1 - v)³ / 6,   (3v³ - 6v² + 4) / 6,   (-3v³ + 3v² + 3v + 1) / 6,   v³ / 6

Symbols: u = `pseudo`, k = `kernel_size`, m = `degree`. Shapes: u `(E, dim)`; values and indices `(E, S)`, S =
(m + 1)^dim; functions are counted with the first axis fastest: p = p_1 + k_1 (p_2 + k_2 (p_3 ...)). Cost: E · S · dim.
Reference: Fey, Lenssen, Weichert and Müller, SplineCNN (2018), section 3; Piegl and Tiller, The NURBS book.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# The functions on one interval, first to last: row p, the coefficients of 1, v, v², v³.
_PIECES = {
    1: ((1.0, -1.0), (0.0, 1.0)),
    2: ((0.5, -1.0, 0.5), (0.5, 1.0, -1.0), (0.0, 0.0, 0.5)),
    3: (
        (1 / 6, -0.5, 0.5, -1 / 6),
        (2 / 3, 0.0, -1.0, 0.5),
        (1 / 6, 0.5, 0.5, -0.5),
        (0.0, 0.0, 0.0, 1 / 6),
    ),
}
DEGREES = tuple(_PIECES)


def check_pseudo(layer: str, pseudo: Tensor) -> None:
    """Refuse pseudo-coordinates outside [0, 1].

    Raises:
        ValueError: naming the first edge that has some.
    """
    outside = ~((pseudo >= 0) & (pseudo <= 1))
    if bool(outside.any()):
        edge = int(outside.any(1).nonzero()[0])
        raise ValueError(
            f"{layer}: pseudo-coordinates lie in [0, 1], those of edge {edge} are {pseudo[edge].tolist()}; scale "
            "edge_attr (gconv.cartesian(graph) does), or pass max_value, the largest offset there can be"
        )


def spline_basis(
    pseudo: Tensor, kernel_size: Sequence[int], is_open_spline: Sequence[bool], degree: int
) -> tuple[Tensor, Tensor]:
    """The values `(E, S)` and indices `(E, S)` of the functions that do not vanish at points `(E, dim)` in [0, 1].

    Differentiable by `pseudo`.

    >>> values, indices = spline_basis(torch.tensor([[0.25]]), [3], [True], degree=1)
    >>> values, indices
    (tensor([[0.5000, 0.5000]]), tensor([[0, 1]]))
    """
    pieces = pseudo.new_tensor(_PIECES[degree]).t()
    steps = torch.arange(degree + 1, device=pseudo.device)
    values = pseudo.new_ones(len(pseudo), 1)
    indices = torch.zeros(len(pseudo), 1, dtype=torch.long, device=pseudo.device)
    stride = 1
    for u, count, is_open in zip(pseudo.unbind(1), kernel_size, is_open_spline, strict=True):
        intervals = count - degree if is_open else count
        scaled = u * intervals
        interval = scaled.detach().floor().clamp(0, max(intervals - 1, 0))
        v, functions = (scaled - interval)[:, None], pieces[degree]
        for coefficients in pieces[:degree].flip(0):  # Horner's rule
            functions = functions * v + coefficients
        here = (interval.long()[:, None] + steps) % count * stride
        values = (values[:, None, :] * functions[:, :, None]).flatten(1)
        indices = (indices[:, None, :] + here[:, :, None]).flatten(1)
        stride *= count
    return values, indices


def dense_basis(values: Tensor, indices: Tensor, count: int) -> Tensor:
    """The values of all functions, `(E, K)`; differentiable by `values`."""
    return values.new_zeros(len(values), count).scatter_add(1, indices, values)

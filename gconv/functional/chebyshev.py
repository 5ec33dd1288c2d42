"""Filters that are polynomials of an operator: y = Σ_k T_k(L̃) x W_k, with T_k the Chebyshev polynomials.

    T_0 = 1,  T_1(λ) = λ,  T_k(λ) = 2 λ T_{k-1}(λ) - T_{k-2}(λ)

Two forms, equal to rounding:

    fused        K - 1 sums over neighbours and K products in one pass       any graph
    eigenbasis   U diag(Σ_k T_k(λ̃) W_k) U^T x: two transforms and one        undirected graphs of a grid, which many
                 product an eigenvalue, whatever K                           signals share, so that the basis pays

Reference: Hammond, Vandergheynst and Gribonval, Wavelets on graphs via spectral graph theory (2011), section 6.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gconv.domains.graph import Graph
from gconv.domains.operators import Normalization, largest_of
from gconv.functional.forms import forced_form, pick
from gconv.functional.polynomial import polynomial
from gconv.functional.product import is_sparse
from gconv.functional.propagate import sum_forms

# Relative costs on the CPU, fitted to benchmarks/results/forms.json: visiting an edge in a step of the recurrence,
# each channel of it, and a multiply-add of a dense product.
_EDGE, _EDGE_NUMBER, _DENSE = 0.05, 0.008, 0.01
# And what a transform costs of the N² products of a dense basis: with mirror symmetry, and without.
_MIRRORED, _WHOLE = 0.25, 0.55
_LARGEST_BASIS = 2048


def chebyshev_values(eigenvalues: Tensor, count: int) -> Tensor:
    """T_k(λ̃) of scaled eigenvalues, `(N,) -> (N, count)`.

    >>> chebyshev_values(torch.tensor([0.5]), 4)
    tensor([[ 1.0000,  0.5000, -0.5000, -1.0000]])
    """
    values = [torch.ones_like(eigenvalues), eigenvalues]
    while len(values) < count:
        values.append(2 * eigenvalues * values[-1] - values[-2])
    return torch.stack(values[:count], -1)


def by_eigenbasis(
    x: Tensor, graph: Graph, normalization: Normalization, lambda_max: float | None, coefficients: Tensor
) -> Tensor:
    """The same filter on the Fourier basis."""
    count, _, _ = coefficients.shape
    basis = graph.plan.fourier(normalization)
    # Under autocast a signal may come in half precision, and the coefficients do not.
    dtype = coefficients.dtype if torch.is_autocast_enabled(x.device.type) else x.dtype

    def response() -> Tensor:
        bound = (
            2.0 * _largest_entry(graph, normalization)
            if lambda_max is None
            else basis.eigenvalues.new_tensor(lambda_max)
        )
        scaled = torch.where(bound > 0, 2 * basis.eigenvalues / bound - 1, -1.0)
        return chebyshev_values(scaled, count).to(dtype)

    values = graph.plan.keep(("chebyshev values", normalization, lambda_max, count, dtype), response)
    return spectral_filter(x, graph, normalization, torch.tensordot(values, coefficients, dims=1))


def _largest_entry(graph: Graph, normalization: Normalization) -> Tensor:
    """The largest entry of L, `()`; of a batch, at each frequency that of its graph, `(N,)`."""
    laplacian = graph.plan.laplacian(normalization)
    return largest_of(laplacian.weight, laplacian.structure.target, graph.parts)


def spectral_filter(x: Tensor, graph: Graph, normalization: Normalization, response: Tensor) -> Tensor:
    """U G U^H x with a matrix G an eigenvalue: `response` `(N, C_in, C_out)`; `(..., N, C_in) -> (..., N, C_out)`."""
    basis = graph.plan.fourier(normalization)
    spectrum = basis.transform(x)
    out = basis.inverse(torch.einsum("...ni,nio->...no", spectrum, response.to(spectrum.dtype)))
    return out.real if out.is_complex() else out


def chebyshev_filter(
    x: Tensor,
    graph: Graph,
    coefficients: Tensor,
    normalization: Normalization = "sym",
    lambda_max: float | None = None,
    form: str | None = None,
    *,
    bias: Tensor | None = None,
) -> Tensor:
    """Σ_k T_k(2 L / λmax - I) x W_k + b, in the cheaper form for this plan.

    Args:
        x: `(..., N, C_in)`. coefficients: W, `(K, C_in, C_out)`. normalization, lambda_max: of `graph.plan.chebyshev`.
        form: 'eigenbasis', a form of `polynomial`, or None for the engine's choice.
        bias: b, `(C_out,)`.

    Raises:
        ValueError: for 'eigenbasis' on a graph that has none.

    >>> from gconv import grid_graph
    >>> chebyshev_filter(torch.ones(1, 16, 2), grid_graph((4, 4)), torch.ones(3, 2, 5)).shape
    torch.Size([1, 16, 5])
    """
    count, cin, cout = coefficients.shape
    if is_sparse(x):  # products come first, and make it dense
        operator = graph.plan.chebyshev(normalization, lambda_max)
        return polynomial(x, operator, coefficients, bias, chebyshev=True, form=form)
    able = ("fused", *sum_forms(x.device), "stencil", "dense") + ("eigenbasis",) * _has_basis(
        graph, normalization, form
    )
    what = f"Chebyshev filter of {count} terms, {cin}→{cout}"
    if pick(form, able, *_cheaper(graph, coefficients, normalization), graph.plan.choices, what) == "eigenbasis":
        out = by_eigenbasis(x, graph, normalization, lambda_max, coefficients)
        return out if bias is None else out + bias
    operator = graph.plan.chebyshev(normalization, lambda_max)
    return polynomial(x, operator, coefficients, bias, chebyshev=True, form=form)


def _has_basis(graph: Graph, normalization: Normalization, form: str | None) -> bool:
    """Whether the eigenbasis may be asked for; a general graph is examined only where somebody forces it."""
    if normalization == "rw":
        return False
    if graph.lattice is not None or form is not None:
        return True
    return forced_form() == "eigenbasis" and graph.plan.laplacian(normalization).symmetric


def _cheaper(graph: Graph, coefficients: Tensor, normalization: Normalization) -> tuple[str, str]:
    """The cheaper form, and the estimate that says so."""
    if graph.lattice is None:
        return "fused", "no basis is made for a graph that is not a grid's"
    if normalization == "rw" or graph.num_nodes > _LARGEST_BASIS:
        return "fused", f"no orthonormal basis of 'rw', and none of more than {_LARGEST_BASIS} nodes"
    count, cin, cout = coefficients.shape
    nodes, dense = graph.num_nodes, graph.num_nodes * cin * cout * _DENSE
    share = _WHOLE if graph.lattice.grid.periodic else _MIRRORED
    basis = share * nodes * nodes * (cin + cout) * _DENSE + dense
    steps = (count - 1) * graph.num_edges * (_EDGE + cin * _EDGE_NUMBER) + count * dense
    ratio = steps / max(basis, 1.0)
    return "eigenbasis" if ratio > 1 else "fused", f"steps are estimated at {ratio:.2g} times the transforms"

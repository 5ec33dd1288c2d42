"""Kernels on polar coordinates that a formula fixes: what is learned are the matrices.

    w_k(e) = exp( f_k(u_e) ),   or, as weights of a mean,   exp( f_k(u_e) ) / Σ_{e' into t(e)} exp( f_k(u_e') )

Shapes: u `(E, 2)`; f and w `(E, K)`. Cost: E · K. Nodes without edges get no weight.
"""

from __future__ import annotations

from torch import Tensor

from gconv.domains.structure import Structure


def kernel_weights(exponents: Tensor, structure: Structure, normalize: bool) -> Tensor:
    """w of the module's docstring, of f; differentiable.

    >>> import torch
    >>> edges = Structure(torch.tensor([0, 1]), torch.tensor([2, 2]), 3, 3)
    >>> kernel_weights(torch.tensor([[0.0], [0.0]]), edges, normalize=True).flatten()
    tensor([0.5000, 0.5000])
    """
    if not normalize:
        return exponents.exp()
    target = structure.target[:, None].expand_as(exponents)
    nothing = exponents.new_zeros(structure.num_targets, exponents.shape[1])
    top = nothing.scatter_reduce(0, target, exponents.detach(), "amax", include_self=False)
    weights = (exponents - top.index_select(0, structure.target)).exp()
    total = nothing.index_add(0, structure.target, weights)
    return weights / total.index_select(0, structure.target)


def check_polar(layer: str, polar: Tensor) -> None:
    """Refuse what are no polar coordinates.

    Raises:
        ValueError: naming the first edge whose distance is negative, or that has no finite coordinates.
    """
    wrong = ~((polar[:, 0] >= 0) & polar.isfinite().all(1))
    if bool(wrong.any()):
        edge = int(wrong.nonzero()[0])
        raise ValueError(
            f"{layer}: edge_attr holds a distance and an angle (ρ, θ) an edge, finite, and ρ >= 0; edge {edge} has "
            f"{polar[edge].tolist()}; make them with gconv.polar(graph), or pass coordinates='cartesian' for offsets"
        )

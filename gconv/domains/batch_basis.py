"""Fourier bases of a batch of graphs: each graph's own, side by side, none as wide as their union.

    L = diag(L_1, ..., L_G) = U diag(λ) U^T,   U = diag(U_1, ..., U_G)

A solver that is given the whole mixes the graphs wherever they share an eigenvalue, as all do 0. Frequency k belongs to
the graph of node k; those of a graph ascend. Shapes: blocks `(G, M, M)`, M the nodes of the largest graph. Cost: G M³
once, G M² a signal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gconv.domains.batch import Parts
from gconv.domains.operators import Operator
from gconv.domains.spectrum import LARGEST_DENSE_BASIS, DenseBasis, FourierBasis, kept_in


class BatchBasis(FourierBasis):
    """The bases of the graphs of a batch, as matrices filled up with zeros."""

    def __init__(self, eigenvalues: Tensor, blocks: Tensor, place: Tensor) -> None:
        self.eigenvalues = eigenvalues
        self._kept = {blocks.dtype: blocks}
        self._place = place  # of each node among the rows of all blocks

    @classmethod
    def of(cls, parts: Parts, laplacian: Operator) -> BatchBasis:
        """Solve for the basis of each graph.

        Raises:
            ValueError: for more, or larger, graphs than dense bases can be kept for.
        """
        order, filled = parts.slots
        count, most = filled.shape
        if count * most**2 > LARGEST_DENSE_BASIS**2:
            raise ValueError(
                f"the exact Fourier bases of {parts!r} are {count:,} dense matrices of {most:,}×{most:,} (the limit is "
                f"{LARGEST_DENSE_BASIS**2:,} numbers in all); take smaller batches, or ChebConv, which needs none"
            )
        place = torch.empty_like(parts.batch)
        place[order[filled]] = filled.flatten().nonzero().squeeze(1)
        structure = laplacian.structure
        row, column = place[structure.target], place[structure.source] % most
        blocks = laplacian.weight.new_zeros(count * most, most)
        blocks = blocks.index_put_((row, column), laplacian.weight, accumulate=True).view(count, most, most)
        values = blocks.new_zeros(count, most)
        for block, own, nodes in zip(blocks, values, parts.sizes.tolist(), strict=True):
            solved = DenseBasis.of(block[:nodes, :nodes]) if nodes else None
            if solved is not None:
                block[:nodes, :nodes] = solved.vectors()
                own[:nodes] = solved.eigenvalues
        return cls(values.flatten()[place], blocks, place)

    def transform(self, x: Tensor) -> Tensor:
        return self._on_blocks(kept_in(self._kept, x.dtype).transpose(1, 2), x)

    def inverse(self, spectrum: Tensor) -> Tensor:
        return self._on_blocks(kept_in(self._kept, spectrum.dtype), spectrum)

    def _on_blocks(self, blocks: Tensor, x: Tensor) -> Tensor:
        rows = x.new_zeros(*x.shape[:-2], blocks.shape[0] * blocks.shape[1], x.shape[-1])
        rows = rows.index_copy(-2, self._place, x).unflatten(-2, blocks.shape[:2])
        return (blocks @ rows).flatten(-3, -2).index_select(-2, self._place)

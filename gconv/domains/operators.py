"""Fixed linear maps on a graph: adjacency and Laplacians in the normalisations of the field.

With weights w, out-degree d_j = Σ_i w_ji and in-degree d'_i = Σ_j w_ji, loops left out,

    combinatorial  L = D - A
    sym            L = I - D^{-1/2} A D^{-1/2}
    rw             L = I - D^{-1} A
    gcn            D̂^{-1/2} (A + I) D̂^{-1/2}, degrees over targets, one loop a node (improved: A + 2 I, where A has
                   weights; without weights PyG's own loops weigh 1 all the same, and so do these)

as in `torch_geometric.utils.get_laplacian` and `gcn_norm`: a node without edges has degree 0, whose inverse counts as
0. Weights are worked out in float64 and kept per dtype, so that a float32 layer sees them rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import Tensor

from gconv.domains.structure import Structure, constant

if TYPE_CHECKING:
    from gconv.domains.batch import Parts
    from gconv.domains.graph import Graph

Normalization = Literal["sym", "rw"] | None
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Stencil:
    """An operator on a regular grid in factors: y = diagonal ⊙ x + left ⊙ (kernel ∗ (right ⊙ x)).

    `kernel` has three taps an axis; a factor that is None counts as ones (`diagonal`: as zeros).
    """

    size: tuple[int, ...]
    periodic: bool
    kernel: Tensor
    diagonal: Tensor | None = None
    left: Tensor | None = None
    right: Tensor | None = None

    def to(self, dtype: torch.dtype) -> Stencil:
        """The same factors in another dtype."""
        tensors = (None if t is None else t.to(dtype) for t in (self.kernel, self.diagonal, self.left, self.right))
        return Stencil(self.size, self.periodic, *tensors)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, eq=False)
class Operator:
    """A sparse N×N matrix with fixed values: y[target] = Σ weight · x[source] over the edges of `structure`."""

    name: str
    structure: Structure
    weight: Tensor
    stencil: Stencil | None = None

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.structure.num_targets

    @cached_property
    def symmetric(self) -> bool:
        """Whether the matrix equals its transpose, to rounding."""
        n, structure = self.num_nodes, self.structure
        keys = structure.target * n + structure.source, structure.source * n + structure.target
        unique, inverse = torch.unique(torch.cat(keys), return_inverse=True)
        difference = self.weight.new_zeros(unique.shape).index_add_(0, inverse, torch.cat([self.weight, -self.weight]))
        scale = float(self.weight.abs().max()) if self.weight.numel() else 0.0
        return bool((difference.abs() <= 1e-12 * scale).all())

    @cached_property
    def choices(self) -> dict[str, str]:
        """What ran on this operator, in which form and why: for `graph.plan.explain()`."""
        return {}

    @cached_property
    def _kept(self) -> dict[tuple[str, torch.dtype], Any]:
        return {}

    def values(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The weights in the order of the sorted rows, and of the sorted columns."""
        rows, columns = self.structure.rows, self.structure.columns
        return (
            self._keep(("rows", dtype), lambda: self.weight.to(dtype).index_select(0, rows.order)),
            self._keep(("columns", dtype), lambda: self.weight.to(dtype).index_select(0, columns.order)),
        )

    def _keep(self, key: tuple[str, torch.dtype], build: Callable[[], T]) -> T:
        if key in self._kept:
            return self._kept[key]
        built = constant(build)()
        if not torch.compiler.is_compiling():  # a traced tensor is none to keep
            self._kept[key] = built
        return built

    def dense(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """The matrix itself, `(N, N)`, row = target."""

        def build() -> Tensor:
            matrix = self.weight.new_zeros(self.num_nodes, self.num_nodes)
            matrix.index_put_((self.structure.target, self.structure.source), self.weight, accumulate=True)
            return matrix.to(dtype)

        return self._keep(("dense", dtype), build)

    def factors(self, dtype: torch.dtype) -> Stencil:
        """The factors of the stencil form."""
        assert self.stencil is not None
        stencil = self.stencil
        return self._keep(("stencil", dtype), lambda: stencil.to(dtype))


def inverse_power(degree: Tensor, power: float) -> Tensor:
    """`degree ** power` with 0 for a degree of 0, whose gradient is 0 as well.

    Raises:
        ValueError: for a negative degree, of which there is no root.
    """
    if not torch.compiler.is_compiling() and bool((degree < 0).any()):
        node = int((degree < 0).nonzero()[0])
        raise ValueError(f"node {node} has negative degree {float(degree[node]):g}: no normalisation; mend its weights")
    positive = degree > 0
    return torch.where(positive, degree, torch.ones_like(degree)).pow(power) * positive


def degrees(structure: Structure, weight: Tensor, over: Tensor) -> Tensor:
    """The weights summed over the edges that name a node in `over`."""
    return weight.new_zeros(structure.num_targets).index_add(0, over, weight)


def edge_weights(graph: Graph, dtype: torch.dtype = torch.float64) -> Tensor:
    """The graph's weights, or ones."""
    if graph.edge_weight is None:
        return torch.ones(graph.num_edges, dtype=dtype, device=graph.device)
    return graph.edge_weight.to(dtype)


def laplacian_weights(graph: Graph, weight: Tensor, normalization: Normalization) -> tuple[Structure, Tensor]:
    """The Laplacian's structure (one loop a node, last) and its weights, differentiable in `weight`."""
    structure, kept = graph.structure.with_loops
    weight = weight[kept]
    source, target = structure.source[: kept.numel()], structure.target[: kept.numel()]
    degree = degrees(structure, weight, source)
    if normalization is None:
        return structure, torch.cat([-weight, degree])
    if normalization == "sym":
        root = inverse_power(degree, -0.5)
        scaled = root[source] * weight * root[target]
    else:
        scaled = inverse_power(degree, -1.0)[source] * weight
    return structure, torch.cat([-scaled, torch.ones_like(degree)])


def largest_of(values: Tensor, nodes: Tensor, parts: Parts | None) -> Tensor:
    """The largest of values at nodes, `()`; of a batch, for each node that of its graph, `(N,)`."""
    if parts is None:
        return values.max()
    lowest = values.new_full((parts.count,), -torch.inf)
    return lowest.scatter_reduce(0, parts.batch[nodes], values, "amax")[parts.batch]


def chebyshev_weights(
    structure: Structure, laplacian: Tensor, lambda_max: float | Tensor | None, parts: Parts | None
) -> tuple[Tensor, Tensor]:
    """2 / λmax, and the weights of 2 L / λmax - I, with the loops of L last; differentiable.

    Args:
        lambda_max: λmax, a number or one an entry of L; None for twice the largest entry of L.
        parts: the graphs of a batch, each of which has a largest entry of its own.
    """
    bound = lambda_max
    if bound is None:
        bound = 2.0 * largest_of(laplacian, structure.target, parts)
        bound = bound if parts is None else bound[structure.target]
    bound = torch.as_tensor(bound, dtype=laplacian.dtype, device=laplacian.device)
    # Without edges λmax is 0 and L vanishes: what is left is -I.
    scale = torch.where(bound > 0, 2.0 / torch.where(bound > 0, bound, torch.ones_like(bound)), torch.zeros_like(bound))
    num_nodes = structure.num_targets
    minus = torch.cat([laplacian.new_zeros(laplacian.numel() - num_nodes), laplacian.new_ones(num_nodes)])
    return scale, laplacian * scale - minus


def gcn_weights(graph: Graph, weight: Tensor, improved: bool, add_self_loops: bool) -> tuple[Structure, Tensor]:
    """GCN's structure and weights, differentiable in `weight`; a loop that is there keeps its own weight."""
    structure = graph.structure
    if add_self_loops:
        loops = weight.new_full((graph.num_nodes,), 2.0 if improved else 1.0)
        last = structure.last_loops
        if last is not None:  # of several loops at a node the last one counts, as in PyG
            loops = torch.where(last >= 0, weight[last.clamp(min=0)], loops)
        structure, kept = structure.with_loops
        weight = torch.cat([weight[kept], loops])
    root = inverse_power(degrees(structure, weight, structure.target), -0.5)
    return structure, root[structure.source] * weight * root[structure.target]


def lattice_stencil(graph: Graph) -> Stencil | None:
    """The unweighted adjacency of a regular grid as a stencil; None for every other graph."""
    lattice = graph.lattice
    if lattice is None or not lattice.offsets or graph.edge_weight is not None or lattice.grid.ndim > 3:
        return None
    kernel = torch.zeros((3,) * lattice.grid.ndim, dtype=torch.float64, device=graph.device)
    for offset in lattice.offsets:
        kernel[tuple(step + 1 for step in offset)] = 1.0
    return Stencil(lattice.grid.size, lattice.grid.periodic, kernel)

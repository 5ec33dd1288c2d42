"""What depends on the graph alone, computed once and kept with it: operators, λmax, Fourier bases, tables."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from gconv.domains.batch_basis import BatchBasis
from gconv.domains.mirror import MirrorBasis
from gconv.domains.operators import (
    Normalization,
    Operator,
    chebyshev_weights,
    edge_weights,
    gcn_weights,
    inverse_power,
    laplacian_weights,
    lattice_stencil,
)
from gconv.domains.spectrum import CosineBasis, DenseBasis, FourierBasis, TorusBasis
from gconv.domains.structure import Structure, constant

if TYPE_CHECKING:
    from gconv.domains.graph import Graph

T = TypeVar("T")

NORMALIZATIONS = (None, "sym", "rw")
_MOST_KINDS = 64


def check_normalization(normalization: object) -> None:
    """Refuse what is no Laplacian's normalisation.

    Raises:
        ValueError: naming the choices.
    """
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"normalization is None, 'sym' or 'rw'; got {normalization!r}")


class Plan:
    """The store of a graph's precomputed parts. Made by `graph.plan`."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._kept: dict[Hashable, Any] = {}
        self.choices: dict[str, str] = {}  # what ran on the graph, in which form and why

    def keep(self, key: Hashable, build: Callable[[], T]) -> T:
        """The value kept under `key`, built on the first call.

        Raises:
            RuntimeError: if it would have to be built while a compiler traces, where plans must stand before.
        """
        if key not in self._kept:
            if torch.compiler.is_compiling():
                raise RuntimeError(
                    f"the plan {key!r} of {self._graph!r} does not stand yet; call the layer once before compiling or "
                    "exporting it, or wrap the model in bind(model, graph), which does"
                )
            self._kept[key] = constant(build)()
        return self._kept[key]

    def adjacency(self) -> Operator:
        """A: the weights of the edges themselves."""
        graph = self._graph
        return self.keep(
            "adjacency",
            lambda: Operator("adjacency", graph.structure, edge_weights(graph), lattice_stencil(graph)),
        )

    def sum(self) -> Operator:
        """The sum over the neighbours, whatever the weights."""
        graph = self._graph
        if graph.edge_weight is None:
            return self.adjacency()
        ones = graph.edge_weight.new_ones
        return self.keep("sum", lambda: Operator("sum", graph.structure, ones(graph.num_edges, dtype=torch.float64)))

    def mean(self) -> Operator:
        """The mean over the neighbours, whatever the weights; 0 where there are none."""
        return self.keep("mean", self._mean)

    def _mean(self) -> Operator:
        structure, stencil = self._graph.structure, lattice_stencil(self._graph)
        inverse = inverse_power(structure.in_degree.double(), -1.0)
        stencil = None if stencil is None else replace(stencil, left=inverse)
        return Operator("mean", structure, inverse[structure.target], stencil)

    def laplacian(self, normalization: Normalization = None) -> Operator:
        """L in the given normalisation (module docstring of `operators`)."""
        check_normalization(normalization)
        return self.keep(("laplacian", normalization), lambda: self._laplacian(normalization))

    def _laplacian(self, normalization: Normalization) -> Operator:
        graph = self._graph
        structure, weight = laplacian_weights(graph, edge_weights(graph), normalization)
        stencil = lattice_stencil(graph)
        if stencil is not None:
            degree = torch.bincount(graph.edge_index[0], minlength=graph.num_nodes).double()
            loops = torch.bincount(graph.edge_index[0][graph.edge_index[0] == graph.edge_index[1]], minlength=1)
            minus = replace(stencil, kernel=-stencil.kernel)
            if int(loops.sum()):  # a periodic axis of one cell: loops, which the Laplacian leaves out
                stencil = None
            elif normalization is None:
                stencil = replace(minus, diagonal=degree)
            elif normalization == "sym":
                root = inverse_power(degree, -0.5)
                stencil = replace(minus, diagonal=torch.ones_like(degree), left=root, right=root)
            else:
                stencil = replace(minus, diagonal=torch.ones_like(degree), right=inverse_power(degree, -1.0))
        return Operator(f"laplacian[{normalization}]", structure, weight, stencil)

    def inverse_in_degree(self, dtype: torch.dtype) -> torch.Tensor:
        """1 / the number of edges into each node, 0 where there are none, `(N,)`."""
        degree = self._graph.structure.in_degree
        return self.keep(("1 / in-degree", dtype), lambda: inverse_power(degree.double(), -1.0).to(dtype))

    def mean_weights(self, dtype: torch.dtype, structure: Structure | None = None) -> torch.Tensor:
        """The weights of the edges with which a sum over neighbours is their mean, `(E,)`.

        Args:
            structure: the same edges seen otherwise: turned round, or from the sources of a pair to its targets.
        """
        if structure is None or structure is self._graph.structure:
            inverse = self.inverse_in_degree(dtype)
            return self.keep(("mean weights", dtype), lambda: inverse[self._graph.edge_index[1]])
        key = "mean weights", dtype, structure.num_sources, structure.num_targets
        return self.keep(key, lambda: inverse_power(structure.in_degree.double(), -1.0).to(dtype)[structure.target])

    def edge_kinds(self) -> Kinds | None:
        """The different attributes of the edges, and which of them each edge has.

        None where more than 64 are different, or where they are being learned.
        """
        attributes = self._graph.edge_attr
        if attributes is None or attributes.requires_grad:
            return None
        structure = self._graph.structure
        return self.keep("edge kinds", lambda: _kinds(structure, attributes[:, None].flatten(1)))

    def lambda_max(self, normalization: Normalization = None) -> float:
        """The largest eigenvalue of the (symmetrised) Laplacian, to seven digits; 2 bounds it where normalised."""
        check_normalization(normalization)
        return self.keep(("lambda_max", normalization), lambda: self._lambda_max(normalization))

    def _lambda_max(self, normalization: Normalization) -> float:
        import numpy as np
        import scipy.sparse as sp
        from scipy.sparse.linalg import eigsh

        graph = self._graph
        if graph.grid is not None and self._analytic(normalization):
            return float(self.fourier(normalization).eigenvalues.max())
        operator = self.laplacian(normalization)
        structure = operator.structure
        entries = operator.weight.cpu().numpy(), (structure.target.cpu().numpy(), structure.source.cpu().numpy())
        matrix = sp.coo_matrix(entries, shape=(operator.num_nodes,) * 2).tocsr()
        matrix = (matrix + matrix.T) / 2
        if operator.num_nodes < 64:
            return float(np.linalg.eigvalsh(matrix.toarray())[-1])
        start = np.random.default_rng(0).standard_normal(operator.num_nodes)
        return float(eigsh(matrix, k=1, which="LA", return_eigenvectors=False, v0=start, tol=1e-7)[0])  # pyright: ignore[reportArgumentType]

    def chebyshev(self, normalization: Normalization, lambda_max: float | None) -> Operator:
        """2 L / λmax - I. λmax None: twice the largest entry of (each graph's) L, PyG's rule, which is 2 for 'sym'."""
        check_normalization(normalization)
        return self.keep(("chebyshev", normalization, lambda_max), lambda: self._chebyshev(normalization, lambda_max))

    def _chebyshev(self, normalization: Normalization, lambda_max: float | None) -> Operator:
        lap = self.laplacian(normalization)
        scale, weight = chebyshev_weights(lap.structure, lap.weight, lambda_max, self._graph.parts)
        stencil = lap.stencil
        if stencil is not None:
            assert stencil.diagonal is not None
            diagonal = stencil.diagonal * float(scale) - 1
            stencil = replace(
                stencil,
                kernel=stencil.kernel * float(scale),
                diagonal=diagonal if bool(diagonal.any()) else None,
            )
        return Operator(f"chebyshev[{normalization}, λmax={lambda_max}]", lap.structure, weight, stencil)

    def gcn(self, improved: bool = False, add_self_loops: bool = True) -> Operator:
        """D̂^{-1/2} Â D̂^{-1/2} (Kipf and Welling, equation 2)."""
        return self.keep(("gcn", improved, add_self_loops), lambda: self._gcn(improved, add_self_loops))

    def _gcn(self, improved: bool, add_self_loops: bool) -> Operator:
        graph = self._graph
        heavy = improved and graph.edge_weight is not None  # what PyG does, and its trained weights rely on
        structure, weight = gcn_weights(graph, edge_weights(graph), heavy, add_self_loops)
        stencil = lattice_stencil(graph)
        if stencil is not None and not bool((graph.edge_index[0] == graph.edge_index[1]).any()):
            loop = float(add_self_loops)
            degree = torch.bincount(graph.edge_index[1], minlength=graph.num_nodes).double() + loop
            root = inverse_power(degree, -0.5)
            stencil = replace(stencil, diagonal=loop * root * root if loop else None, left=root, right=root)
        else:
            stencil = None
        return Operator(f"gcn[improved={improved}, loops={add_self_loops}]", structure, weight, stencil)

    def fourier(self, normalization: Normalization = None) -> FourierBasis:
        """The eigenbasis of the Laplacian: analytic on a 4-neighbour grid, else by scipy's symmetric solver.

        On other open grids even and odd parts are solved by themselves, and so are the graphs of a batch.

        Raises:
            ValueError: if the Laplacian is not symmetric (directed edges, 'rw').
        """
        check_normalization(normalization)
        return self.keep(("fourier", normalization), lambda: self._fourier(normalization))

    def _analytic(self, normalization: Normalization) -> bool:
        lattice = self._graph.lattice
        plain = lattice is not None and self._graph.edge_weight is None and normalization is None
        return plain and lattice is not None and lattice.neighbors == 2 * lattice.grid.ndim

    def _fourier(self, normalization: Normalization) -> FourierBasis:
        graph = self._graph
        if graph.grid is not None and self._analytic(normalization):
            return (TorusBasis if graph.grid.periodic else CosineBasis).of(graph.grid, graph.device)
        operator = self.laplacian(normalization)
        if not operator.symmetric:
            raise ValueError(
                f"{operator.name} of {graph!r} is not symmetric, so it has no orthonormal Fourier basis; make the "
                "edges undirected, and take normalization None or 'sym'"
            )
        if graph.parts is not None:
            return BatchBasis.of(graph.parts, operator)
        DenseBasis.check(graph.num_nodes)
        mirrored = None
        if graph.grid is not None and not graph.grid.periodic:
            mirrored = MirrorBasis.of(graph.grid.size, operator.dense())
        return DenseBasis.of(operator.dense()) if mirrored is None else mirrored

    def explain(self) -> str:
        """What stands in this plan, and under it what ran on it so far: in which form, of which, and why.

        >>> from gconv import GCNConv, grid_graph
        >>> graph = grid_graph((9, 9))
        >>> _ = GCNConv(1, 6)(torch.zeros(81, 1), graph)
        >>> print(graph.plan.explain())
        Graph(9×9 grid, num_nodes=81, num_edges=544)
          gcn[improved=False, loops=True]: 625 entries, a stencil of 3×3
            filter of 1 terms, 1→6: fused (of fused, gather, dense, portable, sparse, stencil), sorted rows...
        """
        lines = [repr(self._graph), *(f"  {what}: {why}" for what, why in self.choices.items())]
        for key, value in self._kept.items():
            if isinstance(value, Operator):
                regular = (
                    "" if value.stencil is None else f", a stencil of {'×'.join(map(str, value.stencil.kernel.shape))}"
                )
                lines.append(f"  {value.name}: {value.structure.num_edges} entries{regular}")
                lines += [f"    {what}: {why}" for what, why in value.choices.items()]
            else:
                shown = _shown(value)
                lines.append(f"  {', '.join(map(str, key)) if isinstance(key, tuple) else key}: {shown}")
        return "\n".join(lines)


def _shown(value: object) -> str:
    """A part of a plan in a line: a tensor by its shape."""
    if isinstance(value, torch.Tensor):
        return f"{tuple(value.shape)} {value.dtype}"
    if isinstance(value, tuple | list):
        return ", ".join(map(_shown, value))
    return repr(value)


@dataclass(frozen=True)
class Kinds:
    """The different attributes of edges, `values` `(U, D)`; each edge into (target, kind), and back out of it."""

    values: torch.Tensor
    forth: Structure
    back: Structure

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"{len(self)} different attributes"


def _kinds(structure: Structure, attributes: torch.Tensor) -> Kinds | None:
    if not len(attributes) or len(attributes[:4096].unique(dim=0)) > _MOST_KINDS:
        return None
    found, kinds = attributes.unique(dim=0, return_inverse=True)
    if len(found) > _MOST_KINDS:
        return None
    count = len(found)
    return Kinds(found, structure.by_kind(kinds, count), structure.flipped.by_kind(kinds, count))

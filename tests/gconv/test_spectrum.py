"""Fourier bases: the analytic ones of grids and toruses, the solved ones of all other graphs, and filters on them."""

import functools
import math

import networkx
import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import torch
from graph_oracles import assert_close, few, graph_from, graphs, laplacian, random_graph
from hypothesis import given
from hypothesis import strategies as st

from gconv import FourierBasis, Graph, Operator, grid_graph, propagate
from gconv.domains import spectrum
from gconv.domains.mirror import MirrorBasis
from gconv.domains.spectrum import CosineBasis, DenseBasis, TorusBasis, cosine_transform, inverse_cosine_transform
from gconv.functional.chebyshev import chebyshev_filter
from gconv.functional.polynomial import polynomial
from gconv.functional.polynomial_terms import terms

SIZES = [(1,), (2,), (7,), (8,), (1, 4), (2, 2), (3, 3), (5, 6), (2, 2, 2), (3, 4, 5), (2, 1, 3)]
AXES_ONLY = {1: 2, 2: 4, 3: 6}


def axial(size: tuple[int, ...], periodic: bool = False) -> Graph:
    """The grid whose cells have neighbours along the axes alone."""
    return grid_graph(size, AXES_ONLY[len(size)], periodic)


def line(n: int, periodic: bool) -> np.ndarray:
    """The Laplacian of a path or of a ring; a ring of two has both its edges, one of a single cell none."""
    steps = [(i, i + 1) for i in range(n - 1)] + [(n - 1, 0)] * (periodic and n > 1)
    matrix = np.zeros((n, n))
    for a, b in steps:
        matrix[[a, b], [b, a]] -= 1
        matrix[[a, b], [a, b]] += 1
    return matrix


def grid_laplacian(size: tuple[int, ...], periodic: bool) -> torch.Tensor:
    """Kronecker sums of the axes' own."""

    def along(axis: int) -> np.ndarray:
        factors = [line(n, periodic) if a == axis else np.eye(n) for a, n in enumerate(size)]
        return functools.reduce(np.kron, factors)

    return torch.from_numpy(sum(along(axis) for axis in range(len(size))))


def assert_eigenbasis(basis: FourierBasis, matrix: torch.Tensor, tolerance: float = 1e-10) -> None:
    """U^H U = I and U^H L U = diag(λ)."""
    vectors = basis.vectors()
    identity = torch.eye(matrix.shape[0], dtype=vectors.dtype)
    assert_close(vectors.mH @ vectors, identity, tolerance)
    assert_close(vectors.mH @ matrix.to(vectors.dtype) @ vectors, basis.eigenvalues.to(vectors.dtype).diag(), tolerance)


@pytest.fixture
def no_dense_basis(monkeypatch):
    """No eigen-solver and no dense matrix from here on."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a dense basis was made")

    monkeypatch.setattr(scipy.linalg, "eigh", refuse)
    monkeypatch.setattr(DenseBasis, "of", refuse)
    monkeypatch.setattr(Operator, "dense", refuse)


class TestAnalytic:
    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("periodic", [False, True])
    def test_diagonalises_the_combinatorial_laplacian(self, size, periodic):
        graph = axial(size, periodic)
        wanted = grid_laplacian(size, periodic)
        assert_close(graph.plan.laplacian().dense(), wanted)
        basis = graph.plan.fourier()
        assert isinstance(basis, TorusBasis if periodic else CosineBasis)
        assert_eigenbasis(basis, wanted)

    @pytest.mark.parametrize("size", [(8,), (5, 6), (3, 4, 5)])
    def test_of_a_torus_is_the_discrete_fourier_transform(self, size):
        matrix = functools.reduce(np.kron, [scipy.linalg.dft(n, scale="sqrtn").conj().T for n in size])
        assert_close(axial(size, periodic=True).plan.fourier().vectors(), matrix)

    @pytest.mark.parametrize("size", [(8,), (5, 6), (3, 4, 5)])
    def test_of_a_grid_is_the_cosine_transform(self, size):
        x = np.random.default_rng(0).standard_normal((*size, 2))
        wanted = scipy.fft.dctn(x, axes=range(len(size)), norm="ortho").reshape(-1, 2)
        assert_close(axial(size).plan.fourier().transform(torch.from_numpy(x.reshape(-1, 2))), wanted)

    @pytest.mark.parametrize("periodic", [False, True])
    def test_transforms_undo_each_other_for_many_signals(self, periodic):
        basis, x = axial((4, 5), periodic).plan.fourier(), torch.rand(3, 2, 20, 6, dtype=torch.float64)
        there = basis.transform(x)
        assert there.shape == x.shape
        back = basis.inverse(there)
        assert_close(back.real if periodic else back, x)
        assert_close(basis.transform(x[1, 0]), there[1, 0])

    @pytest.mark.parametrize("periodic", [False, True])
    def test_single_precision_stays_single(self, periodic):
        basis, x = axial((4, 5), periodic).plan.fourier(), torch.rand(20, 2)
        assert basis.transform(x).dtype == (torch.complex64 if periodic else torch.float32)
        assert_close(basis.filter(x, torch.ones(20)), x, 1e-6)

    @pytest.mark.parametrize("periodic", [False, True])
    @pytest.mark.usefixtures("no_dense_basis")
    def test_lambda_max_needs_no_solver(self, periodic):
        top = axial((30, 40), periodic).plan.lambda_max()
        assert top == pytest.approx(
            8.0 if periodic else 4 - 2 * math.cos(math.pi * 29 / 30) - 2 * math.cos(math.pi * 39 / 40)
        )

    @pytest.mark.parametrize("periodic", [False, True])
    @pytest.mark.usefixtures("no_dense_basis")
    def test_a_million_cells(self, periodic):
        """Fast: L u_k = λ_k u_k for single frequencies, and U diag(λ) U^H x = L x for any signal."""
        side, chosen = 1000, [0, 1, 999_999, 123_456]
        graph = axial((side, side), periodic)
        basis, operator = graph.plan.fourier(), graph.plan.laplacian()
        x = torch.rand(side * side, 1, dtype=torch.float64)
        assert_close(basis.filter(x, basis.eigenvalues), propagate(x, operator), 1e-10)
        impulses = torch.zeros(side * side, len(chosen), dtype=torch.float64)
        impulses[chosen, range(len(chosen))] = 1.0
        waves, scale = basis.inverse(impulses), basis.eigenvalues[chosen]
        assert waves.norm(dim=0).tolist() == pytest.approx([1.0] * len(chosen))
        for part in (waves.real, waves.imag) if periodic else (waves,):
            torch.testing.assert_close(propagate(part, operator), part * scale, rtol=0, atol=1e-13)

    def test_half_precision_signals(self):
        for periodic in (False, True):
            basis, x = axial((4, 4), periodic).plan.fourier(), torch.rand(16, 2)
            out = basis.filter(x.bfloat16(), torch.ones(16, dtype=torch.bfloat16))
            assert out.dtype == torch.bfloat16
            torch.testing.assert_close(out.float(), x, rtol=0, atol=0.05)

    @pytest.mark.parametrize(
        "graph",
        [grid_graph((4, 4)), grid_graph((4, 4), nearest=4), axial((4, 4)).having(edge_weight=torch.ones(48))],
        ids=repr,
    )
    def test_is_for_unweighted_axial_grids_only(self, graph):
        assert isinstance(graph.plan.fourier(), DenseBasis | MirrorBasis)
        assert isinstance(axial((4, 4)).plan.fourier("sym"), MirrorBasis)


class TestMirror:
    """Even and odd parts by themselves, against the dense solver on the same matrix."""

    @pytest.mark.parametrize(
        "size", [(1,), (2,), (5,), (6,), (4, 4), (3, 6), (1, 5), (5, 3), (2, 3, 4), (3, 1, 3)], ids=str
    )
    @pytest.mark.parametrize("normalization", [None, "sym"])
    def test_diagonalises_the_laplacian(self, size, normalization):
        graph = grid_graph(size)
        basis, whole = graph.plan.fourier(normalization), graph.plan.laplacian(normalization).dense()
        if len(size) > 1 or normalization == "sym":
            assert isinstance(basis, MirrorBasis)
        assert_eigenbasis(basis, whole)
        assert_close(basis.eigenvalues.sort().values, DenseBasis.of(whole).eigenvalues, 1e-11)
        x = torch.rand(2, graph.num_nodes, 3, dtype=torch.float64)
        assert_close(basis.inverse(basis.transform(x)), x, 1e-12)

    @pytest.mark.parametrize("nearest", [4, 8, 12])
    def test_of_nearest_neighbours(self, nearest):
        graph = grid_graph((6, 5), nearest=nearest)
        assert_eigenbasis(graph.plan.fourier("sym"), graph.plan.laplacian("sym").dense())

    def test_where_an_axis_cannot_be_turned_there_is_none(self):
        lopsided = grid_graph((4, 5)).plan.laplacian().dense().clone()
        lopsided[0, 0] += 1.0
        assert MirrorBasis.of((4, 5), lopsided) is None
        assert MirrorBasis.of((4, 5), grid_graph((4, 5)).plan.laplacian().dense()) is not None


class TestSolved:
    @few
    @given(graphs(undirected=True), st.sampled_from([None, "sym"]))
    def test_diagonalises_the_laplacian(self, graph, normalization):
        basis = graph.plan.fourier(normalization)
        assert_eigenbasis(basis, torch.from_numpy(laplacian(graph, normalization)))
        assert (basis.eigenvalues.diff() >= 0).all()
        assert basis.eigenvalues.min() > -1e-12

    @pytest.mark.parametrize("periodic", [False, True])
    def test_has_the_eigenvalues_of_the_analytic_one(self, periodic):
        graph = axial((4, 5), periodic)
        solved = DenseBasis.of(graph.plan.laplacian().dense())
        assert_close(solved.eigenvalues, graph.plan.fourier().eigenvalues.sort().values)

    def test_signs_are_fixed(self):
        matrix = random_graph(undirected=True).plan.laplacian().dense()
        vectors = DenseBasis.of(matrix).vectors()
        assert (vectors.gather(0, vectors.abs().argmax(0)[None]) > 0).all()
        assert torch.equal(DenseBasis.of(matrix).vectors(), vectors)

    def test_transforms_many_signals_in_their_own_dtype(self):
        basis, x = random_graph(undirected=True).plan.fourier(), torch.rand(3, 2, 9, 4)
        there = basis.transform(x)
        assert there.dtype == torch.float32
        assert there.shape == x.shape
        assert_close(basis.inverse(there), x, 1e-6)
        assert_close(there[1, 0], (basis.vectors().T @ x[1, 0].double()).float(), 1e-6)

    @pytest.mark.parametrize("normalization", [None, "sym"])
    def test_a_directed_graph_is_refused(self, normalization):
        with pytest.raises(ValueError, match=r"not symmetric.*make the edges undirected"):
            random_graph().plan.fourier(normalization)

    def test_rw_is_refused(self):
        graph = graph_from([(0, 1), (1, 0), (1, 2), (2, 1)], 3)
        with pytest.raises(ValueError, match=r"laplacian\[rw\].*normalization None or 'sym'"):
            graph.plan.fourier("rw")

    def test_too_many_nodes_are_refused(self, monkeypatch):
        monkeypatch.setattr(spectrum, "LARGEST_DENSE_BASIS", 15)
        with pytest.raises(ValueError, match=r"basis of 16 nodes.*the limit is 15.*take ChebConv"):
            grid_graph((4, 4)).plan.fourier()
        assert axial((4, 4)).plan.fourier().eigenvalues.numel() == 16
        assert grid_graph((3, 5)).plan.fourier().eigenvalues.numel() == 15

    def test_too_many_nodes_are_refused_before_a_matrix_is_made(self, monkeypatch):
        monkeypatch.setattr(spectrum, "LARGEST_DENSE_BASIS", 15)
        monkeypatch.setattr(Operator, "dense", lambda *_: pytest.fail("the matrix that does not fit was made"))
        with pytest.raises(ValueError, match="take ChebConv"):
            grid_graph((4, 4)).plan.fourier()


ALL_BASES = [
    *(axial(size, periodic) for size in [(6,), (3, 4)] for periodic in (False, True)),
    grid_graph((3, 4)),
    random_graph(undirected=True),
]


@pytest.mark.parametrize("graph", ALL_BASES, ids=repr)
class TestFilter:
    def test_is_the_matrix_of_its_response(self, graph):
        basis, x = graph.plan.fourier(), torch.rand(2, graph.num_nodes, 3, dtype=torch.float64)
        response = torch.rand(graph.num_nodes, dtype=torch.float64)
        vectors = basis.vectors()
        matrix = (vectors * response) @ vectors.mH
        assert_close(basis.filter(x, response), matrix.real @ x, 1e-11)

    def test_by_the_eigenvalues_is_the_laplacian(self, graph):
        x = torch.rand(graph.num_nodes, 2, dtype=torch.float64)
        wanted = propagate(x, graph.plan.laplacian())
        assert_close(graph.plan.fourier().filter(x, graph.plan.fourier().eigenvalues), wanted, 1e-11)

    def test_of_a_single_precision_signal_stays_single(self, graph):
        basis = graph.plan.fourier()
        x = torch.rand(graph.num_nodes, 2)
        wanted = basis.filter(x.double(), torch.exp(-basis.eigenvalues)).float()
        assert_close(basis.filter(x, torch.exp(-basis.eigenvalues)), wanted, 1e-6)

    def test_with_a_complex_response(self, graph):
        basis, nodes = graph.plan.fourier(), graph.num_nodes
        x, vectors = torch.rand(nodes, 2, dtype=torch.float64), basis.vectors() + 0j
        response = torch.randn(nodes, dtype=torch.complex128)
        wanted = (vectors * response) @ vectors.mH @ (x + 0j)
        assert_close(basis.filter(x, response), wanted.real, 1e-11)

    def test_of_a_complex_signal(self, graph):
        basis = graph.plan.fourier()
        x = torch.randn(graph.num_nodes, 2, dtype=torch.complex128)
        assert_close(basis.filter(x, torch.ones(graph.num_nodes, dtype=torch.float64)), x)

    def test_is_differentiable(self, graph):
        basis = graph.plan.fourier()
        x = torch.rand(graph.num_nodes, 1, dtype=torch.float64, requires_grad=True)
        response = torch.rand(graph.num_nodes, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(basis.filter, (x, response))

    @pytest.mark.parametrize("shape", [(0, -1, 2), (-1, 0)])
    def test_of_nothing_is_nothing(self, graph, shape):
        x = torch.zeros([graph.num_nodes if n == -1 else n for n in shape], dtype=torch.float64)
        assert graph.plan.fourier().transform(x).shape == x.shape

    def test_repr(self, graph):
        assert f"({graph.num_nodes} frequencies, λ from " in repr(graph.plan.fourier())


@few
@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(0, 2**16))
def test_filtering_on_the_torus_is_circular_convolution_with_any_real_kernel(size, seed):
    generator = np.random.default_rng(seed)
    axes, nodes = tuple(range(len(size))), math.prod(size)
    x, kernel = generator.standard_normal((*size, 2)), generator.standard_normal(size)
    shifts = np.ndindex(*size)
    looped = sum(kernel[shift] * np.roll(x, shift, axes) for shift in shifts)
    fast = np.fft.ifftn(np.fft.fftn(x, axes=axes) * np.fft.fftn(kernel)[..., None], axes=axes).real
    response = torch.from_numpy(np.fft.fftn(kernel).reshape(nodes))
    basis = axial(tuple(size), periodic=True).plan.fourier()
    out = basis.filter(torch.from_numpy(x).reshape(nodes, 2), response)
    assert_close(out, looped.reshape(nodes, 2), 1e-11)
    assert_close(out, fast.reshape(nodes, 2), 1e-11)


class TestChebyshev:
    """T_k(L̃) by sums over neighbours, against cos(k arccos λ̃) on the exact spectrum."""

    @staticmethod
    def assert_equal_filters(graph: Graph, normalization: str | None, count: int = 8) -> None:
        basis, x = graph.plan.fourier(normalization), torch.rand(2, graph.num_nodes, 3, dtype=torch.float64)
        top = graph.plan.lambda_max(normalization)
        scaled = (2 * basis.eigenvalues / top - 1).clamp(-1, 1) if top > 0 else -torch.ones_like(basis.eigenvalues)
        operator = graph.plan.chebyshev(normalization, top)
        for k, term in enumerate(terms(lambda y: propagate(y, operator), x, count, 0, True)):
            assert_close(term, basis.filter(x, torch.cos(k * torch.arccos(scaled))), 1e-9)

    @pytest.mark.parametrize("normalization", [None, "sym"])
    @pytest.mark.parametrize("graph", ALL_BASES, ids=repr)
    def test_on_grids(self, graph, normalization):
        self.assert_equal_filters(graph, normalization)

    @few
    @given(graphs(undirected=True), st.sampled_from([None, "sym"]))
    def test_on_random_undirected_graphs(self, graph, normalization):
        self.assert_equal_filters(graph, normalization)

    @pytest.mark.parametrize("count", [1, 2, 5])
    @pytest.mark.parametrize("lambda_max", [None, 2.5])
    @pytest.mark.parametrize("normalization", [None, "sym"])
    @pytest.mark.parametrize("graph", [*ALL_BASES, graph_from([], 3)], ids=repr)
    def test_both_forms_agree(self, graph, normalization, lambda_max, count):
        x = torch.rand(2, graph.num_nodes, 3, dtype=torch.float64)
        coefficients = torch.rand(count, 3, 4, dtype=torch.float64)
        forms = [
            chebyshev_filter(x, graph, coefficients, normalization, lambda_max, form=form)
            for form in ("fused", "eigenbasis", None)
        ]
        assert_close(forms[1], forms[0], 1e-11)
        assert_close(forms[2], forms[0], 1e-11)

    def test_the_eigenbasis_is_not_for_rw(self):
        with pytest.raises(ValueError, match=r"'eigenbasis' cannot run this sum: fused, gather, .* can"):
            chebyshev_filter(torch.rand(16, 1), grid_graph((4, 4)), torch.rand(2, 1, 1), "rw", form="eigenbasis")

    @pytest.mark.parametrize("count", [1, 2, 4])
    @pytest.mark.parametrize("form", ["gather", "dense", "portable", "stencil"])
    @pytest.mark.parametrize(
        "graph", [grid_graph((9, 9)), axial((9, 9)), random_graph(40, 60, undirected=True)], ids=repr
    )
    def test_the_impulse_response_ends_where_the_hops_end(self, graph, form, count):
        operator = graph.plan.chebyshev("sym", 1.7)
        if form == "stencil" and operator.stencil is None:
            form = "gather"
        centre = graph.num_nodes // 2
        hops = networkx.single_source_shortest_path_length(networkx.Graph(graph.edge_index.t().tolist()), centre)
        near = torch.zeros(graph.num_nodes, dtype=torch.bool)
        near[[node for node, distance in hops.items() if distance < count]] = True
        impulse = torch.zeros(graph.num_nodes, 1, dtype=torch.float64)
        impulse[centre] = 1.0
        steps = [impulse, propagate(impulse, operator, form=form)]
        while len(steps) < count:
            steps.append(2 * propagate(steps[-1], operator, form=form) - steps[-2])
        response = sum(0.5**k * term for k, term in enumerate(steps[:count])).flatten()
        assert (response[~near] == 0).all()
        assert (response[near] != 0).all()
        coefficients = torch.tensor([0.5**k for k in range(count)], dtype=torch.float64).reshape(-1, 1, 1)
        for steps in ("fused", form):
            filtered = polynomial(impulse, operator, coefficients, chebyshev=True, form=steps)
            assert_close(filtered.flatten(), response)
        exact = chebyshev_filter(impulse, graph, coefficients, "sym", 1.7, form="eigenbasis").flatten()
        assert_close(exact, response, 1e-11)


class TestCosineTransform:
    @pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 9, 16, 17])
    @pytest.mark.parametrize("dim", [0, 1, -1])
    def test_equals_scipys(self, n, dim):
        shape = [3, 4, 5]
        shape[dim] = n
        x = np.random.default_rng(n).standard_normal(shape)
        assert_close(cosine_transform(torch.from_numpy(x), dim), scipy.fft.dct(x, axis=dim, norm="ortho"))
        assert_close(inverse_cosine_transform(torch.from_numpy(x), dim), scipy.fft.idct(x, axis=dim, norm="ortho"))

    @pytest.mark.parametrize("n", [1, 4, 7])
    @pytest.mark.parametrize("transform", [cosine_transform, inverse_cosine_transform])
    def test_is_differentiable(self, n, transform):
        x = torch.rand(2, n, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: transform(x, 1), x)
        assert torch.autograd.gradgradcheck(lambda x: transform(x, 1), x)

    @pytest.mark.parametrize("n", [6, 7])
    def test_the_inverse_is_the_transpose(self, n):
        matrix = cosine_transform(torch.eye(n, dtype=torch.float64), 0)
        assert_close(inverse_cosine_transform(torch.eye(n, dtype=torch.float64), 0), matrix.T)
        assert_close(matrix @ matrix.T, torch.eye(n, dtype=torch.float64))

    def test_keeps_single_precision(self):
        x = torch.rand(5, 8)
        assert cosine_transform(x, 1).dtype == torch.float32
        assert_close(inverse_cosine_transform(cosine_transform(x, 1), 1), x, 1e-6)

"""Adjacency, Laplacians and GCN's operator, against PyG and against the textbook's formulas on dense matrices."""

import numpy as np
import pytest
import torch
from graph_oracles import adjacency, assert_close, edges_of, few, graph_from, graphs, laplacian, numpy, random_graph
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import get_laplacian

from gconv import Graph, grid_graph, propagate
from gconv.domains.operators import edge_weights, gcn_weights, inverse_power, laplacian_weights
from gconv.domains.structure import Structure

NORMALIZATIONS = (None, "sym", "rw")
normalizations = st.sampled_from(NORMALIZATIONS)


def dense(structure: Structure | Tensor, weight: Tensor, num_nodes: int) -> np.ndarray:
    source, target = (structure.source, structure.target) if isinstance(structure, Structure) else structure
    matrix = np.zeros((num_nodes, num_nodes))
    for s, t, w in zip(source.tolist(), target.tolist(), weight.tolist(), strict=True):
        matrix[t, s] += w
    return matrix


def gcn(graph: Graph, improved: bool, add_self_loops: bool) -> np.ndarray:
    matrix = adjacency(graph)
    if add_self_loops:
        looped = {s for s, t, _ in edges_of(graph) if s == t}
        missing = [node not in looped for node in range(graph.num_nodes)]
        matrix = matrix + np.diag(np.where(missing, 2.0 if improved and graph.edge_weight is not None else 1.0, 0.0))
    degree = matrix.sum(1)
    root = np.sqrt(np.divide(1.0, degree, out=np.zeros_like(degree), where=degree > 0))
    return root[:, None] * matrix * root


def without_parallel_loops(graph: Graph) -> Graph:
    """PyG keeps one of several loops on a node, whichever comes last."""
    kept = {(s, t) if s == t else (s, t, i): (s, t, w) for i, (s, t, w) in enumerate(edges_of(graph))}
    edges = [(s, t) for s, t, _ in kept.values()]
    weights = None if graph.edge_weight is None else [w for _, _, w in kept.values()]
    return graph_from(edges, graph.num_nodes, weights)


@few
@given(graphs())
def test_adjacency_equals_the_sum_over_edges(graph):
    assert_close(graph.plan.adjacency().dense(), adjacency(graph))


@few
@given(graphs(), normalizations)
def test_laplacians_equal_their_formulas(graph, normalization):
    assert_close(graph.plan.laplacian(normalization).dense(), laplacian(graph, normalization))


@few
@given(graphs(), normalizations)
def test_laplacians_equal_pygs(graph, normalization):
    weight = edge_weights(graph)
    index, values = get_laplacian(graph.edge_index, weight, normalization, torch.float64, graph.num_nodes)
    assert_close(graph.plan.laplacian(normalization).dense(), dense(index, values, graph.num_nodes))


@few
@given(graphs(), st.booleans(), st.booleans())
def test_gcn_equals_its_formula(graph, improved, add_self_loops):
    graph = without_parallel_loops(graph)
    assert_close(graph.plan.gcn(improved, add_self_loops).dense(), gcn(graph, improved, add_self_loops))


@few
@given(graphs(), st.booleans(), st.booleans())
def test_gcn_equals_pygs(graph, improved, add_self_loops):
    nodes = graph.num_nodes
    index, values = gcn_norm(graph.edge_index, graph.edge_weight, nodes, improved, add_self_loops, dtype=torch.float64)
    assert_close(graph.plan.gcn(improved, add_self_loops).dense(), dense(index, values, nodes))


@few
@given(graphs(), normalizations, st.sampled_from([None, 1.5, 3]))
def test_chebyshev_is_the_laplacian_scaled_to_its_bound(graph, normalization, lambda_max):
    matrix = laplacian(graph, normalization)
    bound = 2 * matrix.max() if lambda_max is None else lambda_max
    scaled = 2 * matrix / bound if bound > 0 else 0 * matrix
    assert_close(graph.plan.chebyshev(normalization, lambda_max).dense(), scaled - np.eye(graph.num_nodes))


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_zero_and_constant_signals_of_the_laplacian(normalization):
    graph = random_graph(undirected=True)
    ones = torch.ones(graph.num_nodes, 1, dtype=torch.float64)
    if normalization is None:
        assert_close(propagate(ones, graph.plan.laplacian()), torch.zeros_like(ones))
    assert not propagate(0 * ones, graph.plan.laplacian(normalization)).any()


@few
@given(graphs(undirected=True), normalizations)
def test_lambda_max_is_the_largest_eigenvalue(graph, normalization):
    matrix = laplacian(graph, normalization)
    wanted = np.linalg.eigvalsh((matrix + matrix.T) / 2)[-1]
    assert graph.plan.lambda_max(normalization) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize(
    "graph",
    [
        random_graph(100, 600),
        random_graph(100, 600, undirected=True),
        grid_graph((9, 8)),
        grid_graph((9, 8), nearest=6),
        grid_graph((9, 8), 4, periodic=True),
        grid_graph((9, 8), 4),
    ],
    ids=repr,
)
def test_lambda_max_of_graphs_too_large_to_solve_at_once(graph, normalization):
    matrix = numpy(graph.plan.laplacian(normalization).dense())
    wanted = np.linalg.eigvalsh((matrix + matrix.T) / 2)[-1]
    assert graph.plan.lambda_max(normalization) == pytest.approx(wanted, rel=1e-6)
    assert isinstance(graph.plan.lambda_max(normalization), float)


@few
@given(graphs(), normalizations)
def test_symmetric_says_whether_the_matrix_equals_its_transpose(graph, normalization):
    for operator in (graph.plan.laplacian(normalization), graph.plan.gcn(), graph.plan.adjacency()):
        matrix = numpy(operator.dense())
        assert operator.symmetric == np.allclose(matrix, matrix.T, rtol=0, atol=1e-10)


@few
@given(graphs(undirected=True))
def test_undirected_graphs_have_symmetric_operators(graph):
    assert graph.plan.adjacency().symmetric
    assert graph.plan.laplacian().symmetric
    assert graph.plan.laplacian("sym").symmetric


def test_an_edge_of_weight_zero_does_not_spoil_the_symmetry():
    graph = graph_from([(0, 1), (1, 0), (0, 2)], 3, [1.0, 1.0, 0.0])
    assert graph.plan.adjacency().symmetric
    assert graph.plan.laplacian().symmetric


@pytest.mark.parametrize("normalization", ["sym", "rw"])
def test_negative_degrees_are_refused(normalization):
    graph = graph_from([(0, 1), (1, 2), (2, 0)], 3, [1.0, -2.0, 1.0])
    with pytest.raises(ValueError, match=r"node 1 has negative degree -2: no normalisation; mend its weights"):
        graph.plan.laplacian(normalization)
    with pytest.raises(ValueError, match=r"node 2 has negative degree -1"):
        graph.plan.gcn()
    assert_close(graph.plan.laplacian().dense(), laplacian(graph, None))


def test_negative_weights_of_positive_degree_are_taken():
    graph = graph_from([(0, 1), (0, 2), (1, 0), (2, 0)], 3, [2.0, -0.5, 2.0, 0.25])
    assert_close(graph.plan.laplacian("sym").dense(), laplacian(graph, "sym"))


@pytest.mark.parametrize("power", [-0.5, -1.0])
def test_the_inverse_of_no_degree_is_zero_and_so_is_its_gradient(power):
    degree = torch.tensor([0.0, 4.0], dtype=torch.float64, requires_grad=True)
    out = inverse_power(degree, power)
    out.sum().backward()
    assert out.tolist() == [0.0, 4.0**power]
    assert degree.grad.tolist() == [0.0, power * 4.0 ** (power - 1)]


def test_an_unknown_normalisation_is_refused():
    plan = random_graph().plan
    for part in (plan.laplacian, plan.lambda_max, plan.fourier, lambda n: plan.chebyshev(n, None)):
        with pytest.raises(ValueError, match="normalization is None, 'sym' or 'rw'; got 'symmetric'"):
            part("symmetric")


def learnable(num_edges: int) -> Tensor:
    return (torch.rand(num_edges, dtype=torch.float64) + 0.5).requires_grad_()


# Two loops, isolated nodes, parallel edges, one node that only receives.
MIXED = graph_from([(0, 1), (1, 0), (0, 1), (1, 1), (2, 0), (3, 3), (1, 4)], 6)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_laplacian_weights_are_differentiable(normalization):
    weight = learnable(MIXED.num_edges)
    assert torch.autograd.gradcheck(lambda w: laplacian_weights(MIXED, w, normalization)[1], weight)
    assert torch.autograd.gradgradcheck(lambda w: laplacian_weights(MIXED, w, normalization)[1], weight)


@pytest.mark.parametrize("add_self_loops", [False, True])
@pytest.mark.parametrize("improved", [False, True])
def test_gcn_weights_are_differentiable(improved, add_self_loops):
    weight = learnable(MIXED.num_edges)
    assert torch.autograd.gradcheck(lambda w: gcn_weights(MIXED, w, improved, add_self_loops)[1], weight)
    assert torch.autograd.gradgradcheck(lambda w: gcn_weights(MIXED, w, improved, add_self_loops)[1], weight)


def test_gcn_weights_are_differentiable_with_parallel_loops():
    graph = graph_from([(0, 0), (0, 0), (0, 1), (1, 0)], 2)
    assert torch.autograd.gradcheck(lambda w: gcn_weights(graph, w, False, True)[1], learnable(4))


@few
@given(graphs(weighted=True), normalizations)
def test_learned_and_planned_weights_are_the_same(graph, normalization):
    weight = graph.edge_weight
    structure, values = laplacian_weights(graph, weight, normalization)
    assert_close(graph.plan.laplacian(normalization).dense(), dense(structure, values, graph.num_nodes))
    structure, values = gcn_weights(graph, weight, True, True)
    assert_close(graph.plan.gcn(True, True).dense(), dense(structure, values, graph.num_nodes))


@few
@given(graphs(weighted=True))
def test_loops_are_the_last_edges_of_a_laplacian_and_of_gcn(graph):
    structure, kept = graph.structure.with_loops
    nodes = torch.arange(graph.num_nodes)
    assert torch.equal(structure.source[-graph.num_nodes :], nodes)
    assert torch.equal(structure.target[-graph.num_nodes :], nodes)
    assert torch.equal(structure.source[: -graph.num_nodes], graph.edge_index[0][kept])
    assert not (structure.source == structure.target)[: -graph.num_nodes].any()


GRIDS = [
    grid_graph(size, neighbors, periodic)
    for size, neighbors in [
        *(((n,), 2) for n in (1, 2, 3, 6)),
        *((size, k) for size in ((4, 5), (2, 3), (1, 4), (1, 1)) for k in (4, 8)),
        *((size, k) for size in ((3, 4, 2), (1, 3, 2)) for k in (6, 18, 26)),
    ]
    for periodic in (False, True)
]


def operators(graph: Graph) -> list:
    plan = graph.plan
    return [
        plan.adjacency(),
        *(plan.laplacian(normalization) for normalization in NORMALIZATIONS),
        *(plan.gcn(improved, loops) for improved in (False, True) for loops in (False, True)),
        *(plan.chebyshev(normalization, bound) for normalization in NORMALIZATIONS for bound in (None, 1.5)),
    ]


@pytest.mark.parametrize("graph", GRIDS, ids=repr)
def test_a_stencil_is_the_operator_itself(graph):
    identity = torch.eye(graph.num_nodes, dtype=torch.float64)
    may_lack = not graph.num_edges or bool((graph.edge_index[0] == graph.edge_index[1]).any())
    for operator in operators(graph):
        if operator.stencil is not None:
            assert_close(propagate(identity, operator, form="stencil"), operator.dense())
        else:
            assert may_lack, f"{operator.name} of {graph!r} has no stencil"


@pytest.mark.parametrize(
    "graph",
    [grid_graph((4, 4), nearest=4), grid_graph((4, 4)).having(edge_weight=torch.ones(84)), random_graph()],
    ids=repr,
)
def test_irregular_graphs_have_no_stencil(graph):
    assert all(operator.stencil is None for operator in operators(graph))


def test_weights_are_worked_out_in_double_precision_and_rounded_once():
    graph = Graph(random_graph().edge_index, 9, random_graph().edge_weight.float())
    operator = graph.plan.gcn()
    assert operator.weight.dtype == torch.float64
    assert_close(operator.dense(torch.float32), operator.dense().float(), 0.0)
    rows, columns = operator.values(torch.float32)
    assert torch.equal(rows, operator.weight[operator.structure.rows.order].float())
    assert torch.equal(columns, operator.weight[operator.structure.columns.order].float())
    assert operator.dense() is operator.dense()

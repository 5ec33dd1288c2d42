"""Graphs from and to PyG, networkx, scipy and dense matrices: what goes there comes back."""

import networkx
import numpy as np
import pytest
import scipy.sparse
import torch
from graph_oracles import adjacency, assert_close, edges_of, few, graph_from, graphs, random_graph
from hypothesis import given
from torch_geometric.data import Batch, Data
from torch_geometric.utils import to_dense_adj

from gconv import Graph, grid_graph
from gconv.interop import (
    from_dense,
    from_networkx,
    from_pyg,
    from_scipy,
    to_dense,
    to_networkx,
    to_pyg,
    to_scipy,
)

TENSORS = ("edge_index", "edge_weight", "edge_attr", "pos")


def full_graph() -> Graph:
    graph = random_graph()
    return graph.having(edge_attr=torch.rand(graph.num_edges, 3), pos=torch.rand(graph.num_nodes, 2))


def assert_same(one: Graph, other: Graph) -> None:
    assert one.num_nodes == other.num_nodes
    for name in TENSORS:
        mine, theirs = getattr(one, name), getattr(other, name)
        assert (mine is None) == (theirs is None), name
        assert mine is None or torch.equal(mine, theirs), name


def assert_same_edges(one: Graph, other: Graph) -> None:
    """In any order."""
    assert one.num_nodes == other.num_nodes
    mine, theirs = (torch.tensor(sorted(edges_of(graph))) for graph in (one, other))
    torch.testing.assert_close(mine, theirs)


class TestPyg:
    @pytest.mark.parametrize("graph", [Graph(torch.tensor([[0], [1]]), 5), full_graph(), grid_graph((3, 3))], ids=repr)
    def test_there_and_back(self, graph):
        x = torch.rand(graph.num_nodes, 4)
        data = to_pyg(graph, x)
        assert_same(from_pyg(data), graph)
        assert torch.equal(data.x, x)
        assert data.validate()
        assert to_pyg(graph).x is None

    def test_a_batch_lies_side_by_side(self):
        graphs = [full_graph(), full_graph()]
        both = from_pyg(Batch.from_data_list([to_pyg(graph) for graph in graphs]))
        assert both.num_nodes == 18
        assert_close(torch.from_numpy(adjacency(both)), torch.block_diag(*(torch.tensor(adjacency(g)) for g in graphs)))

    def test_nodes_are_counted_by_the_signal(self):
        assert from_pyg(Data(x=torch.rand(6, 2), edge_index=torch.tensor([[0], [1]]))).num_nodes == 6

    @pytest.mark.parametrize("name", TENSORS)
    def test_edits_of_a_data_do_not_reach_the_graph_that_it_came_from(self, name):
        graph = full_graph()
        before = getattr(graph, name).clone()
        getattr(to_pyg(graph), name).zero_()
        assert torch.equal(getattr(graph, name), before)

    def test_edits_of_a_data_do_not_reach_the_graph_made_of_it(self):
        data = to_pyg(full_graph())
        graph = from_pyg(data)
        before = [getattr(graph, name).clone() for name in TENSORS]
        for name in TENSORS:
            data[name].zero_()
        assert all(torch.equal(getattr(graph, name), kept) for name, kept in zip(TENSORS, before, strict=True))

    def test_without_edges(self):
        with pytest.raises(ValueError, match="has no edge_index"):
            from_pyg(Data(x=torch.rand(3, 2)))
        with pytest.raises(ValueError, match="points beyond"):
            from_pyg(Data(edge_index=torch.tensor([[0], [4]]), num_nodes=2))


class TestNetworkx:
    @few
    @given(graphs())
    def test_there_and_back(self, graph):
        assert_same_edges(from_networkx(to_networkx(graph)), graph)

    def test_directed(self):
        theirs = networkx.DiGraph([(0, 1), (1, 2), (2, 2)])
        ours = from_networkx(theirs)
        assert edges_of(ours) == [(0, 1, 1.0), (1, 2, 1.0), (2, 2, 1.0)]
        assert ours.edge_weight is None
        assert networkx.utils.edges_equal(to_networkx(ours).edges, theirs.edges, directed=True)

    def test_an_undirected_edge_becomes_two_and_a_loop_one(self):
        ours = from_networkx(networkx.Graph([(0, 1), (1, 1)]))
        assert sorted(edges_of(ours)) == [(0, 1, 1.0), (1, 0, 1.0), (1, 1, 1.0)]
        matrix = networkx.to_numpy_array(networkx.Graph([(0, 1), (1, 1)]))
        assert_close(to_dense(ours), matrix.astype("float32"))

    def test_weights_and_where_they_lie(self):
        theirs = networkx.DiGraph()
        theirs.add_edge("a", "b", weight=2.5, length=7.0)
        theirs.add_edge("b", "c")
        assert from_networkx(theirs).edge_weight.tolist() == [2.5, 1.0]
        assert from_networkx(theirs, weight="length").edge_weight.tolist() == [7.0, 1.0]
        assert from_networkx(theirs, weight="nothing").edge_weight is None

    def test_nodes_are_numbered_in_their_own_order(self):
        theirs = networkx.DiGraph()
        theirs.add_nodes_from(["z", "a", "m"])
        theirs.add_edge("a", "z")
        ours = from_networkx(theirs)
        assert ours.num_nodes == 3
        assert edges_of(ours) == [(1, 0, 1.0)]

    @pytest.mark.parametrize("kind", [networkx.MultiGraph, networkx.MultiDiGraph])
    def test_parallel_edges(self, kind):
        theirs = kind()
        theirs.add_edge(0, 1, weight=2.0)
        theirs.add_edge(0, 1, weight=3.0)
        theirs.add_edge(1, 1, weight=4.0)
        ours = from_networkx(theirs)
        assert_close(to_dense(ours), networkx.to_numpy_array(theirs).astype("float32"))
        back = to_networkx(ours)
        assert isinstance(back, networkx.MultiDiGraph)
        assert back.number_of_edges() == ours.num_edges

    def test_isolated_nodes_and_no_edges(self):
        assert from_networkx(networkx.empty_graph(4)).num_nodes == 4
        back = to_networkx(graph_from([], 3))
        assert (back.number_of_nodes(), back.number_of_edges()) == (3, 0)

    def test_refused(self):
        with pytest.raises(ValueError, match="num_nodes takes a whole number >= 1, got 0"):
            from_networkx(networkx.Graph())
        bad = networkx.DiGraph()
        bad.add_edge(0, 1, weight=float("nan"))
        with pytest.raises(ValueError, match=r"edge_weight\[0\] is not finite"):
            from_networkx(bad)


class TestScipy:
    @few
    @given(graphs())
    def test_there_and_back(self, graph):
        matrix = to_scipy(graph)
        assert_close(torch.from_numpy(matrix.toarray()).double(), adjacency(graph).T)
        assert_close(to_dense(from_scipy(matrix)).double(), adjacency(graph).T)

    @pytest.mark.parametrize("layout", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
    @pytest.mark.parametrize("kind", ["array", "matrix"])
    def test_every_layout(self, layout, kind):
        values = np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 3.0], [1.0, 0.0, 5.0]])
        graph = from_scipy(getattr(scipy.sparse, f"{layout}_{kind}")(values))
        assert sorted(edges_of(graph)) == [(0, 1, 2.0), (1, 2, 3.0), (2, 0, 1.0), (2, 2, 5.0)]
        assert graph.edge_weight.dtype == torch.float64

    @pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.float32])
    def test_every_dtype(self, dtype):
        graph = from_scipy(scipy.sparse.csr_array(np.array([[0, 1], [1, 0]], dtype=dtype)))
        assert edges_of(graph) == [(0, 1, 1.0), (1, 0, 1.0)]
        assert graph.edge_weight is None

    def test_explicit_zeros_are_edges_and_parallel_entries_stay(self):
        matrix = scipy.sparse.coo_array(([0.0, 2.0, 3.0], ([0, 1, 1], [1, 0, 0])), shape=(2, 2))
        assert edges_of(from_scipy(matrix)) == [(0, 1, 0.0), (1, 0, 2.0), (1, 0, 3.0)]

    def test_later_edits_do_not_reach_the_graph(self):
        matrix = scipy.sparse.coo_array(([2.0], ([0], [1])), shape=(2, 2))
        graph = from_scipy(matrix)
        matrix.data[:] = 9.0
        matrix.row[:] = 1
        assert edges_of(graph) == [(0, 1, 2.0)]
        there = to_scipy(graph)
        there.data[:] = 9.0
        assert edges_of(graph) == [(0, 1, 2.0)]

    @pytest.mark.parametrize("matrix", [scipy.sparse.csr_array((2, 3)), scipy.sparse.coo_array(([1.0], ([0],)))])
    def test_what_is_not_square_is_refused(self, matrix):
        with pytest.raises(ValueError, match=r"an adjacency matrix is square, got shape \("):
            from_scipy(matrix)


class TestDense:
    @few
    @given(graphs())
    def test_there_and_back(self, graph):
        matrix = to_dense(graph)
        assert_close(matrix.double(), adjacency(graph).T)
        back = from_dense(matrix)
        assert_close(to_dense(back).double(), matrix.double())
        assert back.num_edges == int((matrix != 0).sum())

    def test_equals_pygs(self):
        graph = random_graph()
        wanted = to_dense_adj(graph.edge_index, edge_attr=graph.edge_weight, max_num_nodes=graph.num_nodes)[0]
        assert_close(to_dense(graph), wanted)

    @pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.uint8, torch.float64])
    def test_every_dtype(self, dtype):
        graph = from_dense(torch.tensor([[0, 1], [0, 0]]).to(dtype))
        assert edges_of(graph) == [(0, 1, 1.0)]
        assert graph.edge_weight is None

    def test_is_differentiable_both_ways(self):
        weight = torch.rand(3, dtype=torch.float64, requires_grad=True)
        edges = torch.tensor([[0, 0, 1], [1, 1, 0]])
        assert torch.autograd.gradcheck(lambda w: to_dense(Graph(edges, 2, w)), weight)
        matrix = torch.tensor([[0.0, 2.0], [3.0, 0.0]], requires_grad=True)
        from_dense(matrix).edge_weight.sum().backward()
        assert matrix.grad.tolist() == [[0.0, 1.0], [1.0, 0.0]]

    def test_learned_entries_that_start_at_one_are_learned(self):
        matrix = torch.ones(2, 2, requires_grad=True)
        assert from_dense(matrix).edge_weight is not None

    @pytest.mark.parametrize(
        ("matrix", "error", "message"),
        [
            ([[0.0]], TypeError, r"from_dense takes a tensor \(N, N\), got list"),
            (torch.zeros(2, 3), ValueError, r"square, got shape \(2, 3\)"),
            (torch.zeros(4), ValueError, r"square, got shape \(4,\)"),
            (torch.tensor([[0.0, float("nan")], [1.0, 0.0]]), ValueError, "not finite: nan"),
            (torch.zeros(0, 0), ValueError, "num_nodes takes a whole number >= 1, got 0"),
        ],
    )
    def test_refused(self, matrix, error, message):
        with pytest.raises(error, match=message):
            from_dense(matrix)


def test_all_four_agree_on_what_a_row_and_a_column_are():
    graph = graph_from([(0, 1)], 2, [3.0])
    assert to_dense(graph)[0, 1] == 3.0
    assert to_scipy(graph)[0, 1] == 3.0
    assert to_networkx(graph).edges[0, 1]["weight"] == 3.0
    assert to_pyg(graph).edge_index.flatten().tolist() == [0, 1]

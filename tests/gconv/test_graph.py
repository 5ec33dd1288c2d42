"""`Graph`: frozen, validated, compared by identity, its plans kept with it."""

import copy
import dataclasses

import pytest
import torch
from graph_oracles import adjacency, assert_close, graph_from, random_graph
from torch import nn

from gconv import Graph, force_form, grid_graph, propagate
from grid_cnn import Domain, Grid

EDGES = torch.tensor([[0, 1, 2], [1, 2, 0]])
NAN, INF = float("nan"), float("inf")


def test_a_graph_is_frozen():
    graph = Graph(EDGES)
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph.num_nodes = 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        del graph.edge_index


def test_graphs_compare_by_identity():
    one, other = Graph(EDGES), Graph(EDGES)
    assert one == one
    assert one != other
    assert {one: "one", other: "other"}[one] == "one"


def test_a_graph_is_a_domain_with_zero_signals():
    graph = Graph(EDGES)
    assert isinstance(graph, Domain)
    zeros = graph.zeros(4, dtype=torch.float64, device=torch.device("cpu"))
    assert zeros.shape == (1, 3, 4)
    assert zeros.dtype == torch.float64
    assert not zeros.any()


@pytest.mark.parametrize(
    ("graph", "shown"),
    [
        (Graph(EDGES), "Graph(num_nodes=3, num_edges=3)"),
        (Graph(EDGES, 7, torch.rand(3)), "Graph(num_nodes=7, num_edges=3, weighted)"),
        (grid_graph((3, 4), neighbors=4), "Graph(3×4 grid, num_nodes=12, num_edges=34)"),
        (grid_graph(5, periodic=True), "Graph(5 periodic grid, num_nodes=5, num_edges=10)"),
        (grid_graph((3, 3), nearest=2), "Graph(3×3 grid, num_nodes=9, num_edges="),
    ],
)
def test_repr(graph, shown):
    assert repr(graph).startswith(shown)


def test_copies_are_the_graph_itself():
    graph = Graph(EDGES)
    assert copy.copy(graph) is graph
    assert copy.deepcopy(graph) is graph
    module = nn.Module()
    module.domain = graph
    assert copy.deepcopy(module).domain is graph


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_moving_to_its_own_device_is_the_graph_itself(device):
    graph = Graph(EDGES)
    assert graph.device == torch.device("cpu")
    assert graph.to(device) is graph


@pytest.mark.parametrize("name", ["edge_index", "edge_weight", "edge_attr", "pos"])
def test_later_edits_do_not_reach_a_graph(name):
    given = {"edge_index": EDGES.clone(), "edge_weight": torch.rand(3), "edge_attr": torch.rand(3, 2)}
    given["pos"] = torch.rand(3, 2)
    graph = Graph(**given)
    before, kept = propagate(torch.eye(3), graph.plan.adjacency()), getattr(graph, name).clone()
    given[name].zero_()
    assert torch.equal(getattr(graph, name), kept)
    assert torch.equal(propagate(torch.eye(3), graph.plan.adjacency()), before)


def test_weights_that_are_learned_stay_the_callers():
    weight = torch.rand(3, requires_grad=True)
    assert Graph(EDGES, edge_weight=weight).edge_weight is weight


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8])
def test_indices_of_every_whole_dtype(dtype):
    graph = Graph(EDGES.to(dtype))
    assert graph.edge_index.dtype == torch.int64
    assert torch.equal(graph.edge_index, EDGES)


def test_the_number_of_nodes_is_given_or_counted():
    assert Graph(EDGES).num_nodes == 3
    assert Graph(EDGES, 9).num_nodes == 9
    assert Graph(EDGES, pos=torch.zeros(5, 2)).num_nodes == 5
    assert Graph(EDGES).num_edges == 3


BAD = {
    "edge_index is a list": ({"edge_index": [[0], [1]]}, TypeError, "takes a .2, E. tensor.*list"),
    "edge_index is None": ({"edge_index": None}, TypeError, "takes a .2, E. tensor.*NoneType"),
    "edge_index of floats": ({"edge_index": EDGES.float()}, TypeError, r"torch.float32; convert it with .long\(\)"),
    "edge_index of booleans": ({"edge_index": EDGES.bool()}, TypeError, "whole numbers.*torch.bool"),
    "edge_index transposed": ({"edge_index": EDGES.t()}, ValueError, r"got \(3, 2\); pass its transpose"),
    "edge_index of one axis": ({"edge_index": EDGES[0]}, ValueError, r"has shape \(2, E\).*got \(3,\)"),
    "edge_index of three axes": ({"edge_index": EDGES[None]}, ValueError, r"got \(1, 2, 3\)"),
    "edge_index of three rows": ({"edge_index": torch.zeros(3, 4, dtype=torch.long)}, ValueError, r"got \(3, 4\)$"),
    "a negative index": ({"edge_index": torch.tensor([[0, 1, 2], [1, -1, 0]])}, ValueError, r"\[:, 1\] = \[1, -1\]"),
    "an index too large": ({"num_nodes": 2}, ValueError, r"\[:, 1\] = \[1, 2\] .*2 nodes; pass num_nodes=3"),
    "an index beyond pos": ({"pos": torch.zeros(2, 2)}, ValueError, "beyond the last of 2 nodes"),
    "num_nodes zero": ({"num_nodes": 0}, ValueError, "num_nodes takes a whole number >= 1, got 0"),
    "num_nodes negative": ({"num_nodes": -3}, ValueError, "got -3"),
    "num_nodes True": ({"num_nodes": True}, ValueError, "got True"),
    "num_nodes a float": ({"num_nodes": 3.0}, ValueError, r"got 3\.0"),
    "nan weight": ({"edge_weight": torch.tensor([1.0, NAN, 1.0])}, ValueError, r"edge_weight\[1\] is not finite: nan"),
    "infinite weight": ({"edge_weight": torch.tensor([1.0, 1.0, -INF])}, ValueError, r"edge_weight\[2\].*-inf"),
    "too few weights": ({"edge_weight": torch.ones(2)}, ValueError, r"edge_weight has shape \(3,\) here; got \(2,\)"),
    "weights in a column": ({"edge_weight": torch.ones(3, 1)}, ValueError, r"edge_weight.*got \(3, 1\)"),
    "whole weights": ({"edge_weight": torch.ones(3).long()}, TypeError, r"edge_weight.*torch.int64.*\.float\(\)"),
    "a list of weights": ({"edge_weight": [1.0, 1.0, 1.0]}, TypeError, "edge_weight takes a tensor.*list"),
    "too few attributes": ({"edge_attr": torch.ones(4, 2)}, ValueError, r"edge_attr has shape.*\(3, d\).*got \(4, 2\)"),
    "attributes of three axes": ({"edge_attr": torch.ones(3, 2, 2)}, ValueError, "edge_attr has shape"),
    "nan attribute": ({"edge_attr": torch.tensor([[0.0, 0.0], [0, 0], [0, NAN]])}, ValueError, r"edge_attr\[2\]"),
    "positions on a line": ({"pos": torch.zeros(3)}, ValueError, "pos has shape"),
    "positions of other nodes": ({"num_nodes": 4, "pos": torch.zeros(3, 2)}, ValueError, r"pos has shape \(4, d\)"),
    "whole positions": ({"pos": torch.zeros(3, 2, dtype=torch.long)}, TypeError, "pos takes.*torch.int64"),
    "infinite position": ({"pos": torch.tensor([[INF, 0.0], [0, 0], [0, 0]])}, ValueError, r"pos\[0\] is not finite"),
    "weights elsewhere": ({"edge_weight": torch.ones(3, device="meta")}, ValueError, "edge_weight is on meta"),
    "positions elsewhere": ({"pos": torch.ones(3, 2, device="meta")}, ValueError, r"pos is on meta.*\.to\(\)"),
    "no node at all": ({"edge_index": torch.zeros(2, 0).long()}, ValueError, "at least one node; pass num_nodes"),
    "no position at all": (
        {"edge_index": torch.zeros(2, 0).long(), "pos": torch.zeros(0, 2)},
        ValueError,
        "at least one node",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_name(case):
    given, error, message = BAD[case]
    with pytest.raises(error, match=message) as caught:
        Graph(**{"edge_index": EDGES, **given})
    assert "\n" not in str(caught.value)


def test_a_graph_without_edges():
    graph = Graph(torch.zeros(2, 0, dtype=torch.long), 4)
    assert (graph.num_nodes, graph.num_edges) == (4, 0)
    x = torch.rand(2, 4, 3)
    assert not propagate(x, graph).any()
    assert torch.equal(propagate(x, graph.plan.gcn()), x)
    assert not propagate(x, graph.plan.laplacian()).any()
    assert graph.plan.lambda_max() == 0.0


@pytest.mark.parametrize("edges", [[], [(0, 0)]], ids=["bare", "with a loop"])
def test_a_single_node(edges):
    graph, x = graph_from(edges, 1), torch.rand(1, 2)
    assert_close(propagate(x, graph), len(edges) * x)
    assert not propagate(x, graph.plan.laplacian()).any()
    assert_close(propagate(x, graph.plan.gcn()), x, 1e-6)


def test_isolated_nodes_receive_nothing():
    graph = graph_from([(0, 1), (1, 0)], 4)
    out = propagate(torch.ones(4, 1), graph)
    assert out.flatten().tolist() == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("form", ["gather", "dense", "portable"])
def test_parallel_edges_and_loops_add_up(form):
    graph = graph_from([(0, 1), (0, 1), (2, 2), (2, 2), (1, 1)], 3, [1.0, 2.0, 3.0, 4.0, 5.0])
    x = torch.tensor([[1.0], [10.0], [100.0]], dtype=torch.float64)
    assert propagate(x, graph.plan.adjacency(), form=form).flatten().tolist() == [0.0, 53.0, 700.0]


def test_equal_paths_over_grids_end_on_one_object():
    graph = grid_graph((28, 28))
    half, quarter = Grid((14, 14)), Grid((7, 7))
    assert graph.on(graph.grid) is graph
    assert graph.on(half) is graph.on(half)
    assert graph.on(half).on(quarter) is graph.on(quarter)
    assert graph.on(quarter).on(Grid((28, 28))) is graph
    assert grid_graph((28, 28)).on(half) is not graph.on(half)


def test_a_coarser_graph_is_built_once(monkeypatch):
    graph = grid_graph((28, 28))
    coarse = graph.on(Grid((14, 14)))
    monkeypatch.setattr(Graph, "__post_init__", lambda _: pytest.fail("a graph was built again"))
    assert graph.on(Grid((14, 14))) is coarse


@pytest.mark.parametrize("options", [{"neighbors": 4}, {"neighbors": 8}, {"nearest": 5}, {"nearest": 5, "sigma": 0.7}])
def test_another_grid_has_the_graph_of_the_same_rule(options):
    coarse, wanted = grid_graph((8, 6), **options).on(Grid((4, 3))), grid_graph((4, 3), **options)
    assert coarse.lattice == wanted.lattice
    assert torch.equal(coarse.edge_index, wanted.edge_index)
    assert torch.equal(coarse.pos, wanted.pos)
    assert adjacency(coarse) == pytest.approx(adjacency(wanted))


def test_only_the_graph_of_a_grid_has_coarser_ones():
    with pytest.raises(ValueError, match=r"not the graph of a grid.*grid_graph\(\).*global pool"):
        Graph(EDGES).on(Grid((2, 2)))


def test_a_grid_of_other_axes_is_refused():
    with pytest.raises(ValueError, match="axes"):
        grid_graph((4, 4)).on(Grid((4,)))


def test_other_weights_on_the_same_edges():
    graph, weight = grid_graph((3, 3)), torch.rand(40)
    other = graph.having(edge_weight=weight)
    assert torch.equal(other.edge_weight, weight)
    assert torch.equal(other.edge_attr, graph.edge_attr)
    assert torch.equal(other.pos, graph.pos)
    assert other.grid is None
    assert other.structure is graph.structure
    assert graph.edge_weight is None
    assert_close(propagate(torch.eye(9), other.plan.adjacency()), adjacency(other).astype("float32"), 1e-6)
    with pytest.raises(ValueError, match="edge_weight"):
        graph.having(edge_weight=torch.rand(39))


class TestPlan:
    def test_parts_are_built_once(self):
        plan = random_graph(undirected=True).plan
        for part in (plan.adjacency, plan.laplacian, plan.gcn, plan.fourier):
            assert part() is part()
        assert plan.laplacian("sym") is not plan.laplacian("rw")
        assert plan.gcn(improved=True) is not plan.gcn()
        assert plan.chebyshev("sym", None) is not plan.chebyshev("sym", 1.5)

    def test_nothing_is_built_while_a_compiler_traces(self, monkeypatch):
        graph = Graph(EDGES)
        stands = graph.plan.gcn()
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        assert graph.plan.gcn() is stands
        with pytest.raises(RuntimeError, match=r"does not stand yet.*bind\(model, graph\)"):
            graph.plan.laplacian()

    def test_parts_carry_no_gradient(self):
        graph = Graph(EDGES, edge_weight=torch.rand(3, requires_grad=True))
        assert not graph.plan.adjacency().weight.requires_grad

    def test_explain_lists_operators_with_their_forms(self):
        graph = grid_graph((4, 4), neighbors=4)
        graph.plan.laplacian()
        graph.plan.fourier()
        first, operator, basis = graph.plan.explain().splitlines()
        assert first == repr(graph)
        assert operator == "  laplacian[None]: 64 entries, a stencil of 3×3"
        assert basis.endswith("CosineBasis(16 frequencies, λ from 0 to 6.83)")
        assert "stencil" not in _explained(random_graph())

    @pytest.mark.parametrize("form", ["gather", "dense", "portable", "stencil"])
    @pytest.mark.parametrize("inside", ["plan", "graph and plan"])
    def test_a_plan_made_in_inference_mode_serves_training(self, form, inside):
        graph = grid_graph((4, 4))
        with torch.inference_mode(), force_form(form):
            graph = grid_graph((4, 4)) if inside == "graph and plan" else graph
            propagate(torch.rand(16, 2), graph.plan.gcn())
        assert torch.equal(_gradient(graph, form), _gradient(grid_graph((4, 4)), form))


def _explained(graph: Graph) -> str:
    graph.plan.adjacency()
    return graph.plan.explain()


def _gradient(graph: Graph, form: str) -> torch.Tensor:
    x = torch.ones(16, 2, requires_grad=True)
    propagate(x, graph.plan.gcn(), form=form).square().sum().backward()
    return x.grad

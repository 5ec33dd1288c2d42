"""What a layer takes as its graph: a `Graph`, PyG's objects, bare tensors; kept while they live and stay unedited."""

import gc
import weakref

import networkx
import pytest
import torch
import torch_geometric.nn as pyg
from graph_oracles import assert_close
from torch import Tensor
from torch_geometric.data import Batch, Data, HeteroData

import gconv.resolve
from gconv import ChebConv, GCNConv, GMMConv, Graph, GraphLayer, grid_graph
from gconv.resolve import as_graph
from grid_cnn import Grid

NODES = 9


def edges(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Thirty different edges among seven of nine nodes, loops among them, and their weights."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.randperm(49, generator=generator)[:30]
    return torch.stack([pairs // 7, pairs % 7]), torch.rand(30, generator=generator) + 0.25


@pytest.fixture
def built(monkeypatch) -> list[Graph]:
    """Every graph that is built from here on."""
    graphs: list[Graph] = []
    check = Graph.__post_init__

    def counted(graph: Graph) -> None:
        check(graph)
        graphs.append(graph)

    monkeypatch.setattr(Graph, "__post_init__", counted)
    return graphs


@pytest.fixture
def layer() -> GCNConv:
    return GCNConv(2, 3)


@pytest.fixture
def x() -> Tensor:
    return torch.rand(NODES, 2)


def fresh(layer: GraphLayer, x: Tensor, *tensors: Tensor) -> Tensor:
    """What the layer says to tensors that it has never seen."""
    return layer(x, *(tensor.clone() for tensor in tensors))


class TestKeptWhileUnedited:
    def test_an_edge_index_is_planned_once(self, layer, x, built):
        edge_index, _ = edges()
        first = layer(x, edge_index)
        assert len(built) == 1
        assert torch.equal(layer(x, edge_index), first)
        layer(torch.rand(4, NODES, 2), edge_index)
        ChebConv(2, 2, 3)(x, edge_index)
        assert len(built) == 1

    def test_so_are_weights_beside_it(self, layer, x, built):
        edge_index, weight = edges()
        first = layer(x, edge_index, weight)
        count = len(built)
        assert torch.equal(layer(x, edge_index, weight), first)
        layer(x, edge_index=edge_index, edge_weight=weight)
        assert len(built) == count

    def test_another_number_of_nodes_is_another_graph(self, layer, x, built):
        edge_index, _ = edges()
        layer(x, edge_index)
        assert layer(torch.rand(NODES + 2, 2), edge_index).shape == (NODES + 2, 3)
        assert [graph.num_nodes for graph in built] == [NODES, NODES + 2]

    @pytest.mark.parametrize(
        "edit",
        [
            lambda e: e[0].fill_(0),
            lambda e: e.index_fill_(1, torch.tensor([3]), 5),
            lambda e: e.copy_(e.flip(0)),
            lambda e: e.detach().zero_(),
            lambda e: e.view(-1)[:4].add_(1).remainder_(NODES),
        ],
        ids=["a row", "an edge", "all", "through detach", "through a view"],
    )
    def test_an_edited_edge_index_is_never_missed(self, layer, x, edit):
        edge_index, weight = edges()
        before = layer(x, edge_index), layer(x, edge_index, weight)
        edit(edge_index)
        after = layer(x, edge_index), layer(x, edge_index, weight)
        assert torch.equal(after[0], fresh(layer, x, edge_index))
        assert torch.equal(after[1], fresh(layer, x, edge_index, weight))
        assert not torch.equal(after[0], before[0])

    def test_an_edit_of_the_tensor_that_an_edge_index_is_a_view_of(self, layer, x):
        whole = torch.cat([edges()[0], edges(1)[0]], 1)
        edge_index = whole[:, :30]
        layer(x, edge_index)
        whole[:, :10] = 1
        assert torch.equal(layer(x, edge_index), fresh(layer, x, edge_index))

    @pytest.mark.parametrize(
        "edit",
        [lambda w: w.mul_(w), lambda w: w[:3].zero_(), lambda w: w.detach().exp_()],
        ids=["all", "some", "detach"],
    )
    def test_an_edited_weight_is_never_missed(self, layer, x, edit):
        edge_index, weight = edges()
        before = layer(x, edge_index, weight)
        edit(weight)
        after = layer(x, edge_index, weight)
        assert torch.equal(after, fresh(layer, x, edge_index, weight))
        assert not torch.equal(after, before)

    def test_edited_attributes_of_a_data_are_never_missed(self, x):
        layer, (edge_index, _) = GMMConv(2, 3, dim=2, kernel_size=3), edges()
        data = Data(edge_index=edge_index, edge_attr=torch.rand(30, 2), num_nodes=NODES)
        layer(x, data)
        data.edge_attr.mul_(0.5)
        assert torch.equal(layer(x, data), fresh(layer, x, edge_index, data.edge_attr))

    def test_weights_of_one_call_are_not_attributes_of_another(self, layer, x):
        edge_index, weight = edges()
        wanted = fresh(layer, x, edge_index, weight)
        layer(x, Data(edge_index=edge_index, edge_attr=weight, num_nodes=NODES))
        assert torch.equal(layer(x, edge_index, weight), wanted)

    def test_attributes_of_one_call_are_not_weights_of_another(self, layer, x):
        edge_index, weight = edges()
        layer(x, edge_index, weight)
        found, _ = layer.resolve(x, Data(edge_index=edge_index, edge_attr=weight, num_nodes=NODES))
        assert found.edge_weight is None
        assert torch.equal(found.edge_attr.flatten(), weight)


class TestForgottenWithTheTensors:
    def test_a_plan_dies_with_its_edge_index(self, layer, x, built):
        edge_index, weight = edges()
        layer(x, edge_index)
        layer(x, edge_index, weight)
        graphs = [weakref.ref(graph) for graph in built]
        built.clear()
        del edge_index, weight
        gc.collect()
        assert [graph() for graph in graphs] == [None] * len(graphs)

    def test_a_plan_dies_with_its_weights(self, layer, x, built):
        edge_index, weight = edges()
        layer(x, edge_index, weight)
        with_weights = [weakref.ref(graph) for graph in built if graph.edge_weight is not None]
        built.clear()
        del weight
        gc.collect()
        assert [graph() for graph in with_weights] == [None]

    def test_a_plan_dies_with_its_learned_attributes(self, x):
        attributes = torch.rand(30, 2, requires_grad=True)
        data = Data(edge_index=edges()[0], edge_attr=attributes, num_nodes=NODES)
        GMMConv(2, 3, dim=2, kernel_size=3)(x, data)
        alive = weakref.ref(attributes)
        del attributes, data
        gc.collect()
        assert alive() is None

    def test_weights_that_outlive_their_edges_keep_no_plans(self, layer, x, built):
        _, weight = edges()
        for seed in range(5):
            layer(x, edges(seed)[0], weight)
        graphs = [weakref.ref(graph) for graph in built]
        built.clear()
        gc.collect()
        assert sum(graph() is not None for graph in graphs) <= 2

    def test_edited_tensors_leave_nothing_behind(self, layer, x, built):
        edge_index, _ = edges()
        for _ in range(5):
            layer(x, edge_index)
            edge_index.remainder_(NODES - 1)
        graphs = [weakref.ref(graph) for graph in built]
        built.clear()
        gc.collect()
        assert sum(graph() is not None for graph in graphs) == 1


class TestLearnedWeights:
    def test_they_are_used_as_they_are(self, layer, x, built):
        edge_index, weight = edges()
        weight.requires_grad_()
        graph, learned = layer.resolve(x, edge_index, weight)
        assert learned is weight
        assert graph.edge_weight is None
        layer(x, edge_index, weight)
        assert len(built) == 1

    def test_a_step_of_learning_is_seen(self, layer, x):
        edge_index, weight = edges()
        layer(x, edge_index, weight.requires_grad_()).sum().backward()
        assert weight.grad.abs().sum() > 0
        with torch.no_grad():
            weight -= 0.1 * weight.grad
        assert_close(layer(x, edge_index, weight).detach(), fresh(layer, x, edge_index, weight.detach()).detach(), 1e-6)

    def test_those_of_a_graph_are_learned_too(self, layer, x):
        weight = edges()[1].requires_grad_()
        graph = Graph(edges()[0], NODES, weight)
        assert layer.resolve(x, graph) == (graph, weight)
        layer(x, graph).sum().backward()
        assert weight.grad.abs().sum() > 0

    def test_of_a_wrong_shape(self, layer, x):
        with pytest.raises(ValueError, match=r"GCNConv: edge_weight has shape \(30,\).*got \(30, 2\)"):
            layer(x, edges()[0], torch.rand(30, 2, requires_grad=True))


class TestPyg:
    def test_weights_of_a_data(self, layer, x):
        edge_index, weight = edges()
        data = Data(edge_index=edge_index, edge_weight=weight, num_nodes=NODES)
        assert torch.equal(layer(x, data), fresh(layer, x, edge_index, weight))
        assert torch.equal(layer(x, data, torch.ones(30)), fresh(layer, x, edge_index))

    def test_a_data_without_weights(self, layer, x, built):
        data = Data(edge_index=edges()[0], edge_weight=None, num_nodes=NODES)
        assert torch.equal(layer(x, data), fresh(layer, x, data.edge_index))
        layer(x, data)
        assert len(built) == 2  # one for the data, one for the fresh tensors

    @pytest.mark.parametrize("columns", [(), (1,), (2,)])
    def test_attributes_of_a_data(self, x, columns):
        attributes = torch.rand(30, *columns)
        found, weight = as_graph(
            Data(edge_index=edges()[0], edge_attr=attributes, num_nodes=NODES), "layer", NODES, None
        )
        assert weight is None
        assert torch.equal(found.edge_attr.reshape(30, -1), attributes.reshape(30, -1))

    def test_whole_attributes_are_no_matter_to_a_layer_that_reads_none(self, layer, x):
        edge_index, _ = edges()
        data = Data(edge_index=edge_index, edge_attr=torch.ones(30, 3, dtype=torch.long), num_nodes=NODES)
        assert torch.equal(layer(x, data), fresh(layer, x, edge_index))

    def test_a_batch_is_the_graphs_side_by_side(self, layer, x):
        datas = [
            Data(x=torch.rand(NODES, 2), edge_index=edges(seed)[0], edge_weight=edges(seed)[1], num_nodes=NODES)
            for seed in range(3)
        ]
        batch = Batch.from_data_list(datas)
        wanted = torch.cat([layer(data.x, data.edge_index, data.edge_weight) for data in datas])
        assert_close(layer(batch.x, batch), wanted.detach(), 1e-6)

    def test_without_edges(self, layer, x):
        with pytest.raises(TypeError, match=r"GCNConv.*Data without edge_index"):
            layer(x, Data(x=x))

    def test_of_several_kinds_of_nodes(self, layer, x):
        hetero = HeteroData()
        hetero["cell"].x = x
        hetero["cell", "to", "cell"].edge_index = edges()[0]
        with pytest.raises(TypeError, match="GCNConv"):
            layer(x, hetero)


@pytest.mark.filterwarnings("ignore:Sparse")
class TestSparse:
    @pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
    def test_a_row_is_a_target_as_in_pyg(self, x, layout):
        edge_index, weight = edges()
        matrix = torch.sparse_coo_tensor(edge_index.flip(0), weight, (NODES, NODES), check_invariants=True)
        ours, theirs = GCNConv(2, 3), pyg.GCNConv(2, 3)
        theirs.load_state_dict(ours.state_dict())
        assert_close(ours(x, matrix.to_sparse(layout=layout)).detach(), theirs(x, edge_index, weight).detach(), 1e-6)

    def test_other_weights_for_its_entries(self, layer, x):
        matrix = torch.sparse_coo_tensor(torch.tensor([[1, 2], [0, 1]]), torch.tensor([5.0, 6.0]), (NODES, NODES))
        wanted = fresh(layer, x, torch.tensor([[0, 1], [1, 2]]), torch.tensor([7.0, 8.0]))
        assert torch.equal(layer(x, matrix, torch.tensor([7.0, 8.0])), wanted)

    def test_its_values_are_learned(self, layer, x):
        edge_index, weight = edges()
        weight.requires_grad_()
        layer(x, torch.sparse_coo_tensor(edge_index.flip(0), weight, (NODES, NODES))).sum().backward()
        assert weight.grad.abs().sum() > 0


def test_tensors_of_inference_mode_have_no_versions_and_still_work(layer, x):
    with torch.inference_mode():
        edge_index, weight = (tensor.clone() for tensor in edges())
        before = layer(x, edge_index, weight)
        assert torch.equal(before, layer(x, *edges()))
        edge_index.zero_()
        assert torch.equal(layer(x, edge_index, weight), fresh(layer, x, edge_index, weight))


@pytest.mark.parametrize("weighted", [False, True])
def test_a_plan_made_in_inference_mode_serves_training(layer, x, weighted):
    tensors = edges()[: 1 + weighted]
    with torch.inference_mode():
        layer(x, *tensors)
    layer(x.requires_grad_(), *tensors).sum().backward()
    assert x.grad.abs().sum() > 0


def test_weights_beside_a_graph_take_the_place_of_its_own(layer, x):
    edge_index, weight = edges()
    graph = Graph(edge_index, NODES, torch.full((30,), 9.0), torch.rand(30, 2))
    assert torch.equal(layer(x, graph, weight), fresh(layer, x, edge_index, weight))
    found, _ = layer.resolve(x, graph, weight)
    assert torch.equal(found.edge_attr, graph.edge_attr)
    assert layer.resolve(x, graph, weight)[0] is found


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (None, r"GCNConv was called without a domain: call layer\(x, graph\)"),
        (Grid((3, 3)), r"works on a Graph, got Grid\(\(3, 3\)\); make its graph with grid_graph\(\(3, 3\)\)"),
        ([[0, 1], [1, 0]], "takes a Graph, a PyG Data or an edge_index .* got list"),
        (networkx.path_graph(NODES), "got Graph"),
        (torch.rand(2, 3), "edge_index holds whole numbers"),
    ],
    ids=["nothing", "grid", "list", "networkx", "floats"],
)
def test_what_is_no_graph_is_refused(layer, x, graph, message):
    with pytest.raises(TypeError, match=message):
        layer(x, graph)


@pytest.mark.parametrize(
    ("signal", "error", "message"),
    [
        (torch.rand(8, 2), ValueError, "signal of 8 nodes"),
        (torch.rand(NODES, 5), ValueError, "expects 2 channels, got 5"),
        (torch.rand(NODES), ValueError, r"got shape \(9,\)"),
        (torch.rand(1, 1, NODES, 2), ValueError, r"\(N, C\) or \(B, N, C\)"),
        ([[1.0]], TypeError, "takes one tensor .* got list"),
        ((torch.rand(NODES, 2), torch.rand(NODES, 2)), TypeError, "got tuple"),
        (torch.rand(NODES, 2, device="meta"), ValueError, r"signal is on meta, the graph on cpu; .*\.to\(\)"),
    ],
)
def test_a_signal_that_does_not_fit_is_refused(layer, signal, error, message):
    with pytest.raises(error, match=message):
        layer(signal, grid_graph((3, 3)))


def test_an_index_beyond_the_signal_is_refused(layer):
    with pytest.raises(ValueError, match=r"\[\d, \d\] points beyond the last of 3 nodes"):
        layer(torch.rand(3, 2), torch.tensor([[0, 1], [1, 7]]))


def test_nothing_is_kept_of_a_refused_graph(layer, x):
    edge_index = torch.tensor([[0, 1], [1, -1]])
    for _ in range(2):
        with pytest.raises(ValueError, match="negative"):
            layer(x, edge_index)
    edge_index[1, 1] = 2
    assert layer(x, edge_index).shape == (NODES, 3)
    assert edge_index in gconv.resolve._GRAPHS

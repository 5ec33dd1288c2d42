"""What SAGE, GIN, TAG and ARMA do beside PyG's numbers: forms, hooks, ε, dropout, errors, families of recipes."""

import copy

import pytest
import torch
import torch_geometric.nn as pyg
from test_pyg_layers import PLAIN, agree, mlp, twins
from test_pyg_parity import GRAPHS, assert_same, value_and_gradients
from torch import nn
from torch_geometric.data import Batch, Data

import gconv
from gconv import Graph, GraphOps, grid_graph
from grid_cnn import models


@pytest.mark.parametrize("name", ["SAGE", "SAGE max", "SAGE sum", "GIN linear", "GIN network, learned"])
def test_weights_of_edges_do_not_count(name):
    layer, original = twins(PLAIN[name])
    edge_index, weight, nodes = GRAPHS["directed, weighted"]
    x = torch.randn(nodes, 5)
    expected = original(x, edge_index)
    assert_same(layer(x, Graph(edge_index, nodes, weight)), expected)
    assert_same(layer(x, Graph(edge_index, nodes, weight.clone().requires_grad_())), expected)
    assert_same(layer(x, Data(edge_index=edge_index, edge_weight=weight, num_nodes=nodes)), expected)


@pytest.mark.parametrize("form", ["fused", "gather", "stencil", "dense", "portable"])
@pytest.mark.parametrize("name", ["SAGE", "SAGE narrowing", "SAGE sum", "GIN linear", "GIN linear, learned"])
def test_forms_on_a_large_grid(name, form):
    """More nodes than a dense product is chosen for, borders and corners of lower degree; a torus with double edges."""
    for graph in (grid_graph((9, 11)), grid_graph((2, 40), periodic=True)):
        layer, original = twins(PLAIN[name])
        x = torch.randn(graph.num_nodes, 5, requires_grad=True)
        with gconv.force_form(form):
            found = value_and_gradients(layer, x, (graph,), [])
        for value, expected in zip(found, value_and_gradients(original, x, (graph.edge_index,), []), strict=True):
            assert_same(value, expected)


@pytest.mark.parametrize("aggr", ["max", "min"])
def test_equal_neighbours_share_the_gradient_as_in_pyg(aggr):
    layer, original = twins(lambda lib: lib.SAGEConv(5, 7, aggr=aggr))
    edge_index, _, nodes = GRAPHS["directed"]
    x = torch.randint(1, 4, (nodes, 5)).float().requires_grad_()
    agree(layer, original, x, (edge_index,))


def test_projected_neighbours_that_are_all_zero():
    """PyG's numbers; its gradient counts the zero that it starts from among equal zeros, ours the neighbours alone."""
    layer, original = twins(lambda lib: lib.SAGEConv(5, 7, aggr="max", project=True))
    edge_index, _, nodes = GRAPHS["directed"]
    x = torch.randn(nodes, 5)
    assert_same(layer(x, edge_index), original(x, edge_index))


class TestSAGE:
    def test_unknown_aggregations_are_named(self):
        for aggr in ("mul", None, [], ["mean", "most"]):
            named = r"aggr is one of 'add', 'sum', 'mean', 'max', 'min', 'median'.*'lstm', or a list of such; got"
            with pytest.raises(ValueError, match=named):
                gconv.SAGEConv(5, 7, aggr=aggr)

    def test_another_size_than_the_signal_tells_is_refused(self):
        with pytest.raises(ValueError, match=r"same 3 sources and targets here; got size=\(3, 2\)"):
            gconv.SAGEConv(5, 7)(torch.zeros(3, 5), torch.tensor([[0], [1]]), size=(3, 2))

    def test_the_size_of_the_graph_itself_is_taken(self):
        layer, original = twins(PLAIN["SAGE"])
        x, edge_index = torch.randn(3, 5), torch.tensor([[0], [1]])
        assert_same(layer(x, edge_index, (3, 3)), original(x, edge_index, (3, 3)))

    def test_fresh_weights_are_drawn_as_pyg_draws_them(self):
        torch.manual_seed(3)
        layer = gconv.SAGEConv(400, 300)
        for weight in (layer.lin_l.weight, layer.lin_r.weight, layer.lin_l.bias):
            assert float(weight.detach().abs().max()) <= 400**-0.5
            assert float(weight.detach().std()) == pytest.approx(400**-0.5 / 3**0.5, rel=0.1)
        before = layer.lin_r.weight.clone()
        layer.reset_parameters()
        assert not torch.equal(layer.lin_r.weight, before)


class TestGIN:
    def test_batch_norm_sees_all_signals_as_on_a_batch_of_graphs(self):
        layer, original = twins(PLAIN["GIN with batch norm"])
        edge_index, _, nodes = GRAPHS["directed"]
        x = torch.randn(4, nodes, 5)
        batch = Batch.from_data_list([Data(x=signal, edge_index=edge_index) for signal in x])
        assert_same(layer(x, edge_index).flatten(0, 1), original(batch.x, batch.edge_index))
        assert_same(layer.nn[1].running_var, original.nn[1].running_var)

    def test_a_new_eps_is_seen_however_it_comes(self):
        edge_index, _, nodes = GRAPHS["directed"]
        x = torch.randn(nodes, 5)
        layer, original = twins(PLAIN["GIN network"])
        layer(x, edge_index)
        for eps in (0.5, -1.0):
            layer.eps.data.fill_(eps)
            original.eps.data.fill_(eps)
            assert_same(layer(x, edge_index), original(x, edge_index))
        other, twin = twins(lambda lib: lib.GINConv(mlp(5, 8, 7), eps=3.0))
        layer.load_state_dict(other.state_dict())
        assert_same(layer(x, edge_index), twin(x, edge_index))
        layer.reset_parameters()
        assert float(layer.eps) == 0.0

    def test_a_frozen_eps(self):
        layer, original = twins(PLAIN["GIN linear, learned"])
        layer.eps.requires_grad_(False).fill_(0.7)
        original.eps.requires_grad_(False).fill_(0.7)
        edge_index, _, nodes = GRAPHS["directed"]
        x = torch.randn(nodes, 5)
        assert_same(layer(x, edge_index), original(x, edge_index))

    def test_compiled_with_an_eps_that_changes(self):
        torch.compiler.reset()
        layer, original = twins(PLAIN["GIN linear"])
        graph = grid_graph((9, 9))
        x = torch.randn(81, 5)
        layer(x, graph)
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        for eps in (0.3, 0.9):
            layer.eps.fill_(eps)
            original.eps.fill_(eps)
            assert_same(compiled(x, graph), original(x, graph.edge_index))

    @pytest.mark.parametrize("whose", [lambda net: net, lambda net: net[0]])
    def test_hooks_of_its_network_run(self, whose):
        layer = gconv.GINConv(mlp(5, 8, 7))
        x, edge_index = torch.randn(3, 5), torch.tensor([[0, 1], [1, 2]])
        plain = layer(x, edge_index)
        seen = []
        handle = whose(layer.nn).register_forward_hook(lambda module, args, out: seen.append(args[0].shape))
        assert_same(layer(x, edge_index), plain)
        assert seen == [(3, 5)]
        handle.remove()
        whose(layer.nn).register_forward_pre_hook(lambda module, args: (args[0] * 0,))
        assert_same(layer(x, edge_index), layer.nn(torch.zeros(3, 5)))

    def test_a_function_for_a_network(self):
        layer, original = gconv.GINConv(torch.tanh, eps=0.5), pyg.GINConv(torch.tanh, eps=0.5)
        x, edge_index = torch.randn(2, 3, 5), torch.tensor([[0, 1], [1, 2]])
        assert_same(layer(x, edge_index), torch.stack([original(signal, edge_index) for signal in x]))

    def test_a_network_keeps_its_parameters(self):
        network = mlp(5, 8, 7)
        before = copy.deepcopy(network.state_dict())
        layer = gconv.GINConv(network)
        assert all(torch.equal(layer.nn.state_dict()[name], value) for name, value in before.items())
        layer.reset_parameters()
        assert not torch.equal(layer.nn[0].weight, before["0.weight"])

    def test_what_does_not_fit_is_named(self):
        x, edge_index = torch.randn(3, 5), torch.tensor([[0, 1], [1, 2]])
        with pytest.raises(TypeError, match="takes a network that maps rows to rows as nn, got int"):
            gconv.GINConv(3)
        with pytest.raises(ValueError, match=r"nn maps rows .* it made \(7, 3\) of \(3, 5\)"):
            gconv.GINConv(lambda rows: torch.zeros(7, 3))(x, edge_index)
        with pytest.raises(ValueError, match="GINConv expects 4 channels, got 5"):
            gconv.GINConv(nn.Sequential(nn.ReLU(), nn.Linear(4, 7)))(x, edge_index)


class TestTAG:
    def test_terms_by_hand(self):
        """A path of three nodes: S = A / √2 between the middle and its ends."""
        layer = gconv.TAGConv(1, 1, K=2)
        with torch.no_grad():
            for lin, value in zip(layer.lins, (1.0, 10.0, 100.0), strict=True):
                lin.weight.fill_(value)
        edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        y = layer(torch.tensor([[1.0], [2.0], [4.0]]), edge_index)
        middle, root = 5.0, 2.0**-0.5
        expected = [1 + 20 * root + 100 * middle / 2, 2 + 10 * root * middle + 200, 4 + 20 * root + 100 * middle / 2]
        torch.testing.assert_close(y.flatten(), torch.tensor(expected))

    @pytest.mark.parametrize("K", [-1, 1.5, True])
    def test_a_wrong_number_of_hops_is_named(self, K):
        with pytest.raises(ValueError, match="K, the number of hops, is a whole number >= 0; got"):
            gconv.TAGConv(5, 7, K=K)


class TestARMA:
    @pytest.mark.parametrize("shared", [True, False])
    def test_dropout_falls_as_in_pyg(self, shared):
        layer, original = twins(lambda lib: lib.ARMAConv(5, 4, 2, 3, shared_weights=shared, dropout=0.4))
        edge_index, weight, nodes = GRAPHS["directed, weighted"]
        x = torch.randn(nodes, 5, requires_grad=True)
        found = []
        for either in (layer, original):
            torch.manual_seed(5)
            found.append(value_and_gradients(either, x, (edge_index, weight), []))
        for value, expected in zip(*found, strict=True):
            assert_same(value, expected)
        assert_same(layer.eval()(x, edge_index, weight), original.eval()(x, edge_index, weight))

    def test_wrong_settings_are_named(self):
        for options in ({"num_stacks": 0}, {"num_layers": 0}, {"num_layers": 1.0}):
            with pytest.raises(ValueError, match=f"{next(iter(options))} takes a whole number >= 1"):
                gconv.ARMAConv(5, 7, **options)
        with pytest.raises(ValueError, match=r"dropout takes a probability, got 1\.5"):
            gconv.ARMAConv(5, 7, dropout=1.5)


@pytest.mark.parametrize("family", ["sage", "gin", "tag", "arma"])
def test_recipes_are_built_from_the_families(family):
    graph = grid_graph((28, 28))
    net = models.lenet5(ops=GraphOps(family), domain=graph)
    x = torch.randn(2, 784, 1, requires_grad=True)
    y = net(x, graph)
    assert y.shape == (2, 10)
    assert torch.autograd.grad(y.square().sum(), x)[0].any()


def test_options_reach_the_families():
    assert GraphOps("sage", aggr="max").conv(3, 4, 5).aggr == "max"
    assert GraphOps("gin", train_eps=True).conv(3, 4, 5).eps.requires_grad
    tag, three = GraphOps("tag"), GraphOps("tag", K=3, normalize=False)
    assert tag.conv(3, 4, 5).K == 24
    assert three.conv(3, 4, 5).K == 2
    assert not three.conv(3, 4, 5).normalize
    assert three.title(5) == "TAGConv, 3 terms"
    arma = GraphOps("arma", num_stacks=2, num_layers=3).conv(3, 4, 5, bias=False)
    assert (arma.num_stacks, arma.num_layers, arma.bias) == (2, 3, None)
    assert arma.act is not None
    assert GraphOps("arma").conv(3, 4, 5).act is None

"""Layers that PyG has: its constructor, its state dict, its numbers, over their options and on graphs of every kind."""

from itertools import pairwise

import pytest
import torch
import torch_geometric.nn as pyg
from test_pyg_parity import GRAPHS, assert_same, value_and_gradients
from torch import nn

import gconv
from gconv import Graph


def mlp(*widths):
    """Linear layers with Tanh between them."""
    layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


# Each builds the layer of either library, so that both take the same arguments.
PLAIN = {
    "SAGE": lambda lib: lib.SAGEConv(5, 7),
    "SAGE narrowing": lambda lib: lib.SAGEConv(5, 2, "mean"),
    "SAGE sum": lambda lib: lib.SAGEConv(5, 7, aggr="sum", bias=False),
    "SAGE add, unit length": lambda lib: lib.SAGEConv(5, 7, aggr="add", normalize=True),
    "SAGE max": lambda lib: lib.SAGEConv(5, 7, aggr="max"),
    "SAGE min, no root": lambda lib: lib.SAGEConv(5, 7, aggr="min", root_weight=False),
    "SAGE mean, no root": lambda lib: lib.SAGEConv(5, 7, root_weight=False, bias=False),
    "SAGE projected": lambda lib: lib.SAGEConv(5, 7, project=True),
    "SAGE projected, no root": lambda lib: lib.SAGEConv(5, 2, aggr="sum", project=True, root_weight=False),
    "GIN linear": lambda lib: lib.GINConv(nn.Linear(5, 7), 0.3),
    "GIN narrowing": lambda lib: lib.GINConv(nn.Linear(5, 2, bias=False), eps=-0.5),
    "GIN network": lambda lib: lib.GINConv(mlp(5, 8, 7)),
    "GIN network, learned": lambda lib: lib.GINConv(mlp(5, 8, 7), eps=0.2, train_eps=True),
    "GIN linear, learned": lambda lib: lib.GINConv(nn.Linear(5, 2), train_eps=True),
    "GIN free": lambda lib: lib.GINConv(nn.Sequential(nn.Sigmoid(), nn.Linear(5, 7)), eps=0.1),
    "GIN free, learned": lambda lib: lib.GINConv(nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 7)), train_eps=True),
    "GIN nested": lambda lib: lib.GINConv(nn.Sequential(mlp(5, 4), nn.Tanh(), nn.Linear(4, 7)), eps=0.1),
    "GIN with batch norm": lambda lib: lib.GINConv(nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh())),
    "FeaSt": lambda lib: lib.FeaStConv(5, 7),
    "FeaSt, heads": lambda lib: lib.FeaStConv(5, 7, heads=4),
    "FeaSt without loops": lambda lib: lib.FeaStConv(5, 3, heads=2, add_self_loops=False, bias=False),
    "GAT": lambda lib: lib.GATConv(5, 7),
    "GAT heads": lambda lib: lib.GATConv(5, 3, heads=4, negative_slope=0.1, residual=True),
    "GAT mean of heads": lambda lib: lib.GATConv(5, 7, heads=3, concat=False, bias=False),
    "GAT without loops": lambda lib: lib.GATConv(5, 3, heads=2, add_self_loops=False),
    "GATv2": lambda lib: lib.GATv2Conv(5, 7),
    "GATv2 heads": lambda lib: lib.GATv2Conv(5, 3, heads=4, negative_slope=0.1, residual=True),
    "GATv2 mean of heads": lambda lib: lib.GATv2Conv(5, 7, heads=3, concat=False, bias=False),
    "GATv2 shared": lambda lib: lib.GATv2Conv(5, 3, heads=2, share_weights=True, add_self_loops=False),
    "Edge": lambda lib: lib.EdgeConv(mlp(10, 8, 7)),
    "Edge mean": lambda lib: lib.EdgeConv(mlp(10, 8, 7), aggr="mean"),
    "Edge add": lambda lib: lib.EdgeConv(mlp(10, 8, 6, 7), aggr="add"),
    "Edge linear": lambda lib: lib.EdgeConv(nn.Linear(10, 7)),
    "Edge linear sum": lambda lib: lib.EdgeConv(nn.Linear(10, 7, bias=False), aggr="add"),
    "Edge free": lambda lib: lib.EdgeConv(nn.Sequential(nn.LayerNorm(10), nn.Linear(10, 7)), "max"),
    "Edge with batch norm": lambda lib: lib.EdgeConv(nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.Tanh())),
}

WEIGHTED = {
    "TAG": lambda lib: lib.TAGConv(5, 7),
    "TAG narrowing": lambda lib: lib.TAGConv(5, 2, K=4, bias=False),
    "TAG raw": lambda lib: lib.TAGConv(5, 7, 2, normalize=False),
    "TAG 0": lambda lib: lib.TAGConv(5, 7, K=0),
    "TAG 1": lambda lib: lib.TAGConv(5, 7, 1, True, True),
    "ARMA": lambda lib: lib.ARMAConv(5, 7),
    "ARMA steps": lambda lib: lib.ARMAConv(5, 7, num_layers=3, bias=False),
    "ARMA stacks": lambda lib: lib.ARMAConv(5, 2, num_stacks=3, act=torch.tanh),
    "ARMA stacks of steps": lambda lib: lib.ARMAConv(5, 4, 2, 3, act=nn.PReLU()),
    "ARMA shared": lambda lib: lib.ARMAConv(5, 4, 2, 3, shared_weights=True, act=None),
    "ARMA shared, one step": lambda lib: lib.ARMAConv(5, 4, 2, 1, True, act=nn.Softmax(-1), bias=False),
}

WITH_FEATURES = {
    "NN": lambda lib: lib.NNConv(5, 7, nn.Linear(3, 35)),
    "NN deep": lambda lib: lib.NNConv(5, 7, mlp(3, 4, 6, 35), aggr="mean"),
    "NN max": lambda lib: lib.NNConv(5, 4, mlp(3, 4, 20), aggr="max", bias=False),
    "NN no root": lambda lib: lib.NNConv(5, 2, mlp(3, 4, 10), aggr="add", root_weight=False),
    "NN bounded": lambda lib: lib.NNConv(5, 2, nn.Sequential(nn.Linear(3, 10), nn.Tanh()), "mean", False, False),
    "NN without bias": lambda lib: lib.NNConv(5, 2, nn.Sequential(nn.Tanh(), nn.Linear(3, 10, bias=False))),
    "GAT": lambda lib: lib.GATConv(5, 3, heads=2, edge_dim=3),
    "GAT add": lambda lib: lib.GATConv(5, 3, heads=2, edge_dim=3, fill_value="add", concat=False),
    "GAT max": lambda lib: lib.GATConv(5, 3, heads=2, edge_dim=3, fill_value="max", bias=False),
    "GAT min": lambda lib: lib.GATConv(5, 3, edge_dim=3, fill_value="min"),
    "GAT number": lambda lib: lib.GATConv(5, 3, heads=2, edge_dim=3, fill_value=0.5, residual=True),
    "GAT vector": lambda lib: lib.GATConv(5, 3, edge_dim=3, fill_value=torch.tensor([0.5, -1.0, 2.0])),
    "GAT without loops": lambda lib: lib.GATConv(5, 3, heads=2, edge_dim=3, add_self_loops=False),
    "GATv2": lambda lib: lib.GATv2Conv(5, 3, heads=2, edge_dim=3),
    "GATv2 add": lambda lib: lib.GATv2Conv(5, 3, heads=2, edge_dim=3, fill_value="add", concat=False),
    "GATv2 number": lambda lib: lib.GATv2Conv(5, 3, heads=2, edge_dim=3, fill_value=0.5, share_weights=True),
    "GATv2 without loops": lambda lib: lib.GATv2Conv(5, 3, heads=2, edge_dim=3, add_self_loops=False, bias=False),
}

ALL = {**{(name, 0): make for name, make in PLAIN.items()}, **{(name, 1): make for name, make in WEIGHTED.items()}}
ALL.update({(name, 2): make for name, make in WITH_FEATURES.items()})


def twins(make):
    """Our layer with the freshly drawn weights of theirs; both state dicts load strictly into each other."""
    original, layer = make(pyg), make(gconv)
    layer.load_state_dict(original.state_dict(), strict=True)
    make(pyg).load_state_dict(layer.state_dict(), strict=True)
    assert [name for name, _ in layer.named_parameters()] != []
    assert dict(layer.named_parameters()).keys() == dict(original.named_parameters()).keys()
    return layer, original


def arguments_of(kind, graph):
    """What a call takes after the signal: edges, and their weights (1) or features (2); and the number of nodes."""
    edge_index, weight, nodes = GRAPHS[graph]
    more = {0: (), 1: (weight,), 2: (torch.rand(edge_index.shape[1], 3),)}[kind]
    return (edge_index, *more), nodes


def exact(tensors):
    """In float64, where gradients that vanish do so on both sides."""
    tensors = (t.detach().double() if t is not None and t.is_floating_point() else t for t in tensors)
    return tuple(t.requires_grad_() if t is not None and t.is_floating_point() else t for t in tensors)


def assert_equal(ours, theirs):
    """To rounding in float64."""
    scale = max(float(theirs.detach().abs().max()), 1e-3) if theirs.numel() else 1.0
    assert ours.shape == theirs.shape
    assert ((ours - theirs).abs() <= 1e-11 * scale).all()


def agree(layer, original, x, arguments):
    """Outputs and gradients by the signal in float32; by all that is learned, and by the edges' numbers, in float64."""
    y, dx = value_and_gradients(layer, x, arguments, [])[:2]
    expected, gradient = value_and_gradients(original, x, arguments, [])[:2]
    assert_same(y, expected)
    assert_same(dx, gradient)
    x, *arguments = exact((x, *arguments))
    learned = [t for t in arguments if t is not None and t.requires_grad]
    found = value_and_gradients(layer.double(), x, arguments, learned)
    theirs = value_and_gradients(original.double(), x, arguments, learned)
    for value, expected in zip(found, theirs, strict=True):
        assert_equal(value, expected)


# PyG has no rows for its batch norm, or cannot tell a shape.
PYG_FAILS = {
    ("Edge with batch norm", "no edge"),
    ("Edge with batch norm", "one edge"),
    ("FeaSt without loops", "no edge"),
}
CASES = [(name, kind, graph) for name, kind in ALL for graph in GRAPHS if (name, graph) not in PYG_FAILS]


@pytest.mark.parametrize(("name", "kind", "graph"), CASES)
def test_outputs_and_gradients(name, kind, graph):
    layer, original = twins(ALL[name, kind])
    arguments, nodes = arguments_of(kind, graph)
    agree(layer, original, torch.randn(nodes, 5, requires_grad=True), arguments)


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_many_signals_are_pyg_signal_by_signal(name, kind):
    layer, original = twins(ALL[name, kind])
    layer, original = layer.eval().double(), original.eval().double()
    arguments, nodes = arguments_of(kind, "directed, weighted")
    x, *arguments = exact((torch.randn(6, nodes, 5), *arguments))
    learned = [t for t in arguments if t is not None and t.requires_grad]
    found = value_and_gradients(layer, x, arguments, learned)

    class OneByOne(nn.Module):
        def __init__(self):
            super().__init__()
            self.original = original

        def forward(self, x, *arguments):
            return torch.stack([self.original(signal, *arguments) for signal in x])

    for value, expected in zip(found, value_and_gradients(OneByOne(), x, arguments, learned), strict=True):
        assert_equal(value, expected)


@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_that_are_learned_with_the_graph(name):
    layer, original = twins(WEIGHTED[name])
    edge_index, weight, nodes = GRAPHS["directed, weighted"]
    weight = weight.clone().requires_grad_()
    x = torch.randn(nodes, 5)
    assert_same(layer(x, Graph(edge_index, nodes, weight)), original(x, edge_index, weight))


@pytest.mark.parametrize("name", ["GATConv", "GATv2Conv"])
@pytest.mark.parametrize("options", [{}, {"add_self_loops": False}, {"edge_dim": 3, "concat": False}])
def test_attention_weights(name, options):
    layer, original = twins(lambda lib: getattr(lib, name)(5, 3, heads=2, **options))
    (edge_index, features), nodes = arguments_of(2, "parallel edges, isolated node")
    more = (features,) if "edge_dim" in options else ()
    x = torch.randn(nodes, 5)
    y, (edges, alpha) = layer(x, edge_index, *more, return_attention_weights=True)
    expected, (their_edges, their_alpha) = original(x, edge_index, *more, return_attention_weights=True)
    assert_same(y, expected)
    assert torch.equal(edges, their_edges)
    assert_same(alpha, their_alpha)
    signals = torch.randn(3, nodes, 5)
    _, (_, alphas) = layer(signals, edge_index, *more, return_attention_weights=True)
    for alpha, signal in zip(alphas, signals, strict=True):
        assert_same(alpha, original(signal, edge_index, *more, return_attention_weights=True)[1][1])


@pytest.mark.parametrize("name", ["GATConv", "GATv2Conv"])
def test_dropout_of_attention_is_off_in_evaluation(name):
    layer, original = twins(lambda lib: getattr(lib, name)(5, 3, heads=2, dropout=0.6))
    edge_index, _, nodes = GRAPHS["directed"]
    x = torch.randn(nodes, 5, requires_grad=True)
    agree(layer.eval(), original.eval(), x, (edge_index,))
    layer, x = layer.float(), x.detach()
    dropped = layer.train()(x, edge_index)
    assert not torch.allclose(dropped, layer.eval()(x, edge_index))

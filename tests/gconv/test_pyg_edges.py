"""Layers that read weights, features or types of edges, against PyG: options, graphs, pairs, many signals."""

import pytest
import torch
from test_pyg_layers import assert_equal, exact, mlp, twins
from test_pyg_parity import GRAPHS, assert_same, value_and_gradients
from torch import nn

import gconv

# What edges hold: nothing, weights, three features, as many features as a node, types.
NOTHING, WEIGHTS, FEATURES, WIDE, TYPES = range(5)
TYPE_COUNT = 4

LAYERS = {
    "Graph": (WEIGHTS, lambda lib: lib.GraphConv(5, 7)),
    "Graph narrowing": (WEIGHTS, lambda lib: lib.GraphConv(5, 2, "add", False)),
    "Graph mean": (WEIGHTS, lambda lib: lib.GraphConv(5, 7, aggr="mean")),
    "Graph max": (WEIGHTS, lambda lib: lib.GraphConv(5, 7, aggr="max")),
    "Graph min": (WEIGHTS, lambda lib: lib.GraphConv(5, 4, aggr="min", bias=False)),
    "GINE": (WIDE, lambda lib: lib.GINEConv(mlp(5, 8, 7), eps=0.3)),
    "GINE linear, learned": (FEATURES, lambda lib: lib.GINEConv(nn.Linear(5, 7), 0.2, True, 3)),
    "GINE network": (FEATURES, lambda lib: lib.GINEConv(mlp(5, 8, 7), edge_dim=3)),
    "GINE mean": (FEATURES, lambda lib: lib.GINEConv(mlp(5, 8, 7), edge_dim=3, aggr="mean")),
    "GINE max": (FEATURES, lambda lib: lib.GINEConv(mlp(5, 7), edge_dim=3, aggr="max")),
    "GINE batch norm": (WIDE, lambda lib: lib.GINEConv(nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8)))),
    "Transformer": (NOTHING, lambda lib: lib.TransformerConv(5, 7)),
    "Transformer heads": (NOTHING, lambda lib: lib.TransformerConv(5, 3, heads=4)),
    "Transformer mean of heads": (NOTHING, lambda lib: lib.TransformerConv(5, 7, 3, concat=False, bias=False)),
    "Transformer beta": (NOTHING, lambda lib: lib.TransformerConv(5, 3, heads=2, beta=True)),
    "Transformer beta, mean": (NOTHING, lambda lib: lib.TransformerConv(5, 3, 2, False, True)),
    "Transformer no root": (NOTHING, lambda lib: lib.TransformerConv(5, 3, heads=2, beta=True, root_weight=False)),
    "Transformer edges": (FEATURES, lambda lib: lib.TransformerConv(5, 3, heads=2, edge_dim=3)),
    "Transformer edges, mean": (FEATURES, lambda lib: lib.TransformerConv(5, 3, 2, False, True, edge_dim=3)),
    "ResGated": (NOTHING, lambda lib: lib.ResGatedGraphConv(5, 7)),
    "ResGated no root": (NOTHING, lambda lib: lib.ResGatedGraphConv(5, 7, root_weight=False)),
    "ResGated bare": (NOTHING, lambda lib: lib.ResGatedGraphConv(5, 2, root_weight=False, bias=False)),
    "ResGated tanh": (NOTHING, lambda lib: lib.ResGatedGraphConv(5, 7, act=torch.tanh)),
    "ResGated learned": (NOTHING, lambda lib: lib.ResGatedGraphConv(5, 7, act=nn.PReLU(7))),
    "ResGated max": (NOTHING, lambda lib: lib.ResGatedGraphConv(5, 7, aggr="max")),
    "ResGated edges": (FEATURES, lambda lib: lib.ResGatedGraphConv(5, 7, edge_dim=3)),
    "ResGated edges, tanh": (FEATURES, lambda lib: lib.ResGatedGraphConv(5, 7, nn.Tanh(), 3, False, True)),
    "GatedGraph": (WEIGHTS, lambda lib: lib.GatedGraphConv(7, 3)),
    "GatedGraph as wide": (WEIGHTS, lambda lib: lib.GatedGraphConv(5, 1, bias=False)),
    "GatedGraph mean": (WEIGHTS, lambda lib: lib.GatedGraphConv(7, 2, "mean")),
    "GatedGraph max": (WEIGHTS, lambda lib: lib.GatedGraphConv(7, 2, aggr="max")),
    "RGCN": (TYPES, lambda lib: lib.RGCNConv(5, 7, TYPE_COUNT)),
    "RGCN sum": (TYPES, lambda lib: lib.RGCNConv(5, 7, TYPE_COUNT, aggr="add", root_weight=False)),
    "RGCN max": (TYPES, lambda lib: lib.RGCNConv(5, 7, TYPE_COUNT, aggr="max", bias=False)),
    "RGCN bases": (TYPES, lambda lib: lib.RGCNConv(5, 7, TYPE_COUNT, num_bases=2)),
    "RGCN more bases than types": (TYPES, lambda lib: lib.RGCNConv(5, 7, TYPE_COUNT, num_bases=6, aggr="add")),
    "RGCN bases, max": (TYPES, lambda lib: lib.RGCNConv(5, 7, TYPE_COUNT, 2, aggr="max")),
    "RGCN blocks": (TYPES, lambda lib: lib.RGCNConv(5, 10, TYPE_COUNT, num_blocks=5)),
    "RGCN one block, sum": (TYPES, lambda lib: lib.RGCNConv(5, 3, TYPE_COUNT, num_blocks=1, aggr="add")),
    "RGCN many types": (TYPES, lambda lib: lib.RGCNConv(5, 7, 40, is_sorted=False)),
}
# PyG cannot tell a shape, or has no rows for its batch norm.
PYG_FAILS = {("ResGated learned", "no edge"), ("ResGated edges, tanh", "no edge")}
CASES = [(name, graph) for name in LAYERS for graph in GRAPHS if (name, graph) not in PYG_FAILS]


def on_edges(kind, count, weight=None):
    """What a call takes after the edges."""
    if kind == WEIGHTS:
        return () if weight is None else (weight,)
    types = torch.randint(0, TYPE_COUNT - 1, (count,))  # the last type has no edge
    return {NOTHING: (), FEATURES: (torch.randn(count, 3),), WIDE: (torch.randn(count, 5),), TYPES: (types,)}[kind]


def hold(layer, original, x, arguments):
    """Outputs and all gradients in float64; outputs and gradients by the signals in float32."""
    for single in (True, False):
        point, *given = (x, *arguments) if single else exact((x, *arguments))
        if not single:
            layer, original = layer.double(), original.double()
        learned = [t for t in given if t is not None and t.requires_grad]
        found = value_and_gradients(layer, point.detach().requires_grad_(), given, learned)
        theirs = value_and_gradients(original, point.detach().requires_grad_(), given, learned)
        for value, expected in list(zip(found, theirs, strict=True))[: 2 if single else None]:
            (assert_same if single else assert_equal)(value, expected)


@pytest.mark.parametrize(("name", "graph"), CASES)
def test_outputs_and_gradients(name, graph):
    kind, make = LAYERS[name]
    layer, original = twins(make)
    edge_index, weight, nodes = GRAPHS[graph]
    hold(layer, original, torch.randn(nodes, 5), (edge_index, *on_edges(kind, edge_index.shape[1], weight)))


class OneByOne(nn.Module):
    """A layer on each signal in turn, also of pairs."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, *arguments):
        return torch.stack([self.layer(signal, *arguments) for signal in x])


@pytest.mark.parametrize("name", LAYERS)
def test_many_signals_are_pyg_signal_by_signal(name):
    kind, make = LAYERS[name]
    layer, original = twins(make)
    layer, original = layer.eval().double(), original.eval().double()
    edge_index, weight, nodes = GRAPHS["directed, weighted"]
    x, *given = exact((torch.randn(4, nodes, 5), edge_index, *on_edges(kind, edge_index.shape[1], weight)))
    learned = [t for t in given if t.requires_grad]
    found = value_and_gradients(layer, x, given, learned)
    for value, expected in zip(found, value_and_gradients(OneByOne(original), x, given, learned), strict=True):
        assert_equal(value, expected)


PAIRS = {
    "Graph": (WEIGHTS, lambda lib: lib.GraphConv((5, 4), 7)),
    "Graph mean": (WEIGHTS, lambda lib: lib.GraphConv((5, 4), 7, "mean")),
    "Graph max": (WEIGHTS, lambda lib: lib.GraphConv((5, 4), 7, "max")),
    "GINE": (FEATURES, lambda lib: lib.GINEConv(mlp(5, 8, 7), edge_dim=3)),
    "Transformer": (NOTHING, lambda lib: lib.TransformerConv((5, 4), 3, heads=2)),
    "Transformer edges": (FEATURES, lambda lib: lib.TransformerConv((5, 4), 3, heads=2, beta=True, edge_dim=3)),
    "ResGated": (NOTHING, lambda lib: lib.ResGatedGraphConv((5, 4), 7)),
    "ResGated edges": (FEATURES, lambda lib: lib.ResGatedGraphConv((5, 4), 7, edge_dim=3, root_weight=False)),
    "RGCN": (TYPES, lambda lib: lib.RGCNConv((5, 4), 7, TYPE_COUNT)),
    "RGCN bases": (TYPES, lambda lib: lib.RGCNConv((5, 4), 7, TYPE_COUNT, num_bases=2)),
    "RGCN blocks, max": (TYPES, lambda lib: lib.RGCNConv((6, 4), 4, TYPE_COUNT, num_blocks=2, aggr="max")),
}
SOURCES, TARGETS = 9, 6


class Pair(nn.Module):
    """A layer of two tensors; one by one where it takes single signals alone."""

    def __init__(self, layer, one_by_one=False):
        super().__init__()
        self.layer, self.one_by_one = layer, one_by_one

    def forward(self, source, target, *arguments):
        if self.one_by_one:
            return torch.stack([self.layer(pair, *arguments) for pair in zip(source, target, strict=True)])
        return self.layer((source, target), *arguments)


PAIR_CASES = [(name, False) for name in PAIRS] + [(name, True) for name in PAIRS if PAIRS[name][0] == WEIGHTS]


@pytest.mark.parametrize(("name", "weighted"), PAIR_CASES)
def test_pairs(name, weighted):
    kind, make = PAIRS[name]
    layer, original = twins(make)
    widths = (6, 4) if "blocks" in name else (5, 5 if name == "GINE" else 4)
    edge_index = torch.stack([torch.randint(0, SOURCES - 1, (20,)), torch.randint(0, TARGETS - 1, (20,))])
    source, target = torch.randn(3, SOURCES, widths[0]), torch.randn(3, TARGETS, widths[1])
    given = exact((source, target, edge_index, *on_edges(kind, 20, torch.rand(20) if weighted else None)))
    learned = [t for t in given[1:] if t.requires_grad]
    found = value_and_gradients(Pair(layer.double()), given[0], given[1:], learned)
    theirs = value_and_gradients(Pair(original.double(), one_by_one=True), given[0], given[1:], learned)
    for value, expected in zip(found, theirs, strict=True):
        assert_equal(value, expected)
    alone = (given[0][0], given[1][0]), *given[2:]
    assert_equal(layer(*alone), original(*alone))


@pytest.mark.parametrize("name", ["Graph", "Graph mean", "Graph max", "GINE"])
def test_pairs_without_a_target(name):
    kind, make = PAIRS[name]
    layer, original = twins(make)
    edge_index = torch.stack([torch.randint(0, SOURCES, (20,)), torch.randint(0, TARGETS, (20,))])
    x, more = torch.randn(SOURCES, 5), on_edges(kind, 20, torch.rand(20))
    size = (SOURCES, TARGETS)
    assert_same(layer((x, None), edge_index, *more, size=size), original((x, None), edge_index, *more, size=size))
    with pytest.raises(ValueError, match="does not tell the number of targets"):
        layer((x, None), edge_index, *more)


@pytest.mark.parametrize("kind", ["GraphConv", "TransformerConv", "ResGatedGraphConv"])
def test_open_widths(kind):
    make = {
        "GraphConv": lambda lib, c: lib.GraphConv(c, 7),
        "TransformerConv": lambda lib, c: lib.TransformerConv(c, 3, heads=2),
        "ResGatedGraphConv": lambda lib, c: lib.ResGatedGraphConv(c, 7),
    }[kind]
    edge_index, _, nodes = GRAPHS["directed"]
    x = torch.randn(nodes, 5)
    import torch_geometric.nn as pyg

    original = make(pyg, -1)
    expected = original(x, edge_index)
    layer = make(gconv, -1)
    layer.load_state_dict(original.state_dict(), strict=True)
    assert_same(layer(x, edge_index), expected)
    assert layer.in_channels == 5
    opened = make(gconv, (-1, -1))
    y = opened((x, torch.randn(nodes, 4)), edge_index)
    assert y.shape == expected.shape
    assert opened.in_channels == (5, 4)

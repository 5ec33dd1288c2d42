"""Dynamic edge convolution against a dense oracle: distances of all pairs, sorted, and the network on every edge."""

import pytest
import torch
from test_pyg_layers import mlp
from torch import nn
from torch_geometric.data import Batch, Data

import gconv
from gconv import Graph, batch_graphs, grid_graph
from gconv.functional.knn import nearest

REDUCE = {
    "max": lambda m: m.max(0).values,
    "min": lambda m: m.min(0).values,
    "mean": lambda m: m.mean(0),
    "add": lambda m: m.sum(0),
}


def oracle(layer, source, target, batch_source=None, batch_target=None):
    """Node by node, with exact distances, in PyG's equation; all messages go through the network together."""
    ends, counts = [], []
    for i, own in enumerate(target):
        ids = torch.arange(len(source))
        if batch_source is not None:
            ids = ids[batch_source == batch_target[i]]
        far = (source[ids] - own).square().sum(-1)
        near = ids[far.argsort(stable=True)[: layer.k]]
        ends += [(int(j), i) for j in near]
        counts.append(len(near))
    j, i = torch.tensor(ends).T
    messages = layer.nn(torch.cat([target[i], source[j] - target[i]], -1))
    return torch.stack([REDUCE[layer.aggr](part) for part in messages.split(counts)])


def agree(found, expected, wanted):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    weights = torch.linspace(-1, 1, found.numel(), dtype=found.dtype).view_as(found)
    gradients = (torch.autograd.grad((y * weights).sum(), wanted, retain_graph=True) for y in (found, expected))
    for value, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(value, theirs, rtol=1e-8, atol=1e-9)


NETWORKS = {
    "max": lambda: mlp(6, 8, 7),
    "min": lambda: nn.Linear(6, 4),
    "mean": lambda: mlp(6, 8, 7),
    "add": lambda: nn.Sequential(nn.Tanh(), nn.Linear(6, 4)),
}


@pytest.mark.parametrize("aggr", NETWORKS)
@pytest.mark.parametrize("k", [1, 6, 100])
def test_one_signal_and_many(aggr, k):
    layer = gconv.DynamicEdgeConv(NETWORKS[aggr](), k, aggr).double()
    x = torch.randn(3, 23, 3, dtype=torch.float64, requires_grad=True)
    expected = torch.stack([oracle(layer, signal, signal) for signal in x])
    wanted = (x, *layer.parameters())
    agree(layer(x), expected, wanted)
    agree(layer(x[0]), oracle(layer, x[0], x[0]), tuple(layer.parameters()))


@pytest.mark.parametrize("aggr", NETWORKS)
def test_neighbours_stay_within_their_graph(aggr):
    layer = gconv.DynamicEdgeConv(NETWORKS[aggr](), 5, aggr).double()
    batch = torch.tensor([0] * 9 + [1] * 3 + [3] * 11)  # fewer nodes than k in one graph, none in another
    x = torch.randn(23, 3, dtype=torch.float64, requires_grad=True)
    expected = oracle(layer, x, x, batch, batch)
    agree(layer(x, batch), expected, (x, *layer.parameters()))
    graph = Graph(torch.zeros(2, 0, dtype=torch.long), 23, batch=batch)
    agree(layer(x, graph), expected, (x, *layer.parameters()))
    two = torch.stack([x, -2 * x])
    agree(layer(two, graph)[0], expected, (x, *layer.parameters()))
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    agree(compiled(x, graph), expected, (x, *layer.parameters()))
    nothing = torch.zeros(2, 0, dtype=torch.long)
    data = Batch.from_data_list([Data(x=part, edge_index=nothing) for part in (x[:9], x[9:])])
    torch.testing.assert_close(layer(x, data), oracle(layer, x, x, data.batch, data.batch), rtol=1e-9, atol=1e-10)


def test_pairs():
    layer = gconv.DynamicEdgeConv(mlp(6, 8, 7), 3).double()
    source = torch.randn(10, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    of_source, of_target = torch.tensor([0] * 6 + [1] * 4), torch.tensor([0] * 2 + [1] * 4)
    wanted = (source, target, *layer.parameters())
    agree(layer((source, target)), oracle(layer, source, target), wanted)
    agree(layer((source, target), (of_source, of_target)), oracle(layer, source, target, of_source, of_target), wanted)
    many = layer((torch.stack([source, -source]), torch.stack([target, -target])), (of_source, of_target))
    agree(many[1], oracle(layer, -source, -target, of_source, of_target), wanted)


def test_batch_norm_sees_the_edges_that_there_are():
    layer = gconv.DynamicEdgeConv(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)), 5)
    layer = layer.double()
    x, batch = torch.randn(20, 3, dtype=torch.float64), torch.tensor([0] * 17 + [1] * 3)
    torch.testing.assert_close(layer(x, batch), oracle(layer, x, x, batch, batch), rtol=1e-9, atol=1e-10)


def test_state_dict_names_are_pygs():
    layer = gconv.DynamicEdgeConv(mlp(6, 8, 7), 3)
    assert list(layer.state_dict()) == ["nn.0.weight", "nn.0.bias", "nn.2.weight", "nn.2.bias"]


def test_distances_far_from_the_origin_and_in_blocks(monkeypatch):
    """Rounding of squares must not hide who is near; small blocks give the same."""
    points = torch.randn(2, 300, 4) + 300.0
    exact = torch.cdist(points.double(), points.double()).argsort(-1)[..., :5].sort(-1).values
    places, there = nearest(points, points, 5)
    assert there is None
    assert (places.sort(-1).values == exact).float().mean() > 0.999
    monkeypatch.setattr("gconv.functional.knn._BLOCK_NUMBERS", 700)
    assert torch.equal(nearest(points, points, 5)[0].sort(-1).values, places.sort(-1).values)


def test_what_does_not_fit_is_named():
    with pytest.raises(TypeError, match="DynamicEdgeConv takes a torch module as its nn, got str"):
        gconv.DynamicEdgeConv("nn", 3)
    for k in (0, 2.5, True):
        with pytest.raises(ValueError, match="k, the number of neighbours, is a whole number >= 1; got"):
            gconv.DynamicEdgeConv(nn.Linear(6, 4), k)
    layer, x = gconv.DynamicEdgeConv(nn.Linear(6, 4), 3), torch.randn(8, 3)
    with pytest.raises(ValueError, match="expects 3 channels, got 4"):
        layer(torch.randn(8, 4))
    with pytest.raises(ValueError, match=r"batch has shape \(8,\) here"):
        layer(x, torch.zeros(7, dtype=torch.long))
    with pytest.raises(TypeError, match="whole numbers"):
        layer(x, torch.zeros(8))
    with pytest.raises(ValueError, match="signal of 8 nodes"):
        layer(x, grid_graph((3, 3)))
    with pytest.raises(ValueError, match="sources and targets of one width"):
        gconv.DynamicEdgeConv(nn.Sequential(nn.Tanh(), nn.LazyLinear(4)), 3)((x, torch.randn(5, 2)))
    with pytest.raises(ValueError, match="batch is a pair too"):
        layer((x, x), batch_graphs([grid_graph((2, 4))]))

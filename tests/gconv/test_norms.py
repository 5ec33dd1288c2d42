"""Norms: PyG's state dict and numbers, with and without a graph vector, for many signals, in both modes."""

import pytest
import torch
import torch_geometric.nn as pyg
from test_pyg_layers import twins
from test_pyg_parity import assert_same, value_and_gradients
from torch_geometric.data import Batch, Data

import gconv
from gconv import Graph, GraphOps, grid_graph

NORMS = {
    "batch": lambda lib: lib.BatchNorm(5),
    "batch, no average": lambda lib: lib.BatchNorm(5, momentum=None, eps=1e-3),
    "layer": lambda lib: lib.LayerNorm(5),
    "layer, large eps": lambda lib: lib.LayerNorm(5, eps=0.5),
    "layer node": lambda lib: lib.LayerNorm(5, mode="node"),
    "instance affine": lambda lib: lib.InstanceNorm(5, affine=True),
    "instance tracked": lambda lib: lib.InstanceNorm(5, affine=True, track_running_stats=True, momentum=0.3),
    "graph": lambda lib: lib.GraphNorm(5),
    "graph, large eps": lambda lib: lib.GraphNorm(5, eps=0.5),
}
BARE = {
    "batch": lambda lib: lib.BatchNorm(5, affine=False),
    "layer": lambda lib: lib.LayerNorm(5, affine=False),
    "instance": lambda lib: lib.InstanceNorm(5),
    "instance tracked": lambda lib: lib.InstanceNorm(5, track_running_stats=True),
}
BATCH = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 3, 3, 4])  # graph 2 has no node, graph 4 one


def drawn(make):
    """Twins whose parameters are drawn anew, both alike."""
    layer, original = twins(make)
    for parameter in original.parameters():
        torch.nn.init.normal_(parameter)
    layer.load_state_dict(original.state_dict())
    return layer, original


def agree(layer, original, x, ours, theirs):
    for mode in (True, False):  # evaluation follows, with the running averages of training
        layer.train(mode)
        original.train(mode)
        found = value_and_gradients(layer, x, ours, [])
        for value, expected in zip(found, value_and_gradients(original, x, theirs, []), strict=True):
            assert_same(value, expected)
        for name, buffer in original.named_buffers():  # PyG's running averages remember how they were made
            original.get_submodule(name.rpartition(".")[0])._buffers[name.rpartition(".")[2]] = buffer.detach()
        for mine, other in zip(layer.buffers(), original.buffers(), strict=True):
            assert_same(mine.double(), other.double())


@pytest.mark.parametrize("batch_size", [None, 6])
@pytest.mark.parametrize("name", NORMS)
def test_graph_vectors(name, batch_size):
    layer, original = drawn(NORMS[name])
    x = (3 * torch.randn(11, 5) + 1).requires_grad_()
    arguments = () if name.startswith("batch") else (BATCH, batch_size)
    agree(layer, original, x, arguments, arguments)


@pytest.mark.parametrize("name", NORMS)
def test_one_graph(name):
    layer, original = drawn(NORMS[name])
    x = (3 * torch.randn(11, 5) + 1).requires_grad_()
    agree(layer, original, x, (), ())
    agree(layer, original, x, (Graph(torch.zeros(2, 0, dtype=torch.long), 11),), ())


@pytest.mark.parametrize("name", BARE)
def test_without_parameters(name):
    layer, original = BARE[name](gconv), BARE[name](pyg)
    layer.load_state_dict(original.state_dict())
    assert list(layer.state_dict()) == list(original.state_dict())
    agree(layer, original, torch.randn(11, 5, requires_grad=True), (), ())


@pytest.mark.parametrize("name", [name for name in NORMS if not name.startswith("batch")])
def test_a_graph_and_a_pyg_batch_bring_their_vector(name):
    layer, original = drawn(NORMS[name])
    x = torch.randn(9, 5)
    parts = [Data(x=part, edge_index=torch.tensor([[0], [1]])) for part in (x[:4], x[4:])]
    data = Batch.from_data_list(parts)
    expected = original(data.x, data.batch)
    for domain in (data, gconv.interop.from_pyg(data), data.batch):
        layer.reset_running_stats() if name == "instance tracked" else None
        assert_same(layer(x, domain), expected)


@pytest.mark.parametrize("name", [name for name in NORMS if "batch" not in name])
def test_every_signal_is_a_graph_of_its_own(name):
    layer, original = drawn(NORMS[name])
    x = torch.randn(4, 11, 5)
    if "tracked" not in name:
        assert_same(layer(x), torch.stack([original(signal) for signal in x]))
        union = Graph(torch.zeros(2, 0, dtype=torch.long), 11, batch=BATCH)
        assert_same(layer(x, union), torch.stack([original(signal, BATCH) for signal in x]))
        return
    together = torch.arange(4).repeat_interleave(11)
    assert_same(layer(x).flatten(0, 1), original(x.flatten(0, 1), together))
    assert_same(layer.running_mean, original.running_mean)
    assert_same(layer.running_var, original.running_var)


def test_batch_norm_of_one_node():
    layer, original = drawn(lambda lib: lib.BatchNorm(5, allow_single_element=True))
    x = torch.randn(1, 5)
    assert_same(layer(x), original(x))
    with pytest.raises(ValueError, match="needs track_running_stats"):
        gconv.BatchNorm(5, allow_single_element=True, track_running_stats=False)


def test_resetting():
    layer = gconv.InstanceNorm(5, affine=True, track_running_stats=True)
    layer(torch.randn(7, 5))
    torch.nn.init.normal_(layer.weight)
    layer.reset_parameters()
    assert layer.weight.tolist() == [1.0] * 5
    assert layer.running_mean.tolist() == [0.0] * 5
    graph = gconv.GraphNorm(5)
    torch.nn.init.normal_(graph.mean_scale)
    graph.reset_parameters()
    assert graph.mean_scale.tolist() == [1.0] * 5


def test_recipes_choose_their_norm():
    kinds = {
        "batch": gconv.BatchNorm,
        "layer": gconv.LayerNorm,
        "node": gconv.LayerNorm,
        "instance": gconv.InstanceNorm,
        "graph": gconv.GraphNorm,
    }
    for name, kind in kinds.items():
        ops = GraphOps("gcn", norm=name)
        norm = ops.norm(4, eps=1e-3)
        assert type(norm) is kind
        assert (norm.module if name == "batch" else norm).eps == 1e-3
    assert repr(GraphOps("gcn", norm="graph")) == "GraphOps('gcn', norm='graph')"
    assert repr(GraphOps("gcn")) == "GraphOps('gcn')"
    with pytest.raises(ValueError, match="unknown norm 'group': there are batch, layer, node, instance, graph"):
        GraphOps("gcn", norm="group")


def test_what_does_not_fit_is_named():
    norm, x = gconv.GraphNorm(5), torch.randn(11, 5)
    with pytest.raises(ValueError, match="GraphNorm expects 5 channels, got 4"):
        norm(torch.randn(11, 4), BATCH)
    with pytest.raises(ValueError, match=r"GraphNorm: batch has shape \(11,\) here"):
        norm(x, BATCH[:-1])
    with pytest.raises(TypeError, match=r"batch takes a tensor \(N,\) of whole numbers"):
        norm(x, BATCH.float())
    with pytest.raises(ValueError, match=r"batch\[8\] = 3; graphs are numbered from 0 to 2"):
        norm(x, BATCH, 3)
    with pytest.raises(ValueError, match="batch_size=3 does not fit"):
        norm(x, Graph(torch.zeros(2, 0, dtype=torch.long), 11, batch=BATCH), 3)
    with pytest.raises(ValueError, match="on meta, batch on cpu"):
        norm(x.to("meta"), BATCH)
    with pytest.raises(ValueError, match="mode is one of 'graph', 'node'; got 'edge'"):
        gconv.LayerNorm(5, mode="edge")
    with pytest.raises(ValueError, match="signal of 11 nodes"):
        norm(x, grid_graph((3, 4)))

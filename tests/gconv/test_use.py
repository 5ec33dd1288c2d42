"""Layers and bound models as research code uses them: pickled, compiled with learned weights, moved, exported."""

import io
import pickle

import pytest
import torch
from registry import random_graph
from torch import nn
from torch_geometric.data import Batch, Data

import gconv
from gconv import ChebConv, GCNConv, Graph, bridge, grid_graph
from grid_cnn import Conv2d, Layer, bind


def test_graphs_and_bound_models_pickle_after_use():
    graph, layer = grid_graph((4, 4)), GCNConv(3, 2)
    x = torch.randn(2, 16, 3)
    layer(x, graph, torch.rand(graph.num_edges))
    again = pickle.loads(pickle.dumps(graph))
    torch.testing.assert_close(layer(x, again), layer(x, graph))
    assert again.on(again.grid) is again
    layer(x, again, torch.rand(graph.num_edges))
    torch.save(bind(layer, graph), io.BytesIO())


@pytest.mark.parametrize("layer", [GCNConv(3, 4), GCNConv(3, 4, normalize=False), ChebConv(3, 4, 3)], ids=str)
@pytest.mark.parametrize("learned", [True, False])
def test_weights_beside_a_graph_compile(layer, learned):
    torch.compiler.reset()
    graph = random_graph(directed=False)
    x, weight = torch.randn(2, graph.num_nodes, 3), torch.rand(graph.num_edges, requires_grad=learned)
    expected = layer(x, graph, weight)
    layer(x, graph, weight.detach().requires_grad_())  # the plan that every weight shares
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, graph, weight), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_plans_stand_after_a_change_of_dtype(dtype):
    torch.compiler.reset()
    bound = bind(ChebConv(1, 4, 25), grid_graph((28, 28))).to(dtype)
    x = torch.randn(2, 784, 1, dtype=dtype)
    expected = bound(x)
    torch.testing.assert_close(torch.export.export(bound, (x,)).module()(x), expected)
    fresh = bind(ChebConv(1, 4, 25), grid_graph((27, 28))).to(dtype)
    torch.compile(fresh, fullgraph=True, backend="aot_eager")(torch.randn(2, 756, 1, dtype=dtype))


@pytest.mark.parametrize("layer", [GCNConv(16, 16), ChebConv(16, 16, 3), gconv.GMMConv(16, 16, 2, 3)], ids=str)
def test_exports_hold_no_custom_operator(layer):
    graph = random_graph(100, directed=False)
    x = torch.randn(2, 100, 16)
    exported = torch.export.export(bind(layer, graph), (x,))
    assert not [node for node in exported.graph.nodes if "gconv" in str(node.target)]
    torch.testing.assert_close(exported.module()(x), layer(x, graph))


@pytest.mark.parametrize("readout", [gconv.GlobalAvgPool(), gconv.GlobalMaxPool()], ids=str)
def test_readouts_of_a_batch_are_those_of_its_graphs(readout):
    parts = [Data(x=torch.randn(n, 2), edge_index=torch.tensor([[0, 1], [1, 0]])) for n in (3, 2)]
    batch = Batch.from_data_list(parts)
    torch.testing.assert_close(readout(batch.x, batch), torch.stack([readout(data.x, data) for data in parts]))


def test_flatten_refuses_a_batch_of_several_graphs():
    data = Data(x=torch.randn(3, 2), edge_index=torch.tensor([[0, 1], [1, 2]]))
    batch = Batch.from_data_list([data, data])
    with pytest.raises(ValueError, match=r"one graph, got .*num_graphs=2.*global pool"):
        gconv.Flatten()(batch.x, batch)
    assert gconv.Flatten()(data.x, data).shape == (6,)


def test_the_bridge_refuses_what_has_no_twin():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = Conv2d(1, 2, 3)

    for module in (nn.Conv2d(1, 2, 3), nn.Sequential(nn.Conv2d(1, 2, 3)), Net()):
        with pytest.raises(TypeError, match="is no layer of grid_cnn"):
            bridge.model_to_graph(module)
    with pytest.raises(TypeError, match="has no twin"):
        bridge.model_to_grid(GCNConv(1, 2))
    with pytest.raises(TypeError, match="has no twin"):
        bridge.model_to_graph(Layer())


def test_bad_arguments_of_single_layers():
    graph = grid_graph((3, 3))
    x = torch.zeros(9, 4)
    nan = torch.full((graph.num_edges,), float("nan"), requires_grad=True)
    with pytest.raises(ValueError, match="not finite"):
        GCNConv(4, 2)(x, graph, nan)
    for value in (0.0, -2.0):
        with pytest.raises(ValueError, match="positive number or None"):
            ChebConv(4, 2, 3)(x, graph, lambda_max=value)
    with pytest.raises(ValueError, match=r"same 9 sources and targets.*\(9, 4\)"):
        gconv.GMMConv(4, 2, 2, 3)(x, graph, None, (9, 4))
    gconv.GMMConv(4, 2, 2, 3)(x, graph, None, (9, 9))
    with pytest.raises(ValueError, match="in_channels takes"):
        gconv.BatchNorm(0)
    with pytest.raises(ValueError, match=r"\(..., N, 4\), got shape \(9, 5\)"):
        gconv.BatchNorm(4)(torch.zeros(9, 5))


def test_forms_agree_in_dtype_under_autocast():
    layer, graph = gconv.DirectionalConv(3, 4, 3), grid_graph((4, 4))
    with torch.autocast("cpu", torch.bfloat16):
        dtypes = {layer(torch.randn(2, 16, 3), graph, form=form).dtype for form in ("convolution", "gather")}
    assert dtypes == {torch.bfloat16}


def test_a_graph_with_learned_weights_moves_as_it_is():
    weight = torch.rand(2, requires_grad=True)
    graph = Graph(torch.tensor([[0, 1], [1, 0]]), edge_weight=weight)
    assert graph.edge_weight is weight
    GCNConv(1, 1)(torch.ones(2, 1), graph).sum().backward()
    assert weight.grad is not None

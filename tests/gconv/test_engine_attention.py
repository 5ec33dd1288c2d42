"""What attention gives away and draws: coefficients, features of loops, dropout; against PyG."""

import pytest
import torch
import torch_geometric.nn as pyg
from engine_oracles import DOMAINS
from graph_oracles import assert_close, graph_from
from torch import Tensor

import gconv
from gconv import Graph

LAYERS = {"GAT": (gconv.GATConv, pyg.GATConv), "GATv2": (gconv.GATv2Conv, pyg.GATv2Conv)}
# Loops with features of their own, parallel edges, and nodes without edges.
GRAPH = graph_from([(0, 1), (2, 1), (1, 1), (2, 1), (1, 0), (0, 0), (3, 2), (1, 1), (2, 4)], 6)
FEATURES = torch.randn(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def twins(name: str, *arguments: object, **how: object) -> tuple:
    own, theirs = LAYERS[name]
    layer = own(*arguments, **how).double()
    original = theirs(*arguments, **how).double()
    original.load_state_dict(layer.state_dict())
    return layer, original


def signal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(
    "fill", ["mean", "add", "min", "max", "mul", 0.5, 2, torch.tensor([0.3, -1.0]).double()], ids=str
)
@pytest.mark.parametrize("name", LAYERS)
def test_features_of_added_loops(name, fill):
    layer, original = twins(name, 3, 4, heads=2, edge_dim=2, fill_value=fill)
    x, features = signal(6, 3), FEATURES.clone().requires_grad_()
    y, (index, alpha) = layer(x, GRAPH, features, return_attention_weights=True)
    z, (other_index, other_alpha) = original(x, GRAPH.edge_index, features, return_attention_weights=True)
    assert torch.equal(index, other_index)
    assert_close(alpha, other_alpha)
    assert_close(y, z)
    fused = layer(x, GRAPH, features)
    assert_close(fused, z)
    leaves = x, features, *layer.parameters()
    found = torch.autograd.grad(fused.square().sum(), leaves)
    wanted = torch.autograd.grad(z.square().sum(), (x, features, *original.parameters()))
    for actual, value in zip(found, wanted, strict=True):
        assert_close(actual, value)


@pytest.mark.parametrize("loops", [True, False])
@pytest.mark.parametrize("domain", ["grid", "directed, weighted", "star", "one node, loops"])
@pytest.mark.parametrize("name", LAYERS)
def test_attention_weights(name, domain, loops):
    graph = DOMAINS[domain]()
    layer, original = twins(name, 3, 4, heads=3, add_self_loops=loops)
    x = signal(2, graph.num_nodes, 3)
    y, (index, alpha) = layer(x, graph, return_attention_weights=True)
    assert alpha.shape == (2, index.shape[1], 3)
    for i in range(2):
        z, (other_index, other_alpha) = original(x[i], graph.edge_index, return_attention_weights=True)
        assert torch.equal(index, other_index)
        assert_close(alpha[i], other_alpha)
        assert_close(y[i], z)
    sums = torch.zeros(2, graph.num_nodes, 3).double().index_add(1, index[1], alpha)
    assert_close(sums[:, index[1].unique()], torch.ones_like(sums[:, index[1].unique()]))
    assert_close(layer(x, graph), y)  # the fused form
    single, (_, one) = layer(x[0], graph, return_attention_weights=True)
    assert_close(one, alpha[0])
    assert_close(single, y[0])


@pytest.mark.parametrize("name", LAYERS)
def test_coefficients_can_be_learned_from(name):
    graph = DOMAINS["star"]()
    layer, original = twins(name, 3, 4, heads=2)
    x = signal(graph.num_nodes, 3)
    _, (_, alpha) = layer(x, graph, return_attention_weights=True)
    _, (_, wanted) = original(x, graph.edge_index, return_attention_weights=True)
    assert_close(*(torch.autograd.grad(a.log().square().sum(), x)[0] for a in (alpha, wanted)))


@pytest.mark.parametrize("name", LAYERS)
def test_dropout_draws_as_pyg_does(name):
    layer, original = twins(name, 3, 4, heads=2, dropout=0.4)
    x = signal(6, 3)
    torch.manual_seed(5)
    y = layer(x, GRAPH)
    torch.manual_seed(5)
    z = original(x, GRAPH.edge_index)
    assert_close(y, z)
    assert_close(*(torch.autograd.grad(t.square().sum(), x)[0] for t in (y, z)))
    assert_close(layer.eval()(x, GRAPH), original.eval()(x, GRAPH.edge_index))


@pytest.mark.parametrize("name", LAYERS)
def test_dropout_is_each_signals_own_and_keeps_the_mean(name):
    layer, _ = twins(name, 3, 4, heads=2, dropout=0.3)
    x = torch.randn(6, 3, dtype=torch.float64).expand(4000, 6, 3)
    torch.manual_seed(0)
    y = layer(x, GRAPH)
    torch.manual_seed(0)
    assert torch.equal(layer(x, GRAPH), y)
    assert not torch.equal(layer(x, GRAPH), y)
    assert len(y[:, 1].unique(dim=0)) > 20
    exact = layer.eval()(x[:1], GRAPH)[0]
    deviation = y.std(0) / 4000**0.5
    assert ((y.mean(0) - exact).abs() <= 5 * deviation + 1e-12).all()


@pytest.mark.parametrize("name", LAYERS)
def test_everything_dropped(name):
    layer, _ = twins(name, 3, 4, heads=2, dropout=1.0)
    x = signal(2, 6, 3)
    y = layer(x, GRAPH)
    assert_close(y, torch.zeros_like(y))
    y.sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("slope", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("name", LAYERS)
def test_slopes(name, slope):
    layer, original = twins(name, 3, 4, heads=2, negative_slope=slope)
    x = signal(6, 3)
    y, z = layer(x, GRAPH), original(x, GRAPH.edge_index)
    assert_close(y, z)
    assert_close(*(torch.autograd.grad(t.square().sum(), x)[0] for t in (y, z)))


@pytest.mark.parametrize("name", LAYERS)
def test_a_slope_below_zero(name):
    layer, original = twins(name, 3, 4, heads=2, negative_slope=-0.5)
    x = signal(6, 3)
    y, z = layer(x, GRAPH), original(x, GRAPH.edge_index)
    assert_close(y, z)
    assert_close(*(torch.autograd.grad(t.square().sum(), x)[0] for t in (y, z)))


def test_feature_gradients_reach_a_graph_that_is_learned():
    layer, original = twins("GAT", 3, 4, heads=2, edge_dim=2)
    features = FEATURES.clone().requires_grad_()
    graph = Graph(GRAPH.edge_index, 6, edge_attr=features)
    x = signal(2, 6, 3)
    layer(x, graph).square().sum().backward()
    wanted = sum(original(x[i], GRAPH.edge_index, features).square().sum() for i in range(2))
    assert_close(features.grad, torch.autograd.grad(wanted, features)[0])

"""MixHop, SG, SSG and APPNP: PyG's numbers over their options, caches, dropout, forms, bad input."""

import copy
import pickle

import pytest
import torch
import torch_geometric.nn as pyg
from test_pyg_layers import GRAPHS, agree, twins
from test_pyg_parity import assert_same, value_and_gradients
from torch import nn

import gconv
from gconv import Graph, GraphOps, grid_graph
from gconv.functional.series import series

LAYERS = {
    "SG": lambda lib: lib.SGConv(5, 7),
    "SG 3": lambda lib: lib.SGConv(5, 7, K=3, add_self_loops=False),
    "SG narrowing": lambda lib: lib.SGConv(5, 2, 2, bias=False),
    "SG 0": lambda lib: lib.SGConv(5, 7, K=0),
    "SG cached": lambda lib: lib.SGConv(5, 7, 2, cached=True),
    "SSG": lambda lib: lib.SSGConv(5, 7, 0.1),
    "SSG 4": lambda lib: lib.SSGConv(5, 7, 0.05, K=4, add_self_loops=False),
    "SSG narrowing": lambda lib: lib.SSGConv(5, 2, 0.5, 3, bias=False),
    "SSG all itself": lambda lib: lib.SSGConv(5, 2, 1.0, 3),
    "SSG cached": lambda lib: lib.SSGConv(5, 7, 0.1, 2, cached=True),
    "MixHop": lambda lib: lib.MixHopConv(5, 7),
    "MixHop out of order": lambda lib: lib.MixHopConv(5, 2, [3, 0, 1], add_self_loops=False),
    "MixHop without 0": lambda lib: lib.MixHopConv(5, 1, powers=[2], bias=False),
    "MixHop narrowing": lambda lib: lib.MixHopConv(5, 1, powers=[0, 1, 2]),
}
APPNPS = {
    "APPNP": lambda lib: lib.APPNP(10, 0.1),
    "APPNP raw": lambda lib: lib.APPNP(2, 0.5, normalize=False),
    "APPNP without loops": lambda lib: lib.APPNP(3, 0.2, add_self_loops=False),
    "APPNP cached": lambda lib: lib.APPNP(K=4, alpha=0.3, cached=True),
    "APPNP no step": lambda lib: lib.APPNP(0, 0.3),
    "APPNP all itself": lambda lib: lib.APPNP(3, 1.0),
}


def pair(name):
    """Ours and theirs; APPNP has no parameters."""
    return twins(LAYERS[name]) if name in LAYERS else (APPNPS[name](gconv), APPNPS[name](pyg))


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("name", [name for name in (*LAYERS, *APPNPS) if "cached" not in name])
def test_outputs_and_gradients(name, graph):
    layer, original = pair(name)
    edge_index, weight, nodes = GRAPHS[graph]
    agree(layer, original, torch.randn(nodes, 5, requires_grad=True), (edge_index, weight))


@pytest.mark.parametrize("name", ["SG cached", "SSG cached", "APPNP cached"])
def test_cached(name):
    layer, original = pair(name)
    edge_index, weight, nodes = GRAPHS["directed, weighted"]
    x = torch.randn(nodes, 5)
    for _ in range(2):
        found, expected = layer(x, edge_index, weight), original(x, edge_index, weight)
        assert_same(found, expected)
        for value, theirs in zip(layer.parameters(), original.parameters(), strict=True):
            gradients = (
                torch.autograd.grad(y.square().sum(), p, retain_graph=True)[0]
                for y, p in ((found, value), (expected, theirs))
            )
            assert_same(*gradients)


def test_a_cache_answers_for_its_signal_and_graph_alone():
    graph, other = grid_graph((4, 5)), grid_graph((4, 5), 4)
    layer = gconv.SGConv(5, 7, K=2, cached=True)
    plain = gconv.SGConv(5, 7, K=2)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(20, 5)
    with torch.inference_mode():
        assert_same(layer(x, graph), plain(x, graph))
    held = layer(x, graph), layer._kept.of(x, graph, lambda: torch.zeros(1))
    assert_same(held[0], plain(x, graph))
    assert held[1].shape == (20, 5)
    assert layer._kept.of(x, graph, lambda: torch.zeros(1)) is held[1]
    assert_same(layer(x, other), plain(x, other))
    x.mul_(2.0)
    assert_same(layer(x, other), plain(x, other))
    assert_same(layer(torch.stack([x, -x]), other), plain(torch.stack([x, -x]), other))
    sparse = x.to_sparse_csr()
    assert_same(layer(sparse, other), plain(x, other))
    assert_same(layer(sparse, other), plain(sparse, other))
    again = x.clone().requires_grad_()
    assert torch.autograd.grad(layer(again, other).sum(), again)[0].any()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin._kept._held is None
        assert_same(twin(x, other), plain(x, other))
    layer.reset_parameters()
    assert layer._kept._held is None


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_dropout_of_edges_falls_as_in_pyg(weighted, normalize):
    options = {"K": 3, "alpha": 0.2, "dropout": 0.4, "normalize": normalize}
    layer, original = gconv.APPNP(**options), pyg.APPNP(**options)
    edge_index, weight, nodes = GRAPHS["directed, weighted"]
    weight = weight if weighted else None if normalize else torch.ones(edge_index.shape[1])
    x = torch.randn(nodes, 5, requires_grad=True)
    found = []
    for either in (layer, original):
        torch.manual_seed(5)
        found.append(value_and_gradients(either, x, (edge_index, weight), []))
    for value, expected in zip(*found, strict=True):
        assert_same(value, expected)
    assert_same(layer.eval()(x, edge_index, weight), original.eval()(x, edge_index, weight))


@pytest.mark.parametrize("name", [*LAYERS, *APPNPS])
def test_many_signals_and_learned_weights(name):
    layer, original = pair(name)
    edge_index, weight, nodes = GRAPHS["directed, weighted"]
    x = torch.randn(4, nodes, 5)
    if "cached" not in name:
        loop = torch.stack([original(signal, edge_index, weight) for signal in x])
        assert_same(layer(x, edge_index, weight), loop)
        weight = weight.clone().requires_grad_()
        if "0" in name or "all itself" in name or "no step" in name:
            return
        found = torch.autograd.grad(layer(x[0], Graph(edge_index, nodes, weight)).square().sum(), weight)
        expected = torch.autograd.grad(original(x[0], edge_index, weight).square().sum(), weight)
        assert_same(found[0], expected[0])


@pytest.mark.parametrize("name", [name for name in LAYERS if "cached" not in name])
def test_sparse_signals(name):
    layer, _ = pair(name)
    edge_index, weight, nodes = GRAPHS["directed, weighted"]
    x = torch.randn(nodes, 5) * (torch.rand(nodes, 5) < 0.5)
    assert_same(layer(x.to_sparse_csr(), edge_index, weight), layer(x, edge_index, weight))


@pytest.mark.parametrize("form", ["fused", "gather", "stencil", "dense", "portable"])
def test_a_series_against_powers_of_the_matrix(form):
    graph = grid_graph((9, 11))
    operator, shares = graph.plan.gcn(), (0.5, 0.0, -2.0, 1.5)
    matrix, x = operator.dense(), torch.randn(40, 99, 3, dtype=torch.float64, requires_grad=True)
    expected = sum(c * torch.linalg.matrix_power(matrix, k) @ x for k, c in enumerate(shares))
    found = series(x, operator, shares, form=form)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
    weights = torch.randn_like(found)
    gradients = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (found, expected))
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-12)
    assert series(x[:0], operator, shares, form=form).shape == (0, 99, 3)


def test_pagerank_by_hand():
    """Two nodes that look at each other: S is all halves."""
    y = gconv.APPNP(2, 0.5)(torch.tensor([[1.0], [0.0]]), torch.tensor([[0, 1], [1, 0]]))
    assert y.flatten().tolist() == [0.75, 0.25]


@pytest.mark.parametrize("name", ["SGConv", "MixHopConv"])
def test_open_widths(name):
    layer, original = getattr(gconv, name)(-1, 7), getattr(pyg, name)(5, 7)
    layer.load_state_dict(original.state_dict())
    edge_index, _, nodes = GRAPHS["directed"]
    x = torch.randn(nodes, 5)
    assert_same(layer(x, edge_index), original(x, edge_index))
    fresh = getattr(gconv, name)(-1, 7)
    assert fresh(x, edge_index).shape[0] == nodes
    assert fresh.in_channels == 5


def test_what_does_not_fit_is_named():
    for make in (gconv.SGConv, lambda i, o, K: gconv.SSGConv(i, o, 0.1, K), lambda i, o, K: gconv.APPNP(K, 0.1)):
        for K in (-1, 1.5, True):
            with pytest.raises(ValueError, match="K, the number of steps, is a whole number >= 0; got"):
                make(5, 7, K)
    for options in ({"alpha": 1.5}, {"alpha": -0.1}, {"alpha": "a"}, {"alpha": 0.1, "dropout": 2}):
        with pytest.raises(ValueError, match=r"(alpha|dropout) is a number from 0 to 1; got"):
            gconv.APPNP(3, **options)
    with pytest.raises(ValueError, match="SSGConv: alpha is a number from 0 to 1"):
        gconv.SSGConv(5, 7, 7)
    for powers in ([], [0, -1], [True], [1.0]):
        with pytest.raises(ValueError, match="powers are whole numbers >= 0, at least one"):
            gconv.MixHopConv(5, 7, powers)
    with pytest.raises(ValueError, match="SGConv expects 5 channels, got 4"):
        gconv.SGConv(5, 7)(torch.zeros(3, 4), torch.tensor([[0], [1]]))


def test_in_a_recipe():
    graph = grid_graph((6, 6))
    ops = GraphOps(lambda i, o, K, bias: gconv.SGConv(i, o, 2, bias=bias), norm="graph")
    layer, norm = ops.conv(3, 4, 3), ops.norm(4)
    assert isinstance(norm, gconv.GraphNorm)
    assert norm(layer(torch.randn(2, 36, 3), graph), graph).shape == (2, 36, 4)
    assert isinstance(nn.ModuleList([norm])[0], gconv.GraphNorm)

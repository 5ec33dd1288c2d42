"""PyG's state dict loads with strict=True, and outputs and gradients agree, on graphs of every kind."""

import pytest
import torch
import torch_geometric.nn as pyg
from registry import random_graph

import gconv
from gconv import Graph, interop


def graphs():
    """Directed and undirected, with and without weights, loops, isolated nodes, parallel edges, no edge at all."""
    directed, undirected = random_graph(30), random_graph(30, directed=False, seed=1)
    parallel = torch.tensor([[0, 0, 1, 2, 2], [1, 1, 2, 0, 0]])
    return {
        "directed, weighted": (directed.edge_index, directed.edge_weight, 30),
        "directed": (directed.edge_index, None, 30),
        "undirected, weighted": (undirected.edge_index, undirected.edge_weight, 30),
        "parallel edges, isolated node": (parallel, torch.tensor([1.0, 2.0, 0.5, 1.5, 0.1]), 4),
        "one edge": (torch.tensor([[0], [1]]), None, 3),
        "no edge": (torch.zeros(2, 0, dtype=torch.long), None, 3),
    }


GRAPHS = graphs()

LAYERS = {
    "GCN": (gconv.GCNConv, pyg.GCNConv, (5, 7), {}),
    "GCN narrowing, improved": (gconv.GCNConv, pyg.GCNConv, (5, 2), {"improved": True}),
    "GCN without loops": (gconv.GCNConv, pyg.GCNConv, (5, 7), {"add_self_loops": False}),
    "GCN raw": (gconv.GCNConv, pyg.GCNConv, (5, 7), {"normalize": False, "bias": False}),
    "GCN cached": (gconv.GCNConv, pyg.GCNConv, (5, 7), {"cached": True}),
    "Cheb 1": (gconv.ChebConv, pyg.ChebConv, (5, 7, 1), {}),
    "Cheb 2": (gconv.ChebConv, pyg.ChebConv, (5, 7, 2), {"bias": False}),
    "Cheb 5": (gconv.ChebConv, pyg.ChebConv, (5, 7, 5), {}),
    "Cheb rw": (gconv.ChebConv, pyg.ChebConv, (5, 7, 4), {"normalization": "rw"}),
    "Cheb combinatorial": (gconv.ChebConv, pyg.ChebConv, (5, 7, 4), {"normalization": None}),
}

GAUSSIANS = {
    "mean": {},
    "sum": {"aggr": "add"},
    "largest": {"aggr": "max"},
    "deviation": {"aggr": "std", "separate_gaussians": True},
    "no root, no bias": {"root_weight": False, "bias": False},
    "separate": {"separate_gaussians": True},
    "separate sum": {"separate_gaussians": True, "aggr": "add", "root_weight": False},
}


def twins(ours, theirs, arguments, options):
    """Our layer with their freshly drawn weights; both state dicts load strictly into each other."""
    original = theirs(*arguments, **options)
    if options.get("root_weight") is False:
        original.root = None  # PyG forgets to, and fails in its forward
    layer = ours(*arguments, **options)
    layer.load_state_dict(original.state_dict(), strict=True)
    theirs(*arguments, **options).load_state_dict(layer.state_dict(), strict=True)
    return layer, original


def assert_same(ours, theirs):
    scale = max(float(theirs.detach().abs().max()), 1e-3) if theirs.numel() else 1.0
    assert ours.shape == theirs.shape
    assert ((ours - theirs).abs() <= 1e-5 * scale).all()


def value_and_gradients(layer, x, arguments, differentiable):
    y = layer(x, *arguments)
    weights = torch.linspace(-1, 1, y.numel()).view_as(y)
    wanted = [x, *differentiable, *layer.parameters()]
    gradients = torch.autograd.grad((y * weights).sum(), wanted, allow_unused=True)
    return [y] + [torch.zeros_like(w) if g is None else g for w, g in zip(wanted, gradients, strict=True)]


# Without an edge PyG divides 0 by 0, or cannot tell a shape.
PYG_FAILS = {("Cheb combinatorial", "no edge"), ("separate", "no edge"), ("separate sum", "no edge")}


@pytest.mark.parametrize(("name", "graph"), [(n, g) for n in LAYERS for g in GRAPHS if (n, g) not in PYG_FAILS])
def test_layers_on_bare_edges(name, graph):
    ours, theirs, arguments, options = LAYERS[name]
    layer, original = twins(ours, theirs, arguments, options)
    edge_index, weight, nodes = GRAPHS[graph]
    x = torch.randn(nodes, 5, requires_grad=True)
    found = value_and_gradients(layer, x, (edge_index, weight), [])
    for value, expected in zip(found, value_and_gradients(original, x, (edge_index, weight), []), strict=True):
        assert_same(value, expected)


@pytest.mark.parametrize("name", [name for name in LAYERS if "cached" not in name])
def test_learned_edge_weights(name):
    ours, theirs, arguments, options = LAYERS[name]
    layer, original = twins(ours, theirs, arguments, options)
    edge_index, weight, nodes = GRAPHS["directed, weighted"]
    weight = weight.clone().requires_grad_()
    x = torch.randn(nodes, 5, requires_grad=True)
    learned = [weight] if name != "Cheb 1" else []
    found = value_and_gradients(layer, x, (edge_index, weight), learned)
    for value, expected in zip(found, value_and_gradients(original, x, (edge_index, weight), learned), strict=True):
        assert_same(value, expected)
    graph = Graph(edge_index, nodes, weight)
    assert_same(layer(x, graph), found[0])


@pytest.mark.parametrize(("name", "graph"), [(n, g) for n in GAUSSIANS for g in GRAPHS if (n, g) not in PYG_FAILS])
def test_gaussian_mixtures(name, graph):
    layer, original = twins(gconv.GMMConv, pyg.GMMConv, (5, 7, 2, 4), GAUSSIANS[name])
    edge_index, _, nodes = GRAPHS[graph]
    pseudo = torch.rand(edge_index.shape[1], 2)
    x = torch.randn(nodes, 5, requires_grad=True)
    found = value_and_gradients(layer, x, (edge_index, pseudo), [])
    for value, expected in zip(found, value_and_gradients(original, x, (edge_index, pseudo), []), strict=True):
        assert_same(value, expected)


@pytest.mark.parametrize("name", GAUSSIANS)
def test_learned_pseudo_coordinates(name):
    layer, original = twins(gconv.GMMConv, pyg.GMMConv, (5, 7, 2, 4), GAUSSIANS[name])
    edge_index, _, nodes = GRAPHS["directed"]
    pseudo = torch.rand(edge_index.shape[1], 2, requires_grad=True)
    x = torch.randn(nodes, 5, requires_grad=True)
    found = value_and_gradients(layer, x, (edge_index, pseudo), [pseudo])
    for value, expected in zip(found, value_and_gradients(original, x, (edge_index, pseudo), [pseudo]), strict=True):
        assert_same(value, expected)


@pytest.mark.parametrize("form", ["eigenbasis", "convolution", "gather"])
def test_forms_on_a_grid_agree_with_pyg(form):
    graph = gconv.grid_graph((6, 7))
    data = interop.to_pyg(graph)
    x = torch.randn(42, 5)
    with gconv.force_form(form):
        cheb, original = twins(gconv.ChebConv, pyg.ChebConv, (5, 7, 9), {})
        assert_same(cheb(x, graph), original(x, data.edge_index))
        mixture, original = twins(gconv.GMMConv, pyg.GMMConv, (5, 7, 2, 4), {})
        assert_same(mixture(x, graph), original(x, data.edge_index, data.edge_attr))


@pytest.mark.parametrize(("name", "graph"), sorted(PYG_FAILS))
def test_what_pyg_cannot_is_finite_here(name, graph):
    edge_index, weight, nodes = GRAPHS[graph]
    x = torch.randn(nodes, 5)
    if name in LAYERS:
        layer = gconv.ChebConv(5, 7, 4, normalization=None)
        # L is zero, so L̂ = -I, and T_k(-1) = (-1)^k.
        expected = sum((-1) ** k * lin(x) for k, lin in enumerate(layer.lins)) + layer.bias
        assert_same(layer(x, edge_index, weight), expected)
    else:
        layer = gconv.GMMConv(5, 7, 2, 4, **GAUSSIANS[name])
        root = layer.root(x) if layer.root is not None else 0.0
        assert_same(layer(x, edge_index, torch.zeros(0, 2)), root + layer.bias.expand(nodes, 7))


@pytest.mark.parametrize("normalization", ["sym", "rw", None])
def test_lambda_max_one_for_all_or_one_a_graph(normalization):
    layer, original = twins(gconv.ChebConv, pyg.ChebConv, (5, 7, 4), {"normalization": normalization})
    edge_index, weight, nodes = GRAPHS["undirected, weighted"]
    x = torch.randn(nodes, 5)
    for lambda_max in (3.0, torch.tensor(2.5)):
        expected = original(x, edge_index, weight, lambda_max=lambda_max)
        assert_same(layer(x, edge_index, weight, lambda_max=lambda_max), expected)
    halves = (torch.arange(nodes) >= nodes // 2).long()
    inside = halves[edge_index[0]] == halves[edge_index[1]]
    arguments = edge_index[:, inside], weight[inside], halves, torch.tensor([2.0, 3.5])
    assert_same(layer(x, *arguments), original(x, *arguments))
    with pytest.raises(ValueError, match="pass batch"):
        layer(x, edge_index, weight, lambda_max=torch.tensor([2.0, 3.5]))


def test_batch_normalisation():
    layer, original = twins(gconv.BatchNorm, pyg.BatchNorm, (5,), {"momentum": 0.3})
    for _ in range(3):
        x = torch.randn(20, 5)
        assert_same(layer(x), original(x))
    assert_same(layer.eval()(x), original.eval()(x))
    single, twin = twins(gconv.BatchNorm, pyg.BatchNorm, (5,), {"allow_single_element": True})
    assert_same(single(x[:1]), twin(x[:1]))


def test_gaussians_refuse_what_does_not_fit():
    layer = gconv.GMMConv(5, 7, 2, 4)
    edge_index, _, nodes = GRAPHS["directed"]
    x = torch.randn(nodes, 5)
    with pytest.raises(ValueError, match=r"needs edge_attr \(E, 2\)"):
        layer(x, edge_index)
    with pytest.raises(ValueError, match=r"edge_attr has shape .*, 2\) here, got .*, 3\)"):
        layer(x, edge_index, torch.rand(edge_index.shape[1], 3))
    with pytest.raises(ValueError, match=r"GMMConv: aggr is one of 'add'.*got 'most'"):
        gconv.GMMConv(5, 7, 2, 4, aggr="most")

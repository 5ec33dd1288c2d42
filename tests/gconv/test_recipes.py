"""One recipe, two domains: LeNet-5 on a grid and on its graph, bound, compiled, exported, carried over, repeated."""

import copy
import inspect

import pytest
import torch
from torch import nn

from gconv import ChebConv, GCNConv, GraphOps, bridge, data, grid_graph
from gconv.families import FAMILIES
from gconv.training import variants
from gconv.training.fit import batches, fit
from grid_cnn import GridOps, Sequential, models

# Variants compiled by inductor; the others stop before code generation, to keep the suite short.
INDUCTOR = {"grid", "cheb"}
NETWORKS = ("grid", "directional", "cheb", "monet", "gcn", "spectral")


@pytest.fixture(scope="module")
def graph():
    return grid_graph((28, 28))


@pytest.mark.parametrize("variant", NETWORKS)
def test_bound_networks_compile_and_export(variant, graph):
    torch.compiler.reset()
    network = variants.build(variant, "lenet5", graph, 1, 10)
    x = network.encode(torch.randn(3, 1, 28, 28))
    expected = network.module(x)
    expected.square().sum().backward()
    gradients = [parameter.grad.clone() for parameter in network.module.parameters()]
    network.module.zero_grad()
    compiled = torch.compile(network.module, fullgraph=True, backend="inductor" if variant in INDUCTOR else "aot_eager")
    out = compiled(x)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    out.square().sum().backward()
    for parameter, gradient in zip(network.module.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-4)
    exported = torch.export.export(network.module.eval(), (x,)).module()
    torch.testing.assert_close(exported(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["directional", "cheb", "spectral"])
def test_bind_keeps_the_graph_and_the_names(variant, graph):
    network = variants.build(variant, "lenet5", graph, 1, 10)
    bound = network.module
    assert list(bound.state_dict()) == list(network.model.state_dict())
    twin = copy.deepcopy(bound)
    assert twin.domain is graph
    assert twin.fc1 is not bound.fc1
    bound.fc3 = nn.Linear(84, 3)
    assert network.model(bridge.to_nodes(torch.zeros(1, 1, 28, 28)), graph).shape == (1, 3)


def test_the_periodic_grid_needs_no_second_code_path():
    """A ring of 12: one recipe, one set of weights, on the grid and on its graph."""
    net = Sequential(GridOps(1).conv(1, 4, 3), nn.ReLU(), GridOps(1).avg_pool(2), GridOps(1).global_avg_pool())
    twin = bridge.model_to_graph(net)
    from grid_cnn import Grid

    x = torch.randn(2, 1, 12)
    ring = Grid(12, periodic=True)
    torch.testing.assert_close(twin(bridge.to_nodes(x), grid_graph(ring)), net(x, ring))


@pytest.fixture(scope="module")
def trained():
    """Digits, and a grid LeNet-5 that has learned them a little."""
    images = data.load("digits")
    torch.manual_seed(0)
    net = models.lenet5()
    fit(net, batches(images.train_images, images.train_labels, 64, seed=0), epochs=8)
    return images, net.eval()


def test_a_trained_network_carried_over_predicts_the_same(trained, graph):
    images, net = trained
    twin = models.lenet5(ops=GraphOps("directional"), domain=graph).eval()
    twin.load_state_dict(net.state_dict(), strict=True)
    carried, back = bridge.model_to_graph(net), None
    back = bridge.model_to_grid(carried)
    with torch.no_grad():
        logits = net(images.test_images)
        nodes = bridge.to_nodes(images.test_images)
        assert (logits.argmax(1) == images.test_labels).float().mean() > 0.9
        for other in (twin(nodes, graph), carried(nodes, graph), back(images.test_images)):
            torch.testing.assert_close(other, logits, rtol=1e-4, atol=1e-4)
            assert torch.equal(other.argmax(1), logits.argmax(1))


def history(variant, images, graph):
    torch.manual_seed(5)
    network = variants.build(variant, "lenet5", graph, 1, 10)
    loader = batches(network.encode(images.train_images), images.train_labels, 64, seed=5)
    test = batches(network.encode(images.test_images), images.test_labels, 150)
    epochs = fit(network.module, loader, test, epochs=1)
    return [(e.train_loss, e.test_accuracy) for e in epochs], network.module.state_dict()


@pytest.mark.parametrize("variant", [*NETWORKS, "linear", "mlp"])
def test_the_same_seed_twice_gives_the_same_bits(variant, graph):
    images = data.load("digits").subset(train=256, test=150)
    first, weights = history(variant, images, graph)
    second, again = history(variant, images, graph)
    assert first == second
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_weights_are_matched_in_number(graph):
    counts = {v: variants.build(v, "lenet5", graph, 1, 10).num_parameters for v in NETWORKS}
    assert counts["grid"] == counts["directional"] == counts["cheb"] == counts["spectral"]
    assert counts["monet"] - counts["grid"] == 2 * (24 * 2 * 2)  # μ and σ of 24 Gaussians in two layers
    assert counts["grid"] - counts["gcn"] == 24 * (1 * 6 + 6 * 16)  # one term for 25


@pytest.mark.parametrize("family", ["cheb", "monet", "gcn", "spectral"])
def test_families_refuse_what_they_have_no_meaning_for(family):
    ops = GraphOps(family)
    for options, culprit in (
        ({"groups": 2}, "groups"),
        ({"dilation": 2}, "dilation"),
        ({"padding": "valid"}, "padding"),
        ({"padding_mode": "circular"}, "padding_mode"),
    ):
        with pytest.raises(ValueError, match=rf"{culprit}.*has no meaning for '{family}'"):
            ops.conv(4, 8, 3, **options)
    ops.conv(4, 8, 3, padding=1)  # 'same', in numbers


@pytest.mark.parametrize("family", ["directional", "cheb", "monet", "gcn", "spectral"])
def test_strides_go_to_the_coarser_graph(family):
    graph = grid_graph((7, 8))
    layer = GraphOps(family).conv(2, 5, 3, stride=2)
    y, coarse = layer.step(torch.zeros(3, 56, 2), graph)
    assert y.shape == (3, 16, 5)
    assert coarse is graph.on(coarse.grid)
    assert coarse.grid.size == (4, 4)
    whole = GraphOps(family).conv(2, 5, 1)
    assert whole.state_dict()["weight"].shape == (5, 2, 1, 1)


def test_unknown_families_and_terms():
    with pytest.raises(ValueError, match="unknown graph convolution 'chebb': did you mean cheb"):
        GraphOps("chebb")
    with pytest.raises(ValueError, match="K, the number of terms"):
        GraphOps("cheb", K=0)
    with pytest.raises(ValueError, match="takes its terms from the kernel"):
        GraphOps("directional", K=9)


def test_options_that_no_layer_takes_are_refused_at_once():
    for given, message in (
        (lambda: GraphOps("cheb", normalisation="sym"), "option 'normalisation': did you mean normalization"),
        (
            lambda: GraphOps("cheb", Q=3),
            "GraphOps.'cheb'. got an unexpected option 'Q': it takes normalization, .* aggr",
        ),
        (lambda: GraphOps("sage", bias=False), "unexpected option 'bias': it takes aggr, normalize"),
        (lambda: GraphOps("monet", dim=3), "unexpected option 'dim'"),
        (lambda: GraphOps(lambda i, o, K, bias, hops=1: None, hop=2), "unexpected option 'hop': did you mean hops"),
    ):
        with pytest.raises(TypeError, match=message):
            given()


@pytest.mark.parametrize("name", FAMILIES)
def test_every_option_reaches_the_layer(name):
    """What is let in, the layer's constructor takes: no bare error later."""
    defaults = {p.name: p.default for p in inspect.signature(FAMILIES[name].layer).parameters.values()}
    inherited = {"flow": "source_to_target", "node_dim": -2, "decomposed_layers": 1, "aggr_kwargs": None}
    for option in FAMILIES[name].options:
        value = {**defaults, **inherited, "aggr": "add", "edge_dim": 2, "kernel_size": 3, "max_value": 1.0}[option]
        GraphOps(name, **{option: value}).conv(3, 4, 3)


def test_a_function_of_ones_own_as_family():
    ops = GraphOps(lambda cin, cout, K, bias: ChebConv(cin, cout, K, bias=bias), K=4)
    net = models.lenet5(ops=ops, domain=grid_graph((12, 12)))
    assert len(net.conv1.lins) == 4


def test_node_mixing_modules_are_refused():
    for module in (nn.BatchNorm1d(4), nn.Conv1d(4, 4, 3), nn.Linear(4, 4), nn.Softmax(1)):
        with pytest.raises(TypeError, match=f"{type(module).__name__}, does not act element by element"):
            Sequential(GCNConv(3, 4), module)

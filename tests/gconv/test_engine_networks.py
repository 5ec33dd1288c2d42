"""Networks on edges, whatever they are: the numbers, statistics and draws of PyG on the block-diagonal batch."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch_geometric.nn as pyg
from engine_oracles import DOMAINS
from graph_oracles import assert_close
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, spectral_norm

import gconv
from gconv import Graph, grid_graph

SIGNALS, CHANNELS = 3, 4


class Centred(nn.Module):
    """Looks at all rows, though its parts do not."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin(x) - x.mean(0, keepdim=True)


class CentredSequence(nn.Sequential):
    """A sequence that does more than its parts."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y - y.mean(0, keepdim=True)


class CentredLinear(nn.Linear):
    """A linear layer that does more than one."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0, keepdim=True))


def hooked(network: nn.Sequential, place: int | None = None) -> nn.Sequential:
    """With a forward hook, on the network or one of its parts, that changes what comes out."""
    (network if place is None else network[place]).register_forward_hook(lambda module, given, out: out - out.mean(0))
    return network


def of(first: nn.Module, *rest: nn.Module) -> nn.Sequential:
    return nn.Sequential(first, *rest, nn.Linear(5, 3))


def wide() -> nn.Linear:
    return nn.Linear(2 * CHANNELS, 5)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "batch norm": lambda: of(wide(), nn.BatchNorm1d(5), nn.ReLU()),
    "batch norm of no memory": lambda: of(wide(), nn.BatchNorm1d(5, track_running_stats=False), nn.ReLU()),
    "batch norm first": lambda: nn.Sequential(nn.BatchNorm1d(2 * CHANNELS), wide()),
    "batch norm last": lambda: nn.Sequential(wide(), nn.Tanh(), nn.BatchNorm1d(5)),
    "layer norm": lambda: of(wide(), nn.LayerNorm(5), nn.GELU()),
    "softmax over channels": lambda: of(wide(), nn.Softmax(dim=1)),
    "softmax over the last axis": lambda: of(wide(), nn.Softmax(dim=-1)),
    "softmax over edges": lambda: of(wide(), nn.LogSoftmax(dim=0)),
    "dropout": lambda: of(wide(), nn.BatchNorm1d(5), nn.Dropout(0.5)),
    "dropout of whole rows": lambda: of(wide(), nn.FeatureAlphaDropout(0.5)),
    "no sequence": lambda: wide(),
    "free module": lambda: of(wide(), Centred()),
    "nested": lambda: of(nn.Sequential(wide(), nn.Tanh()), nn.Sequential(nn.Linear(5, 5), nn.PReLU(5))),
    "a sequence of its own": lambda: nn.Sequential(wide(), CentredSequence(nn.Tanh(), nn.Linear(5, 3))),
    "a first layer of its own": lambda: nn.Sequential(CentredLinear(2 * CHANNELS, 5), nn.Tanh()),
    "in place": lambda: of(wide(), nn.ReLU(inplace=True)),
    "in place first": lambda: nn.Sequential(nn.ELU(inplace=True), wide()),
    "shared parts": lambda: of(wide(), *[nn.Linear(5, 5)] * 2, nn.Tanh()),
    "empty": lambda: nn.Sequential(),
    "weight norm": lambda: of(parametrizations.weight_norm(wide()), nn.Tanh()),
    "spectral norm": lambda: of(parametrizations.spectral_norm(wide()), nn.Tanh()),
    "spectral norm by hooks": lambda: of(spectral_norm(wide()), nn.Tanh()),
    "spectral norm by hooks inside": lambda: of(wide(), nn.Tanh(), spectral_norm(nn.Linear(5, 5))),
    "hook on the network": lambda: hooked(of(wide(), nn.Tanh())),
    "hook on the first": lambda: hooked(of(wide(), nn.Tanh()), 0),
    "hook on the last": lambda: hooked(of(wide(), nn.Tanh()), -1),
}


def block_diagonal(graph: Graph, signals: int = SIGNALS) -> Tensor:
    return torch.cat([graph.edge_index + i * graph.num_nodes for i in range(signals)], 1)


def agree(layer: nn.Module, original: nn.Module, x: Tensor, graph: Graph, index: Tensor, *features: Tensor) -> None:
    """Twice: values, gradients by all, and what the networks remember."""
    own, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    for _ in range(2):
        torch.manual_seed(1)
        y = layer(own, graph, *(f[: graph.num_edges] for f in features))
        torch.manual_seed(1)
        z = original(other.flatten(0, 1), index, *features).unflatten(0, x.shape[:2])
        assert_close(y, z, 1e-11)
        found = torch.autograd.grad(y.square().sum() + y.sum(), [own, *layer.parameters()], allow_unused=True)
        wanted = torch.autograd.grad(z.square().sum() + z.sum(), [other, *original.parameters()], allow_unused=True)
        for actual, value in zip(found, wanted, strict=True):
            if value is not None:
                assert_close(actual, value, 1e-10)
        for actual, value in zip(layer.buffers(), original.buffers(), strict=True):
            assert_close(actual, value)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("aggr", ["max", "mean", "add"])
@pytest.mark.parametrize("domain", ["directed, weighted", "star", "grid"])
@pytest.mark.parametrize("name", NETWORKS)
def test_edge_conv(name, domain, aggr, training):
    graph = DOMAINS[domain]()
    torch.manual_seed(0)
    layer = gconv.EdgeConv(NETWORKS[name]().double(), aggr).train(training)
    torch.manual_seed(0)
    original = pyg.EdgeConv(NETWORKS[name]().double(), aggr).train(training)
    original.load_state_dict(layer.state_dict())
    x = torch.randn(SIGNALS, graph.num_nodes, CHANNELS, dtype=torch.float64)
    agree(layer, original, x, graph, block_diagonal(graph))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["batch norm", "layer norm", "spectral norm by hooks", "no sequence"])
@pytest.mark.parametrize("signals", [1, 2])
def test_edge_conv_without_edges(name, training, signals):
    graph = DOMAINS["no edges"]()
    layer = gconv.EdgeConv(NETWORKS[name]().double(), "mean").train(training)
    x = torch.randn(signals, 4, CHANNELS, dtype=torch.float64, requires_grad=True)
    y = layer(x, graph)
    y.sum().backward()
    assert y.shape == (signals, 4, 5 if name == "no sequence" else 3)
    assert not y.any()
    assert not x.grad.any()


FEATURES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(2, 12),
    "batch norm": lambda: nn.Sequential(nn.Linear(2, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 12)),
    "batch norm last": lambda: nn.Sequential(nn.Linear(2, 12), nn.BatchNorm1d(12)),
    "dropout": lambda: nn.Sequential(nn.Linear(2, 5), nn.Dropout(0.5), nn.Linear(5, 12)),
    "softmax": lambda: nn.Sequential(nn.Linear(2, 5), nn.Softmax(dim=1), nn.Linear(5, 12)),
    "softmax over edges": lambda: nn.Sequential(nn.Linear(2, 5), nn.Softmax(dim=0), nn.Linear(5, 12)),
    "in place first": lambda: nn.Sequential(nn.ELU(inplace=True), nn.Linear(2, 12)),
    "weight norm last": lambda: nn.Sequential(nn.Linear(2, 5), parametrizations.weight_norm(nn.Linear(5, 12))),
    "spectral norm by hooks last": lambda: nn.Sequential(nn.Linear(2, 5), spectral_norm(nn.Linear(5, 12))),
    "hook on the network": lambda: hooked(nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 12))),
    "a sequence of its own": lambda: CentredSequence(nn.Linear(2, 12), nn.Tanh(), nn.Linear(12, 12)),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("aggr", ["add", "mean", "max"])
@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("name", FEATURES)
def test_nn_conv(name, few, aggr, training):
    """On one signal, with many different features, or those of a grid, which are the graph's own."""
    graph = grid_graph((4, 5)) if few else DOMAINS["directed, weighted"]()
    features = graph.edge_attr.double() if few else torch.randn(graph.num_edges, 2, dtype=torch.float64)
    torch.manual_seed(0)
    layer = gconv.NNConv(CHANNELS, 3, FEATURES[name]().double(), aggr).double().train(training)
    torch.manual_seed(0)
    original = pyg.NNConv(CHANNELS, 3, FEATURES[name]().double(), aggr).double().train(training)
    original.load_state_dict(layer.state_dict())
    x = torch.randn(1, graph.num_nodes, CHANNELS, dtype=torch.float64)
    own, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    for _ in range(2):
        torch.manual_seed(1)
        y = layer(own, graph) if few else layer(own, graph, features)
        torch.manual_seed(1)
        z = original(other[0], graph.edge_index, features.clone())[None]
        assert_close(y, z, 1e-11)
        (found,), (wanted,) = (torch.autograd.grad(t.square().sum(), s) for t, s in ((y, own), (z, other)))
        assert_close(found, wanted, 1e-11)
    for actual, value in zip(layer.buffers(), original.buffers(), strict=True):
        assert_close(actual, value)


def test_a_network_in_place_leaves_the_graph_alone():
    graph = grid_graph((3, 3))
    graph = graph.having(edge_attr=graph.edge_attr.double())
    kept = graph.edge_attr.clone()
    layer = gconv.NNConv(CHANNELS, 3, FEATURES["in place first"]().double()).double()
    x = torch.randn(1, 9, CHANNELS, dtype=torch.float64)
    first = layer(x, graph)
    for form in (None, "fused", "collapsed"):
        assert_close(layer(x, graph, form=form), first)
    assert torch.equal(graph.edge_attr, kept)


def test_lazy_layers_find_their_widths():
    graph = DOMAINS["directed, weighted"]()
    layer = gconv.EdgeConv(nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(3)))
    x = torch.randn(SIGNALS, 9, CHANNELS)
    first = layer(x, graph)
    assert first.shape == (SIGNALS, 9, 3)
    torch.testing.assert_close(layer(x, graph), first)
    twin = gconv.EdgeConv(nn.Sequential(wide(), nn.ReLU(), nn.Linear(5, 3)))
    twin.load_state_dict(layer.state_dict())
    torch.testing.assert_close(twin(x, graph), first)


def test_hooks_on_gradients_are_called():
    graph = DOMAINS["directed, weighted"]()
    seen = []
    network = of(wide(), nn.Tanh())
    for module in (network, network[0], network[2]):
        module.register_full_backward_hook(lambda module, given, grad: seen.append(type(module).__name__))
    x = torch.randn(SIGNALS, 9, CHANNELS, requires_grad=True)
    gconv.EdgeConv(network, "add")(x, graph).sum().backward()
    assert sorted(seen) == ["Linear", "Linear", "Sequential"]


@pytest.mark.parametrize("aggr", ["max", "add"])
def test_dropout_is_drawn_once_for_forward_and_backward(aggr):
    """Without biases the layer is linear piece by piece, so that y = dy/dx · x for the mask that was drawn."""
    graph = DOMAINS["star"]()
    network = nn.Sequential(nn.Linear(8, 30, bias=False), nn.Dropout(0.5), nn.ReLU(), nn.Linear(30, 3, bias=False))
    layer = gconv.EdgeConv(network, aggr).double().train()
    x = torch.randn(2, graph.num_nodes, CHANNELS, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(3)
    y = layer(x, graph)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert_close((slope * x).sum(), y.sum())
    torch.manual_seed(3)
    assert torch.equal(layer(x, graph), y)
    assert not torch.equal(layer(x, graph), y)


def test_dropout_has_its_statistics():
    """Each edge, channel and signal of its own: the mean is the expectation, the variance p / (1 - p) x²."""
    graph = Graph(torch.tensor([[1, 2, 0], [0, 0, 1]]), 3)
    layer = gconv.EdgeConv(nn.Sequential(nn.Identity(), nn.Dropout(0.25)), "add").train()
    y = layer(torch.ones(20000, 3, 1), graph)[:, :, 0].double()
    mean, variance = y.mean(0), y.var(0)
    torch.testing.assert_close(mean, torch.tensor([2.0, 1.0, 0.0]).double(), rtol=0, atol=0.03)
    torch.testing.assert_close(variance, torch.tensor([2 / 3, 1 / 3, 0.0]).double(), rtol=0, atol=0.03)


def test_parameters_of_a_call_are_those_of_its_backward_pass():
    graph = DOMAINS["star"]()
    layer = gconv.EdgeConv(of(wide(), nn.Tanh())).double()
    other = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5).add_(0.1)
    x = torch.randn(2, graph.num_nodes, CHANNELS, dtype=torch.float64, requires_grad=True)
    swapped = {name: value.detach().clone().requires_grad_() for name, value in other.named_parameters()}
    y, wanted = functional_call(layer, swapped, (x, graph)), other(x, graph)
    layer(x, graph)  # the layer's own parameters, between forward and backward
    assert_close(y, wanted)
    found = torch.autograd.grad(y.square().sum(), [x, *swapped.values()])
    for actual, value in zip(found, torch.autograd.grad(wanted.square().sum(), [x, *other.parameters()]), strict=True):
        assert_close(actual, value)


def test_an_edit_between_forward_and_backward_is_noticed():
    graph = DOMAINS["star"]()
    layer = gconv.EdgeConv(of(wide(), nn.Tanh()))
    y = layer(torch.randn(2, graph.num_nodes, CHANNELS), graph)
    with torch.no_grad():
        layer.nn[2].weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()

"""Layers and graphs after use: copied, pickled, compiled, exported, used for inference, with other parameters."""

import copy
import pickle

import pytest
import torch
from engine_oracles import DOMAINS
from graph_oracles import assert_close
from torch import Tensor, nn
from torch.func import functional_call

import gconv
from gconv import Graph, grid_graph


def network(wide: int, narrow: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(wide, 5), nn.Tanh(), nn.Linear(5, narrow))


# On the features of the call, or of the graph.
LAYERS = {
    "GAT with edges": lambda: gconv.GATConv(3, 4, heads=2, edge_dim=2),
    "GATv2 with edges": lambda: gconv.GATv2Conv(3, 4, heads=2, edge_dim=2, residual=True),
    "NN": lambda: gconv.NNConv(3, 4, network(2, 12)),
    "NN bounded": lambda: gconv.NNConv(3, 4, nn.Sequential(nn.Linear(2, 12), nn.Tanh()), "mean"),
    "NN max": lambda: gconv.NNConv(3, 4, network(2, 12), "max"),
    "MoNet": lambda: gconv.GMMConv(3, 4, 2, 5),
    "MoNet separate": lambda: gconv.GMMConv(3, 4, 2, 2, separate_gaussians=True),
}
PLAIN = {
    "GAT": lambda: gconv.GATConv(3, 4, heads=2),
    "GATv2": lambda: gconv.GATv2Conv(3, 4, heads=2),
    "FeaSt": lambda: gconv.FeaStConv(3, 4, heads=2),
    "Edge max": lambda: gconv.EdgeConv(network(6, 4)),
    "Edge add": lambda: gconv.EdgeConv(network(6, 4), "add"),
    "Edge norm": lambda: gconv.EdgeConv(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 4)), "mean"),
    "Cheb": lambda: gconv.ChebConv(3, 4, 4),
    "SAGE max": lambda: gconv.SAGEConv(3, 4, aggr="max"),
}
ALL = {**LAYERS, **PLAIN}
# Features that take few values, on the grid's own graph and off it, and features that all differ.
GRAPHS = {
    "grid": lambda: grid_graph((4, 5)),
    "few kinds": lambda: grid_graph((4, 5)).having(edge_attr=grid_graph((4, 5)).edge_attr.double()),
    "all kinds": lambda: Graph(torch.randint(0, 90, (2, 300)), 90, edge_attr=torch.randn(300, 2)),
}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return ALL[name]().double()


def signal(graph: Graph, count: int = 3) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(count, graph.num_nodes, 3, dtype=torch.float64, requires_grad=True)


def gradients(layer: nn.Module, x: Tensor, *graph: object) -> tuple[Tensor, ...]:
    y = layer(x, *graph)
    return y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])


def all_close(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> None:
    for actual, value in zip(found, wanted, strict=True):
        assert_close(actual, value, 1e-11)


@pytest.mark.parametrize("domain", GRAPHS)
@pytest.mark.parametrize("name", ALL)
def test_copies_after_use(name, domain):
    graph, layer = GRAPHS[domain](), made(name)
    x = signal(graph)
    gradients(layer.eval(), x, graph)
    wanted = gradients(layer, x, graph)
    all_close(gradients(copy.deepcopy(layer), x, graph), wanted)
    other, again = pickle.loads(pickle.dumps((layer, graph)))
    assert again is not graph
    all_close(gradients(other, x, again), wanted)


@pytest.mark.parametrize("domain", GRAPHS)
@pytest.mark.parametrize("name", ALL)
def test_inference_first(name, domain):
    graph, layer = GRAPHS[domain](), made(name).eval()
    x = signal(graph)
    with torch.inference_mode():
        first = layer(x.detach(), graph).clone()
    found = gradients(layer, x, graph)
    assert_close(found[0], first)
    fresh = Graph(graph.edge_index, graph.num_nodes, edge_attr=graph.edge_attr)
    all_close(found, gradients(layer, x, fresh))


@pytest.mark.parametrize("name", ALL)
def test_called_with_other_parameters(name):
    graph, layer = GRAPHS["all kinds"](), made(name)
    x, other = signal(graph), copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5).add_(0.1)
    swapped = {key: value.detach().clone().requires_grad_() for key, value in other.named_parameters()}
    y = functional_call(layer, swapped, (x, graph))
    layer(x, graph)  # its own parameters between forward and backward
    found = y, *torch.autograd.grad(y.square().sum(), [x, *swapped.values()])
    all_close(found, gradients(other, x, graph))


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("Cheb", "SAGE max")])
@pytest.mark.parametrize("domain", GRAPHS)
def test_compile(name, domain):
    torch.compiler.reset()
    graph, layer = GRAPHS[domain](), made(name).eval()
    x = signal(graph)
    wanted = gradients(layer, x, graph)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    y = compiled(x, graph)
    all_close((y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])), wanted)


@pytest.mark.parametrize("name", ["GAT with edges", "NN", "MoNet", "Edge max", "FeaSt"])
def test_compile_for_any_number_of_signals(name):
    torch.compiler.reset()
    graph, layer = GRAPHS["all kinds"](), made(name)
    layer(signal(graph), graph)
    compiled = torch.compile(layer.eval(), fullgraph=True, backend="aot_eager", dynamic=True)
    for count in (3, 5, 2):
        x = signal(graph, count)
        y = compiled(x, graph)
        found = y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])
        all_close(found, gradients(layer, x, graph))


class Called(nn.Module):
    """A layer on its graph, with features of the call where it reads any."""

    def __init__(self, layer: nn.Module, graph: Graph) -> None:
        super().__init__()
        self.layer, self.graph = layer, graph

    def forward(self, x: Tensor, *features: Tensor) -> Tensor:
        return self.layer(x, self.graph, *features)


@pytest.mark.parametrize("given", [False, True])  # features as an argument of what is exported
@pytest.mark.parametrize("domain", GRAPHS)
@pytest.mark.parametrize("name", ALL)
def test_export(name, domain, given):
    graph, layer = GRAPHS[domain](), made(name).eval()
    x = signal(graph).detach()
    features = (graph.edge_attr.double(),) if given and name in LAYERS else ()
    wanted = layer(x, graph, *features)
    program = torch.export.export(Called(layer, graph), (x, *features))
    assert_close(program.module()(x, *features), wanted)
    operators = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not any(operator.startswith("gconv") for operator in operators)


def test_kinds_are_those_of_the_graph_at_hand():
    """Graphs that share their edges, each with kinds of its own, in any order and after their death."""
    graph, layer = DOMAINS["grid"](), made("NN")
    x = signal(graph)
    for seed in range(6):
        torch.manual_seed(seed)
        other = graph.having(edge_attr=torch.randint(0, 3, (graph.num_edges, 2)).double())
        assert_close(layer(x, other, form="collapsed"), layer(x, other, form="portable"))
        all_close(
            gradients(layer, x, other), gradients(layer, x, Graph(other.edge_index, 20, edge_attr=other.edge_attr))
        )

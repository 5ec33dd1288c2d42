"""The engine's functions in all their forms, against the same worked out edge by edge."""

import pytest
import torch
from engine_oracles import CASES, DOMAINS, FORM_IDS, FORMS, value_and_gradients
from graph_oracles import assert_close
from torch import nn

import gconv
from gconv import force_form, grid_graph
from gconv.functional.extremes import extreme


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize(("case", "form"), FORMS, ids=FORM_IDS)
def test_values_and_gradients(case, form, domain):
    graph = DOMAINS[domain]()
    leaves = case.leaves(graph, 3, 2)
    found = value_and_gradients(case.run, graph, leaves, form=form)
    assert found[0].requires_grad
    for actual, wanted in zip(found, value_and_gradients(case.oracle, graph, leaves), strict=True):
        assert_close(actual, wanted, 1e-11)


@pytest.mark.parametrize("channels", [1, 20])
@pytest.mark.parametrize("signals", [1, 70])  # one, and more than an index is kept for
@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_and_many_signals_narrow_and_wide(case, signals, channels):
    graph = DOMAINS["directed, weighted"]()
    leaves = case.leaves(graph, signals, channels)
    form = case.forms[0]
    found = value_and_gradients(case.run, graph, leaves, form=form)
    for actual, wanted in zip(found, value_and_gradients(case.oracle, graph, leaves), strict=True):
        assert_close(actual, wanted, 1e-11)


@pytest.mark.parametrize("domain", ["directed, weighted", "no edges"])
@pytest.mark.parametrize(("case", "form"), FORMS, ids=FORM_IDS)
def test_no_signals(case, form, domain):
    graph = DOMAINS[domain]()
    leaves = case.leaves(graph, 0, 2)
    shape = case.run(graph, *case.leaves(graph, 1, 2), form=form).shape
    y, *gradients = value_and_gradients(case.run, graph, leaves, form=form)
    assert y.shape == (0, *shape[1:])
    for leaf, gradient in zip(leaves, gradients, strict=True):
        assert gradient.shape == leaf.shape
        assert not gradient.any()


@pytest.mark.parametrize(("case", "form"), [f for f in FORMS if f[0].name in ("kernels", "kinds", "filter")], ids=str)
def test_no_channels(case, form):
    graph = DOMAINS["directed, weighted"]()
    x, *parameters = case.leaves(graph, 2, 0)
    y, *gradients = value_and_gradients(case.run, graph, (x, *parameters), form=form)
    assert_close(y, parameters[1].expand_as(y) if case.name == "filter" else torch.zeros_like(y))
    assert all(gradient.shape == leaf.shape for leaf, gradient in zip((x, *parameters), gradients, strict=True))


@pytest.mark.parametrize(("case", "form"), FORMS, ids=FORM_IDS)
def test_gradients_by_some_of_the_inputs_alone(case, form):
    graph = DOMAINS["directed, weighted"]()
    leaves = case.leaves(graph, 2, 3)
    _, *wanted = value_and_gradients(case.oracle, graph, leaves)
    for place, gradient in enumerate(wanted):
        given = [leaf.detach().requires_grad_(i == place) for i, leaf in enumerate(leaves)]
        y = case.run(graph, *given, form=form)
        (y * y + y).sum().backward()
        assert_close(given[place].grad, gradient, 1e-11)
        assert all(leaf.grad is None for i, leaf in enumerate(given) if i != place)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("domain", DOMAINS)
def test_extremes(domain, largest):
    graph = DOMAINS[domain]()
    x = torch.randint(-2, 3, (3, graph.num_nodes, 2)).double().requires_grad_()  # many equal ones
    into = [graph.edge_index[0][graph.edge_index[1] == node] for node in range(graph.num_nodes)]
    reduce = torch.amax if largest else torch.amin
    wanted = torch.stack([reduce(x[:, near], 1) if len(near) else x.new_zeros(3, 2) for near in into], 1)
    weights = torch.randn(wanted.shape, dtype=torch.float64)
    for form in ("gather", "portable"):
        y = extreme(x, graph, largest=largest, form=form)
        assert_close(y, wanted)
        (found,) = torch.autograd.grad((y * weights).sum(), x)
        if wanted.requires_grad:
            assert_close(found, torch.autograd.grad((wanted * weights).sum(), x, retain_graph=True)[0])
        else:
            assert not found.any()


LAYERS = {
    "monet": (lambda: gconv.GMMConv(3, 4, 2, 5), ("collapsed", "fused", "gather", "portable")),
    "monet sum": (lambda: gconv.GMMConv(3, 4, 2, 5, aggr="add"), ("collapsed", "fused", "gather", "portable")),
    "monet separate": (lambda: gconv.GMMConv(3, 4, 2, 2, separate_gaussians=True), ("collapsed", "fused")),
    "nn": (
        lambda: gconv.NNConv(3, 4, nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 12))),
        ("collapsed", "fused", "gather", "portable"),
    ),
    "nn mean": (lambda: gconv.NNConv(3, 4, nn.Linear(2, 12, bias=False), "mean"), ("collapsed", "fused", "gather")),
    "nn bounded": (
        lambda: gconv.NNConv(3, 4, nn.Sequential(nn.Linear(2, 12), nn.Tanh())),
        ("collapsed", "fused"),
    ),
}


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("forget", [False, True])  # whether the graph still knows that it is a grid
@pytest.mark.parametrize("size", [(5, 4), (2, 3), (1, 4), (7,), (2, 3, 2)])
@pytest.mark.parametrize("name", LAYERS)
def test_edges_of_few_kinds(name, size, forget, periodic):
    graph = grid_graph(size, periodic=periodic)
    make, forms = LAYERS[name]
    torch.manual_seed(0)
    layer = make().double()
    if len(size) != 2:  # as many features as axes
        torch.manual_seed(0)
        features = torch.cat([graph.edge_attr, graph.edge_attr], 1)[:, :2]
        graph, forget = graph.having(edge_attr=features), False
    graph = graph.having(edge_attr=graph.edge_attr) if forget else graph
    x = torch.randn(2, graph.num_nodes, 3, dtype=torch.float64, requires_grad=True)
    leaves = x, *layer.parameters()

    def run(form):
        with force_form(form):
            y = layer(x, graph)
        return y, *torch.autograd.grad(y.square().sum(), leaves)

    reference = run("portable")
    for form in forms:
        for actual, wanted in zip(run(form), reference, strict=True):
            assert_close(actual, wanted, 1e-11)

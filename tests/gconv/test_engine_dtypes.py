"""Half precision, autocast, and scores far beyond what an exponential holds."""

import pytest
import torch
from engine_oracles import DOMAINS, FORM_IDS, FORMS, draw, value_and_gradients
from graph_oracles import assert_close
from torch import Tensor, nn

import gconv
from gconv.functional.attention import attention
from gconv.functional.chebyshev import chebyshev_filter

LAYERS = {
    "GAT": lambda: gconv.GATConv(6, 4, heads=2),
    "GAT with edges": lambda: gconv.GATConv(6, 4, heads=2, edge_dim=2),
    "GATv2": lambda: gconv.GATv2Conv(6, 4, heads=2),
    "GATv2 with edges": lambda: gconv.GATv2Conv(6, 4, heads=2, edge_dim=2),
    "FeaSt": lambda: gconv.FeaStConv(6, 4, heads=3),
    "NN": lambda: gconv.NNConv(6, 4, nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 24))),
    "NN narrowing": lambda: gconv.NNConv(6, 2, nn.Linear(2, 12)),
    "NN bounded": lambda: gconv.NNConv(6, 4, nn.Sequential(nn.Linear(2, 24), nn.Tanh()), "mean"),
    "NN max": lambda: gconv.NNConv(6, 4, nn.Linear(2, 24), "max"),
    "MoNet": lambda: gconv.GMMConv(6, 4, 2, 5),
    "MoNet separate": lambda: gconv.GMMConv(6, 4, 2, 3, separate_gaussians=True),
    "Edge mean": lambda: gconv.EdgeConv(nn.Sequential(nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 4)), "mean"),
    "Edge free": lambda: gconv.EdgeConv(nn.Sequential(nn.Tanh(), nn.Linear(12, 4)), "add"),
    "Edge norm": lambda: gconv.EdgeConv(nn.Sequential(nn.Linear(12, 5), nn.BatchNorm1d(5), nn.Linear(5, 4)), "mean"),
    "Cheb": lambda: gconv.ChebConv(6, 4, 3),
    "GCN narrowing": lambda: gconv.GCNConv(6, 2),
    "SAGE max": lambda: gconv.SAGEConv(6, 4, aggr="max"),
}


def near(actual: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Equal up to `tolerance` of the whole."""
    difference = (actual.double() - wanted.double()).norm()
    assert difference <= tolerance * wanted.double().norm().clamp(min=1e-3), float(difference)


def domain(large: bool = False) -> gconv.Graph:
    """A graph with features, smaller or larger than those on which a dense product runs."""
    index = torch.randint(0, 90, (2, 300)) if large else DOMAINS["star"]().edge_index
    return gconv.Graph(index, 91 if large else 43, edge_attr=draw(index.shape[1], 2).detach().float())


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_autocast(name, large):
    torch.manual_seed(0)
    graph = domain(large)
    layer = LAYERS[name]()
    leaves = torch.randn(3, graph.num_nodes, 6, requires_grad=True), *layer.parameters()

    def run() -> tuple[Tensor, ...]:
        y = layer(leaves[0], graph)
        return y, *torch.autograd.grad(y.float().square().sum(), leaves)

    wanted = run()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(leaves[0], graph)
    lifted = any(name.endswith("bias") for name, _ in layer.named_parameters(recurse=False))  # by b in float32
    assert y.dtype in ((torch.bfloat16, torch.float32) if lifted else (torch.bfloat16,))
    found = y, *torch.autograd.grad(y.float().square().sum(), leaves)
    assert all(t.isfinite().all() for t in found)
    tolerance = 0.1 if "max" in name else 0.05  # which neighbour is the largest may change
    near(y, wanted[0], tolerance)
    near(*(torch.cat([t.flatten() for t in given[1:]]) for given in (found, wanted)), tolerance)
    assert all(gradient.dtype == torch.float32 for gradient in found[1:])


@pytest.mark.parametrize("name", LAYERS)
def test_autocast_leaves_double_precision_alone(name):
    graph = domain()
    layer = LAYERS[name]().double()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(torch.randn(2, graph.num_nodes, 6, dtype=torch.float64), graph)
    assert y.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("case", "form"), FORMS, ids=FORM_IDS)
def test_half_precision(case, form, dtype):
    graph = DOMAINS["directed, weighted"]()
    small = 30 if "Cheb" in case.name else 3  # float16 ends at 65504
    leaves = tuple((leaf.detach() / small).to(dtype).requires_grad_() for leaf in case.leaves(graph, 3, 4))
    exact = tuple(leaf.detach().double().requires_grad_() for leaf in leaves)
    wanted = value_and_gradients(case.oracle, graph, exact)
    found = value_and_gradients(case.run, graph, leaves, form=form)
    assert all(t.dtype == dtype for t in found)
    tolerance = 0.05 if dtype == torch.bfloat16 else 0.01
    near(found[0], wanted[0], tolerance)
    if case.name != "edge max":  # which neighbour is the largest may change
        near(*(torch.cat([t.flatten() for t in given[1:]]) for given in (found, wanted)), tolerance)


@pytest.mark.parametrize("size", [39.0, 41.0, 1e3, 1e4])
def test_large_scores_are_those_of_a_softmax(size):
    graph = DOMAINS["directed, weighted"]()
    x, r = draw(3, 9, 2, 4), (size * draw(30, 2).detach()).requires_grad_()
    a = draw(2, 4)
    leaves = x, a, r
    outs = [attention(x, a, a, graph.structure, r, form=form)[0] for form in ("fused", "portable")]
    found, wanted = ((y, *torch.autograd.grad(y.square().sum(), leaves)) for y in outs)
    for actual, value in zip(found, wanted, strict=True):
        assert_close(actual, value, 1e-14 * size)


@pytest.mark.parametrize(
    ("size", "dtype"),
    [(1e3, torch.float32), (1e4, torch.float32), (1e3, torch.bfloat16), (1e4, torch.bfloat16), (1e3, torch.float16)],
)
@pytest.mark.parametrize("name", ["GAT", "GATv2", "FeaSt"])
def test_large_signals_stay_finite(name, size, dtype):
    torch.manual_seed(0)
    graph = DOMAINS["star"]()
    layer = LAYERS[name]().to(dtype)
    x = (size * torch.randn(2, graph.num_nodes, 6)).to(dtype).requires_grad_()
    y = layer(x, graph)
    gradients = torch.autograd.grad(y.sum(), [x, *layer.parameters()])
    assert all(t.isfinite().all() for t in (y, *gradients))
    near(y, layer(x, graph, form="portable"), 0.05)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", ["eigenbasis", "fused"])
def test_chebyshev_forms_take_signals_that_autocast_has_halved(form, dtype):
    """What a layer before it leaves behind: half the signal, float32 the coefficients."""
    graph = gconv.grid_graph((6, 6), neighbors=8)
    x, weights = torch.randn(5, 36, 3), torch.randn(4, 3, 2, requires_grad=True)
    wanted = chebyshev_filter(x.to(dtype).float(), graph, weights, form=form)
    (gradient,) = torch.autograd.grad(wanted.square().sum(), weights)
    with torch.autocast("cpu", dtype):
        found = chebyshev_filter(x.to(dtype), graph, weights, form=form)
    near(found, wanted, 0.02)
    near(torch.autograd.grad(found.float().square().sum(), weights)[0], gradient, 0.03)

"""Pairs `(x_source, x_target)`: PyG's numbers and gradients, many signals = one by one, and what is refused."""

import gc

import pytest
import torch
import torch_geometric.nn as pyg
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch_geometric.data import Data

import gconv
from gconv import Graph

SOURCES, TARGETS, EDGES = 7, 5, 20
SIZES = {"more sources": (7, 5), "more targets": (4, 6)}


def network(wide, narrow):
    return nn.Sequential(nn.Linear(wide, 8), nn.Tanh(), nn.Linear(8, narrow))


# How to make the layer in either library, the widths of its ends, what else it is called with, whether it adds loops.
CASES = {
    "SAGE": (lambda lib: lib.SAGEConv((3, 6), 4), (3, 6), (), False),
    "SAGE of one width": (lambda lib: lib.SAGEConv(3, 4, aggr="add", normalize=True), (3, 3), (), False),
    "SAGE max, projected": (lambda lib: lib.SAGEConv((3, 6), 4, aggr="max", project=True), (3, 6), (), False),
    "SAGE min": (lambda lib: lib.SAGEConv((3, 6), 4, aggr="min", root_weight=False), (3, 6), (), False),
    "SAGE softmax": (lambda lib: lib.SAGEConv((3, 6), 4, aggr="softmax"), (3, 6), (), False),
    "SAGE median": (lambda lib: lib.SAGEConv((3, 6), 4, aggr="median"), (3, 6), (), False),
    "SAGE std": (lambda lib: lib.SAGEConv((3, 6), 4, aggr="std"), (3, 6), (), False),
    "SAGE var": (lambda lib: lib.SAGEConv((3, 6), 4, aggr="var"), (3, 6), (), False),
    "SAGE LSTM": (lambda lib: lib.SAGEConv((3, 6), 4, aggr="lstm"), (3, 6), (), False),
    "GIN": (lambda lib: lib.GINConv(network(3, 4), eps=0.3, train_eps=True), (3, 3), (), False),
    "GIN free": (lambda lib: lib.GINConv(nn.Sequential(nn.Tanh(), nn.Linear(3, 4)), eps=0.3), (3, 3), (), False),
    "GAT": (lambda lib: lib.GATConv((3, 6), 2, heads=2, residual=True), (3, 6), (), True),
    "GAT of one width": (lambda lib: lib.GATConv(3, 2, heads=2, add_self_loops=False), (3, 3), (), False),
    "GAT with edges": (
        lambda lib: lib.GATConv((3, 6), 2, heads=2, edge_dim=2, concat=False),
        (3, 6),
        ("edge_attr",),
        True,
    ),
    "GATv2": (lambda lib: lib.GATv2Conv((3, 6), 2, heads=2, residual=True), (3, 6), (), True),
    "GATv2 shared": (lambda lib: lib.GATv2Conv(3, 2, share_weights=True, add_self_loops=False), (3, 3), (), False),
    "GATv2 with edges": (
        lambda lib: lib.GATv2Conv((3, 6), 2, heads=2, edge_dim=2, fill_value=0.5),
        (3, 6),
        ("edge_attr",),
        True,
    ),
    "NN": (lambda lib: lib.NNConv((3, 6), 4, network(2, 12)), (3, 6), ("edge_attr",), False),
    "NN mean": (lambda lib: lib.NNConv((3, 6), 4, network(2, 12), aggr="mean"), (3, 6), ("edge_attr",), False),
    "NN max": (lambda lib: lib.NNConv((3, 6), 4, network(2, 12), aggr="max"), (3, 6), ("edge_attr",), False),
    "Edge": (lambda lib: lib.EdgeConv(network(6, 4)), (3, 3), (), False),
    "Edge sum": (lambda lib: lib.EdgeConv(network(6, 4), aggr="add"), (3, 3), (), False),
    "GMM": (lambda lib: lib.GMMConv((3, 6), 4, 2, 3), (3, 6), ("edge_attr",), False),
    "GMM separate": (
        lambda lib: lib.GMMConv((3, 6), 4, 2, 3, separate_gaussians=True, aggr="add"),
        (3, 6),
        ("edge_attr",),
        False,
    ),
    "FeaSt": (lambda lib: lib.FeaStConv(3, 4, heads=2), (3, 3), (), True),
    "FeaSt without loops": (lambda lib: lib.FeaStConv(3, 4, heads=2, add_self_loops=False), (3, 3), (), False),
}
ALONE = [name for name in CASES if not name.startswith(("GATv2", "Edge", "FeaSt"))]  # x_target may be left out


def twins(make):
    original = make(pyg)
    layer = make(gconv)
    layer.load_state_dict(original.state_dict(), strict=True)
    return layer, original


def edges(sources, targets, seed=0):
    """Edges sorted by target, as PyG's LSTM needs them; the last target stands alone."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.stack(
        [
            torch.randint(0, sources, (EDGES,), generator=generator),
            torch.randint(0, targets - 1, (EDGES,), generator=generator),
        ]
    )
    return index[:, index[1].argsort(stable=True)]


def drawn(name, sources, targets, *leading):
    _, (wide, narrow), more, _ = CASES[name]
    pair = torch.randn(*leading, sources, wide), torch.randn(*leading, targets, narrow)
    return pair, {key: torch.rand(EDGES, 2) for key in more}


def value_and_gradients(layer, pair, edge_index, more, **options):
    inputs = [t.clone().requires_grad_() for t in (*pair, *more.values()) if t is not None]
    signals = iter(inputs)
    given = tuple(None if t is None else next(signals) for t in pair)
    y = layer(given, edge_index, **dict(zip(more, signals, strict=False)), **options)
    weights = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y)
    wanted = [*inputs, *(p for p in layer.parameters())]
    return [y, *torch.autograd.grad((y * weights).sum(), wanted, allow_unused=True)]


def assert_same(found, expected):
    for value, wanted in zip(found, expected, strict=True):
        wanted = torch.zeros_like(value) if wanted is None and value is not None else wanted
        value = torch.zeros_like(wanted) if value is None and wanted is not None else value
        torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", CASES)
def test_numbers_and_gradients_of_pyg(name, sizes):
    sources, targets = SIZES[sizes]
    if CASES[name][3] and targets > sources:
        pytest.skip("PyG adds loops to targets that have no source of their number")
    layer, original = twins(CASES[name][0])
    edge_index, (pair, more) = edges(sources, targets), drawn(name, sources, targets)
    assert_same(
        value_and_gradients(layer, pair, edge_index, more), value_and_gradients(original, pair, edge_index, more)
    )


@pytest.mark.parametrize("name", ALONE)
def test_without_targets(name):
    layer, original = twins(CASES[name][0])
    edge_index, (pair, more) = edges(SOURCES, TARGETS), drawn(name, SOURCES, TARGETS)
    given, options = (pair[0], None), {"size": (SOURCES, TARGETS)}
    found = value_and_gradients(layer, given, edge_index, more, **options)
    assert found[0].shape[0] == TARGETS
    assert_same(found, value_and_gradients(original, given, edge_index, more, **options))
    with pytest.raises(ValueError, match=r"\(x_source, None\) does not tell the number of targets; pass size="):
        layer(given, edge_index, **more)


@pytest.mark.parametrize("name", CASES)
def test_many_signals_are_one_by_one(name):
    layer = CASES[name][0](gconv)
    edge_index, (pair, more) = edges(SOURCES, TARGETS), drawn(name, SOURCES, TARGETS, 3)
    alone = torch.stack([layer((s, t), edge_index, **more) for s, t in zip(*pair, strict=True)])
    torch.testing.assert_close(layer(pair, edge_index, **more), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["SAGE", "SAGE max, projected", "GIN", "GAT with edges", "GATv2", "NN", "GMM", "FeaSt", "Edge"]
)
def test_derivatives(name):
    layer = CASES[name][0](gconv).double()
    edge_index, (pair, more) = edges(SOURCES, TARGETS), drawn(name, SOURCES, TARGETS, 2)
    more = {key: value.double() for key, value in more.items()}
    point = tuple(t.double().requires_grad_() for t in pair)
    assert gradcheck(lambda *pair: layer(pair, edge_index, **more), point, fast_mode=True)
    assert gradgradcheck(lambda *pair: layer(pair, edge_index, **more), point, fast_mode=True)


@pytest.mark.parametrize("name", ["SAGE of one width", "SAGE max, projected", "GAT", "GATv2", "FeaSt", "GMM", "NN"])
def test_a_graph_is_both_ends(name):
    """Sources and targets are the same nodes, but each end has signals of its own; compiled too."""
    layer = CASES[name][0](gconv)
    edge_index, (pair, more) = edges(6, 6), drawn(name, 6, 6)
    expected = layer(pair, edge_index, **more)
    graph = Graph(edge_index, 6, edge_attr=more.get("edge_attr"))
    torch.testing.assert_close(layer(pair, graph), expected)
    torch.compiler.reset()
    compiled = torch.compile(lambda s, t: layer((s, t), graph), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*pair), expected)
    with pytest.raises(ValueError, match="7 sources and 5 targets does not fit Graph"):
        layer(drawn(name, 7, 5)[0], graph)


@pytest.mark.parametrize("name", ["GAT of two matrices", "GATv2 of two matrices"])
def test_one_signal_for_two_matrices(name):
    layer, original = twins(lambda lib: (lib.GATv2Conv if "v2" in name else lib.GATConv)((3, 3), 2, heads=2))
    x, edge_index = torch.randn(6, 3), edges(6, 6)
    torch.testing.assert_close(layer(x, edge_index), original(x, edge_index))


def test_a_data_and_a_sparse_adjacency():
    layer, original = twins(CASES["SAGE"][0])
    edge_index, (pair, _) = edges(SOURCES, TARGETS), drawn("SAGE", SOURCES, TARGETS)
    expected = original(pair, edge_index)
    torch.testing.assert_close(layer(pair, Data(edge_index=edge_index)), expected)
    unique = edge_index.unique(dim=1)
    adjacency = torch.sparse_coo_tensor(unique.flip(0), torch.ones(unique.shape[1]), (TARGETS, SOURCES)).coalesce()
    expected = original(pair, unique)
    torch.testing.assert_close(layer(pair, adjacency), expected)
    torch.testing.assert_close(
        layer((pair[0], None), adjacency.to_sparse_csr()), layer((pair[0], None), unique, (7, 5))
    )
    with pytest.raises(ValueError, match=r"has shape \(5, 7\), a row a target; got \(7, 5\)"):
        layer(pair, adjacency.t().coalesce())


@pytest.mark.parametrize("kind", ["GATConv", "GATv2Conv"])
@pytest.mark.parametrize("loops", [True, False])
@pytest.mark.parametrize("layout", ["edges", "coo", "csr", "pair"])
def test_coefficients_in_each_form_of_pyg(kind, loops, layout):
    layer, original = twins(lambda lib: getattr(lib, kind)(3, 2, heads=2, add_self_loops=loops))
    index = edges(6, 6).unique(dim=1)
    adjacency = torch.sparse_coo_tensor(index.flip(0), torch.ones(index.shape[1]), (6, 6)).coalesce()
    given = {"coo": adjacency, "csr": adjacency.to_sparse_csr()}.get(layout, index)
    x = (torch.randn(6, 3), torch.randn(6, 3)) if layout == "pair" else torch.randn(6, 3)
    y, (edge_index, alpha) = layer(x, given, return_attention_weights=True)
    expected, (pyg_index, pyg_alpha) = original(x, given, return_attention_weights=True)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(alpha, pyg_alpha)
    if layout in ("edges", "pair"):
        assert torch.equal(edge_index, pyg_index)
    else:
        assert edge_index.layout == pyg_index.layout
        torch.testing.assert_close(edge_index.to_dense(), pyg_index.to_dense())
    if layout != "pair":  # of many signals, those of each
        both = layer(torch.stack([x, x]), given, return_attention_weights=True)[1]
        assert both[1].shape == (2, both[0].shape[1], 2)


def test_the_plan_is_kept_and_an_edit_is_seen():
    layer, edge_index = CASES["SAGE"][0](gconv), edges(SOURCES, TARGETS)
    pair, _ = drawn("SAGE", SOURCES, TARGETS)
    first = layer.ends(pair, edge_index)
    assert layer.ends(pair, edge_index).structure is first.structure
    before = layer(pair, edge_index)
    edge_index[1] = 0
    assert layer.ends(pair, edge_index).structure is not first.structure
    assert not torch.equal(layer(pair, edge_index), before)
    kept = len(gconv.resolve._GRAPHS)
    del edge_index
    gc.collect()
    assert len(gconv.resolve._GRAPHS) < kept


def test_misfits_are_named():
    layer, edge_index = CASES["SAGE"][0](gconv), edges(SOURCES, TARGETS)
    (source, target), _ = drawn("SAGE", SOURCES, TARGETS)
    for given, options, message in (
        ((source, target), {"size": (7, 6)}, r"size=\(7, 6\) does not fit the pair: x_target has 5 nodes"),
        ((source, target), {"size": (7, 5, 5)}, r"size is \(number of sources, number of targets\), got"),
        ((source[:3], target), {}, r"edge_index\[:, \d+\] = .* leads beyond the last of 3 sources"),
        ((source, target[:2]), {}, r"leads beyond the last of 2 targets; size is .*here \(7, 2\)"),
        ((target, source), {}, "expects 3 channels of the sources, got 6"),
        ((source, source), {}, "expects 6 channels of the targets, got 3"),
        ((source[None], target), {}, r"got \(1, 7, 3\) and \(5, 6\)"),
        ((source[None], target[None].repeat(2, 1, 1)), {}, r"got \(1, 7, 3\) and \(2, 5, 6\)"),
    ):
        with pytest.raises(ValueError, match=message):
            layer(given, edge_index, **options)
    for given in ((source, target, target), (None, target), (source, 3)):
        with pytest.raises(TypeError, match=r"takes a pair \(x_source, x_target\) of tensors"):
            layer(given, edge_index)
    with pytest.raises(TypeError, match="called without a domain"):
        layer((source, target), None)
    with pytest.raises(ValueError, match="in_channels is a number, or that of the sources and of the targets"):
        gconv.SAGEConv((3, 4, 5), 4)
    with pytest.raises(ValueError, match="the same in_channels, a number; got"):
        gconv.FeaStConv((3, 4), 4)
    for name in ("GATv2", "Edge", "FeaSt"):
        with pytest.raises(ValueError, match="reads the targets' signal too"):
            CASES[name][0](gconv)((source, None), edge_index)
    with pytest.raises(ValueError, match="of equal widths; got 3 and 6 channels"):
        gconv.EdgeConv(nn.LazyLinear(4))((source, target), edge_index)
    with pytest.raises(TypeError, match=r"GCNConv takes one tensor .* got tuple"):
        gconv.GCNConv(3, 4)((source, source), edge_index)
    with pytest.raises(ValueError, match=r"GATConv: edge_attr has shape \(20, 2\) here, got \(20, 3\)"):
        CASES["GAT with edges"][0](gconv)((source, target), edge_index, torch.zeros(20, 3))
    with pytest.raises(ValueError, match=r"NNConv needs edge_attr \(E, D\)"):
        CASES["NN"][0](gconv)((source, target), edge_index)
    with pytest.raises(ValueError, match="heads takes a whole number"):
        gconv.GATConv((3, 6), 2, heads=0)

"""`SplineConv` is the paper's equation: B-splines by Cox and de Boor's recursion, edge by edge; and PyG's class."""

import itertools
import math

import pytest
import torch
import torch_geometric.nn as pyg
from graph_oracles import assert_close
from torch_geometric.nn.conv import spline_conv

from gconv import GeodesicConv, Graph, GraphOps, SplineConv, cartesian, grid_graph
from gconv.accounting import summary
from gconv.functional.splines import spline_basis
from grid_cnn import models


def cox_de_boor(degree, knots, p, u):
    """N_p of the degree at u, by the recursion; intervals are closed on the left, the last one on both sides."""
    if degree == 0:
        last = knots[p] < 1.0 - 1e-12 <= knots[p + 1]
        return float(last if u == 1.0 else knots[p] <= u < knots[p + 1])
    left = (u - knots[p]) / (knots[p + degree] - knots[p]) * cox_de_boor(degree - 1, knots, p, u)
    right = (knots[p + degree + 1] - u) / (knots[p + degree + 1] - knots[p + 1])
    return left + right * cox_de_boor(degree - 1, knots, p + 1, u)


def axis_functions(degree, count, is_open, u):
    """All functions of an axis at u: on knots (p - degree) / (count - degree), or around a circle of count knots."""
    if is_open:
        knots = [(p - degree) / (count - degree) for p in range(count + degree + 1)]
        return [cox_de_boor(degree, knots, p, u) for p in range(count)]
    knots = [(p - degree) / count for p in range(count + 2 * degree + 1)]
    values = [0.0] * count
    for p in range(count + degree):  # those that leave at 1 come in again at 0
        values[p % count] += cox_de_boor(degree, knots, p, u)
    return values


def dense_functions(pseudo, sizes, opens, degree):
    """B_p of all edges, `(E, K)`, the first axis fastest."""
    rows = []
    for point in pseudo.tolist():
        axes = [axis_functions(degree, k, o, u) for k, o, u in zip(sizes, opens, point, strict=True)]
        rows.append([math.prod(values) for values in itertools.product(*reversed(axes))])
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), -1)


CASES = [
    (degree, opens, dim) for degree in (1, 2, 3) for dim in (1, 2, 3) for opens in (True, False) if dim < 3 or opens
] + [(2, (True, False, True), 3)]


def points(count, dim):
    inside = torch.rand(count - 3, dim, dtype=torch.float64)
    return torch.cat([inside, torch.zeros(1, dim), torch.ones(1, dim), torch.full((1, dim), 0.5)]).double()


@pytest.mark.parametrize(("degree", "opens", "dim"), CASES)
def test_equals_the_papers_equation(degree, opens, dim):
    opens = (opens,) * dim if isinstance(opens, bool) else opens
    sizes = (5, 4, 4)[:dim]
    pseudo = points(13, dim)
    edge_index = torch.randint(0, 5, (2, 13))
    layer = SplineConv(3, 2, dim, list(sizes), list(opens), degree).double()
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    functions = dense_functions(pseudo, sizes, opens, degree)
    assert_close(functions.sum(1), torch.ones(13, dtype=torch.float64))  # a partition of unity
    messages = torch.einsum("ep,ec,pco->eo", functions, x[edge_index[0]], layer.weight)
    total = torch.zeros(6, 2, dtype=torch.float64).index_add(0, edge_index[1], messages)
    count = torch.bincount(edge_index[1], minlength=6).clamp(min=1)[:, None]
    expected = total / count + x @ layer.lin.weight.t() + layer.bias
    leaves, weights = (x, *layer.parameters()), torch.randn(6, 2, dtype=torch.float64)
    wanted = torch.autograd.grad((expected * weights).sum(), leaves)
    for domain, attributes in ((edge_index, pseudo), (Graph(edge_index, 6, edge_attr=pseudo), None)):
        y = layer(x, domain, attributes)
        assert_close(y, expected)
        for found, other in zip(torch.autograd.grad((y * weights).sum(), leaves), wanted, strict=True):
            assert_close(found, other)


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_basis_is_differentiable_by_pseudo_coordinates(degree, is_open):
    u = torch.rand(7, 2, dtype=torch.float64, requires_grad=True)

    def values(u):
        return spline_basis(u, [5, 4], [is_open, True], degree)[0]

    assert torch.autograd.gradcheck(values, u)
    assert torch.autograd.gradgradcheck(values, u)


def test_learned_pseudo_coordinates_take_part():
    layer = SplineConv(2, 3, 2, 4, degree=2).double()
    index = torch.tensor([[0, 1, 2, 0], [1, 2, 0, 2]])
    x = torch.randn(2, 3, 2, dtype=torch.float64)
    learned = torch.rand(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda u: layer(x, index, u), learned)
    assert_close(layer(x, index, learned), layer(x, index, learned.detach()))


@pytest.mark.parametrize("learned", [False, True])
def test_compiles_with_pseudo_coordinates_of_the_call(learned):
    torch.compiler.reset()
    layer, graph = SplineConv(2, 3, 2, 4, degree=2).double(), grid_graph((4, 4))
    x = torch.randn(2, 16, 2, dtype=torch.float64)
    pseudo = torch.rand(graph.num_edges, 2, dtype=torch.float64).requires_grad_(learned)
    y = layer(x, graph, pseudo)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")(x, graph, pseudo)
    assert_close(compiled, y)
    leaves = [layer.weight, pseudo] if learned else [layer.weight]
    wanted = torch.autograd.grad(y.square().sum(), leaves)
    for found, other in zip(torch.autograd.grad(compiled.square().sum(), leaves), wanted, strict=True):
        assert_close(found, other)


@pytest.fixture
def pyg_spline(monkeypatch):
    """PyG's class, on the recursion above in place of its compiled package."""

    def basis(pseudo, sizes, opens, degree):
        values = dense_functions(pseudo, sizes.tolist(), [bool(o) for o in opens], degree)
        return values, torch.arange(values.shape[1]).expand_as(values)

    def weighting(x, weight, values, indices):
        return torch.einsum("ep,ec,pco->eo", values, x, weight)

    monkeypatch.setattr(spline_conv, "spline_basis", basis)
    monkeypatch.setattr(spline_conv, "spline_weighting", weighting)
    return pyg.SplineConv


@pytest.mark.filterwarnings("ignore:We do not recommend")
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"aggr": "add", "root_weight": False, "bias": False},
        {"aggr": "max", "degree": 2},
        {"is_open_spline": False, "degree": 3},
        {"is_open_spline": [True, False], "kernel_size": [3, 5]},
    ],
    ids=str,
)
def test_pygs_class_and_state_dict(pyg_spline, options, paired, batched):
    options = {"kernel_size": 4, "dim": 2, **options}
    widths = (3, 5) if paired else 3
    theirs, ours = pyg_spline(widths, 2, **options).double(), SplineConv(widths, 2, **options).double()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    sources, targets = (7, 4) if paired else (7, 7)
    index = torch.stack([torch.randint(0, sources, (15,)), torch.randint(0, targets - 1, (15,))])
    pseudo, leading = points(15, 2), (3,) if batched else ()
    x = torch.randn(*leading, sources, 3, dtype=torch.float64, requires_grad=True)
    other = torch.randn(*leading, targets, 5, dtype=torch.float64, requires_grad=True)
    signals = (x, other) if paired else x
    y = ours(signals, index, pseudo)
    alone = zip(x, other, strict=True) if batched else [(x, other)]
    expected = torch.stack([theirs(pair if paired else pair[0], index, pseudo) for pair in alone])
    assert_close(y, expected if batched else expected[0])
    leaves = (x, other) if paired and ours.lin is not None else (x,)
    wanted = torch.autograd.grad(expected.square().sum(), [*leaves, *theirs.parameters()])
    found = torch.autograd.grad(y.square().sum(), [*leaves, *ours.parameters()])
    for value, reference in zip(found, wanted, strict=True):
        assert_close(value, reference)


@pytest.mark.filterwarnings("ignore:We do not recommend")
def test_pairs_without_a_target(pyg_spline):
    theirs, ours = pyg_spline(3, 2, 1, 4).double(), SplineConv(3, 2, 1, 4).double()
    ours.load_state_dict(theirs.state_dict())
    x, index, pseudo = torch.randn(5, 3).double(), torch.tensor([[0, 4, 2], [1, 0, 1]]), points(3 + 1, 1)[:3]
    expected = theirs((x, None), index, pseudo, size=(5, 2))
    assert_close(ours((x, None), index, pseudo, size=(5, 2)), expected)
    with pytest.raises(ValueError, match="size"):
        ours((x, None), index, pseudo)


def test_widths_left_open():
    layer = SplineConv((-1, -1), 4, 2, 3)
    graph = cartesian(grid_graph((4, 4)))
    loaded = SplineConv(-1, 4, 2, 3)
    loaded.load_state_dict(SplineConv(3, 4, 2, 3).state_dict())
    assert loaded.weight.shape == (9, 3, 4)
    layer((torch.randn(6, 3), torch.randn(2, 5)), torch.tensor([[0, 5], [1, 0]]), torch.rand(2, 2))
    assert layer.weight.shape == (9, 3, 4)
    assert layer.lin.weight.shape == (4, 5)
    assert loaded(torch.randn(16, 3), graph).shape == (16, 4)


def test_a_state_dict_tells_which_axes_are_closed():
    other = SplineConv(2, 3, 2, 4, is_open_spline=[False, True])
    layer = SplineConv(2, 3, 2, 4)
    layer.load_state_dict(other.state_dict())
    x, index, u = torch.randn(3, 2), torch.tensor([[0, 1], [1, 2]]), torch.tensor([[0.9, 0.2], [0.95, 1.0]])
    assert_close(layer(x, index, u), other(x, index, u))


@pytest.mark.parametrize("aggr", ["mean", "add"])
@pytest.mark.parametrize("kernel_size", [3, 4, 5])
def test_many_signals_on_grids_few_kinds_and_scattered_points(kernel_size, aggr):
    layer = SplineConv(2, 3, 2, kernel_size, degree=2, aggr=aggr, max_value=1.0).double()
    grid = grid_graph((5, 4), periodic=True)
    forgotten = grid.having(edge_attr=grid.edge_attr)
    scattered = grid.having(edge_attr=torch.rand(grid.num_edges, 2) * 2 - 1)
    assert forgotten.plan.edge_kinds() is not None
    assert scattered.plan.edge_kinds() is None
    x = torch.randn(3, 20, 2, dtype=torch.float64)
    for graph in (grid, forgotten, scattered):
        functions = dense_functions(graph.edge_attr.double() / 2 + 0.5, (kernel_size,) * 2, (True, True), 2)
        messages = torch.einsum("ep,sec,pco->seo", functions, x[:, graph.edge_index[0]], layer.weight)
        expected = torch.zeros(3, 20, 3, dtype=torch.float64).index_add(1, graph.edge_index[1], messages)
        expected = expected / 8 if aggr == "mean" else expected
        expected = expected + x @ layer.lin.weight.t() + layer.bias
        for form in ("fused", "gather", "portable", "sparse", None, *["collapsed"] * (graph is not scattered)):
            assert_close(layer(x, graph, form=form), expected)


def test_what_a_bare_tensor_tells_is_kept_while_it_lives_unedited():
    layer = SplineConv(2, 3, 1, 5).double()
    index, u = torch.tensor([[0, 1, 2], [1, 2, 0]]), torch.rand(3, 1, dtype=torch.float64) * 0.5
    x = torch.randn(3, 2, dtype=torch.float64)
    before = layer(x, index, u)
    assert_close(layer(x, index, u), before)
    u += 0.5
    assert (layer(x, index, u) - before).abs().max() > 1e-3
    assert_close(layer(x, index, u), layer(x, Graph(index, 3, edge_attr=u)))


def test_cartesian_scales_offsets():
    graph = cartesian(grid_graph((3, 3)), max_value=2.0)
    assert set(graph.edge_attr.flatten().tolist()) == {0.25, 0.5, 0.75}
    torus = grid_graph((3, 5), 4, periodic=True)
    assert set(cartesian(torus).edge_attr.flatten().tolist()) == {0.0, 0.5, 1.0}
    with pytest.raises(ValueError, match=r"at least the largest offset 1; got 0\.5"):
        cartesian(grid_graph((3, 3)), max_value=0.5)
    with pytest.raises(ValueError, match="pass pos="):
        cartesian(Graph(torch.tensor([[0], [1]])))


def test_as_a_family_of_recipes():
    """Functions on a grid's offsets, with pools between: LeNet-5 builds, is counted and learns."""
    graph = grid_graph((16, 16))
    network = models.lenet5(ops=GraphOps("spline"), domain=graph)
    first = next(layer for layer in network.modules() if isinstance(layer, SplineConv))
    assert first.K == 25
    assert summary(network, graph).rows[0].edges == graph.num_edges
    x, labels = torch.randn(4, 256, 1), torch.tensor([0, 1, 2, 3])
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(network(x, graph), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.1
    assert GraphOps("spline", K=8, degree=3).conv(1, 2, 5).K == 16  # no fewer than the degree asks for
    assert GraphOps("spline", ndim=3).conv(1, 2, 3).K == 27
    assert GraphOps("spline").title(5) == "SplineConv, 25 functions"


def test_costs_are_those_of_the_equation():
    graph = grid_graph((4, 4), 4)
    row = summary(SplineConv(3, 5, 2, 4, max_value=1.0), graph).rows[0]
    assert (row.edges, row.multiply_adds) == (48, 48 * 4 * 3 + 16 * 16 * 3 * 5 + 16 * 3 * 5)
    row = summary(GeodesicConv(3, 5, 2, 4, coordinates="cartesian", root_weight=False), graph).rows[0]
    assert (row.edges, row.multiply_adds) == (48, 48 * 8 * 3 + 16 * 8 * 3 * 5 * 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim, the number of pseudo-coordinates, takes a whole number >= 1, got 0"),
        ({"degree": 4}, "degree is 1, 2 or 3, got 4"),
        ({"aggr": "lstm"}, "SplineConv: aggr is one of .*'lstm'"),
        ({"kernel_size": [3, 3, 3]}, r"kernel_size takes one value or 2, one an axis; got \[3, 3, 3\]"),
        ({"kernel_size": 1, "degree": 2}, "kernel_size takes whole numbers >= 2 for degree 2, got 1"),
        ({"max_value": 0.0}, r"max_value takes the largest offset, a positive number, or None; got 0\.0"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SplineConv(**{"in_channels": 2, "out_channels": 3, "dim": 2, "kernel_size": 3, **options})


def test_bad_pseudo_coordinates_are_refused():
    layer, index, x = SplineConv(2, 3, 2, 3), torch.tensor([[0, 1], [1, 2]]), torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"needs edge_attr \(E, 2\)"):
        layer(x, index)
    with pytest.raises(ValueError, match=r"edge_attr has shape \(2, 2\) here, got \(2, 3\)"):
        layer(x, index, torch.zeros(2, 3))
    outside = torch.tensor([[0.5, 0.5], [0.5, 1.5]])
    for domain, given in ((index, outside), (Graph(index, 3, edge_attr=outside), None)):
        with pytest.raises(ValueError, match=r"lie in \[0, 1\], those of edge 1 are \[0.5, 1.5\]"):
            layer(x, domain, given)
    with pytest.raises(ValueError, match="those of edge 0 are"):
        layer(x, index, torch.full((2, 2), torch.nan, requires_grad=True))
    with pytest.raises(ValueError, match="max_value, the largest offset"):
        layer(torch.zeros(9, 2), grid_graph((3, 3)))

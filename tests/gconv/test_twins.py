"""What recipes ask of `GraphOps`: on a grid's graph each layer is its grid twin; elsewhere a meaning, or an error."""

import inspect

import pytest
import torch
from graph_oracles import random_graph
from torch import nn

from gconv import ChebConv, Graph, GraphOps, bridge, grid_graph
from grid_cnn import Grid, GridOps, Layer, Ops, Sequential, bind

METHODS = [name for name, member in vars(Ops).items() if not name.startswith("_") and inspect.isfunction(member)]
GRIDS = {1: (11,), 2: (9, 8), 3: (5, 6, 5)}
FAMILIES = ["directional", "cheb", "gcn", "monet", "spectral"]


@pytest.mark.parametrize("name", METHODS)
def test_signatures_are_those_of_the_protocol(name):
    def arguments(owner):
        return [(p.name, p.default, p.kind) for p in inspect.signature(getattr(owner, name)).parameters.values()]

    assert arguments(GraphOps) == arguments(Ops)


def assert_twins(build, size, channels=4, neighbors=None, periodic=False, tolerance=1e-10):
    """`build(ops)` on the grid and on the grid's graph, on the same weights: values, gradients and codomains."""
    ndim, grid = len(size), Grid(size, periodic)
    graph = grid_graph(grid, neighbors)
    on_grid, on_graph = build(GridOps(ndim)).double(), build(GraphOps(ndim=ndim)).double()
    assert isinstance(on_grid, Layer)
    assert isinstance(on_graph, Layer)
    state = {name.replace("module.", ""): value for name, value in on_graph.state_dict().items()}
    on_grid.load_state_dict(state, strict=True)
    x = torch.randn(2, channels, *size, dtype=torch.float64, requires_grad=True)
    y, grid_end = on_grid.step(x, grid)
    nodes, graph_end = on_graph.step(bridge.to_nodes(x), graph)
    assert grid_end == on_grid.codomain(grid)
    assert graph_end is on_graph.codomain(graph)
    if grid_end is None:
        assert graph_end is None
        expected = y
    else:
        assert graph_end.grid == grid_end
        expected = bridge.to_nodes(y)
    torch.testing.assert_close(nodes, expected, rtol=tolerance, atol=tolerance)
    weights = torch.randn_like(expected)
    ours, theirs = (torch.autograd.grad((value * weights).sum(), x)[0] for value in (nodes, expected))
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


POOLS = {
    "overlapping": {"kernel_size": 3, "stride": 2},
    "overlapping, padded": {"kernel_size": 3, "stride": 2, "padding": 1},
    "rounded up": {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    "rounded up, padded": {"kernel_size": 2, "stride": 2, "padding": 1, "ceil_mode": True},
    "stride 1": {"kernel_size": 3, "stride": 1, "padding": 1},
    "stride 1, five wide": {"kernel_size": 5, "stride": 1, "padding": 2},
    "stride 1, valid": {"kernel_size": 3, "stride": 1},
    "blocks": {"kernel_size": 2},
    "thinned": {"kernel_size": 1, "stride": 2},
}


@pytest.mark.parametrize("neighbors", [None, "axes"])
@pytest.mark.parametrize("ndim", GRIDS)
@pytest.mark.parametrize("window", POOLS.values(), ids=POOLS)
@pytest.mark.parametrize("kind", ["max_pool", "min_pool", "avg_pool"])
def test_pools(kind, window, ndim, neighbors):
    count = 2 * ndim if neighbors else None
    assert_twins(lambda ops: getattr(ops, kind)(**window), GRIDS[ndim], neighbors=count)


def test_averages_without_their_padding():
    assert_twins(lambda ops: ops.avg_pool(3, 2, 1, count_include_pad=False), (9, 8))
    assert_twins(lambda ops: ops.avg_pool(3, 2, 1, True, False), (9, 8))


@pytest.mark.parametrize("size", [1, 2, (3, 5), 7])
@pytest.mark.parametrize("kind", ["adaptive_avg_pool", "adaptive_max_pool"])
def test_adaptive_pools(kind, size):
    assert_twins(lambda ops: getattr(ops, kind)(size), (9, 8))
    if isinstance(size, int):
        assert_twins(lambda ops: getattr(ops, kind)(size), (11,))


@pytest.mark.parametrize("ndim", GRIDS)
@pytest.mark.parametrize("arguments", [(5,), (2, 0.9, 0.5, 2.0), (1,), (3, 1e-2)], ids=str)
def test_local_response_norm(arguments, ndim):
    assert_twins(lambda ops: ops.local_response_norm(*arguments), GRIDS[ndim])


CONVOLUTIONS = {
    "valid": {"kernel_size": 3, "padding": "valid"},
    "strided": {"kernel_size": 3, "stride": 2},
    "strided, valid": {"kernel_size": 3, "stride": 2, "padding": 0},
    "large and strided": {"kernel_size": 7, "stride": 2, "padding": 3},
    "dilated": {"kernel_size": 3, "dilation": 2},
    "dilated, valid": {"kernel_size": 3, "padding": "valid", "dilation": 2},
    "shortcut": {"kernel_size": 1, "stride": 2},
    "grouped": {"kernel_size": 3, "groups": 2},
    "depthwise": {"kernel_size": 3, "groups": 4, "bias": False},
    "grouped point": {"kernel_size": 1, "groups": 2},
    "wide and flat": {"kernel_size": (1, 7)},
    "replicated": {"kernel_size": 5, "padding_mode": "replicate"},
}


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("arguments", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolutions(arguments, periodic):
    assert_twins(lambda ops: ops.conv(4, 8, **arguments), (8, 10), periodic=periodic)


def inception(ops: Ops) -> Layer:
    return ops.concat(
        {
            "point": ops.conv(4, 3, 1),
            "three": Sequential(ops.conv(4, 2, 1), nn.ReLU(), ops.conv(2, 3, 3)),
            "five": ops.conv(4, 2, 5),
            "pool": Sequential(ops.max_pool(3, 1, 1), ops.conv(4, 2, 1)),
        }
    )


def residual(ops: Ops) -> Layer:
    body = Sequential(ops.conv(4, 6, 3, 2), ops.norm(6), nn.ReLU(), ops.conv(6, 6, 3), ops.norm(6))
    return ops.add({"body": body, "shortcut": Sequential(ops.conv(4, 6, 1, 2), ops.norm(6))})


def alexnet_stem(ops: Ops) -> Layer:
    return Sequential(
        ops.conv(4, 6, 3, 2, "valid"), nn.ReLU(), ops.local_response_norm(5), ops.max_pool(3, 2, ceil_mode=True),
        ops.adaptive_avg_pool(2), ops.flatten(),
    )  # fmt: skip


@pytest.mark.parametrize("recipe", [inception, residual, alexnet_stem])
def test_blocks(recipe):
    assert_twins(recipe, (12, 10))


def test_blocks_on_a_torus():
    """Pools that overlap do not wrap around, so that a branch with one leaves the torus, and the join says so."""
    assert_twins(residual, (12, 10), periodic=True)
    torus = grid_graph((12, 10), periodic=True)
    with pytest.raises(ValueError, match=r"'point' on Graph\(12×10 periodic grid.*'pool' on Graph\(12×10 grid"):
        inception(GraphOps())(torch.zeros(1, 120, 4), torus)


@pytest.mark.parametrize("recipe", [inception, residual])
@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_of_every_family_run_and_bind(recipe, family):
    graph, net = grid_graph((8, 6)), recipe(GraphOps(family))
    x = torch.randn(2, 48, 4)
    y, end = net.step(x, graph)
    assert y.shape[1] == end.num_nodes
    assert end is net.codomain(graph)
    torch.testing.assert_close(bind(net, graph).eval()(x), net.eval()(x, graph))
    if recipe is inception:
        assert y.shape == (2, 48, 10)
        assert net(torch.randn(9, 4), ring(9)).shape == (9, 10)


@pytest.mark.parametrize("recipe", [inception, residual, alexnet_stem])
@pytest.mark.parametrize("ops", [GridOps(), GraphOps(), GraphOps("cheb", K=2)], ids=str)
def test_blocks_compile_and_export(recipe, ops):
    if recipe is alexnet_stem and not ops.has_valid_borders:
        pytest.skip("a family without valid borders")
    torch.compiler.reset()
    domain = Grid((8, 6)) if isinstance(ops, GridOps) else grid_graph((8, 6))
    x = torch.randn(2, 4, 8, 6) if isinstance(ops, GridOps) else torch.randn(2, 48, 4)
    net = bind(recipe(ops), domain).eval()
    expected = net(x)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected)
    torch.testing.assert_close(torch.export.export(net, (x,)).module()(x), expected)


def test_pools_of_other_graphs_compile_and_export():
    torch.compiler.reset()
    graph, x = random_graph(), torch.randn(2, 9, 4)
    for layer in (GraphOps().max_pool(3, 1, 1), GraphOps().avg_pool(3, 1, 1), GraphOps().adaptive_avg_pool(1)):
        net = bind(layer, graph)
        compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), layer(x, graph))
        torch.testing.assert_close(torch.export.export(net, (x,)).module()(x), layer(x, graph))


def ring(num_nodes: int) -> Graph:
    nodes = torch.arange(num_nodes)
    edges = torch.stack([nodes, nodes.roll(-1)])
    offsets = torch.stack([torch.ones(num_nodes), torch.zeros(num_nodes)], 1)
    pos = torch.stack([nodes.float(), torch.zeros(num_nodes)], 1)
    return Graph(torch.cat([edges, edges.flip(0)], 1), num_nodes, None, torch.cat([offsets, -offsets]), pos)


@pytest.mark.parametrize("family", FAMILIES)
def test_points_are_the_grids_in_every_family(family):
    """A kernel of 1 is the same layer everywhere, strides and groups included."""
    layer, grid_layer = GraphOps(family).conv(4, 6, 1, 2, groups=2), GridOps().conv(4, 6, 1, 2, groups=2)
    grid_layer.load_state_dict(layer.state_dict())
    graph, x = grid_graph((7, 6)), torch.randn(2, 4, 7, 6)
    y, end = layer.step(bridge.to_nodes(x), graph)
    torch.testing.assert_close(bridge.to_images(y, end), grid_layer(x))


def test_a_strided_convolution_and_its_shortcut_end_on_one_torus():
    torus = grid_graph((8, 6), periodic=True)
    conv, shortcut = GraphOps("cheb").conv(4, 6, 3, 2), GraphOps("cheb").conv(4, 6, 1, 2)
    assert conv.codomain(torus) is shortcut.codomain(torus)
    assert conv.codomain(torus).grid == Grid((4, 3), periodic=True)


@pytest.mark.parametrize(
    "arguments",
    [{"padding": "valid"}, {"padding": 0}, {"dilation": 2}, {"groups": 2}, {"padding_mode": "reflect"}],
    ids=str,
)
@pytest.mark.parametrize("family", FAMILIES[1:])
def test_what_a_family_has_no_meaning_for_is_refused(family, arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))}.*has no meaning for '{family}'.*directional"):
        GraphOps(family).conv(4, 4, 3, **arguments)


class TestOnOtherGraphs:
    """Graphs that are no grid's: the meaning that is stated, or an error that says what to do."""

    def closed(self, graph: Graph, steps: int) -> torch.Tensor:
        """Who is near whom, by powers of a dense matrix: a row a target."""
        step = torch.eye(graph.num_nodes, dtype=torch.long)
        step[graph.edge_index[1], graph.edge_index[0]] = 1
        return torch.linalg.matrix_power(step.double(), steps) > 0

    @pytest.mark.parametrize("kernel", [1, 3, 5, 7])
    @pytest.mark.parametrize("kind", ["max_pool", "min_pool", "avg_pool"])
    def test_stride_one_is_over_the_nodes_near(self, kind, kernel):
        for seed in range(3):
            graph = random_graph(seed=seed)
            x = torch.randn(2, 9, 4, dtype=torch.float64, requires_grad=True)
            layer = getattr(GraphOps(), kind)(kernel, 1, kernel // 2)
            y, end = layer.step(x, graph)
            near = self.closed(graph, kernel // 2)
            assert end is graph
            for node in range(9):
                values = x[:, near[node]]
                pick = {"max_pool": values.amax(1), "min_pool": values.amin(1), "avg_pool": values.mean(1)}[kind]
                torch.testing.assert_close(y[:, node], pick, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(layer(x[1], graph), y[1])

    @pytest.mark.parametrize("kind", ["max_pool", "min_pool"])
    def test_equals_the_grids_windows_where_the_edges_have_all_diagonals(self, kind):
        graph = grid_graph((6, 5), neighbors=8)
        plain, x = Graph(graph.edge_index, 30), torch.randn(2, 30, 3)
        for kernel in (3, 5):
            layer = getattr(GraphOps(), kind)(kernel, 1, kernel // 2)
            assert torch.equal(layer(x, plain), layer(x, graph))
        average = GraphOps().avg_pool(3, 1, 1, count_include_pad=False)
        torch.testing.assert_close(average(x, plain), average(x, graph))

    def test_does_not_depend_on_numbering(self):
        graph, order = random_graph(), torch.randperm(9)
        number = torch.argsort(order)
        other, x = Graph(number[graph.edge_index], 9), torch.randn(9, 4, dtype=torch.float64)
        for layer in (GraphOps().max_pool(3, 1, 1), GraphOps().avg_pool(5, 1, 2)):
            torch.testing.assert_close(layer(x[order], other), layer(x, graph)[order])

    def test_a_maximum_of_nothing_but_itself(self):
        lonely = Graph(torch.zeros(2, 0, dtype=torch.long), 3)
        x = -torch.rand(3, 2)
        assert torch.equal(GraphOps().max_pool(3, 1, 1)(x, lonely), x)
        torch.testing.assert_close(GraphOps().avg_pool(3, 1, 1)(x, lonely), x)

    @pytest.mark.parametrize(("kind", "pick"), [("adaptive_avg_pool", torch.mean), ("adaptive_max_pool", torch.amax)])
    def test_adaptive_to_one_is_the_whole_graph_on_one_node(self, kind, pick):
        graph, layer, x = random_graph(), getattr(GraphOps(), kind)(1), torch.randn(2, 9, 4)
        y, end = layer.step(x, graph)
        torch.testing.assert_close(y, pick(x, 1, keepdim=True))
        assert end is layer.codomain(graph)
        assert end is GraphOps().adaptive_avg_pool((1, 1)).codomain(graph)
        assert (end.num_nodes, end.num_edges) == (1, 0)
        net = Sequential(layer, GraphOps().flatten(), nn.Linear(4, 2))
        assert net(x, graph).shape == (2, 2)

    @pytest.mark.parametrize(
        "layer",
        [
            GraphOps().max_pool(2),
            GraphOps().max_pool(3, 2, 1),
            GraphOps().avg_pool(3, 1),
            GraphOps().max_pool(2, 1, 1),
            GraphOps().avg_pool((3, 1), 1, (1, 0)),
            GraphOps().adaptive_avg_pool(2),
            GraphOps().adaptive_max_pool((1, 2)),
        ],
        ids=str,
    )
    def test_pools_over_blocks_are_refused(self, layer):
        graph = random_graph()
        for call in (lambda: layer(torch.zeros(9, 4), graph), lambda: layer.codomain(graph)):
            with pytest.raises(ValueError, match=r"grid of 2 axes.*not the graph of one.*grid_graph\(\)"):
                call()

    @pytest.mark.parametrize("family", FAMILIES)
    def test_strides_and_borders_are_refused(self, family):
        graph, x = ring(9), torch.zeros(9, 4)
        for layer in (GraphOps(family).conv(4, 4, 3, 2), GraphOps(family).conv(4, 4, 1, 2)):
            with pytest.raises(ValueError, match="not the graph of"):
                layer(x, graph)
        with pytest.raises(ValueError, match="not the graph of a grid"):
            GraphOps().conv(4, 4, 3, padding="valid")(x, graph)

    def test_response_norm_and_joins_have_a_meaning_everywhere(self):
        graph, x = random_graph(), torch.randn(2, 9, 4)
        expected = nn.LocalResponseNorm(3)(x.transpose(1, 2)).transpose(1, 2)
        torch.testing.assert_close(GraphOps().local_response_norm(3)(x, graph), expected)
        torch.testing.assert_close(GraphOps().local_response_norm(3)(x[1], graph), expected[1])
        cheb = ChebConv(4, 4, 2)
        assert torch.equal(GraphOps().concat([nn.Identity(), cheb])(x, graph), torch.cat([x, cheb(x, graph)], -1))
        assert torch.equal(GraphOps().add([nn.Identity(), cheb])(x, graph), x + cheb(x, graph))
        assert GraphOps().channel_axis == -1
        with pytest.raises(ValueError, match="end on different domains"):
            GraphOps().add([nn.Identity(), GraphOps().adaptive_avg_pool(1)])(x, graph)

"""Pools over a grid's graph: the grid's own, cell by cell; a block average is a cluster mean."""

import pytest
import torch
from graph_oracles import assert_close, random_graph, within
from torch import Tensor

import grid_cnn
from gconv import Flatten, GlobalAvgPool, GlobalMaxPool, Graph, GridPool, bridge, grid_graph
from gconv.domains.lattice import coordinates
from grid_cnn import Grid

SIZES = {1: (11,), 2: (7, 8), 3: (5, 4, 6)}
WINDOWS = [
    {"kernel_size": 2},
    {"kernel_size": 3},
    {"kernel_size": 3, "stride": 2},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": 2, "stride": 3, "padding": 1},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": 2, "ceil_mode": True},
]


def pool(kind: str, ndim: int, **options: object) -> grid_cnn.pool.WindowPool:
    return getattr(grid_cnn, f"{kind}Pool{ndim}d")(**options)


def signal(graph: Graph, *lead: int) -> Tensor:
    return torch.rand(*lead, graph.num_nodes, 3, dtype=torch.float64)


def pictures(signals: Tensor, graph: Graph) -> Tensor:
    """By numpy's own reshaping, so that the bridge is not its own oracle."""
    return signals.reshape(-1, *graph.grid.size, signals.shape[-1]).movedim(-1, 1).contiguous()


@pytest.mark.parametrize("kind", ["Max", "Min", "Avg"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_equals_the_grid_pool_cell_by_cell(kind, window, ndim):
    graph = grid_graph(SIZES[ndim])
    inner = pool(kind, ndim, **window)
    layer, x = GridPool(inner), signal(graph, 2).requires_grad_()
    out, wanted = layer(x, graph), inner(pictures(x, graph))
    coarse = layer.codomain(graph)
    assert out.shape == (2, coarse.num_nodes, 3)
    assert torch.equal(pictures(out, coarse), wanted)
    weight = torch.rand_like(out)
    ours, theirs = (
        torch.autograd.grad((result * by).sum(), x)[0]
        for result, by in ((out, weight), (wanted, pictures(weight, coarse)))
    )
    assert_close(ours, theirs)


@pytest.mark.parametrize(
    "inner", [grid_cnn.LpPool2d(3, 3, 2), grid_cnn.Subsampling2d(3), grid_cnn.AdaptiveMaxPool2d((None, 3))], ids=str
)
def test_any_pool_of_a_grid_has_a_twin(inner):
    graph, layer = grid_graph((7, 8)), GridPool(inner.double())
    x = signal(graph, 2)
    out, coarse = layer.step(x, graph)
    assert_close(pictures(out, coarse), inner(pictures(x, graph)))
    assert layer.in_channels == inner.in_channels
    assert [p.shape for p in layer.parameters()] == [p.shape for p in inner.parameters()]
    with pytest.raises(ValueError, match=f"{type(inner).__name__} pools the blocks of a grid.*is not the graph of one"):
        layer(torch.rand(9, 3, dtype=torch.float64), random_graph())


@pytest.mark.parametrize("kind", ["Max", "Min", "Avg"])
def test_one_signal_and_any_memory_layout(kind):
    graph, layer = grid_graph((6, 4)), GridPool(pool(kind, 2, kernel_size=2))
    x = signal(graph, 2)
    out = layer(x, graph)
    assert torch.equal(layer(x[1], graph), out[1])
    assert torch.equal(layer(x.transpose(1, 2).contiguous().transpose(1, 2), graph), out)


@pytest.mark.parametrize("size", [(8,), (6, 4), (4, 6, 2)])
def test_a_block_average_is_a_cluster_mean(size):
    graph, ndim = grid_graph(size), len(size)
    layer, x = GridPool(pool("Avg", ndim, kernel_size=2)), signal(graph)
    blocks = coordinates(graph.grid) // 2
    radix = torch.tensor([n // 2 for n in size])
    cluster = torch.zeros(graph.num_nodes, dtype=torch.long)
    for axis in range(ndim):
        cluster = cluster * radix[axis] + blocks[:, axis]
    sums = torch.zeros(int(radix.prod()), 3, dtype=torch.float64).index_add(0, cluster, x)
    assert_close(layer(x, graph), sums / torch.bincount(cluster)[:, None])


@pytest.mark.parametrize(("kind", "reduce"), [("Max", "amax"), ("Min", "amin")])
def test_a_pool_of_stride_one_is_over_the_closed_neighbourhood(kind, reduce):
    graph = grid_graph((5, 4), neighbors=8)
    x = signal(graph)
    wanted = x.clone().scatter_reduce(
        0, graph.edge_index[1][:, None].expand(-1, 3), x[graph.edge_index[0]], reduce, include_self=True
    )
    assert torch.equal(GridPool(pool(kind, 2, kernel_size=3, stride=1, padding=1))(x, graph), wanted)


RULES = [{"neighbors": 4}, {"neighbors": 8}, {"nearest": 5}, {"neighbors": 8, "periodic": True}]


@pytest.mark.parametrize("options", RULES, ids=str)
def test_the_codomain_is_the_graph_of_the_pooled_grid(options):
    graph = grid_graph((8, 6), **options)
    layer = GridPool(pool("Max", 2, kernel_size=2))
    coarse, wanted = layer.codomain(graph), grid_graph((4, 3), **options)
    assert repr(coarse) == repr(wanted)
    assert torch.equal(coarse.edge_index, wanted.edge_index)
    assert torch.equal(coarse.edge_attr, wanted.edge_attr)
    assert layer.codomain(graph) is coarse
    assert GridPool(pool("Avg", 2, kernel_size=2)).codomain(graph) is coarse
    assert layer.step(signal(graph), graph)[1] is coarse


def test_a_torus_stays_one_only_if_its_windows_tile_it():
    torus = grid_graph((8, 6), periodic=True)
    assert GridPool(pool("Max", 2, kernel_size=2)).codomain(torus).grid == Grid((4, 3), periodic=True)
    assert GridPool(pool("Max", 2, kernel_size=4)).codomain(torus).grid == Grid((2, 1))
    assert GridPool(pool("Max", 2, kernel_size=3, stride=1, padding=1)).codomain(torus).grid == Grid((8, 6))


@pytest.mark.parametrize("cells", [1, 2])
@pytest.mark.parametrize("options", RULES[:3], ids=str)
def test_a_codomain_may_have_fewer_cells_than_the_rule_has_neighbours(cells, options):
    graph, layer = grid_graph((8, 8), **options), GridPool(pool("Max", 2, kernel_size=8 // cells))
    with within(10):
        coarse = layer.codomain(graph)
    assert coarse.grid == Grid((cells, cells))
    assert coarse.num_edges == {1: 0, 2: 8 if options == {"neighbors": 4} else 12}[cells]


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (random_graph(16), r"MaxPool2d pools the blocks of a grid of 2 axes.*not the graph of one; .*grid_graph\(\)"),
        (grid_graph((4, 4)).having(edge_weight=torch.ones(84)), "not the graph of one"),
        (grid_graph(16), "a grid of 2 axes, and Graph.16 grid"),
        (grid_graph((1, 16)), "the kernel is larger than the padded input"),
    ],
    ids=["random", "other weights", "one axis", "too small"],
)
def test_what_has_no_blocks_is_refused(graph, message):
    layer = GridPool(pool("Max", 2, kernel_size=2))
    with pytest.raises(ValueError, match=message):
        layer(torch.rand(2, 16, 3), graph)
    with pytest.raises(ValueError, match=message):
        layer.codomain(graph)


def test_a_signal_of_other_nodes_is_refused():
    with pytest.raises(ValueError, match=r"GridPool: a signal of 15 nodes, \(2, 15, 3\), does not fit"):
        GridPool(pool("Max", 2, kernel_size=2))(torch.rand(2, 15, 3), grid_graph((4, 4)))


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("name", ["GlobalAvgPool", "GlobalMaxPool", "Flatten"])
def test_readouts_equal_the_grids(name, ndim):
    graph = grid_graph(SIZES[ndim])
    layer = {"GlobalAvgPool": GlobalAvgPool, "GlobalMaxPool": GlobalMaxPool, "Flatten": Flatten}[name]()
    x = signal(graph, 2)
    wanted = getattr(grid_cnn, name)(ndim)(pictures(x, graph))
    assert_close(layer(x, graph), wanted)
    assert_close(layer(x[1], graph), wanted[1])
    assert layer.codomain(graph) is None


def test_readouts_take_any_graph():
    graph, x = random_graph(), torch.rand(2, 9, 3)
    assert_close(GlobalAvgPool()(x, graph), x.sum(1) / 9, 1e-6)
    assert torch.equal(GlobalMaxPool()(x, graph), x.max(1).values)
    assert torch.equal(Flatten()(x, graph)[1].reshape(3, 9), x[1].T)
    for layer in (GlobalAvgPool(), GlobalMaxPool(), Flatten()):
        with pytest.raises(ValueError, match="a signal of 8 nodes"):
            layer(x[:, :8], graph)
        with pytest.raises(TypeError, match="called without a domain"):
            layer(x)


def test_the_bridge_and_the_pools_read_cells_in_the_same_order():
    graph, x = grid_graph((6, 4)), torch.rand(2, 3, 6, 4)
    inner = pool("Max", 2, kernel_size=2)
    out = GridPool(inner)(bridge.to_nodes(x), graph)
    assert torch.equal(bridge.to_images(out, GridPool(inner).codomain(graph)), inner(x))

"""`grid_graph`: neighbourhoods of grids of one to three axes, against loops over their cells."""

import itertools
import math
from collections import Counter

import networkx
import numpy as np
import pytest
import torch
from graph_oracles import assert_close, few, within
from hypothesis import example, given
from hypothesis import strategies as st

from gconv import Graph, grid_graph
from gconv.domains.lattice import Lattice, coordinates, shifted
from grid_cnn import Grid

SIZES = [(1,), (2,), (3,), (7,), (1, 1), (1, 4), (2, 2), (3, 5), (4, 1), (1, 2, 3), (2, 2, 2), (3, 4, 5)]
REACH = {2: 1, 4: 1, 8: 2, 6: 1, 18: 2, 26: 3}
NEIGHBOURHOODS = {1: (2,), 2: (4, 8), 3: (6, 18, 26)}
FIXED = [
    (size, neighbors, periodic)
    for size in SIZES
    for neighbors in NEIGHBOURHOODS[len(size)]
    for periodic in (False, True)
]


def cells(size: tuple[int, ...]) -> list[tuple[int, ...]]:
    return list(itertools.product(*map(range, size)))


def looped_edges(size: tuple[int, ...], neighbors: int, periodic: bool) -> Counter:
    """Every (source, target, offset) by walking over cells and steps."""
    number = {cell: i for i, cell in enumerate(cells(size))}
    found: Counter = Counter()
    for target in cells(size):
        for step in itertools.product((-1, 0, 1), repeat=len(size)):
            if not 0 < sum(map(abs, step)) <= REACH[neighbors]:
                continue
            source = tuple(t + s for t, s in zip(target, step, strict=True))
            if periodic:
                source = tuple(c % n for c, n in zip(source, size, strict=True))
            if source in number:
                found[number[source], number[target], step] += 1
    return found


def edges_with_offsets(graph: Graph) -> Counter:
    offsets = (tuple(int(v) for v in row) for row in graph.edge_attr.tolist())
    return Counter((s, t, o) for (s, t), o in zip(graph.edge_index.t().tolist(), offsets, strict=True))


@pytest.mark.parametrize(("size", "neighbors", "periodic"), FIXED)
def test_fixed_neighbourhoods_equal_a_loop_over_cells(size, neighbors, periodic):
    graph = grid_graph(size, neighbors, periodic)
    assert edges_with_offsets(graph) == looped_edges(size, neighbors, periodic)
    assert graph.edge_weight is None
    assert graph.grid == Grid(size, periodic)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_all_diagonals_by_default(ndim):
    size = (4, 3, 5)[:ndim]
    assert torch.equal(grid_graph(size).edge_index, grid_graph(size, 3**ndim - 1).edge_index)


@pytest.mark.parametrize("periodic", [False, True])
def test_four_neighbours_equal_networkx(periodic):
    m, n = 4, 5
    number = {cell: i for i, cell in enumerate(cells((m, n)))}
    undirected = networkx.grid_2d_graph(m, n, periodic=periodic).to_directed()
    wanted = {(number[a], number[b]) for a, b in undirected.edges}
    pairs = [tuple(pair) for pair in grid_graph((m, n), 4, periodic).edge_index.t().tolist()]
    assert len(pairs) == len(wanted)
    assert set(pairs) == wanted


def test_a_periodic_axis_of_two_cells_has_parallel_edges_and_one_of_a_single_cell_loops():
    two = grid_graph((2,), periodic=True)
    assert edges_with_offsets(two) == {(1, 0, (-1,)): 1, (1, 0, (1,)): 1, (0, 1, (-1,)): 1, (0, 1, (1,)): 1}
    one = grid_graph((1,), periodic=True)
    assert edges_with_offsets(one) == {(0, 0, (-1,)): 1, (0, 0, (1,)): 1}


@pytest.mark.parametrize("size", SIZES)
def test_nodes_stand_at_their_cells_in_row_major_order(size):
    graph = grid_graph(size)
    assert graph.pos.dtype == torch.float32
    assert graph.pos.tolist() == [list(map(float, cell)) for cell in np.ndindex(*size)]
    assert torch.equal(coordinates(Grid(size)), graph.pos.long())


def options(periodic: bool) -> list[dict]:
    return [{"neighbors": 8, "periodic": periodic}, {"nearest": 6, "periodic": periodic}]


@pytest.mark.parametrize("given_options", options(False))
def test_an_edge_knows_the_way_from_target_to_source(given_options):
    graph = grid_graph((5, 4), **given_options)
    source, target = graph.edge_index
    assert torch.equal(graph.edge_attr, graph.pos[source] - graph.pos[target])


@pytest.mark.parametrize("given_options", options(True))
@pytest.mark.parametrize("size", [(5, 4), (3, 6)])
def test_on_a_torus_it_is_a_shortest_way_round(size, given_options):
    graph = grid_graph(size, **given_options)
    source, target = graph.edge_index
    extent = torch.tensor(size)
    assert not ((graph.edge_attr - (graph.pos[source] - graph.pos[target])) % extent).any()
    assert (2 * graph.edge_attr.abs() <= extent).all()


def distances(size: tuple[int, ...], periodic: bool) -> np.ndarray:
    """Between all pairs of cells, the shorter way round on a torus."""
    where = np.array(cells(size))
    apart = np.abs(where[:, None] - where[None])
    if periodic:
        apart = np.minimum(apart, np.array(size) - apart)
    return np.sqrt((apart**2).sum(-1))


@st.composite
def nearest_grids(draw: st.DrawFn) -> tuple[tuple[int, ...], int]:
    size = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3).filter(lambda s: 2 <= math.prod(s) <= 60))
    return tuple(size), draw(st.integers(1, math.prod(size) - 1))


@few
@given(nearest_grids(), st.booleans(), st.sampled_from([None, 0.7, 3.0]))
@example(((9, 9), 15), False, None)  # from a corner (4, 0) is nearer than (3, 3)
@example(((9, 9), 24), True, None)
@example(((4, 4, 4), 26), False, None)
@example(((12, 2), 9), False, None)
def test_nearest_cells_equal_brute_force(size_and_count, periodic, sigma):
    (size, count), n = size_and_count, math.prod(size_and_count[0])
    graph = grid_graph(size, nearest=count, sigma=sigma, periodic=periodic)
    apart = distances(size, periodic)
    np.fill_diagonal(apart, np.inf)
    furthest = np.sort(apart, axis=1)[:, count - 1]
    joined, weight = np.zeros((n, n), dtype=int), np.zeros((n, n))
    for (source, target), value in zip(graph.edge_index.t().tolist(), graph.edge_weight.tolist(), strict=True):
        joined[target, source] += 1
        weight[target, source] = value
    assert joined.max() == 1
    assert not joined.diagonal().any()
    assert (joined == joined.T).all()
    assert (joined.sum(1) >= count).all()
    # Nearer than the k-th nearest of either end: joined; further than that of both: not. Between them a tie is broken.
    either, both = np.maximum(furthest[:, None], furthest), apart - 1e-9
    assert joined[both < np.minimum(furthest[:, None], furthest) - 1e-6].all()
    assert joined[apart < either - 1e-6].all()
    assert not joined[apart > either + 1e-6].any()
    width = furthest.mean() if sigma is None else sigma
    wanted = np.where(joined > 0, np.exp(-(np.where(joined > 0, apart, 0.0) ** 2) / width**2), 0.0)
    np.testing.assert_allclose(weight, wanted, rtol=1e-6)
    assert_close(graph.edge_attr.norm(dim=1), apart[graph.edge_index[1], graph.edge_index[0]].astype("float32"), 1e-6)


def test_ties_take_no_more_than_the_count_asked_for():
    ring = grid_graph((12,), nearest=1, periodic=True)
    assert ring.num_edges == 24  # each lists its left neighbour, which joins it to the right one
    centre = grid_graph((21, 21), nearest=8).edge_index
    assert int((centre[1] == 220).sum()) == 8


def test_every_pair_when_all_cells_are_near():
    graph = grid_graph((3, 4), nearest=11)
    assert graph.num_edges == 12 * 11


def test_a_large_neighbourhood_is_found_in_little_time():
    with within(10):
        graph = grid_graph((28, 28), nearest=100)
    assert int(torch.bincount(graph.edge_index[0]).min()) >= 100


@pytest.mark.parametrize(("size", "edges"), [((2, 2), 12), ((3, 1), 6), ((1, 1), 0)])
@pytest.mark.parametrize("periodic", [False, True])
def test_a_pooled_grid_with_fewer_cells_than_neighbours_joins_all_of_them(size, edges, periodic):
    graph = grid_graph((6, 6), nearest=8, periodic=periodic)
    with within(10):
        assert graph.on(Grid(size, periodic)).num_edges == edges


@pytest.mark.parametrize("periodic", [False, True])
def test_a_grid_brings_its_own_size_and_borders(periodic):
    graph = grid_graph(Grid((3, 4), periodic), 4)
    assert graph.grid == Grid((3, 4), periodic)
    assert torch.equal(graph.edge_index, grid_graph((3, 4), 4, periodic).edge_index)
    assert grid_graph(Grid((3, 4)), periodic=True).grid.periodic


def test_a_whole_number_is_a_line():
    assert grid_graph(6).grid == Grid((6,))
    assert grid_graph(6).num_edges == 10


def test_the_default_device_of_a_program_is_no_matter():
    with torch.device("meta"):
        graphs = grid_graph((3, 3)), grid_graph((3, 3), nearest=3)
    assert [graph.device for graph in graphs] == [torch.device("cpu")] * 2


@pytest.mark.parametrize(
    ("given_options", "message"),
    [
        ({"size": (2, 2, 2, 2)}, r"one to three axes, got 4: \(2, 2, 2, 2\)"),
        ({"size": ()}, "one positive whole number an axis"),
        ({"size": (3, 0)}, r"got size=\(3, 0\)"),
        ({"size": (3, 2.5)}, r"got size=\(3, 2.5\)"),
        ({"size": (3, 3), "neighbors": 6}, "a grid of 2 axes has 4 or 8 neighbors a cell, got 6"),
        ({"size": 3, "neighbors": 4}, "a grid of 1 axes has 2 neighbors"),
        ({"size": (3, 3, 3), "neighbors": 8}, "has 6 or 18 or 26 neighbors a cell, got 8"),
        ({"size": (3, 3), "neighbors": 8, "nearest": 8}, "either neighbors .* or nearest"),
        ({"size": (3, 3), "sigma": 1.0}, "sigma belongs to nearest=k"),
        ({"size": (3, 3), "nearest": 0}, "nearest takes 1 to 8 on a grid of 9, got 0"),
        ({"size": (3, 3), "nearest": 9}, "got 9"),
        ({"size": (3, 3), "nearest": True}, "got True"),
        ({"size": (3, 3), "nearest": 2.0}, r"got 2\.0"),
        ({"size": (3, 3), "nearest": 3, "sigma": 0.0}, r"sigma takes a positive number of cells, got 0\.0"),
        ({"size": (3, 3), "nearest": 3, "sigma": -1}, "got -1"),
        ({"size": (3, 3), "nearest": 3, "sigma": math.nan}, "got nan"),
    ],
)
def test_bad_arguments_are_refused_by_name(given_options, message):
    with pytest.raises(ValueError, match=message):
        grid_graph(**given_options)


@pytest.mark.parametrize("periodic", [False, True])
def test_shifted_cells(periodic):
    grid = Grid((3, 4), periodic)
    nodes, inside = shifted(coordinates(grid), torch.tensor([1, -2]), grid)
    for cell, node, kept in zip(cells((3, 4)), nodes.tolist(), inside.tolist(), strict=True):
        there = cell[0] + 1, cell[1] - 2
        assert kept == (periodic or (there[0] < 3 and there[1] >= 0))
        if kept:
            assert node == there[0] % 3 * 4 + there[1] % 4


def test_a_rule_is_compared_by_value():
    assert Lattice(Grid((3, 3)), 4).on(Grid((2, 2))) == Lattice(Grid((2, 2)), 4)
    assert Lattice(Grid((3, 3)), 8) != Lattice(Grid((3, 3)), 4)
    assert Lattice(Grid((3, 3)), None, 4).offsets == ()

"""PATCHY-SAN: labels, sequences and fields worked by hand and by networkx; the convolution is torch's."""

import networkx as nx
import pytest
import torch
from graph_oracles import assert_close
from torch.nn import functional as F

from gconv import DirectionalConv, Graph, PatchySanConv, bridge, grid_graph
from gconv.domains.fields import receptive_fields
from gconv.domains.labeling import betweenness, labels_of, weisfeiler_lehman
from grid_cnn import Sequential


def graph_of(network: nx.Graph) -> Graph:
    edges = torch.tensor(list(network.edges)).reshape(-1, 2).t()
    return Graph(edges, network.number_of_nodes())  # each edge one way: directions do not count


def random_networks():
    yield nx.path_graph(7)
    yield nx.star_graph(6)
    yield nx.karate_club_graph()
    yield nx.barbell_graph(4, 3)
    for seed in range(3):
        yield nx.gnp_random_graph(14, 0.2, seed=seed)  # some of them in several parts


@pytest.mark.parametrize("network", [*random_networks()], ids=str)
def test_betweenness_is_networkxs(network):
    wanted = nx.betweenness_centrality(network, normalized=False)
    assert_close(betweenness(graph_of(network)), torch.tensor([wanted[n] for n in network], dtype=torch.float64))


def test_betweenness_counts_a_pair_once_whatever_edges_say():
    twice = Graph(torch.tensor([[0, 1, 1, 2, 1, 1], [1, 0, 2, 1, 2, 1]]), 3, edge_weight=torch.rand(6))
    assert betweenness(twice).tolist() == [0.0, 1.0, 0.0]


def test_refinement_tells_apart_what_degrees_do_not():
    """A path with a triangle at one end: nodes of degree 2 differ by how far they are from either end."""
    network = nx.Graph([(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 3)])
    colors = weisfeiler_lehman(graph_of(network)).tolist()
    assert colors[4] == colors[5]
    assert len(set(colors)) == 5
    # What it cannot tell apart: two triangles and a hexagon, all nodes of degree 2.
    alike = nx.disjoint_union(nx.cycle_graph(6), nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3)))
    assert len(set(weisfeiler_lehman(graph_of(alike)).tolist())) == 1


@pytest.mark.parametrize("labeling", ["degree", "betweenness", "wl"])
def test_labels_do_not_depend_on_numbers(labeling):
    network = nx.karate_club_graph()
    order = torch.randperm(34).tolist()
    renamed = nx.relabel_nodes(network, dict(enumerate(order)))
    labels, again = (labels_of(graph_of(n), labeling) for n in (network, renamed))
    assert [again[order[node]] for node in range(34)] == labels


def test_a_path_by_hand():
    """By betweenness the middle comes first; 1 and 3, 0 and 4 are each other's mirror images, and go by number."""
    graph = grid_graph(5)
    table = receptive_fields(graph, 6, 3, 1, "betweenness").table
    assert table.tolist() == [[2, 1, 3], [1, 2, 0], [3, 2, 4], [0, 1, 2], [4, 3, 2], [-1, -1, -1]]
    # Every second of them; a field of more nodes than there are ends in an empty place.
    table = receptive_fields(graph, 2, 6, 2, "degree").table
    assert table.tolist() == [[2, 1, 3, 0, 4, -1], [3, 2, 4, 1, 0, -1]]


def test_a_star_by_hand():
    """The centre sees itself and the first leaves; a leaf sees itself, the centre, other leaves."""
    table = receptive_fields(graph_of(nx.star_graph(4)), 3, 4, 1, "degree").table
    assert table.tolist() == [[0, 1, 2, 3], [1, 0, 2, 3], [2, 0, 1, 3]]


def test_on_a_grid_a_field_of_five_is_the_cross_and_of_nine_the_square():
    cross = receptive_fields(grid_graph((5, 5), 4), 9, 5, 1, "degree").table
    square = receptive_fields(grid_graph((5, 5), 8), 9, 9, 1, "degree").table
    inner = sorted(5 * i + j for i in (1, 2, 3) for j in (1, 2, 3))
    assert sorted(cross[:, 0].tolist()) == sorted(square[:, 0].tolist()) == inner  # four, eight neighbours: they lead
    for root, *rest in cross.tolist():
        assert sorted(rest) == [root - 5, root - 1, root + 1, root + 5]
    for root, *rest in square.tolist():
        assert sorted(rest) == [root - 6, root - 5, root - 4, root - 1, root + 1, root + 4, root + 5, root + 6]
    assert cross[0, 0] == square[0, 0] == 12  # refinement tells the middle from those near the border


def test_nodes_further_away_come_later_whatever_their_labels():
    """A long tail ends in a hub: the tail's first node sees its neighbour before the hub."""
    network = nx.Graph([(0, 1), (1, 2), *((2, leaf) for leaf in range(3, 9))])
    table = receptive_fields(graph_of(network), 9, 4, 1, "betweenness").table.tolist()
    field = next(row for row in table if row[0] == 0)
    assert field[:3] == [0, 1, 2]
    assert field[3] in range(3, 9)


def test_renumbering_a_graph_without_symmetries_changes_nothing():
    network = next(n for n in (nx.gnp_random_graph(12, 0.3, seed=s) for s in range(99)) if _is_rigid(n))
    graph = graph_of(network)
    layer = PatchySanConv(2, 3, num_selected=10, kernel_size=5, stride=1).double()
    x, order = torch.randn(2, 12, 2, dtype=torch.float64), torch.randperm(12)
    number = torch.argsort(order)
    assert_close(layer(x[:, order], Graph(number[graph.edge_index], 12)), layer(x, graph))


def _is_rigid(network):
    matcher = nx.isomorphism.GraphMatcher(network, network)
    return nx.is_connected(network) and sum(1 for _ in matcher.isomorphisms_iter()) == 1


@pytest.mark.parametrize("labeling", ["degree", "betweenness", "wl"])
def test_is_a_one_dimensional_convolution_over_the_fields(labeling):
    graph = graph_of(nx.karate_club_graph())
    layer = PatchySanConv(3, 4, num_selected=20, kernel_size=4, stride=2, labeling=labeling).double()
    x = torch.randn(2, 34, 3, dtype=torch.float64, requires_grad=True)
    table = layer.fields(graph).table
    assert (table < 0).any(1).sum() == 3  # 17 of 34 nodes are taken
    padded = torch.cat([x, x.new_zeros(2, 1, 3)], 1)
    line = padded[:, table.flatten()].transpose(1, 2)  # (B, C, w k)
    expected = F.conv1d(line, layer.weight, layer.bias, stride=4).transpose(1, 2)
    y = layer(x, graph)
    assert_close(y, expected)
    leaves, weights = (x, *layer.parameters()), torch.randn_like(y)
    wanted = torch.autograd.grad((expected * weights).sum(), leaves)
    for found, other in zip(torch.autograd.grad((y * weights).sum(), leaves), wanted, strict=True):
        assert_close(found, other)
    assert_close(layer(x[0], graph), y[0])


def test_the_plan_is_kept_and_the_codomain_is_a_line():
    graph = grid_graph((4, 4))
    first, second = PatchySanConv(1, 2, 6, 3), PatchySanConv(1, 5, 6, 3)
    assert first.fields(graph) is second.fields(graph)
    line = first.codomain(graph)
    assert bridge.grid_of(line).size == (6,)
    network = Sequential(first, torch.nn.ReLU(), DirectionalConv(2, 4, (3,)))
    assert network(torch.randn(2, 16, 1), graph).shape == (2, 6, 4)
    assert first(torch.randn(16, 1), graph.edge_index).shape == (6, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_selected": 0}, "num_selected takes a whole number >= 1, got 0"),
        ({"kernel_size": 1.5}, r"kernel_size takes a whole number >= 1, got 1\.5"),
        ({"stride": True}, "stride takes a whole number >= 1, got True"),
        ({"labeling": "colour"}, "labeling is one of 'degree', 'betweenness', 'wl'; got 'colour'"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PatchySanConv(**{"in_channels": 1, "out_channels": 2, "num_selected": 4, "kernel_size": 3, **options})

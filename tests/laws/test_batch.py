"""A batch on one shared graph = its signals one by one = one signal on the disjoint union.

And different graphs side by side = each by itself, graphs of one node or without edges among them.
"""

import pytest
import torch
from registry import GRAPHS, IDS, OFF_GRIDS, ON_DOMAINS, ROWS, double, random_graph, signal
from torch_geometric.data import Batch

from gconv import Graph, batch_graphs, interop


@pytest.mark.parametrize(("row", "name"), ON_DOMAINS, ids=IDS)
def test_batch_is_one_by_one(row, name):
    graph, layer = GRAPHS[name](), double(row)
    x = signal(graph, 3)
    batched = layer(x, graph)
    alone = torch.stack([layer(signals, graph) for signals in x])
    torch.testing.assert_close(batched, alone, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(batched, torch.cat([layer(part, graph) for part in x.split(2)]), rtol=1e-10, atol=1e-11)


def disjoint_union(graph: Graph, copies: int) -> Graph:
    """`copies` of a graph side by side, positions far apart."""
    shift = torch.arange(copies).repeat_interleave(graph.num_edges) * graph.num_nodes
    pos = graph.pos.repeat(copies, 1)
    pos[:, 0] += 100.0 * torch.arange(copies).repeat_interleave(graph.num_nodes)
    weight = None if graph.edge_weight is None else graph.edge_weight.repeat(copies)
    index = graph.edge_index.repeat(1, copies) + shift
    batch = torch.arange(copies).repeat_interleave(graph.num_nodes)
    return Graph(index, copies * graph.num_nodes, weight, graph.edge_attr.repeat(copies, 1), pos, batch=batch)


@pytest.mark.parametrize(("row", "name"), OFF_GRIDS, ids=str)
def test_shared_graph_is_block_diagonal(row, name):
    graph, layer = GRAPHS[name](), double(row)
    x = signal(graph, 3)
    union = layer(x.flatten(0, 1), disjoint_union(graph, 3))
    one_by_one = layer(x, graph)
    torch.testing.assert_close(union.view(one_by_one.shape), one_by_one, rtol=1e-9, atol=1e-10)


def different_graphs(row) -> list[Graph]:
    """Graphs of several sizes: a single node, edges of the node to itself, none at all."""
    sizes = [random_graph(nodes, directed=not row.undirected, seed=nodes) for nodes in (9, 2, 7)]
    nothing, pos = torch.zeros(2, 0, dtype=torch.long), torch.tensor([[0.0, 0], [0, 1], [2, 0], [1, 1]])
    bare = [Graph(nothing, nodes, torch.zeros(0), torch.zeros(0, 2), pos[:nodes]) for nodes in (1, 4)]
    loop = Graph(torch.zeros(2, 1, dtype=torch.long), 1, torch.ones(1), torch.zeros(1, 2), pos[:1])
    return [bare[0], *sizes, bare[1], loop]


@pytest.mark.parametrize("row", [row for row in ROWS if row.alone and not row.grids_only], ids=str)
def test_different_graphs_do_not_meet(row):
    graphs, layer = different_graphs(row), double(row)
    union = batch_graphs(graphs)
    x = signal(union, 2)
    found, alone = layer(x, union), []
    for part, graph in zip(x.split([graph.num_nodes for graph in graphs], 1), graphs, strict=True):
        out = layer(part, graph)
        alone.append(out[:, None] if row.readout else out)
        torch.testing.assert_close(layer(part[0], graph), out[0], rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(found, torch.cat(alone, 1), rtol=1e-9, atol=1e-10)
    data = Batch.from_data_list([interop.to_pyg(graph) for graph in graphs])
    torch.testing.assert_close(layer(x[0], data), found[0], rtol=1e-10, atol=1e-11)

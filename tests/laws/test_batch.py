"""A batch on one shared graph = its signals one by one = one signal on the disjoint union."""

import pytest
import torch
from registry import GRAPHS, IDS, OFF_GRIDS, ON_DOMAINS, double, signal

from gconv import Graph


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

"""Renumbering the nodes renumbers the result, and that on a graph that no longer knows of its grid."""

import pytest
import torch
from registry import GRAPHS, OFF_GRIDS, double, signal

from gconv import Graph


def renumbered(graph: Graph, order: torch.Tensor) -> Graph:
    """The same graph with node `order[i]` called i."""
    number = torch.argsort(order)
    pos = None if graph.pos is None else graph.pos[order]
    return Graph(number[graph.edge_index], graph.num_nodes, graph.edge_weight, graph.edge_attr, pos)


@pytest.mark.parametrize(("row", "name"), OFF_GRIDS, ids=str)
def test_permutation(row, name):
    graph, layer = GRAPHS[name](), double(row)
    x, order = signal(graph, 2), torch.randperm(graph.num_nodes)
    y = layer(x, graph)
    again = layer(x[:, order], renumbered(graph, order))
    torch.testing.assert_close(again, y if row.readout else y[:, order], rtol=1e-9, atol=1e-10)

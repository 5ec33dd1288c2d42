"""How layers are called, and what they say when called wrongly."""

import pytest
import torch
from registry import CHANNELS, GRAPHS, ROWS, double, graphs_of, signal

from gconv import bridge, grid_graph, interop
from grid_cnn import Grid

NEED_THE_GRAPH = [row for row in ROWS if not row.domainless]


@pytest.mark.parametrize("row", NEED_THE_GRAPH, ids=str)
def test_without_a_domain(row):
    with pytest.raises(TypeError, match=r"called without a domain.*bind"):
        row.make()(torch.zeros(24, CHANNELS))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_misfits_are_named(row):
    graph, layer = grid_graph((4, 6)), row.make()
    with pytest.raises(ValueError, match=r"signal of 23 nodes.*4×6 grid"):
        layer(torch.zeros(2, 23, CHANNELS), graph)
    with pytest.raises(ValueError, match=r"takes a signal \(N, C\) or \(B, N, C\), got shape \(1, 2, 24, 3\)"):
        layer(torch.zeros(1, 2, 24, CHANNELS), graph)
    with pytest.raises(TypeError, match=r"works on a Graph.*grid_graph"):
        layer(torch.zeros(24, CHANNELS), Grid((4, 6)))
    with pytest.raises(TypeError, match=r"takes a Graph.*got list"):
        layer(torch.zeros(24, CHANNELS), [[0, 1], [1, 2]])
    # Whole numbers: places of ones for `RGCNConv`, which wants a single axis of them.
    with pytest.raises((TypeError, ValueError), match=r"takes (a signal of floating numbers, got|signals of numbers)"):
        layer(torch.zeros(24, CHANNELS, dtype=torch.long), graph)
    if layer.in_channels is not None:
        with pytest.raises(ValueError, match="expects 3 channels, got 5"):
            layer(torch.zeros(24, 5), graph)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_other_device_is_named(row):
    with pytest.raises(ValueError, match="signal is on meta, the graph on cpu"):
        row.make().to("meta")(torch.zeros(24, CHANNELS, device="meta"), grid_graph((4, 6)))


@pytest.mark.parametrize("row", [r for r in ROWS if not r.grids_only], ids=str)
def test_graph_data_and_edge_index_agree(row):
    graph, layer = GRAPHS[graphs_of(row)[-1]](), double(row)
    x = signal(graph)
    y = layer(x, graph)
    data = interop.to_pyg(graph)
    torch.testing.assert_close(layer(x, data), y)
    if row.name.startswith("GMM"):
        torch.testing.assert_close(layer(x, data.edge_index, edge_attr=data.edge_attr), y)
    elif row.name.startswith(("GCN", "Cheb", "Spectral")):
        torch.testing.assert_close(layer(x, data.edge_index, data.edge_weight), y)
        torch.testing.assert_close(layer(x, data.edge_index, edge_weight=data.edge_weight), y)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_codomain_is_where_the_result_lives(row):
    graph, layer = grid_graph((4, 6)), double(row)
    y, codomain = layer.step(signal(graph, 2), graph)
    if row.readout:
        assert codomain is None
    else:
        assert codomain is layer.codomain(graph)
        assert y.shape[1] == codomain.num_nodes
        assert bridge.to_images(y, codomain).shape[2:] == codomain.grid.size

"""On a torus, shifting the signal shifts the result."""

import pytest
import torch
from registry import ROWS, double, signal

from gconv import bridge, grid_graph


@pytest.mark.parametrize("neighbors", [4, 8])
@pytest.mark.parametrize("row", [row for row in ROWS if row.translates], ids=str)
def test_translation(row, neighbors):
    graph, layer = grid_graph((6, 8), neighbors, periodic=True), double(row)
    step = row.translates
    x = signal(graph, 2)
    shifted = bridge.to_nodes(bridge.to_images(x, graph).roll((2 * step, -step), (2, 3)))
    y, again = layer(x, graph), layer(shifted, graph)
    if not row.readout:
        out = layer.codomain(graph)
        y = bridge.to_nodes(bridge.to_images(y, out).roll((2, -1), (2, 3)))
    torch.testing.assert_close(again, y, rtol=1e-9, atol=1e-10)

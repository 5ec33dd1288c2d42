"""State dicts go round, and the same seed gives the same bits."""

import io

import pytest
import torch
from registry import GRAPHS, ROWS, double, graphs_of, signal


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_state_dict_round_trip(row):
    graph, layer = GRAPHS[graphs_of(row)[0]](), double(row)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    torch.manual_seed(1)
    other = double(row)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    x = signal(graph, 2)
    assert torch.equal(other(x, graph), layer(x, graph))


def forward_and_backward(row, name):
    torch.manual_seed(3)
    graph, layer = GRAPHS[name](), row.make()
    x = signal(graph, 40, dtype=torch.float32).requires_grad_()
    y = layer(x, graph)
    y.square().sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in layer.parameters())]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_same_seed_same_bits(row):
    for name in graphs_of(row):
        for first, second in zip(forward_and_backward(row, name), forward_and_backward(row, name), strict=True):
            assert torch.equal(first, second), name

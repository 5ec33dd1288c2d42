"""A layer called with a graph compiles without a break and exports, to the same numbers."""

import pytest
import torch
from registry import GRAPHS, ROWS, double, graphs_of, signal

from grid_cnn import bind


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_compile(row):
    torch.compiler.reset()
    graph, layer = GRAPHS[graphs_of(row)[-1]](), double(row)
    x = signal(graph, 2).requires_grad_()
    y = layer(x, graph)
    (grad,) = torch.autograd.grad(y.square().sum(), x)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")(x, graph)
    (compiled_grad,) = torch.autograd.grad(compiled.square().sum(), x)
    torch.testing.assert_close(compiled, y)
    torch.testing.assert_close(compiled_grad, grad)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_export(row):
    graph, layer = GRAPHS[graphs_of(row)[0]](), double(row)
    bound = bind(layer, graph)
    x = signal(graph, 2)
    exported = torch.export.export(bound, (x,)).module()
    torch.testing.assert_close(exported(x), layer(x, graph))


def test_a_missing_plan_is_named_when_compiling():
    from gconv import GCNConv, grid_graph

    torch.compiler.reset()
    compiled = torch.compile(GCNConv(3, 4), fullgraph=True, backend="aot_eager")
    with pytest.raises(Exception, match="call the layer once before compiling"):
        compiled(torch.zeros(24, 3), grid_graph((4, 6)))

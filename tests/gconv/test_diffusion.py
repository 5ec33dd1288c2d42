"""Diffusion convolution against the paper's equation written with dense matrices, and by hand."""

import pytest
import torch
from registry import random_graph

import gconv
from gconv import Graph, grid_graph, interop


def dense_diffusion(layer, graph, x):
    """Equations 1 and 3: Z[i, h, f] = f(W[h, f] Σ_l P*[i, h, l] X[l, f]), with all powers of P as one tensor."""
    adjacency = interop.to_dense(graph).double().t()  # a row a target
    walk = adjacency / adjacency.sum(1, keepdim=True).clamp(min=1e-300)
    powers = torch.stack([torch.linalg.matrix_power(walk, h) for h in range(layer.hops)], 1)  # (N, H, N)
    z = layer.act(layer.weight * torch.einsum("ihl,...lf->...ihf", powers, x))
    flat = z.flatten(-2)
    return flat if layer.lin is None else flat @ layer.lin.weight.t() + layer.lin.bias


@pytest.mark.parametrize("out_channels", [None, 4])
@pytest.mark.parametrize(
    "graph", [random_graph(20), random_graph(20, directed=False), grid_graph((3, 5)), grid_graph((9, 9), 4)], ids=str
)
def test_against_the_equation(graph, out_channels):
    layer = gconv.DiffusionConv(3, out_channels, hops=4).double()
    x = torch.randn(2, graph.num_nodes, 3, dtype=torch.float64, requires_grad=True)
    found, expected = layer(x, graph), dense_diffusion(layer, graph, x)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    wanted = (x, *layer.parameters())
    gradients = (torch.autograd.grad(y.square().sum(), wanted) for y in (found, expected))
    for value, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(value, theirs, rtol=1e-9, atol=1e-11)


def test_by_hand():
    """A path 0 - 1 - 2: one step from the middle reaches each end with one half."""
    layer = gconv.DiffusionConv(1, hops=3, act=None)
    torch.nn.init.constant_(layer.weight, 2.0)
    y = layer(torch.tensor([[1.0], [0.0], [3.0]]), torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]))
    assert y.tolist() == [[2.0, 0.0, 4.0], [0.0, 4.0, 0.0], [6.0, 0.0, 4.0]]


def test_learned_weights():
    graph = random_graph(20)
    weight = graph.edge_weight.double().requires_grad_()
    learned = Graph(graph.edge_index, 20, weight)
    layer = gconv.DiffusionConv(3, 4, hops=3).double()
    x = torch.randn(20, 3, dtype=torch.float64)
    torch.testing.assert_close(layer(x, learned), layer(x, graph), rtol=1e-6, atol=1e-7)
    assert torch.autograd.gradcheck(lambda w: layer(x, graph.edge_index, w), weight, fast_mode=True)


def test_a_node_without_edges_keeps_itself_alone():
    layer = gconv.DiffusionConv(2, hops=3, act=None)
    y = layer(torch.ones(3, 2), Graph(torch.tensor([[0], [1]]), 3))
    torch.testing.assert_close(y[2], torch.cat([layer.weight[0], torch.zeros(4)]))


def test_wrong_settings_are_named():
    for hops in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="hops, how many lengths of walks, is a whole number >= 1; got"):
            gconv.DiffusionConv(3, 4, hops=hops)
    with pytest.raises(ValueError, match="in_channels takes a whole number"):
        gconv.DiffusionConv(0, 4)

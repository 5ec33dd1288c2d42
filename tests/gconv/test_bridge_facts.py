"""Facts of the bridge: what continuous kernels become on a grid's offsets."""

import math
from itertools import pairwise

import pytest
import torch
from graph_oracles import assert_close

from gconv import AnisotropicConv, DirectionalConv, GeodesicConv, GMMConv, SplineConv, grid_graph


def directional(size, cin=2, cout=3):
    """A 3×3 directional convolution, and a signal and weights for its result."""
    layer = DirectionalConv(cin, cout, 3).double()
    return layer, torch.randn(2, size[0] * size[1], cin, dtype=torch.float64, requires_grad=True)


def taps(layer):
    """The matrices of the eight neighbours, `(8, C_in, C_out)`, row by row, and that of the node itself."""
    matrices = layer.weight.detach().flatten(2).permute(2, 1, 0)
    return matrices[[0, 1, 2, 3, 5, 6, 7, 8]], matrices[4]


@pytest.mark.parametrize("periodic", [False, True])
def test_monet_narrowed_on_the_offsets_becomes_the_directional_convolution(periodic):
    graph = grid_graph((5, 6), periodic=periodic)
    layer, x = directional((5, 6))
    near, own = taps(layer)
    offsets = torch.tensor([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j], dtype=torch.float64)
    monet = GMMConv(2, 3, dim=2, kernel_size=8, aggr="add").double()
    with torch.no_grad():
        monet.g.copy_(near.transpose(0, 1).flatten(1))
        monet.mu.copy_(offsets)
        monet.root.weight.copy_(own.t())
        monet.bias.copy_(layer.bias)
    expected = layer(x, graph)
    errors = []
    for sigma in (0.5, 0.35, 0.25, 0.15, 0.1):
        monet.sigma.data.fill_(sigma)
        errors.append(float((monet(x, graph) - expected).detach().abs().max()))
        # Every Gaussian leaks exp(-1 / (2 σ²)) at most to each of the other neighbours.
        leak = 8 * 7 * 2 * math.exp(-0.5 / sigma**2)
        assert errors[-1] <= leak * near.abs().max() * x.detach().abs().max() + 1e-13
    assert all(after < before / 3 for before, after in pairwise(errors))
    assert errors[0] > 0.1
    assert errors[-1] < 1e-12


@pytest.mark.parametrize("form", ["collapsed", "fused", "portable"])
@pytest.mark.parametrize("periodic", [False, True])
def test_spline_of_degree_one_on_the_offsets_is_the_directional_convolution(periodic, form):
    graph = grid_graph((5, 6), periodic=periodic)
    layer, x = directional((5, 6))
    spline = SplineConv(2, 3, dim=2, kernel_size=3, degree=1, aggr="add", max_value=1.0).double()
    with torch.no_grad():  # functions are counted with axis 0 first, taps with axis 1 first
        spline.weight.copy_(layer.weight.permute(3, 2, 1, 0).flatten(0, 1))
        spline.lin.weight.copy_(layer.weight[:, :, 1, 1])
        spline.bias.copy_(layer.bias)
    y, expected = spline(x, graph, form=form), layer(x, graph)
    assert_close(y, expected)
    weights = torch.randn_like(expected)
    found = torch.autograd.grad((y * weights).sum(), [x, spline.weight, spline.lin.weight])
    wanted = torch.autograd.grad((expected * weights).sum(), [x, layer.weight])
    assert_close(found[0], wanted[0])
    by_taps = found[1].unflatten(0, (3, 3)).permute(3, 2, 1, 0)  # the middle one is the root's
    assert not by_taps[:, :, 1, 1].any()
    by_taps[:, :, 1, 1] = found[2]
    assert_close(by_taps, wanted[1])


def test_spline_of_higher_degree_blurs_the_kernel():
    """A quadratic spline on the middles of its intervals mixes offsets by 1/8, 3/4, 1/8 along each axis."""
    graph = grid_graph((6, 6), periodic=True)
    layer, x = directional((6, 6))
    # Five functions on three intervals: the offsets scaled by 3 lie on their middles.
    spline = SplineConv(2, 3, 2, 5, degree=2, aggr="add", root_weight=False, bias=False, max_value=1.5).double()
    blur = torch.tensor([1 / 8, 3 / 4, 1 / 8], dtype=torch.float64)
    grid = spline.weight.detach().view(5, 5, 2, 3)
    kernel = sum(blur[i] * blur[j] * grid[i : i + 3, j : j + 3] for i in range(3) for j in range(3))
    kernel[1, 1] = 0.0
    with torch.no_grad():
        layer.weight.copy_(kernel.permute(3, 2, 1, 0))
        layer.bias.zero_()
    assert_close(spline(x, graph), layer(x, graph))


def test_narrow_geodesic_kernels_on_four_neighbours_are_a_directional_cross():
    graph = grid_graph((5, 6), 4, periodic=True)
    layer, x = directional((5, 6))
    geodesic = GeodesicConv(
        2, 3, rings=1, rays=4, radius=1.0, sigma_rho=0.05, sigma_theta=0.05, angular_max_pool=False,
        coordinates="cartesian",
    ).double()  # fmt: skip
    with torch.no_grad():
        layer.weight.zero_()
        for ray, (i, j) in enumerate([(2, 1), (1, 2), (0, 1), (1, 0)]):  # θ turns from axis 0 towards axis 1
            layer.weight[:, :, i, j] = geodesic.weight[ray].t()
        layer.weight[:, :, 1, 1] = geodesic.root.weight
        layer.bias.copy_(geodesic.bias)
    assert_close(geodesic(x, graph), layer(x, graph))


def test_round_anisotropic_kernels_are_the_mean_of_the_neighbours():
    graph = grid_graph((5, 6), 4)
    layer = AnisotropicConv(2, 3, angles=3, alpha=1.0, coordinates="cartesian", root_weight=False).double()
    x = torch.randn(2, 30, 2, dtype=torch.float64)
    mean = torch.zeros_like(x).index_add(1, graph.edge_index[1], x[:, graph.edge_index[0]])
    mean = mean / graph.structure.in_degree[:, None]
    assert_close(layer(x, graph), mean @ layer.weight.sum(0) + layer.bias)

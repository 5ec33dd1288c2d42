"""Local polar coordinates, and the layers whose kernels a formula fixes on them, held to the equations by loops."""

import math

import pytest
import torch
from graph_oracles import assert_close

from gconv import AnisotropicConv, GeodesicConv, Graph, batch_graphs, grid_graph, polar
from gconv.spatial.polar import PolarConv

INDEX = torch.tensor([[1, 2, 3, 0, 2, 4, 0], [0, 0, 0, 1, 1, 2, 4]])


def scattered(seed=0):
    generator = torch.Generator().manual_seed(seed)
    rho = torch.rand(7, generator=generator, dtype=torch.float64) * 1.5
    theta = torch.rand(7, generator=generator, dtype=torch.float64) * 2 * math.pi
    return Graph(INDEX, 6, edge_attr=torch.stack([rho, theta], 1))


def geodesic_kernel(layer, rho, theta):
    rings, rays = layer.rings, layer.rays
    kernel = []
    for r in range(rings):
        for a in range(rays):
            turn = abs(theta - 2 * math.pi * a / rays) % (2 * math.pi)
            turn = min(turn, 2 * math.pi - turn)
            along = (rho - layer.radius * (r + 1) / rings) / layer.sigma_rho
            kernel.append(math.exp(-0.5 * along**2) * math.exp(-0.5 * (turn / layer.sigma_theta) ** 2))
    return kernel


def anisotropic_kernel(layer, rho, theta):
    u, kernel = torch.tensor([rho * math.cos(theta), rho * math.sin(theta)], dtype=torch.float64), []
    for a in range(layer.angles):
        c, s = math.cos(math.pi * a / layer.angles), math.sin(math.pi * a / layer.angles)
        turn = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
        form = turn @ torch.diag(torch.tensor([layer.alpha, 1.0], dtype=torch.float64)) @ turn.t()
        kernel += [math.exp(-0.5 * float(u @ form @ u) / scale**2) for scale in layer.scales]
    return kernel


def patches(layer, kernel, x, graph):
    """Σ_j w_k(j) x_j for each node and kernel, `(N, K, C)`."""
    weights = torch.tensor([kernel(layer, *point) for point in graph.edge_attr.tolist()], dtype=torch.float64)
    out = torch.zeros(graph.num_nodes, weights.shape[1], x.shape[1], dtype=torch.float64)
    for node in range(graph.num_nodes):
        own = (graph.edge_index[1] == node).nonzero().flatten()
        if len(own):
            share = weights[own] / weights[own].sum(0) if layer.normalize else weights[own]
            out[node] = share.t() @ x[graph.edge_index[0][own]]
    return out


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("form", ["fused", "portable"])
def test_geodesic_convolution_is_its_equation(form, pooled, normalize):
    graph = scattered()
    layer = GeodesicConv(2, 3, 2, 5, radius=1.2, angular_max_pool=pooled, normalize=normalize).double()
    x = torch.randn(2, 6, 2, dtype=torch.float64, requires_grad=True)
    kernel = layer.weight.view(2, 5, 2, 3)
    expected = []
    for signal in x:
        patch = patches(layer, geodesic_kernel, signal, graph).view(6, 2, 5, 2)
        turns = [
            sum(patch[:, r, a] @ kernel[r, (a + turn) % 5] for r in range(2) for a in range(5))
            for turn in range(5 if pooled else 1)
        ]
        expected.append(torch.stack(turns).amax(0) + signal @ layer.root.weight.t() + layer.bias)
    expected = torch.stack(expected)
    y = layer(x, graph, form=form)
    assert_close(y, expected)
    leaves, weights = (x, *layer.parameters()), torch.randn_like(y)
    wanted = torch.autograd.grad((expected * weights).sum(), leaves)
    for found, other in zip(torch.autograd.grad((y * weights).sum(), leaves), wanted, strict=True):
        assert_close(found, other)
    assert_close(layer(x[0], INDEX, graph.edge_attr), y[0])


@pytest.mark.parametrize("normalize", [True, False])
def test_anisotropic_convolution_is_its_equation(normalize):
    graph = scattered()
    layer = AnisotropicConv(2, 3, angles=3, scales=(0.5, 1.5), alpha=0.2, normalize=normalize).double()
    x = torch.randn(2, 6, 2, dtype=torch.float64)
    for signal, y in zip(x, layer(x, graph), strict=True):
        patch = patches(layer, anisotropic_kernel, signal, graph)
        assert_close(y, torch.einsum("nkc,kco->no", patch, layer.weight) + layer.root(signal) + layer.bias)


def turned(graph, by):
    rho, theta = graph.edge_attr.unbind(1)
    return graph.having(edge_attr=torch.stack([rho, (theta + by) % (2 * math.pi)], 1))


def test_angular_max_pooling_forgets_the_frames_direction():
    graph, x = scattered(), torch.randn(6, 2, dtype=torch.float64)
    pooled = GeodesicConv(2, 3, 2, 8).double()
    plain = GeodesicConv(2, 3, 2, 8, angular_max_pool=False).double()
    for rays in (1, 3, 4):
        again = turned(graph, rays * 2 * math.pi / 8)
        assert_close(pooled(x, again), pooled(x, graph))
        assert (plain(x, again) - plain(x, graph)).abs().max() > 1e-3


def test_anisotropic_kernels_do_not_see_half_a_turn():
    graph, x = scattered(), torch.randn(6, 2, dtype=torch.float64)
    layer = AnisotropicConv(2, 3, 4).double()
    assert_close(layer(x, turned(graph, math.pi)), layer(x, graph))
    assert (layer(x, turned(graph, 1.0)) - layer(x, graph)).abs().max() > 1e-3


def test_a_neighbour_at_distance_zero_lies_in_every_direction():
    loops = Graph(torch.tensor([[0], [0]]), 1, edge_attr=torch.tensor([[0.0, 0.3]]))
    layer = GeodesicConv(1, 1, 1, 4, normalize=False, angular_max_pool=False, root_weight=False)
    expected = math.exp(-0.5 * (1.0 / layer.sigma_rho) ** 2) * layer.weight.sum() + layer.bias
    torch.testing.assert_close(layer(torch.ones(1, 1), loops).flatten(), expected)


def test_far_neighbours_still_make_a_patch():
    """Weights that all but vanish are weights all the same: the nearest counts, and nothing is divided by 0."""
    far = Graph(torch.tensor([[0, 1], [2, 2]]), 3, edge_attr=torch.tensor([[90.0, 0.0], [100.0, 0.0]]))
    layer = GeodesicConv(1, 1, 1, 1, root_weight=False, bias=False)
    y = layer(torch.tensor([[2.0], [5.0], [0.0]]), far)
    torch.testing.assert_close(y, torch.tensor([[0.0], [0.0], [2.0]]) * layer.weight.flatten())


def test_polar_in_the_plane():
    graph = grid_graph((3, 3))
    rho, theta = polar(graph).edge_attr.unbind(1)
    move = graph.edge_attr
    torch.testing.assert_close(torch.stack([rho * theta.cos(), rho * theta.sin()], 1), move)
    assert theta.min() >= 0
    assert theta.max() < 2 * math.pi
    directions = torch.tensor([0.0, 3.0]).expand(9, 2)  # along axis 1
    rotated = polar(graph, directions=directions).edge_attr[:, 1]
    torch.testing.assert_close((theta - rotated) % (2 * math.pi), torch.full_like(theta, math.pi / 2))
    torus = polar(grid_graph((3, 5), 4, periodic=True))
    torch.testing.assert_close(torus.edge_attr[:, 0], torch.ones(torus.num_edges))


def near(pos, count):
    sources = torch.cdist(pos, pos).topk(count + 1, largest=False).indices[:, 1:]
    targets = torch.arange(len(pos)).repeat_interleave(count)
    return Graph(torch.stack([sources.flatten(), targets]), len(pos), pos=pos)


def rotation(seed=0):
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    return q * torch.linalg.det(q)


def test_a_plane_in_space_has_the_planes_coordinates():
    flat = near(torch.rand(20, 2, dtype=torch.float64), 5)
    lifted = flat.having(pos=torch.cat([flat.pos, torch.full((20, 1), 0.5, dtype=torch.float64)], 1))
    up = torch.tensor([0.0, 0.0, 1.0]).expand(20, 3)
    assert_close(polar(lifted, normals=up).edge_attr, polar(flat).edge_attr)
    found = polar(lifted).edge_attr  # without them the side of the plane is anybody's guess
    turn = polar(flat).edge_attr[:, 1]
    both = torch.stack([found[:, 1] - turn, found[:, 1] + turn]).remainder(2 * math.pi)
    away = torch.minimum(both, 2 * math.pi - both).amin(0)
    assert away.max() < 1e-9


def test_on_a_cylinder_the_direction_goes_round_it():
    """It bends by 1 around and not at all along: θ = 0 is around, and the axis lies at a right angle."""
    angle, height = torch.meshgrid(torch.arange(40) * 2 * math.pi / 40, torch.arange(-3, 4) * 0.16, indexing="ij")
    pos = torch.stack([angle.cos(), angle.sin(), height], -1).reshape(-1, 3).double()
    graph = near(pos @ rotation().t(), 8)
    around = torch.stack([-angle.sin(), angle.cos(), torch.zeros_like(angle)], -1).reshape(-1, 3).double()
    given = polar(graph, directions=around @ rotation().t())
    found = polar(graph)
    turn = (found.edge_attr[:, 1] - given.edge_attr[:, 1]).remainder(math.pi)  # but for its sign
    inner = (height.flatten().abs() < 0.4)[graph.edge_index[1]]
    assert torch.minimum(turn, math.pi - turn)[inner].max() < 1e-6


def test_frames_turn_with_the_surface():
    """Positions on an ellipsoid, turned in space: distances and angles stay."""
    points = torch.randn(60, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    pos = points / points.norm(dim=1, keepdim=True) * torch.tensor([1.0, 1.5, 2.5], dtype=torch.float64)
    graph = near(pos, 8)
    turn = rotation(2)
    before, after = polar(graph).edge_attr, polar(graph.having(pos=pos @ turn.t() + 3)).edge_attr
    assert_close(after[:, 0], before[:, 0])
    assert torch.cos(after[:, 1] - before[:, 1]).min() > 1 - 1e-9
    layer, x = AnisotropicConv(2, 3).double(), torch.randn(60, 2, dtype=torch.float64)
    assert_close(layer(x, graph.having(edge_attr=after)), layer(x, graph.having(edge_attr=before)), 1e-9)


def test_frames_of_a_batch_are_those_of_its_graphs():
    spheres = []
    for seed, centre in ((0, 0.0), (1, 3.0), (2, -4.0)):
        points = torch.randn(30, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        points = points / points.norm(dim=1, keepdim=True)
        near = torch.cdist(points, points).fill_diagonal_(9).topk(6, largest=False).indices.flatten()
        edges = torch.stack([near, torch.arange(30).repeat_interleave(6)])
        spheres.append(Graph(edges, 30, pos=points + centre))
    wanted = torch.cat([polar(sphere).edge_attr for sphere in spheres])
    assert_close(polar(batch_graphs(spheres)).edge_attr, wanted)


def test_bad_input_is_refused():
    x, graph = torch.zeros(6, 2), scattered()
    layer = GeodesicConv(2, 3, 1, 4)
    with pytest.raises(ValueError, match=r"GeodesicConv needs edge_attr \(E, 2\)"):
        layer(x, INDEX)
    with pytest.raises(ValueError, match=r"edge_attr has shape \(7, 2\) here, got \(7, 3\)"):
        AnisotropicConv(2, 3)(x, INDEX, torch.zeros(7, 3))
    with pytest.raises(ValueError, match=r"edge 0 has \[-1\.0, -1\.0\]; make them with gconv\.polar"):
        layer(torch.zeros(9, 2), grid_graph((3, 3)))
    with pytest.raises(ValueError, match=r"ρ >= 0; edge 0 has"):
        layer(x, graph, -graph.edge_attr)
    with pytest.raises(ValueError, match=r"finite, .* edge 0 has \[nan, nan\]"):
        layer(x, graph, (graph.edge_attr * torch.nan).requires_grad_())
    with pytest.raises(ValueError, match="normals belong to positions in three dimensions"):
        polar(grid_graph((3, 3)), normals=torch.zeros(9, 2))
    with pytest.raises(ValueError, match=r"directions has shape \(9, 2\) here, got \(9, 3\)"):
        polar(grid_graph((3, 3)), directions=torch.zeros(9, 3))
    with pytest.raises(ValueError, match=r"directions\[0\] is \[0\.0, 0\.0\]: it has no direction"):
        polar(grid_graph((3, 3)), directions=torch.zeros(9, 2))
    with pytest.raises(ValueError, match=r"two or three axes, .* has 1"):
        polar(grid_graph(5))
    with pytest.raises(ValueError, match="pass pos="):
        polar(Graph(INDEX))


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        (GeodesicConv, {"rings": 0}, "rings takes a whole number >= 1, got 0"),
        (GeodesicConv, {"radius": -1.0}, r"radius takes a positive number, got -1\.0"),
        (GeodesicConv, {"sigma_theta": 0.0}, r"sigma_theta takes a positive number, got 0\.0"),
        (GeodesicConv, {"coordinates": "xy"}, "coordinates is one of 'polar', 'cartesian'; got 'xy'"),
        (AnisotropicConv, {"angles": True}, "angles takes a whole number >= 1, got True"),
        (AnisotropicConv, {"scales": ()}, r"scales takes positive numbers, one or more in a sequence; got \(\)"),
        (AnisotropicConv, {"alpha": 0}, "alpha takes a positive number, got 0"),
    ],
)
def test_bad_settings_are_refused(layer: type[PolarConv], options, message):
    with pytest.raises(ValueError, match=message):
        layer(2, 3, **options)

"""`DirectionalConv` on nodes that stand anywhere: taps read means of the nodes near their places."""

import math

import pytest
import torch
from graph_oracles import assert_close

from gconv import DirectionalConv, Graph, bridge, grid_graph
from gconv.accounting import summary
from grid_cnn import Conv2d


def scattered(pos):
    """Nodes without a single edge: the neighbourhood comes from positions and kernel."""
    return Graph(torch.zeros(2, 0, dtype=torch.long), len(pos), pos=pos)


def jittered(size, amount, seed=0):
    axes = [torch.arange(n, dtype=torch.float64) for n in size]
    pos = torch.cartesian_prod(*axes)
    return pos + amount * (2 * torch.rand(pos.shape, generator=torch.Generator().manual_seed(seed)) - 1)


def rule(assignment, sigma):
    def bilinear(v):
        return math.prod(max(0.0, 1 - abs(c)) for c in v)

    def gaussian(v):
        squared = sum(c * c for c in v) / sigma**2
        return math.exp(-squared / 2) if squared <= 16 else 0.0

    return {"bilinear": bilinear, "gaussian": gaussian}[assignment]


def dense(layer, x, pos):
    """The equation of `functional.placement`, node by node and tap by tap."""
    placement, window = layer.placement, layer.window
    alpha = rule(placement.assignment, placement.sigma)
    taps = torch.cartesian_prod(
        *(
            torch.arange(k) * d - before
            for k, d, (before, _) in zip(window.kernel_size, window.dilation, window.borders, strict=True)
        )
    ).reshape(-1, len(window.kernel_size))
    rows = (pos.double() / placement.spacing).tolist()
    out = torch.zeros(len(pos), layer.out_channels, dtype=torch.float64)
    kernel = layer.weight.detach().flatten(2)
    for t, centre in enumerate(rows):
        for m, offset in enumerate(taps.tolist()):
            weights = [alpha([p - c - o for p, c, o in zip(row, centre, offset, strict=True)]) for row in rows]
            total = max(1.0, sum(weights))
            read = sum(w / total * x[j] for j, w in enumerate(weights) if w)
            if isinstance(read, torch.Tensor):
                parts = read.chunk(layer.groups)
                outs = kernel[:, :, m].chunk(layer.groups)
                out[t] += torch.cat([o @ p for o, p in zip(outs, parts, strict=True)])
    return out if layer.bias is None else out + layer.bias.detach()


@pytest.mark.parametrize("form", ["fused", "gather", "portable", None])
@pytest.mark.parametrize(
    ("assignment", "options"),
    [
        ("bilinear", {}),
        ("bilinear", {"spacing": 0.6, "groups": 2}),
        ("bilinear", {"kernel_size": (2, 3), "dilation": 2, "bias": False}),
        ("gaussian", {"sigma": 0.3}),
        ("gaussian", {"sigma": 0.7, "spacing": 1.5}),
    ],
)
def test_equals_the_equation_on_jittered_grids(assignment, options, form):
    pos = jittered((4, 5), 0.4) - 7
    layer = DirectionalConv(2, 4, **{"kernel_size": 3, **options}, assignment=assignment).double()
    x = torch.randn(2, 20, 2, dtype=torch.float64)
    expected = torch.stack([dense(layer, signal, pos) for signal in x])
    assert_close(layer(x, scattered(pos), form=form), expected)


@pytest.mark.parametrize("options", [{}, {"kernel_size": 5}, {"dilation": 2}, {"groups": 2, "bias": False}], ids=str)
def test_bilinear_on_exact_positions_is_the_convolution(options):
    conv = Conv2d(2, 4, **{"kernel_size": 3, "padding": "same", **options}).double()
    image = torch.randn(2, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    y = conv(image)
    weights = torch.randn_like(y)
    expected = torch.autograd.grad((y * weights).sum(), [image, *conv.parameters()])
    grid = grid_graph((6, 5))
    for spacing in (1.0, 0.25):
        graph = scattered(grid.pos.double() * spacing + 3)
        layer = DirectionalConv.from_conv2d(conv, assignment="bilinear", spacing=spacing)
        found = layer(bridge.to_nodes(image), graph)
        assert_close(bridge.to_images(found, grid), y)
        gradients = torch.autograd.grad(
            (bridge.to_images(found, grid) * weights).sum(), [image, *layer.parameters()], retain_graph=True
        )
        for value, reference in zip(gradients, expected, strict=True):
            assert_close(value, reference)
    assert_close(
        DirectionalConv.from_conv2d(conv, assignment="bilinear")(bridge.to_nodes(image), grid), bridge.to_nodes(y)
    )


def test_gaussian_taps_become_exact_as_they_narrow():
    conv = Conv2d(2, 3, 3, padding="same").double()
    grid = grid_graph((5, 5))
    x = torch.randn(25, 2, dtype=torch.float64)
    exact = DirectionalConv.from_conv2d(conv)(x, grid)
    errors = [
        float((DirectionalConv.from_conv2d(conv, assignment="gaussian", sigma=s)(x, grid) - exact).detach().abs().max())
        for s in (0.5, 0.4, 0.3, 0.24)
    ]
    assert errors[0] > errors[1] > errors[2] > 1e-4
    assert errors[3] < 1e-14  # the next cells lie beyond 4 σ


@pytest.mark.parametrize("assignment", ["bilinear", "gaussian"])
def test_translation_leaves_the_result_alone(assignment):
    layer = DirectionalConv(2, 3, 3, assignment=assignment).double()
    pos, x = jittered((5, 5), 0.5), torch.randn(25, 2, dtype=torch.float64)
    y = layer(x, scattered(pos))
    for shift in ([0.5, -0.25], [1000.125, -33.0], [1e-3, 7.77]):
        assert_close(layer(x, scattered(pos + torch.tensor(shift, dtype=torch.float64))), y, 1e-9)


@pytest.mark.parametrize("assignment", ["bilinear", "gaussian"])
def test_a_quarter_turn_of_the_points_turns_the_kernel(assignment):
    layer = DirectionalConv(2, 3, 3, assignment=assignment).double()
    turned = DirectionalConv(2, 3, 3, assignment=assignment).double()
    turned.load_state_dict(layer.state_dict())
    pos, x = jittered((5, 4), 0.4), torch.randn(20, 2, dtype=torch.float64)
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)  # (a, b) to (-b, a)
    with torch.no_grad():  # tap (i, j) goes to (-j, i)
        turned.weight.copy_(torch.rot90(layer.weight, 1, (2, 3)))
    assert_close(turned(x, scattered(pos @ turn)), layer(x, scattered(pos)))
    assert (layer(x, scattered(pos @ turn)) - layer(x, scattered(pos))).abs().max() > 1e-2


def test_continuous_in_the_positions():
    layer = DirectionalConv(1, 1, 3, assignment="bilinear").double()
    pos, x = jittered((4, 4), 0.3), torch.randn(16, 1, dtype=torch.float64)
    for step in (1e-3, 1e-5, 1e-7):
        moved = pos.clone()
        moved[5, 0] += step
        assert (layer(x, scattered(moved)) - layer(x, scattered(pos))).abs().max() < 100 * step


def test_dense_clouds_and_lonely_nodes():
    """A tap among many nodes reads their mean; far from all others it reads none; twins at one place share."""
    layer = DirectionalConv(1, 1, 3, bias=False, assignment="bilinear").double()
    with torch.no_grad():
        layer.weight.copy_(torch.arange(9.0).view(1, 1, 3, 3))
    pos = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [50.0, 50.0]], dtype=torch.float64)
    x = torch.tensor([[1.0], [3.0], [10.0], [7.0]], dtype=torch.float64)
    y = layer(x, scattered(pos)).flatten()
    # tap 4 is the node's own place, 5 one step along axis 1, 3 one step back
    assert y.tolist() == [4 * 2 + 5 * 10, 4 * 2 + 5 * 10, 4 * 10 + 3 * 2, 4 * 7]


def test_nearest_neighbour_graphs_lines_and_volumes():
    pos = torch.rand(30, 2, generator=torch.Generator().manual_seed(0)).double() * 4
    near = torch.cdist(pos, pos).topk(5, largest=False).indices
    edges = torch.stack([near.flatten(), torch.arange(30).repeat_interleave(5)])
    layer = DirectionalConv(2, 3, 3, assignment="bilinear", spacing=0.7).double()
    x = torch.randn(30, 2, dtype=torch.float64)
    graph = Graph(edges, 30, pos=pos)
    assert_close(layer(x, graph), dense(layer, x, pos))
    for axes in (1, 3):
        cloud = torch.rand(12, axes).double() * 2
        layer = DirectionalConv(2, 3, (3,) * axes, assignment="bilinear").double()
        assert_close(layer(x[:12], scattered(cloud)), dense(layer, x[:12], cloud))


def test_exact_positions_may_have_any_spacing():
    conv = Conv2d(1, 2, 3, padding="same").double()
    image = torch.randn(1, 1, 4, 5, dtype=torch.float64)
    graph = scattered(grid_graph((4, 5)).pos.double() * 0.125)
    y = DirectionalConv.from_conv2d(conv, spacing=0.125)(bridge.to_nodes(image), graph)
    assert_close(y, bridge.to_nodes(conv(image)))


def test_costs_count_what_is_read():
    graph = scattered(grid_graph((3, 3)).pos)
    soft = summary(DirectionalConv(1, 2, 3, assignment="bilinear"), graph, in_channels=1)
    exact = summary(DirectionalConv(1, 2, 3), graph, in_channels=1)
    assert soft.rows[0].edges == exact.rows[0].edges == 49


def test_misuse_is_refused():
    graph = scattered(jittered((3, 3), 0.3))
    with pytest.raises(ValueError, match=r"pass the spacing of the cells, or assignment='bilinear'"):
        DirectionalConv(1, 1, 3)(torch.zeros(9, 1), graph)
    with pytest.raises(ValueError, match="stride 1, padding='same'"):
        DirectionalConv(1, 1, 3, 2, assignment="bilinear")(torch.zeros(9, 1), graph)
    with pytest.raises(ValueError, match="stride 1, padding='same'"):
        DirectionalConv(1, 1, 3, 2, assignment="gaussian")(torch.zeros(9, 1), grid_graph((3, 3)))
    with pytest.raises(ValueError, match="needs positions"):
        DirectionalConv(1, 1, 3, assignment="bilinear")(torch.zeros(2, 1), Graph(torch.tensor([[0], [1]])))
    with pytest.raises(ValueError, match=r"assignment is one of 'exact', 'bilinear', 'gaussian'; got 'nearest'"):
        DirectionalConv(1, 1, 3, assignment="nearest")
    with pytest.raises(ValueError, match=r"spacing takes a positive number, got 0\.0"):
        DirectionalConv(1, 1, 3, spacing=0.0)
    with pytest.raises(ValueError, match="spacing takes a positive number, got inf"):
        DirectionalConv(1, 1, 3, assignment="bilinear", spacing=float("inf"))
    layer = DirectionalConv(1, 1, 3, assignment="bilinear", spacing=1e-12)
    with pytest.raises(ValueError, match=r"too many to count; pass the distance"):
        layer(torch.zeros(2, 1), scattered(torch.tensor([[0.0, 0.0], [1e9, 1e9]])))

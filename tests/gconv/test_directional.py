"""`DirectionalConv` is `Conv2d`: forward and every gradient, in both forms, whatever the settings."""

import itertools

import pytest
import torch
from torch import nn

from gconv import DirectionalConv, Graph, bridge, grid_graph
from grid_cnn import Conv1d, Conv2d, Conv3d, Grid

SETTINGS = [
    (kernel, stride, dilation, groups, padding, mode)
    for kernel, stride, dilation, groups in itertools.product((1, 3, 5, 7), (1, 2), (1, 2), (1, 2))
    for padding, mode in (("same", "zeros"), ("valid", "zeros"), ("same", "circular"))
]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def gradients(layer, y, x, parameters):
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    return [y, *torch.autograd.grad((y * weights).sum(), [x, *parameters])]


def relative(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("form", ["convolution", "gather"])
@pytest.mark.parametrize(("kernel", "stride", "dilation", "groups", "padding", "mode"), SETTINGS)
def test_equals_conv2d(kernel, stride, dilation, groups, padding, mode, form, dtype):
    conv = Conv2d(4, 6, kernel, stride, padding, dilation, groups, padding_mode=mode).to(dtype)
    layer, graph = DirectionalConv.from_conv2d(conv), grid_graph((13, 14))
    images = torch.randn(2, 4, 13, 14, dtype=dtype)
    x = images.clone().requires_grad_()
    y = conv(x)
    expected = gradients(conv, y, x, conv.parameters())
    nodes = bridge.to_nodes(images).detach().clone().requires_grad_()
    out = bridge.to_images(layer(nodes, graph, form=form), layer.codomain(graph))
    found = gradients(layer, out, nodes, layer.parameters())
    found[1] = bridge.to_images(found[1], graph)
    for value, reference in zip(found, expected, strict=True):
        assert value.shape == reference.shape
        assert relative(value, reference) <= TOLERANCE[dtype]


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
@pytest.mark.parametrize("form", ["convolution", "gather"])
def test_other_borders(form, mode):
    conv = nn.Conv2d(2, 3, (5, 4), stride=(1, 2), padding=(2, 3), padding_mode=mode).double()
    x = torch.randn(2, 2, 7, 8, dtype=torch.float64)
    layer, graph = DirectionalConv.from_conv2d(conv), grid_graph((7, 8))
    y = layer(bridge.to_nodes(x), graph, form=form)
    assert relative(bridge.to_images(y, layer.codomain(graph)), conv(x)) <= 1e-12


@pytest.mark.parametrize("form", ["convolution", "gather"])
def test_torus_wraps_whatever_the_padding_mode(form):
    conv = Conv2d(2, 3, 5, padding="same").double()
    graph = grid_graph((6, 7), periodic=True)
    x = torch.randn(2, 2, 6, 7, dtype=torch.float64)
    y = DirectionalConv.from_conv2d(conv)(bridge.to_nodes(x), graph, form=form)
    wrapped = nn.functional.conv2d(nn.functional.pad(x, (2, 2, 2, 2), mode="circular"), conv.weight, conv.bias)
    assert relative(bridge.to_images(y, graph), wrapped) <= 1e-12
    assert relative(conv(x, Grid((6, 7), periodic=True)), wrapped) <= 1e-12


@pytest.mark.parametrize(("layer", "size"), [(Conv1d, (9,)), (Conv3d, (4, 5, 3))])
@pytest.mark.parametrize("form", ["convolution", "gather"])
def test_lines_and_volumes(layer, size, form):
    conv = layer(2, 3, 3, padding="same").double()
    graph = grid_graph(size)
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    directional = DirectionalConv(2, 3, (3,) * len(size)).double()
    directional.load_state_dict(conv.state_dict(), strict=True)
    y = directional(bridge.to_nodes(x), graph, form=form)
    assert relative(bridge.to_images(y, graph), conv(x)) <= 1e-12


def test_there_and_back_again():
    conv = Conv2d(4, 6, (3, 5), stride=2, padding=1, dilation=(1, 2), groups=2, padding_mode="replicate", bias=False)
    back = DirectionalConv.from_conv2d(conv).to_conv2d()
    x = torch.randn(2, 4, 12, 12)
    assert torch.equal(back(x), conv(x))
    assert repr(back) == repr(conv)


def test_settings_read_as_those_of_conv2d():
    settings = {"kernel_size": (3, 5), "stride": (2, 1), "dilation": (1, 2), "padding_mode": "reflect"}
    ours, theirs = DirectionalConv(3, 4, padding=1, **settings), torch.nn.Conv2d(3, 4, padding=1, **settings)
    for name in ("in_channels", "out_channels", "groups", "padding_mode", "kernel_size", "stride", "dilation"):
        assert getattr(ours, name) == getattr(theirs, name)


def test_from_conv2d_copies_and_flips():
    conv = Conv2d(1, 1, 3, padding="same", true_convolution=True)
    layer, graph = DirectionalConv.from_conv2d(conv), grid_graph((5, 5))
    x = torch.randn(1, 1, 5, 5)
    torch.testing.assert_close(bridge.to_images(layer(bridge.to_nodes(x), graph), graph), conv(x))
    before = layer.weight.detach().clone()
    conv.weight.data.zero_()
    assert torch.equal(layer.weight, before)


def test_neighbourhood_comes_from_positions_not_edges():
    """A part of a grid, in any order and without a single edge: missing neighbours read zero."""
    conv = Conv2d(1, 2, 5, padding="same").double()
    kept = torch.randperm(49)[:30]
    image = torch.zeros(1, 1, 49, dtype=torch.float64)
    values = torch.randn(30, dtype=torch.float64)
    image[0, 0, kept] = values
    expected = conv(image.view(1, 1, 7, 7)).flatten(2)[0, :, kept].t()
    pos = torch.stack([kept // 7, kept % 7], 1).float() - 3
    graph = Graph(torch.zeros(2, 0, dtype=torch.long), 30, pos=pos)
    assert relative(DirectionalConv.from_conv2d(conv)(values[:, None], graph), expected) <= 1e-12


@pytest.mark.parametrize(
    ("graph", "options", "message"),
    [
        (Graph(torch.tensor([[0], [1]])), {}, "needs positions"),
        (Graph(torch.tensor([[0], [1]]), pos=torch.tensor([[0.0, 0.5], [1.0, 1.0]])), {}, r"node 0 .*\[0.0, 0.5\]"),
        (Graph(torch.tensor([[0], [1]]), pos=torch.zeros(2, 2)), {}, "nodes 0 and 1 .*same position"),
        (Graph(torch.tensor([[0], [1]]), pos=torch.eye(2)), {"stride": 2}, "stride 1, padding='same'"),
        (Graph(torch.tensor([[0], [1]]), pos=torch.eye(2)), {"padding": "valid"}, "stride 1, padding='same'"),
        (grid_graph(2), {}, r"kernel of 2 axes, \(3, 3\), on positions of 1"),
        (grid_graph((2, 1)), {"padding": 0}, "kernel is larger than the padded input: 3 cells against 2"),
    ],
)
def test_what_has_no_meaning_is_refused(graph, options, message):
    with pytest.raises(ValueError, match=message):
        DirectionalConv(1, 1, 3, **options)(torch.zeros(graph.num_nodes, 1), graph)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="groups=2 must divide in_channels=3"):
        DirectionalConv(3, 4, 3, groups=2)
    with pytest.raises(ValueError, match="padding_mode is one of"):
        DirectionalConv(3, 4, 3, padding_mode="mirror")
    with pytest.raises(ValueError, match="kernel of two axes"):
        DirectionalConv(3, 4, (3,)).to_conv2d()
    with pytest.raises(ValueError, match="cannot run this sum"):
        DirectionalConv(1, 1, 3)(torch.zeros(4, 1), grid_graph((2, 2)), form="dense")

"""Locally connected layers against explicit loops, against a convolution with one kernel, and LeCun's own counts."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, stack_module_state, vmap

from grid_cnn import Conv1d, Conv2d, Grid, LocallyConnected1d, LocallyConnected2d, PositionBias, Sequential, bind


def by_loops(layer, x: torch.Tensor) -> torch.Tensor:
    """Σ over taps, place by place, in Python."""
    pads = [cells for pair in reversed(layer.borders) for cells in pair]
    padded = F.pad(x, pads)
    out_size = layer.weight.shape[: layer.ndim]
    out = x.new_zeros(x.shape[0], layer.out_channels, *out_size)
    for p in itertools.product(*(range(n) for n in out_size)):
        cut = padded
        for axis in range(layer.ndim):
            first, d = p[axis] * layer.stride[axis], layer.dilation[axis]
            cut = cut.narrow(axis + 2, first, d * (layer.kernel_size[axis] - 1) + 1)
            cut = cut[(slice(None),) * (axis + 2) + (slice(None, None, d),)]
        out[(..., *p)] = cut.flatten(1) @ layer.weight[p].flatten(1).t()
    if layer.bias is not None:
        out = out + (layer.bias.view(-1, *[1] * layer.ndim) if layer.shared_bias else layer.bias)
    return out


CASES = [
    (LocallyConnected1d, (2, 3, 9, 3), {}),
    (LocallyConnected1d, (1, 2, 9, 4), {"stride": 2, "padding": 1, "shared_bias": True}),
    (LocallyConnected2d, (2, 3, (5, 6), (3, 2)), {"stride": (2, 1), "padding": (1, 0)}),
    (LocallyConnected2d, (3, 2, 6, 3), {"padding": "same", "bias": False}),
    (LocallyConnected2d, (1, 2, 7, 3), {"dilation": 2, "padding": 1}),
]


@pytest.mark.parametrize(("kind", "arguments", "options"), CASES, ids=str)
def test_by_loops(kind, arguments, options):
    layer = kind(*arguments, **options).double()
    x = torch.randn(3, arguments[0], *layer.size, dtype=torch.float64)
    y = layer(x)
    torch.testing.assert_close(y, by_loops(layer, x), rtol=1e-12, atol=1e-12)
    assert layer.codomain(Grid(layer.size)).size == tuple(y.shape[2:])
    torch.testing.assert_close(layer(x[1]), y[1], rtol=1e-12, atol=1e-12)
    assert layer(x[:0]).shape == (0, *y.shape[1:])


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2), st.booleans(),
    st.booleans(),
)  # fmt: skip
def test_with_one_kernel_everywhere_it_is_the_convolution(kernel, stride, channels, padding, dilation, line, periodic):
    size = (9,) if line else (7, 6)
    conv = (Conv1d if line else Conv2d)(channels, 2, kernel, stride, padding, dilation).double()
    layer = (LocallyConnected1d if line else LocallyConnected2d)(
        channels, 2, size, kernel, stride, padding, dilation, shared_bias=True
    ).double()
    with torch.no_grad():
        layer.weight.copy_(conv.weight.expand_as(layer.weight))
        layer.bias.copy_(conv.bias)
    x, grid = torch.randn(2, channels, *size, dtype=torch.float64), Grid(size, periodic)
    torch.testing.assert_close(layer(x, grid), conv(x, grid), rtol=1e-11, atol=1e-11)
    assert layer.codomain(grid) == conv.codomain(grid)


@pytest.mark.parametrize(("kind", "arguments", "options"), CASES[1:4], ids=str)
def test_gradients(kind, arguments, options):
    layer = kind(*arguments, **options).double()
    names = [name for name, _ in layer.named_parameters()]
    x = torch.randn(2, arguments[0], *layer.size, dtype=torch.float64, requires_grad=True)
    point = x, *(p.detach().clone().requires_grad_() for p in layer.parameters())

    def function(x, *parameters):
        return functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert gradcheck(function, point, fast_mode=True)
    assert gradgradcheck(function, point, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes_autocast_compile_and_export(dtype):
    torch.compiler.reset()
    layer = LocallyConnected2d(2, 3, 6, 3).to(dtype)
    x = torch.randn(2, 2, 6, 6, dtype=dtype, requires_grad=True)
    y = layer(x)
    assert y.dtype == dtype
    (grad,) = torch.autograd.grad(y.square().sum(), x)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(compiled, y)
    torch.testing.assert_close(torch.autograd.grad(compiled.square().sum(), x)[0], grad)
    exported = torch.export.export(bind(layer, Grid((6, 6))), (x.detach(),)).module()
    torch.testing.assert_close(exported(x), y)
    with torch.autocast("cpu", torch.bfloat16):
        layer(x).sum().backward()


def test_state_holds_weights_alone_and_moves():
    layer = LocallyConnected2d(2, 3, 6, 3)
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert layer.weight.shape == (4, 4, 3, 2, 3, 3)
    assert layer.bias.shape == (3, 4, 4)
    assert LocallyConnected2d(2, 3, 6, 3, shared_bias=True).bias.shape == (3,)
    assert layer.to("meta")(torch.zeros(1, 2, 6, 6, device="meta")).shape == (1, 3, 4, 4)


def count(*layers) -> int:
    return sum(p.numel() for layer in layers for p in layer.parameters())


def test_weights_of_lecun_1989():
    """Net-3: 1,226; Net-4: 1,132; Net-5: 1,060, each with a last dense layer of ten units."""
    dense = torch.nn.Linear(16, 10)
    assert count(LocallyConnected2d(1, 1, 16, 3, 2, 1), LocallyConnected2d(1, 1, 8, 5), dense) == 1226
    shared = Conv2d(1, 2, 3, 2, 1, bias=False), PositionBias(2, (8, 8))
    assert count(*shared, LocallyConnected2d(2, 1, 8, 5), dense) == 1132
    last = Conv2d(2, 4, 5, bias=False), PositionBias(4, (4, 4))
    assert count(*shared, *last, torch.nn.Linear(64, 10)) == 1060


def test_position_bias():
    layer, x = PositionBias(2, (3, 4)).double(), torch.randn(5, 2, 3, 4, dtype=torch.float64)
    torch.nn.init.normal_(layer.bias)
    assert torch.equal(layer(x), x + layer.bias)
    assert torch.equal(layer(x[0]), (x + layer.bias)[0])
    assert torch.equal(PositionBias(2, (3, 4)).double()(x), x)
    torus = Grid((3, 4), periodic=True)
    assert layer.step(x, torus)[1] is torus
    assert gradcheck(lambda x, b: functional_call(layer, {"bias": b}, (x,)), (x.requires_grad_(), layer.bias))
    net = Sequential(Conv2d(1, 2, 3, bias=False), PositionBias(2, (4, 4)))
    assert net(torch.zeros(1, 1, 6, 6)).shape == (1, 2, 4, 4)


@pytest.mark.parametrize("layer", [LocallyConnected2d(2, 3, (6, 5), 3), PositionBias(2, (6, 5))], ids=str)
def test_another_size_or_other_channels(layer):
    with pytest.raises(ValueError, match=r"size \(6, 5\), and got Grid\(\(5, 6\)\); build it with size=\(5, 6\)"):
        layer(torch.zeros(1, 2, 5, 6))
    with pytest.raises(ValueError, match=r"size \(6, 5\)"):
        layer.codomain(Grid((5, 6)))
    with pytest.raises(ValueError, match="expects 2 channels, got 3"):
        layer(torch.zeros(1, 3, 6, 5))
    with pytest.raises(ValueError, match="grids of 2 axes"):
        layer.codomain(Grid(30))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, 6, 3), "in_channels takes a whole number >= 1, got 0"),
        ((1, 1, (6, 6, 6), 3), "size takes"),
        ((1, 1, 2, 3), "larger than the padded input"),
        ((1, 1, 6, 3, 0), "stride"),
        ((1, 1, 6, 3, 1, "full"), "padding takes 'same', 'valid'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LocallyConnected2d(*arguments)


def test_transforms_go_through():
    """The gradients of several layers at once, each on pictures of its own, are those of one after the other."""
    layers = [LocallyConnected2d(2, 3, 6, 3, padding=1) for _ in range(4)]
    x = torch.randn(4, 5, 2, 6, 6)
    stacked, _ = stack_module_state(layers)

    def loss(parameters, x):
        return functional_call(layers[0], parameters, (x,)).pow(3).sum()

    found, to_x = vmap(grad(loss, (0, 1)))(stacked, x)
    for number, layer in enumerate(layers):
        one = x[number].clone().requires_grad_()
        layer(one).pow(3).sum().backward()
        torch.testing.assert_close(to_x[number], one.grad)
        for name, parameter in layer.named_parameters():
            torch.testing.assert_close(found[name][number], parameter.grad)

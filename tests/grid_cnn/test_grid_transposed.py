"""Transposed convolutions: torch's own, the adjoint of a convolution, and both of that on a torus."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck

import grid_cnn
from grid_cnn import ConvTranspose2d, Grid


@st.composite
def transposed(draw):
    ndim, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2]))

    def axes(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(ndim))

    arguments = {
        "in_channels": 2 * groups,
        "out_channels": groups * draw(st.integers(1, 2)),
        "kernel_size": axes(1, 4),
        "stride": axes(1, 3),
        "padding": axes(0, 2),
        "output_padding": axes(0, 1),
        "groups": groups,
        "bias": draw(st.booleans()),
        "dilation": axes(1, 2),
    }
    return ndim, arguments, axes(1, 5)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(transposed())
def test_is_that_of_torch(case):
    ndim, arguments, size = case
    theirs_type, ours_type = getattr(nn, f"ConvTranspose{ndim}d"), getattr(grid_cnn, f"ConvTranspose{ndim}d")
    x = torch.randn(2, arguments["in_channels"], *size, dtype=torch.float64)
    try:
        theirs = theirs_type(**arguments).double()
        expected = theirs(x)
        assert expected.numel()
    except (RuntimeError, ValueError, AssertionError):
        with pytest.raises(ValueError, match=r"leaves no cell|must be smaller than stride"):
            ours_type(**arguments).double()(x)
        return
    ours = ours_type(**arguments).double()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    y = ours(x)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    assert ours.codomain(Grid(size)) == Grid(tuple(y.shape[2:]))
    torch.testing.assert_close(ours(x[0]), y[0], rtol=1e-12, atol=1e-12)


def test_one_cell_spread_by_hand():
    layer = ConvTranspose2d(1, 1, 2, stride=2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    y = layer(torch.tensor([[[[1.0, 10.0]]]]))
    assert y.squeeze().tolist() == [[1.0, 2.0, 10.0, 20.0], [3.0, 4.0, 30.0, 40.0]]


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2), st.booleans()
)  # fmt: skip
def test_is_the_adjoint_of_the_convolution(ndim, kernel, stride, padding, dilation, periodic):
    """<conv(x), y> = <x, transposed(y)> on the line and on the ring, with the same weights."""
    size = tuple(stride * n for n in (4, 3, 2)[:ndim])
    conv = getattr(grid_cnn, f"Conv{ndim}d")(2, 3, kernel, stride, padding, dilation, bias=False).double()
    grid = Grid(size, periodic)
    try:
        coarse = conv.codomain(grid)
    except ValueError:
        assume(False)
    assume(not periodic or coarse.periodic)
    fits = tuple((o - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1 for o in coarse.size)
    more = tuple(0 if periodic else n - f for n, f in zip(size, fits, strict=True))
    assume(all(m < max(stride, dilation) for m in more))
    back = getattr(grid_cnn, f"ConvTranspose{ndim}d")(
        3, 2, kernel, stride, padding, more, bias=False, dilation=dilation
    ).double()
    back.load_state_dict(conv.state_dict())
    x, y = torch.randn(1, 2, *size, dtype=torch.float64), torch.randn(1, 3, *coarse.size, dtype=torch.float64)
    assert back.codomain(coarse) == grid
    torch.testing.assert_close((conv(x, grid) * y).sum(), (x * back(y, coarse)).sum(), rtol=1e-10, atol=1e-10)


def test_on_a_torus_a_shift_shifts_and_the_bias_counts_once():
    layer, torus = ConvTranspose2d(2, 3, 5, stride=2, padding=1).double(), Grid((3, 4), periodic=True)
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64)
    y = layer(x, torus)
    assert y.shape == (1, 3, 6, 8)
    torch.testing.assert_close(layer(x.roll((1, 2), (2, 3)), torus), y.roll((2, 4), (2, 3)))
    torch.testing.assert_close(layer(0 * x, torus), layer.bias.view(1, 3, 1, 1).expand(1, 3, 6, 8))


@pytest.mark.parametrize("periodic", [False, True])
def test_gradients(periodic):
    layer, grid = ConvTranspose2d(2, 2, 3, stride=2, padding=1).double(), Grid((3, 4), periodic)
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x, _: layer(x, grid), (x, layer.weight))


def test_misfits():
    layer = ConvTranspose2d(2, 3, 3, padding=2)
    with pytest.raises(ValueError, match=r"padding \(2, 2\) leaves no cell of Grid\(\(2, 5\)\).*\(0, 3\)"):
        layer(torch.zeros(1, 2, 2, 5))
    with pytest.raises(ValueError, match="expects 2 channels, got 3"):
        layer(torch.zeros(1, 3, 5, 5))
    with pytest.raises(ValueError, match="padding_mode='zeros' alone, got 'circular'"):
        ConvTranspose2d(1, 1, 3, padding_mode="circular")
    with pytest.raises(ValueError, match=r"output_padding \(1, 1\) must be smaller"):
        ConvTranspose2d(1, 1, 3, output_padding=1)
    with pytest.raises(ValueError, match="groups=2 must divide"):
        ConvTranspose2d(3, 2, 3, groups=2)

"""Convolution by the Fourier transform equals the direct one, in every setting."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

import grid_cnn
from grid_cnn import FFTConv1d, FFTConv2d, Grid
from grid_cnn.fft import quick_size


@st.composite
def settings_of_a_convolution(draw):
    ndim = draw(st.integers(1, 3))
    most = (4, 5, 7)[3 - ndim]

    def axes(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(ndim))

    groups = draw(st.sampled_from([1, 2]))
    arguments = {
        "in_channels": groups * draw(st.sampled_from([1, 2, 5])),
        "out_channels": groups * draw(st.integers(1, 2)),
        "kernel_size": axes(1, most),
        "stride": axes(1, 3),
        "dilation": axes(1, 2),
        "groups": groups,
        "bias": draw(st.booleans()),
        "padding": draw(st.sampled_from(["same", "valid"])) if draw(st.booleans()) else axes(0, most),
        "padding_mode": draw(st.sampled_from(["zeros", "replicate", "reflect", "circular"])),
        "true_convolution": draw(st.booleans()),
    }
    return ndim, arguments, Grid(axes(2, (6, 8, 12)[3 - ndim]), draw(st.booleans())), draw(st.integers(1, 3))


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(settings_of_a_convolution())
def test_equals_the_direct_convolution(case):
    ndim, arguments, grid, batch = case
    direct = getattr(grid_cnn, f"Conv{ndim}d")(**arguments).double()
    fast = getattr(grid_cnn, f"FFTConv{ndim}d")(**arguments).double()
    fast.load_state_dict(direct.state_dict(), strict=True)
    try:
        codomain = direct.codomain(grid)
    except ValueError:
        assume(False)
    x = torch.randn(batch, arguments["in_channels"], *grid.size, dtype=torch.float64, requires_grad=True)
    y, expected = fast(x, grid), direct(x, grid)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    weights = torch.randn_like(y)
    ours, theirs = (
        torch.autograd.grad((value * weights).sum(), (x, *layer.parameters()))
        for value, layer in ((y, fast), (expected, direct))
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    assert fast.codomain(grid) == codomain
    torch.testing.assert_close(fast(x[0], grid), y[0], rtol=1e-10, atol=1e-10)


def test_kernels_of_many_taps():
    """Beyond a few taps kernels are transformed in another way."""
    for dilation in (1, 2):
        direct, fast = (kind(2, 3, 40, 3, 11, dilation).double() for kind in (grid_cnn.Conv1d, FFTConv1d))
        fast.load_state_dict(direct.state_dict())
        x = torch.randn(2, 2, 90, dtype=torch.float64)
        torch.testing.assert_close(fast(x), direct(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("channels", [2, 6])
def test_gradients(channels):
    fast = FFTConv2d(channels, 2, 3, 2, 1, 2 if channels == 2 else 1).double()
    x = torch.randn(2, channels, 5, 6, dtype=torch.float64, requires_grad=True)

    def function(x, weight, bias):
        return torch.func.functional_call(fast, {"weight": weight, "bias": bias}, (x,))

    point = x, fast.weight.detach().requires_grad_(), fast.bias.detach().requires_grad_()
    assert gradcheck(function, point, fast_mode=True)
    assert gradgradcheck(function, point, fast_mode=True)


def test_single_precision_at_the_size_it_is_made_for():
    direct = grid_cnn.Conv2d(3, 16, 15, padding="same")
    fast = FFTConv2d(3, 16, 15, padding="same")
    fast.load_state_dict(direct.state_dict())
    x = torch.randn(9, 3, 128, 128)  # more signals than are worked on at once
    torch.testing.assert_close(fast(x), direct(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_goes_through_single(dtype):
    fast = FFTConv1d(1, 2, 3).to(dtype)
    x = torch.randn(1, 1, 9, dtype=dtype)
    y = fast(x)
    assert y.dtype == dtype
    exact = torch.nn.functional.conv1d(x.float(), fast.weight.float(), fast.bias.float())
    torch.testing.assert_close(y, exact.to(dtype))


def test_autocast_empty_batches_compile_and_export():
    torch.compiler.reset()
    fast = FFTConv2d(2, 3, 5, padding=2)
    x = torch.randn(2, 2, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(fast(x), fast(x.float()))
    assert fast(x[:0]).shape == (0, 3, 8, 8)
    compiled = torch.compile(fast, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), fast(x))
    exported = torch.export.export(grid_cnn.bind(fast, Grid((8, 8))), (x,)).module()
    torch.testing.assert_close(exported(x), fast(x))


def test_misfits_are_those_of_the_direct_convolution():
    with pytest.raises(ValueError, match="larger than the padded input"):
        FFTConv2d(1, 1, 9)(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match="expects 1 channels, got 2"):
        FFTConv2d(1, 1, 3)(torch.zeros(1, 2, 8, 8))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.integers(1, 3000))
def test_quick_sizes_are_the_next_ones(least):
    def is_quick(n):
        for prime in (2, 3, 5, 7):
            while n % prime == 0:
                n //= prime
        return n == 1

    size = quick_size(least)
    assert size >= least
    assert size % 4 == 0
    assert is_quick(size)
    assert not any(is_quick(n) for n in range(-(-least // 4) * 4, size, 4))

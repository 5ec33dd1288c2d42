"""Convolutions on grids against torch's own, over kernels, strides, dilations, groups and borders."""

import copy

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call

from grid_cnn import Conv1d, Conv2d, Conv3d, Grid

OURS = {1: Conv1d, 2: Conv2d, 3: Conv3d}
TORCH = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
SIZES = {1: (11,), 2: (9, 8), 3: (5, 6, 4)}
MODES = ("zeros", "reflect", "replicate", "circular")

# torch says that 'same' with an even kernel costs it a copy
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")


def signal(ndim: int, channels: int = 2, batch: int = 2, size: tuple[int, ...] | None = None) -> torch.Tensor:
    return torch.randn(batch, channels, *(size or SIZES[ndim]), dtype=torch.float64)


def twin(layer: nn.Module, padding_mode: str | None = None) -> nn.Module:
    """torch's layer with the same parameters; for 'same' with stride 1, since torch refuses any other."""
    stride = 1 if layer.padding == "same" else layer.stride
    other = TORCH[layer.ndim](
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        layer.bias is not None,
        padding_mode or layer.padding_mode,
        dtype=layer.weight.dtype,
    )
    other.load_state_dict(layer.state_dict(), strict=True)
    return other


def expected(layer: nn.Module, x: torch.Tensor, padding_mode: str | None = None) -> torch.Tensor:
    """What torch computes; for 'same' every S-th of its positions."""
    y = twin(layer, padding_mode)(x)
    if layer.padding != "same":
        return y
    return y[(..., *(slice(None, None, s) for s in layer.stride))]


def assert_as_torch(layer: nn.Module, x: torch.Tensor) -> None:
    y = layer(x)
    torch.testing.assert_close(y, expected(layer, x), rtol=1e-12, atol=1e-12)
    assert layer.codomain(Grid(x.shape[2:])) == Grid(y.shape[2:])


PADDINGS = (0, 1, 3, "valid", "same")


@pytest.mark.parametrize("kernel", range(1, 8))
@pytest.mark.parametrize("ndim", [1, 2])
def test_kernels_strides_dilations(ndim, kernel):
    """Every kernel from 1 to 7, even ones too, with every border, stride and dilation that fits."""
    x = signal(ndim, size=(13,) if ndim == 1 else (13, 14))
    for padding in PADDINGS:
        for stride in (1, 2, 3):
            for dilation in (1, 2):
                assert_as_torch(OURS[ndim](2, 3, kernel, stride, padding, dilation).double(), x)


@pytest.mark.parametrize("kernel", range(1, 6))
def test_kernels_of_volumes(kernel):
    x = signal(3, size=(6, 5, 7))
    for padding, stride in [(0, 1), (1, 2), (2, 3), ("valid", 2), ("same", 1), ("same", 2), ("same", 3)]:
        assert_as_torch(Conv3d(2, 3, kernel, stride, padding).double(), x)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_borders(ndim, mode):
    x = signal(ndim)
    cases = [(3, 1, 1), (3, "same", 2), (2, "same", 1), (4, "same", 3), (3, 2, 2), (3, "valid", 1)]
    for kernel, padding, stride in cases:
        assert_as_torch(OURS[ndim](2, 3, kernel, stride, padding, padding_mode=mode).double(), x)


@pytest.mark.parametrize("mode", MODES)
def test_borders_axis_by_axis(mode):
    """Numbers given per axis reach their own axis, before and after it."""
    assert_as_torch(Conv2d(2, 3, (3, 5), (1, 2), (0, 2), padding_mode=mode).double(), signal(2))
    assert_as_torch(Conv2d(2, 3, (2, 4), (2, 1), "same", (2, 1), padding_mode=mode).double(), signal(2))
    assert_as_torch(Conv3d(2, 3, (1, 2, 3), (1, 1, 2), (0, 1, 2), padding_mode=mode).double(), signal(3))


@pytest.mark.parametrize(("channels", "outputs", "groups"), [(4, 6, 2), (4, 8, 4), (3, 3, 3), (4, 2, 1)])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_groups(ndim, channels, outputs, groups):
    x = signal(ndim, channels)
    assert_as_torch(OURS[ndim](channels, outputs, 3, 1, "same", groups=groups).double(), x)
    assert_as_torch(OURS[ndim](channels, outputs, 2, 2, 1, groups=groups, bias=False).double(), x)


@st.composite
def layers_on_grids(draw):
    """Any layer, any grid, fitting or not; as (layer, grid)."""
    ndim = draw(st.integers(1, 3))

    def per_axis(numbers):
        return draw(st.one_of(numbers, st.tuples(*[numbers] * ndim)))

    groups = draw(st.integers(1, 2))
    layer = OURS[ndim](
        groups * draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 2)),
        per_axis(st.integers(1, 5)),
        per_axis(st.integers(1, 3)),
        draw(st.sampled_from(["same", "valid"])) if draw(st.booleans()) else per_axis(st.integers(0, 3)),
        per_axis(st.integers(1, 2)),
        groups,
        draw(st.booleans()),
        draw(st.sampled_from(MODES)),
        dtype=torch.float64,
        true_convolution=draw(st.booleans()),
    )
    size = draw(st.tuples(*[st.integers(1, 7 if ndim < 3 else 5)] * ndim))
    return layer, Grid(size, periodic=draw(st.booleans()))


def refusal(function, *arguments) -> str:
    """What a ValueError says that `function` raises; empty if it raises none."""
    try:
        function(*arguments)
    except ValueError as error:
        return str(error)
    return ""


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(layers_on_grids())
def test_any_layer_on_any_grid(case):
    """torch's numbers on the codomain; or the codomain and the call refuse in the same words, and so does torch."""
    layer, grid = case
    x = signal(layer.ndim, layer.in_channels, 1, grid.size)
    reference = copy.deepcopy(layer)
    if layer.true_convolution:
        reference.weight = nn.Parameter(layer.weight.detach().flip(tuple(range(2, 2 + layer.ndim))))
    mode = "circular" if grid.periodic else layer.padding_mode
    refused = refusal(layer.codomain, grid)
    if refused:
        event("refused")
        assert refusal(layer, x, grid) == refused
        with pytest.raises((RuntimeError, ValueError, AssertionError)):
            expected(reference, x, mode)
        return
    y = layer(x, grid)
    assert tuple(y.shape[2:]) == layer.codomain(grid).size
    torch.testing.assert_close(y, expected(reference, x, mode), rtol=1e-12, atol=1e-12)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(layers_on_grids(), st.data())
def test_a_periodic_codomain_shifts_with_its_domain(case, data):
    """Where the codomain calls itself periodic, a signal shifted by the stride gives the result shifted by a cell."""
    layer, grid = case
    grid = Grid(grid.size, periodic=True)
    assume(not refusal(layer.codomain, grid))
    codomain = layer.codomain(grid)
    axes = tuple(range(2, 2 + layer.ndim))
    steps = tuple(data.draw(st.integers(0, n - 1)) for n in codomain.size)
    x = signal(layer.ndim, layer.in_channels, 1, grid.size)
    shifted = x.roll(tuple(s * n for s, n in zip(layer.stride, steps, strict=True)), axes)
    if codomain.periodic:
        event("periodic")
        torch.testing.assert_close(layer(shifted, grid), layer(x, grid).roll(steps, axes), rtol=1e-12, atol=1e-12)
    else:
        assert any(o * s != n for o, s, n in zip(codomain.size, layer.stride, grid.size, strict=True))


def test_which_codomains_stay_periodic():
    torus = Grid((6, 8), periodic=True)
    assert Conv2d(1, 1, 3, padding=1).codomain(torus) == torus
    assert Conv2d(1, 1, 3, padding="same", padding_mode="reflect").codomain(torus) == torus
    assert Conv2d(1, 1, 3, stride=2, padding=1).codomain(torus) == Grid((3, 4), periodic=True)
    assert Conv2d(1, 1, 3).codomain(torus) == Grid((4, 6))
    assert Conv2d(1, 1, 3, stride=4, padding="same").codomain(torus) == Grid((2, 2))
    assert Conv2d(1, 1, 3, padding=1, padding_mode="circular").codomain(Grid((6, 8))) == Grid((6, 8))


@pytest.mark.parametrize("true_convolution", [False, True])
def test_on_the_torus_convolution_is_a_product_of_spectra(true_convolution):
    """Cross-correlation multiplies by the conjugate of the kernel's spectrum, true convolution by the spectrum."""
    torus = Grid((6, 7), periodic=True)
    layer = Conv2d(1, 1, 3, padding=1, bias=False, true_convolution=true_convolution).double()
    x = signal(2, 1, 2, torus.size)
    placed = torch.zeros(torus.size, dtype=torch.float64)
    placed[:3, :3] = layer.weight.detach()[0, 0]
    spectrum = torch.fft.fft2(placed.roll((-1, -1), (0, 1)))
    spectrum = spectrum if true_convolution else spectrum.conj()
    y = torch.fft.ifft2(torch.fft.fft2(x) * spectrum).real
    torch.testing.assert_close(layer(x, torus), y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_a_periodic_grid_has_no_border(mode):
    """Padding wraps around there, whatever the padding mode."""
    x = signal(2)
    layer = Conv2d(2, 3, 4, padding="same", padding_mode=mode).double()
    wrapped = layer(x, Grid(SIZES[2], periodic=True))
    torch.testing.assert_close(wrapped, expected(layer, x, "circular"), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer(x, Grid(SIZES[2])), expected(layer, x, mode), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", range(1, 6))
@pytest.mark.parametrize("mode", ["full", "valid"])
def test_true_convolution_is_that_of_numpy_and_scipy(mode, kernel):
    padding = kernel - 1 if mode == "full" else 0
    x = signal(1, 1, 1)
    layer = Conv1d(1, 1, kernel, padding=padding, bias=False, true_convolution=True).double()
    weight = layer.weight.detach().numpy()
    np.testing.assert_allclose(layer(x).detach()[0, 0], np.convolve(x[0, 0].numpy(), weight[0, 0], mode), atol=1e-12)
    for ndim in (2, 3):
        x = signal(ndim, 1, 1, (5,) * ndim)
        layer = OURS[ndim](1, 1, kernel, padding=padding, bias=False, true_convolution=True).double()
        y = scipy.signal.convolve(x[0, 0].numpy(), layer.weight.detach().numpy()[0, 0], mode)
        np.testing.assert_allclose(layer(x).detach()[0, 0], y, atol=1e-12)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_true_convolution_sums_over_channels(ndim):
    x = signal(ndim, 3, 2, (5,) * ndim)
    layer = OURS[ndim](3, 2, 3, true_convolution=True).double()
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    for batch in range(2):
        for o in range(2):
            terms = (scipy.signal.convolve(x[batch, i].numpy(), weight[o, i], "valid") for i in range(3))
            np.testing.assert_allclose(layer(x).detach()[batch, o], bias[o] + sum(terms), atol=1e-12)


def test_true_convolution_commutes_and_cross_correlation_does_not():
    """w ∗ v = v ∗ w, what the flip is for."""
    w, v = (torch.randn(1, 1, 4, 4, dtype=torch.float64) for _ in range(2))

    def applied(kernel, x, true):
        layer = Conv2d(1, 1, 4, padding=3, bias=False, true_convolution=true).double()
        layer.weight.data.copy_(kernel)
        return layer(x)

    torch.testing.assert_close(applied(w, v, True), applied(v, w, True), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(applied(w, v, False), applied(v, w, False))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_state_dict_is_that_of_torch(ndim, bias):
    arguments = {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 2, "bias": bias, "padding_mode": "circular"}
    torch.manual_seed(7)
    ours = OURS[ndim](4, 6, **arguments)
    torch.manual_seed(7)
    theirs = TORCH[ndim](4, 6, **arguments)
    described = [[(k, v.shape, v.dtype) for k, v in module.state_dict().items()] for module in (ours, theirs)]
    assert described[0] == described[1]
    assert isinstance(ours, TORCH[ndim])
    for parameter, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(parameter, other)  # the same seed starts from the same weights
    torch.manual_seed(8)
    other = OURS[ndim](4, 6, **arguments)
    theirs.load_state_dict(other.state_dict(), strict=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 4, *SIZES[ndim])
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("padding", [0, 2, "same", "valid"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_attributes_are_those_of_torch(ndim, padding):
    ours, theirs = OURS[ndim](4, 6, 3, 1, padding, 2, 2), TORCH[ndim](4, 6, 3, 1, padding, 2, 2)
    for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
        assert getattr(ours, name) == getattr(theirs, name), name


def test_device_and_dtype():
    layer = Conv2d(1, 2, 3, device="meta", dtype=torch.float16)
    assert layer.weight.device.type == "meta"
    assert layer.weight.dtype == layer.bias.dtype == torch.float16
    assert Conv2d(1, 2, 3, dtype=torch.bfloat16)(torch.ones(1, 1, 3, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("true_convolution", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_signal_without_batch(ndim, mode, true_convolution):
    x = signal(ndim)
    layer = OURS[ndim](2, 3, 3, 2, "same", padding_mode=mode, true_convolution=true_convolution).double()
    assert torch.equal(layer(x[1]), layer(x[1:])[0])
    torch.testing.assert_close(layer(x[1]), layer(x)[1], rtol=1e-12, atol=1e-12)


def test_an_empty_batch():
    for mode in MODES:
        assert Conv2d(2, 3, 3, padding=1, padding_mode=mode)(torch.zeros(0, 2, 5, 4)).shape == (0, 3, 5, 4)


def test_the_input_is_left_alone():
    x = signal(2)
    before = x.clone()
    for mode in MODES:
        Conv2d(2, 3, 3, padding=1, padding_mode=mode, true_convolution=True).double()(x)
    assert torch.equal(x, before)


def test_channels_last_pictures():
    layer = Conv2d(2, 3, 3, padding="same").double()
    x = signal(2)
    y = layer(x.to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, layer(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_gradients(ndim, mode):
    """By signal, weight and bias, first and second, against finite differences."""
    layer = OURS[ndim](2, 2, 2, 2, "same", groups=2, padding_mode=mode, true_convolution=True).double()
    names = [name for name, _ in layer.named_parameters()]
    x = signal(ndim, size=(4,) * ndim)
    point = tuple(t.detach().clone().requires_grad_() for t in (x, *layer.parameters()))

    def function(x, *parameters):
        return functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert gradcheck(function, point, fast_mode=True)
    assert gradgradcheck(function, point, fast_mode=True)


def test_repr_names_what_differs_from_the_default():
    assert repr(Conv2d(1, 2, 3)) == "Conv2d(1, 2, kernel_size=(3, 3))"
    text = repr(Conv1d(2, 4, 3, 2, "same", 3, 2, False, "reflect", true_convolution=True))
    for part in ("2, 4", "stride=(2,)", "'same'", "dilation=(3,)", "groups=2", "bias=False", "'reflect'", "true"):
        assert part in text

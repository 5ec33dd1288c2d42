"""Bad input to the layers of grids: one line that quotes what was given and says what was expected."""

import re

import numpy as np
import pytest
import torch

import grid_cnn
from grid_cnn import (
    AvgPool1d,
    AvgPool2d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    Conv3d,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    Grid,
    MaxPool2d,
    MaxPool3d,
    MinPool2d,
)


def refused(function, *patterns: str) -> None:
    """`function` raises a ValueError or a TypeError, in one line that matches every pattern."""
    with pytest.raises((ValueError, TypeError)) as error:
        function()
    message = str(error.value)
    assert "\n" not in message
    for pattern in patterns:
        error.match(pattern)


ON_PICTURES = [
    Conv2d(2, 3, 3),
    MaxPool2d(2),
    MinPool2d(2),
    AvgPool2d(2),
    BatchNorm2d(2),
    GlobalAvgPool(),
    GlobalMaxPool(),
    Flatten(),
]
PICTURES = pytest.mark.parametrize("layer", ON_PICTURES, ids=lambda layer: type(layer).__name__)


@PICTURES
@pytest.mark.parametrize("shape", [(5,), (5, 5), (1, 2, 5, 5, 5), ()])
def test_signals_of_other_axes(layer, shape):
    refused(
        lambda: layer(torch.zeros(shape)), type(layer).__name__, r"\(batch, channels, size, size\)", r"got shape \("
    )


@PICTURES
def test_signals_that_are_not_on_the_given_grid(layer):
    name = type(layer).__name__
    wanted = r"\(batch, channels, 6, 7\), got shape \(1, 2, 7, 6\)"
    refused(lambda: layer(torch.zeros(1, 2, 7, 6), Grid((6, 7))), name, wanted)
    refused(lambda: layer.step(torch.zeros(1, 2, 7, 6), Grid((6, 7))), name, wanted)


@PICTURES
@pytest.mark.parametrize(
    "domain", [(5, 5), 5, "grid", torch.zeros(2, 4, dtype=torch.long)], ids=lambda d: type(d).__name__
)
def test_domains_that_are_no_grid(layer, domain):
    with pytest.raises(TypeError, match=rf"{type(layer).__name__} works on a Grid, got .*GraphOps"):
        layer(torch.zeros(1, 2, 5, 5), domain)


@PICTURES
def test_grids_of_another_number_of_axes(layer):
    """The message names the grid, and how many axes were wanted."""
    x = torch.zeros(1, 2, 5, 5)
    for grid in (Grid(5), Grid((5, 5, 5))):
        refused(lambda grid=grid: layer(x, grid), type(layer).__name__, "2 axes", re.escape(repr(grid)))


@pytest.mark.parametrize("layer", [Conv2d(2, 3, 3), MaxPool2d(2), AvgPool2d(2)], ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("grid", [Grid(5), Grid((5, 5, 5))])
def test_codomain_of_a_grid_of_another_number_of_axes(layer, grid):
    refused(lambda: layer.codomain(grid), type(layer).__name__, "2 axes", re.escape(repr(grid)))


@PICTURES
@pytest.mark.parametrize(
    "signal", [np.zeros((1, 2, 5, 5), np.float32), [[1.0]], None, "x"], ids=lambda s: type(s).__name__
)
def test_signals_that_are_no_tensors(layer, signal):
    refused(lambda: layer(signal), type(layer).__name__, type(signal).__name__)


@pytest.mark.parametrize(
    "layer", [Conv1d(3, 4, 3), Conv2d(3, 4, 3), Conv3d(3, 4, 3)], ids=lambda layer: f"{layer.ndim}-D"
)
def test_channels(layer):
    size = (5,) * layer.ndim
    shape = ", ".join(map(str, (2, 1, *size)))
    refused(lambda: layer(torch.zeros(2, 1, *size)), rf"Conv{layer.ndim}d expects 3 channels, got 1: \({shape}\)")
    refused(lambda: layer(torch.zeros(1, *size)), "expects 3 channels, got 1")
    refused(lambda: layer(torch.zeros(2, 5, *size), Grid(size)), "expects 3 channels, got 5")


def test_an_axis_without_cells():
    refused(lambda: Conv2d(1, 1, 3, padding=2)(torch.zeros(1, 1, 0, 5)), r"\(0, 5\)")


@pytest.mark.parametrize("layer", [Conv2d(1, 1, 4), MaxPool2d(4), AvgPool2d(4), MinPool2d((1, 4))], ids=str)
def test_windows_larger_than_the_input(layer):
    """Not torch's RuntimeError; the call and the codomain say the same."""
    wanted = (r"larger than the padded input: 4 cells against 3 ", "larger input, more padding or a smaller kernel")
    refused(lambda: layer(torch.zeros(1, 1, 5, 3)), *wanted)
    refused(lambda: layer.codomain(Grid((5, 3))), *wanted)


@pytest.mark.parametrize("layer", [Conv1d(1, 1, 6, padding=1), AvgPool1d(6, padding=1)], ids=str)
def test_windows_larger_than_the_padded_input_tell_input_and_padding_apart(layer):
    refused(lambda: layer(torch.zeros(1, 1, 3)), r"6 cells against 3 \+ 2 of padding")


def test_dilated_windows_count_with_their_holes():
    refused(lambda: Conv1d(1, 1, 3, dilation=3)(torch.zeros(1, 1, 6)), "7 cells against 6")
    refused(lambda: MaxPool3d(3, dilation=3)(torch.zeros(1, 1, 6, 9, 9)), "7 cells against 6")


@pytest.mark.parametrize(("mode", "size", "padding"), [("reflect", 3, 3), ("reflect", 1, 1), ("circular", 3, 4)])
def test_borders_that_copy_more_than_there_is(mode, size, padding):
    layer = Conv1d(1, 1, 2, padding=padding, padding_mode=mode)
    wanted = (
        rf"padding \[{padding}\]",
        f"padding_mode='{mode}'",
        rf"\({size},\)",
        "less padding, or padding_mode='zeros'",
    )
    refused(lambda: layer(torch.zeros(1, 1, size)), *wanted)
    refused(lambda: layer.codomain(Grid(size)), *wanted)
    assert Conv1d(1, 1, 2, padding=padding, padding_mode="replicate")(torch.zeros(1, 1, size)).shape[-1] > 0


def test_a_border_that_wraps_around_a_small_torus_more_than_once():
    """The mend is one that helps: on a periodic grid the padding mode has no say."""
    layer, torus = Conv1d(1, 1, 7, padding=3), Grid(2, periodic=True)
    with pytest.raises(ValueError, match=r"padding \[3\].*\(2,\)") as error:
        layer(torch.zeros(1, 1, 2), torus)
    assert "padding_mode='zeros'" not in str(error.value)


@pytest.mark.parametrize("conv", [Conv1d, Conv2d, Conv3d])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 0}, "in_channels takes a whole number >= 1, got 0"),
        ({"in_channels": -2}, "in_channels.*got -2"),
        ({"in_channels": 2.0}, r"in_channels.*got 2\.0"),
        ({"in_channels": True}, "in_channels.*got True"),
        ({"out_channels": 0}, "out_channels takes a whole number >= 1, got 0"),
        ({"out_channels": "3"}, "out_channels.*got '3'"),
        ({"groups": 0}, "groups takes a whole number >= 1, got 0"),
        ({"groups": 3}, "groups=3 must divide in_channels=4 and out_channels=6"),
        ({"groups": 4}, "groups=4 must divide in_channels=4 and out_channels=6"),
        ({"kernel_size": 0}, "kernel_size takes a whole number >= 1.*got 0"),
        ({"kernel_size": (3, 3, 3, 3)}, r"kernel_size.*got \(3, 3, 3, 3\)"),
        ({"kernel_size": (0, 0, 0)}, "kernel_size.*got"),
        ({"kernel_size": 2.5}, r"kernel_size.*2\.5"),
        ({"kernel_size": None}, "kernel_size.*None"),
        ({"stride": 0}, "stride takes a whole number >= 1.*got 0"),
        ({"stride": 1.5}, r"stride.*1\.5"),
        ({"dilation": -1}, "dilation takes a whole number >= 1.*got -1"),
        ({"padding": -1}, "padding takes a whole number >= 0.*got -1"),
        ({"padding": "full"}, "'same', 'valid' or whole numbers; got 'full'"),
        ({"padding": None}, "padding.*None"),
        ({"padding_mode": "mirror"}, "zeros, reflect, replicate, circular; got 'mirror'"),
        ({"padding_mode": None}, "padding_mode.*got None"),
    ],
    ids=str,
)
def test_constructors_of_convolutions(conv, arguments, message):
    given = {"in_channels": 4, "out_channels": 6, "kernel_size": 3} | arguments
    refused(lambda: conv(**given), message)


LAYERS = {
    "Conv2d": grid_cnn.Conv2d(3, 2, 3),
    "FFTConv2d": grid_cnn.FFTConv2d(3, 2, 3),
    "ConvTranspose2d": grid_cnn.ConvTranspose2d(3, 2, 3),
    "LocallyConnected2d": grid_cnn.LocallyConnected2d(3, 2, (8, 8), 3),
    "PartialConv2d": grid_cnn.PartialConv2d(3, 2, 3, [[0], [1, 2]]),
    "DepthwiseConv2d": grid_cnn.SeparableConv2d(3, 2, 3),  # its first part
}


@pytest.mark.parametrize("name", LAYERS)
def test_numbers_of_another_kind_than_the_weights(name):
    layer, picture = LAYERS[name], torch.ones(2, 3, 8, 8)
    with pytest.raises(TypeError, match=rf"{name} takes a signal of floating numbers, got torch\.uint8.*by 255"):
        layer(picture.byte())
    with pytest.raises(TypeError, match=rf"{name} has weights of torch\.float32, got a signal of torch\.float64"):
        layer(picture.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(picture.bfloat16()).shape == layer(picture).shape
        with pytest.raises(TypeError, match=r"got torch\.int64"):
            layer(picture.long())


@pytest.mark.parametrize("name", ["lenet5", "resnet20_cifar", "googlenet", "densenet40_cifar", "vgg11"])
def test_networks_say_it_at_their_entrance(name):
    net = grid_cnn.models.create(name, in_channels=3, domain=Grid((28, 28))).double().eval()
    picture = torch.ones(2, 3, 28, 28)
    with pytest.raises(TypeError, match=r"Conv2d has weights of torch\.float64, got a signal of torch\.float32"):
        net(picture)
    with pytest.raises(TypeError, match=r"floating numbers, got torch\.uint8; convert it with \.to\(torch\.float64\)"):
        net(picture.byte())

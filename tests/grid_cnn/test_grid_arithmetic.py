"""Output sizes against enumerated windows, the sizes that do not fit, and counts of parameters."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from grid_cnn import AvgPool2d, Conv2d, GlobalAvgPool, MaxPool2d, models, output_size
from grid_cnn.arithmetic import border
from grid_cnn.domain import Grid

CHECKED = settings(max_examples=300, deadline=None, derandomize=True, database=None)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def windows(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> list[list[int]]:
    """The cells (border cells too) that each window touches, as long as a window lies in the padded input."""
    found, start = [], -before
    while start + dilation * (kernel - 1) < size + after:
        found.append([start + dilation * m for m in range(kernel)])
        start += stride
    return found


numbers = st.integers(1, 12)


@CHECKED
@given(numbers, st.integers(1, 7), st.integers(1, 5), st.integers(0, 4), st.integers(1, 3))
def test_counts_the_windows(size, kernel, stride, padding, dilation):
    found = windows(size, kernel, stride, padding, padding, dilation)
    if not found:
        with pytest.raises(ValueError, match="larger than the padded input"):
            output_size(size, kernel, stride, padding, dilation)
        return
    assert output_size(size, kernel, stride, padding, dilation) == len(found)
    if found[-1][-1] == size + padding - 1:
        assert output_size(size, kernel, stride, padding, dilation, strict=True) == len(found)
    else:
        with pytest.raises(ValueError, match="does not fit"):
            output_size(size, kernel, stride, padding, dilation, strict=True)


@CHECKED
@given(numbers, st.integers(1, 7), st.integers(1, 5), st.integers(1, 3))
def test_same_keeps_every_stride_th_position(size, kernel, stride, dilation):
    assert output_size(size, kernel, 1, "same", dilation) == size
    assert output_size(size, kernel, stride, "same", dilation) == len(range(0, size, stride))


@CHECKED
@given(st.integers(1, 7), st.integers(1, 3))
def test_same_border_is_centred_with_the_odd_cell_behind(kernel, dilation):
    ((before, after),) = border((kernel,), (dilation,), "same")
    assert before + after == dilation * (kernel - 1)
    assert after - before in (0, 1)
    assert border((kernel,), (dilation,), "valid") == ((0, 0),)


@CHECKED
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2))
def test_rounding_up_is_that_of_torch(size, kernel, stride, padding):
    padding = min(padding, kernel // 2)
    pool = nn.MaxPool1d(kernel, stride, padding, ceil_mode=True)
    try:
        y = pool(torch.zeros(1, 1, size))
    except RuntimeError:
        with pytest.raises(ValueError, match="larger than the padded input"):
            output_size(size, kernel, stride, padding, ceil_mode=True)
    else:
        assert output_size(size, kernel, stride, padding, ceil_mode=True) == y.shape[-1]


def test_rounding_up_keeps_a_first_window_larger_than_the_input():
    """With `ceil_mode` torch keeps a window that starts inside the input, also where it is the only one."""
    y = nn.MaxPool2d(3, 2, ceil_mode=True)(torch.zeros(1, 1, 2, 2))
    assert output_size((2, 2), 3, 2, ceil_mode=True) == tuple(y.shape[2:])


def test_answers_in_the_form_of_the_question():
    assert output_size(10, 5, padding=2) == 10
    assert output_size((10, 12), 5, padding=2) == (10, 12)
    assert output_size([10, 12], (5, 3), (1, 2), (2, 0)) == (10, 5)
    assert output_size(8, 2, stride=None) == 4


@pytest.mark.parametrize(("stride", "expected"), [(1, 5), (2, 3)])
def test_seven_cells_and_a_window_of_three(stride, expected):
    assert output_size(7, 3, stride, strict=True) == expected
    assert output_size((7, 7), 3, stride, strict=True) == (expected, expected)


def test_seven_cells_do_not_fit_stride_three():
    with pytest.raises(ValueError, match=r"\(7 - 3\) / 3 \+ 1 = 2\.33 is not whole; 6 or 9 cells would fit") as error:
        output_size(7, 3, 3, strict=True)
    assert "\n" not in str(error.value)
    assert output_size(6, 3, 3, strict=True) == 2
    assert output_size(9, 3, 3, strict=True) == 3
    assert output_size(7, 3, 3) == 2


def test_strict_looks_at_every_axis():
    with pytest.raises(ValueError, match=r"2\.33"):
        output_size((9, 7), 3, 3, strict=True)
    with pytest.raises(ValueError, match=r"2\.33"):
        output_size((7, 9), 3, 3, strict=True)


@pytest.mark.parametrize(
    ("size", "kernel", "padding", "expected"), [(10, 5, 2, 10), (32, 5, 2, 32), (32, 5, 0, 28), (28, 5, 0, 24)]
)
def test_sizes_of_the_lectures(size, kernel, padding, expected):
    assert output_size(size, kernel, padding=padding, strict=True) == expected


def test_alexnet_sizes():
    sizes = [227]
    for kernel, stride, padding in [(11, 4, 0), (3, 2, 0), (5, 1, 2), (3, 2, 0), (3, 1, 1), (3, 2, 0)]:
        sizes.append(output_size(sizes[-1], kernel, stride, padding, strict=True))
    assert sizes == [227, 55, 27, 27, 13, 13, 6]


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_half_the_kernel_keeps_the_size(kernel):
    assert output_size((9, 11), kernel, padding=(kernel - 1) // 2) == (9, 11)


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "kernel", "parameters"),
    [(3, 10, 5, 760), (3, 8, 5, 608), (8, 16, 5, 3216), (16, 32, 1, 544), (3, 2, 3, 56)],
)
def test_parameters_of_convolutions(in_channels, out_channels, kernel, parameters):
    layer = Conv2d(in_channels, out_channels, kernel)
    assert count(layer) == parameters
    assert layer.weight.numel() == kernel * kernel * in_channels * out_channels
    assert count(Conv2d(in_channels, out_channels, kernel, bias=False)) == layer.weight.numel()


def test_a_chain_of_convolutions():
    grid = Grid((32, 32))
    assert Conv2d(3, 10, 5, padding=2).codomain(grid) == Grid((32, 32))
    assert Conv2d(3, 6, 5).codomain(grid) == Grid((28, 28))
    assert Conv2d(6, 10, 5).codomain(Grid((28, 28))) == Grid((24, 24))


def test_shared_weights_against_dense_ones():
    """5×5×3 to 3×3×2 = 18 values: 56 parameters by convolution, 1,368 by dense units."""
    assert Conv2d(3, 2, 3).codomain(Grid((5, 5))) == Grid((3, 3))
    assert count(models.linear(18, in_channels=3, domain=Grid((5, 5)))) == 1368


@pytest.mark.parametrize("pool", [MaxPool2d(2), AvgPool2d(2), GlobalAvgPool()])
def test_pools_have_no_parameters(pool):
    assert count(pool) == 0
    assert not pool.state_dict()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 7, "kernel_size": 0}, r"kernel_size takes a whole number >= 1.*got 0"),
        ({"size": 7, "kernel_size": 3, "stride": 0}, r"stride takes a whole number >= 1.*got 0"),
        ({"size": 7, "kernel_size": 3, "stride": -2}, r"stride.*got -2"),
        ({"size": 7, "kernel_size": 3, "padding": -1}, r"padding.*>= 0.*got -1"),
        ({"size": 7, "kernel_size": 3, "padding": "full"}, r"'same', 'valid'.*got 'full'"),
        ({"size": 7, "kernel_size": 3, "dilation": 0}, r"dilation.*got 0"),
        ({"size": 7, "kernel_size": True}, r"kernel_size.*got True"),
        ({"size": (7, 7), "kernel_size": (3, 3, 3)}, r"kernel_size.*or 2 of them; got \(3, 3, 3\)"),
        ({"size": (7, 7), "kernel_size": 3, "stride": (1,)}, r"stride.*or 2 of them; got \(1,\)"),
        ({"size": (7, 7), "kernel_size": 3, "stride": (1, 1.5)}, r"stride.*got \(1, 1\.5\)"),
        ({"size": 3, "kernel_size": 5}, r"5 cells against 3"),
        ({"size": 3, "kernel_size": 4, "padding": 0, "dilation": 2}, r"7 cells against 3"),
        ({"size": 0, "kernel_size": 1, "padding": 1}, r"size.*got 0"),
        ({"size": -1, "kernel_size": 1, "padding": 3}, r"size.*got -1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        output_size(**arguments)


@pytest.mark.parametrize("name", ["size", "kernel_size", "stride", "padding", "dilation"])
def test_numbers_that_are_not_whole_are_named(name):
    with pytest.raises((TypeError, ValueError), match=rf"{name}.*2\.5"):
        output_size(**{"size": 7, "kernel_size": 3, name: 2.5})

"""Adaptive pools and the spatial pyramid, against torch and against means over slices."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck

import grid_cnn
from grid_cnn import AdaptiveAvgPool2d, AdaptiveMaxPool2d, Conv2d, Grid, Sequential, SpatialPyramidPool


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.data(), st.sampled_from(["Avg", "Max"]), st.integers(1, 3), st.booleans())
def test_is_that_of_torch(data, kind, ndim, whole):
    size = tuple(data.draw(st.integers(1, 9)) for _ in range(ndim))
    entry = st.integers(1, 9) if ndim == 1 else st.one_of(st.none(), st.integers(1, 9))
    output = data.draw(st.integers(1, 9)) if whole else tuple(data.draw(entry) for _ in range(ndim))
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    layer = getattr(grid_cnn, f"Adaptive{kind}Pool{ndim}d")(output)
    expected = getattr(nn, f"Adaptive{kind}Pool{ndim}d")(output)(x)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)
    assert layer.codomain(Grid(size)) == Grid(tuple(expected.shape[2:]))
    torch.testing.assert_close(layer(x[0]), expected[0], rtol=1e-12, atol=1e-12)


def test_blocks_of_the_docstring():
    x = torch.randn(1, 1, 7, 5, dtype=torch.float64)
    mean, largest = AdaptiveAvgPool2d((3, 2))(x), AdaptiveMaxPool2d((3, 2))(x)
    for i in range(3):
        for j in range(2):
            block = x[0, 0, i * 7 // 3 : -(-(i + 1) * 7 // 3), j * 5 // 2 : -(-(j + 1) * 5 // 2)]
            assert float(mean[0, 0, i, j]) == pytest.approx(float(block.mean()))
            assert float(largest[0, 0, i, j]) == float(block.max())


@pytest.mark.parametrize("kind", [AdaptiveAvgPool2d, AdaptiveMaxPool2d])
def test_a_torus_stays_one_only_if_the_blocks_tile_it(kind):
    assert kind(3).codomain(Grid((6, 9), periodic=True)) == Grid((3, 3), periodic=True)
    assert kind(3).codomain(Grid((6, 8), periodic=True)) == Grid((3, 3))
    x = torch.randn(1, 1, 6, 9, dtype=torch.float64)
    assert gradcheck(kind((2, 4)), (x.requires_grad_(),))
    torch.testing.assert_close(kind(3)(x.roll((2, 3), (2, 3))), kind(3)(x).roll((1, 1), (2, 3)))


@pytest.mark.parametrize("size", [0, -1, 2.0, "2", (2,), (2, 2, 2), (2, 0), True], ids=repr)
def test_bad_sizes(size):
    with pytest.raises(ValueError, match="output_size takes a whole number >= 1, or 2 of them"):
        AdaptiveAvgPool2d(size)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_pyramid_is_its_levels_side_by_side(ndim, average):
    layer = SpatialPyramidPool((3, 1), average=average, ndim=ndim)
    x = torch.randn(2, 4, *range(5, 5 + ndim))
    kind = getattr(nn, f"Adaptive{'Avg' if average else 'Max'}Pool{ndim}d")
    expected = torch.cat([kind(3)(x).flatten(1), kind(1)(x).flatten(1)], 1)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(x[0]), expected[0])
    assert expected.shape[1] == 4 * layer.features
    assert layer.codomain(Grid(tuple(x.shape[2:]))) is None


def test_one_net_for_pictures_of_any_size():
    net = Sequential(Conv2d(1, 5, 3), SpatialPyramidPool((4, 2, 1)), nn.Linear(5 * 21, 3))
    for size in ((8, 8), (20, 13), (6, 9)):
        assert net(torch.zeros(2, 1, *size)).shape == (2, 3)
    for levels in ((), (0,), (2, "1")):
        with pytest.raises(ValueError, match="levels takes"):
            SpatialPyramidPool(levels)


@pytest.mark.parametrize("levels", [4, (), "42", (2.0,), (0,), None], ids=repr)
def test_levels_that_are_none(levels):
    with pytest.raises(ValueError, match="levels takes"):
        SpatialPyramidPool(levels)

"""A grid is a value: equality, hash, copies, a repr that reads back, and sizes that are refused."""

import copy
import dataclasses
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grid_cnn import Domain, Grid

sizes = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple)


@settings(deadline=None, derandomize=True, database=None)
@given(sizes, st.booleans())
def test_a_grid_is_a_value(size, periodic):
    grid, twin = Grid(size, periodic), Grid(list(size), periodic=periodic)
    assert grid == twin
    assert hash(grid) == hash(twin)
    assert {grid: 1}[twin] == 1
    assert grid != Grid(size, not periodic)
    assert grid != Grid((*size, 1), periodic)
    assert grid != Grid((size[0] + 1, *size[1:]), periodic)
    for again in (eval(repr(grid)), copy.copy(grid), copy.deepcopy(grid), pickle.loads(pickle.dumps(grid))):
        assert again == grid
        assert type(again) is Grid
        assert hash(again) == hash(grid)


def test_repr_is_short():
    assert repr(Grid((28, 28))) == "Grid((28, 28))"
    assert repr(Grid(5, periodic=True)) == "Grid((5,), periodic=True)"


def test_a_grid_does_not_equal_its_size():
    assert Grid((3, 4)) != (3, 4)


def test_one_axis_may_be_a_number():
    assert Grid(5) == Grid((5,))


def test_sizes_of_tensors_are_sizes():
    assert Grid(torch.zeros(2, 3, 4, 5).shape[2:]) == Grid((4, 5))
    assert type(Grid(torch.zeros(4, 5).shape).size) is tuple


@pytest.mark.parametrize(("size", "ndim", "nodes"), [(5, 1, 5), ((3, 4), 2, 12), ((2, 3, 4), 3, 24), ((1, 1), 2, 1)])
def test_counts(size, ndim, nodes):
    grid = Grid(size)
    assert grid.ndim == ndim
    assert grid.num_nodes == nodes


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Grid((3, 4)).size = (4, 4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Grid((3, 4)).periodic = True


def test_offers_what_a_domain_offers():
    grid = Grid((3, 4), periodic=True)
    assert isinstance(grid, Domain)
    assert grid.to("cpu") == grid
    zeros = grid.zeros(2, dtype=torch.float16, device=torch.device("cpu"))
    assert zeros.shape == (1, 2, 3, 4)
    assert zeros.dtype == torch.float16
    assert not zeros.any()
    assert grid.zeros(2, dtype=torch.float32, device=torch.device("meta")).device.type == "meta"


BAD = [0, -1, True, (), (3, 0), (3, -1), (3, 2.0), (3, True), "28", ("3",), (None,), 2.5, None]


@pytest.mark.parametrize("size", BAD, ids=repr)
def test_bad_sizes_are_quoted(size):
    with pytest.raises((TypeError, ValueError), match="Grid takes one positive whole number an axis") as error:
        Grid(size)
    assert repr(size) in str(error.value)

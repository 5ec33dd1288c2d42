"""Pools on grids, against explicit loops and against torch."""

import inspect
import itertools
import re
import statistics

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck

import grid_cnn
from grid_cnn import Flatten, GlobalAvgPool, GlobalMaxPool, Grid, MaxPool2d

SIZES = {1: (9,), 2: (7, 6), 3: (5, 4, 6)}
PICK = {"Max": max, "Min": min, "Avg": statistics.fmean}
ALL_POOLS = [f"{kind}Pool{ndim}d" for kind in PICK for ndim in (1, 2, 3)]


def make(kind: str, ndim: int, *args, **kwargs):
    return getattr(grid_cnn, f"{kind}Pool{ndim}d")(*args, **kwargs)


def signal(ndim: int, size: tuple[int, ...] | None = None) -> torch.Tensor:
    return torch.randn(2, 3, *(size or SIZES[ndim]), dtype=torch.float64)


def pooled(x: torch.Tensor, pick, kernel, stride, padding=0, dilation=1, fill=None) -> torch.Tensor:
    """`pick` of the values in each window; border cells are left out, or count as `fill`."""
    ndim = x.dim() - 2
    starts = [range(-padding, n + padding - dilation * (kernel - 1), stride) for n in x.shape[2:]]
    out = torch.empty(*x.shape[:2], *(len(axis) for axis in starts), dtype=x.dtype)
    for where in itertools.product(*(range(n) for n in out.shape)):
        corner = [axis[i] for axis, i in zip(starts, where[2:], strict=True)]
        values = []
        for tap in itertools.product(range(kernel), repeat=ndim):
            cell = [c + dilation * m for c, m in zip(corner, tap, strict=True)]
            if all(0 <= i < n for i, n in zip(cell, x.shape[2:], strict=True)):
                values.append(float(x[(*where[:2], *cell)]))
            elif fill is not None:
                values.append(fill)
        out[where] = pick(values)
    return out


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("kind", PICK)
def test_windows_by_loops(kind, ndim):
    x = signal(ndim)
    for kernel, stride in [(2, 2), (3, 1), (3, 2), (1, 3), (2, 3)]:
        y = pooled(x, PICK[kind], kernel, stride)
        torch.testing.assert_close(make(kind, ndim, kernel, stride)(x), y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("kind", PICK)
def test_padding_by_loops(kind, ndim):
    """Padding is never a maximum nor a minimum; in a mean it counts as zeros, or not at all if so asked."""
    for x in (signal(ndim) - 5, signal(ndim) + 5):
        fill = 0.0 if kind == "Avg" else None
        y = pooled(x, PICK[kind], 3, 2, padding=1, fill=fill)
        torch.testing.assert_close(make(kind, ndim, 3, 2, 1)(x), y, rtol=1e-12, atol=1e-12)
        if kind == "Avg":
            y = pooled(x, PICK[kind], 3, 2, padding=1)
            layer = make(kind, ndim, 3, 2, 1, count_include_pad=False)
            torch.testing.assert_close(layer(x), y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("kind", ["Max", "Min"])
def test_dilation_by_loops(kind, ndim):
    x = signal(ndim)
    y = pooled(x, PICK[kind], 3, 1, padding=1, dilation=2)
    assert torch.equal(make(kind, ndim, 3, 1, 1, dilation=2)(x), y)


@pytest.mark.parametrize("name", ALL_POOLS)
def test_windows_do_not_overlap_by_default(name):
    ndim = int(name[-2])
    layer, x = getattr(grid_cnn, name)(2), signal(int(name[-2]))
    assert torch.equal(layer(x), getattr(grid_cnn, name)(2, 2)(x))
    assert layer(x).shape[2:] == tuple(n // 2 for n in SIZES[ndim])


@pytest.mark.parametrize("kind", PICK)
def test_each_axis_has_its_own_window(kind):
    x = signal(2)
    y = make(kind, 2, (1, 3), (2, 1), (0, 1))(x)
    row = make(kind, 1, 3, 1, 1)(x[:, :, ::2].transpose(1, 2).flatten(0, 1))
    torch.testing.assert_close(y.transpose(1, 2).flatten(0, 1), row, rtol=1e-12, atol=1e-12)


def test_min_is_max_of_the_negative():
    x = signal(2)
    assert torch.equal(make("Min", 2, 3, 2, 1)(x), -make("Max", 2, 3, 2, 1)(-x))
    assert (make("Min", 2, 2)(x) <= make("Avg", 2, 2)(x)).all()
    assert (make("Avg", 2, 2)(x) <= make("Max", 2, 2)(x)).all()


@st.composite
def pools_on_grids(draw):
    """Any pool on any grid, fitting or not: (kind, ndim, arguments, size)."""
    kind, ndim = draw(st.sampled_from(list(PICK))), draw(st.integers(1, 3))

    def per_axis(numbers):
        return draw(st.one_of(numbers, st.tuples(*[numbers] * ndim)))

    arguments = {"kernel_size": per_axis(st.integers(1, 4)), "ceil_mode": draw(st.booleans())}
    arguments["stride"] = draw(st.none()) if draw(st.booleans()) else per_axis(st.integers(1, 4))
    arguments["padding"] = per_axis(st.integers(0, 2))
    if kind == "Avg":
        arguments["count_include_pad"] = draw(st.booleans())
    else:
        arguments["dilation"] = per_axis(st.integers(1, 2))
    size = draw(st.tuples(*[st.integers(1, 7 if ndim < 3 else 5)] * ndim))
    return kind, ndim, arguments, Grid(size, periodic=draw(st.booleans()))


def torch_pool(kind: str, ndim: int, arguments: dict, x: torch.Tensor) -> torch.Tensor:
    if kind == "Min":
        return -torch_pool("Max", ndim, arguments, -x)
    return getattr(nn, f"{kind}Pool{ndim}d")(**arguments)(x)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(pools_on_grids())
def test_any_pool_on_any_grid(case):
    """torch's numbers on the codomain; where torch refuses, a ValueError, from the codomain as from the call."""
    kind, ndim, arguments, grid = case
    x = signal(ndim, grid.size)
    try:
        expected = torch_pool(kind, ndim, arguments, x)
    except RuntimeError as error:
        assume("input image" not in str(error))  # an average of volumes smaller than the window: see below
        with pytest.raises(ValueError, match=r"larger than the padded input|more than half"):
            make(kind, ndim, **arguments)(x, grid)
        with pytest.raises(ValueError, match=r"larger than the padded input|more than half"):
            make(kind, ndim, **arguments).codomain(grid)
        return
    layer = make(kind, ndim, **arguments)
    y = layer(x, grid)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    assert layer.codomain(grid).size == tuple(y.shape[2:])
    assert torch.equal(layer(x), y)


def test_averages_of_volumes_smaller_than_the_window():
    """torch has no kernel for them; whatever is made of them, the codomain and the call agree."""
    x, layer = signal(3, (3, 3, 3)), make("Avg", 3, 4, 1, 2)
    try:
        codomain = layer.codomain(Grid((3, 3, 3)))
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            layer(x)
        return
    assert codomain == Grid((4, 4, 4))
    y = pooled(x, statistics.fmean, 4, 1, padding=2, fill=0.0)
    torch.testing.assert_close(layer(x), y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ALL_POOLS)
def test_rounding_up_covers_the_last_cells(name):
    ndim = int(name[-2])
    x = torch.arange(5.0**ndim, dtype=torch.float64).view(1, 1, *(5,) * ndim)
    layer = getattr(grid_cnn, name)(2, ceil_mode=True)
    y = layer(x)
    assert tuple(y.shape[2:]) == (3,) * ndim == layer.codomain(Grid((5,) * ndim)).size
    assert y.flatten()[-1] == x.flatten()[-1]  # the last window holds the last cell alone
    assert getattr(grid_cnn, name)(2)(x).shape[2:] == (2,) * ndim


def test_rounding_up_keeps_a_first_window_larger_than_the_input():
    x = signal(2, (2, 2))
    y = nn.MaxPool2d(3, 2, ceil_mode=True)(x)
    assert torch.equal(MaxPool2d(3, 2, ceil_mode=True)(x), y)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(pools_on_grids())
def test_a_periodic_codomain_shifts_with_its_domain(case):
    """Where the codomain calls itself periodic, a signal shifted by the stride gives the result shifted by a cell."""
    kind, ndim, arguments, grid = case
    try:
        layer = make(kind, ndim, **arguments)
        codomain = layer.codomain(grid)
    except ValueError:
        assume(False)
    if codomain.periodic:
        assert grid.periodic
        x, axes = signal(ndim, grid.size), tuple(range(2, 2 + ndim))
        torch.testing.assert_close(layer(x.roll(layer.stride, axes)), layer(x).roll((1,) * ndim, axes))


@pytest.mark.parametrize("name", ALL_POOLS)
def test_periodic_only_if_the_windows_tile(name):
    ndim = int(name[-2])
    pool = getattr(grid_cnn, name)
    assert pool(2).codomain(Grid((6,) * ndim, periodic=True)) == Grid((3,) * ndim, periodic=True)
    assert pool(2).codomain(Grid((6,) * ndim)) == Grid((3,) * ndim)
    assert pool(2).codomain(Grid((7,) * ndim, periodic=True)) == Grid((3,) * ndim)
    assert pool(2, ceil_mode=True).codomain(Grid((7,) * ndim, periodic=True)) == Grid((4,) * ndim)
    assert pool(3, 1, 1).codomain(Grid((6,) * ndim, periodic=True)) == Grid((6,) * ndim)
    assert pool(2, 2, 1).codomain(Grid((6,) * ndim, periodic=True)) == Grid((4,) * ndim)
    assert pool(3, 3, 1).codomain(Grid((6,) * ndim, periodic=True)) == Grid((2,) * ndim)
    assert pool(3, 2, ceil_mode=True).codomain(Grid((6,) * ndim, periodic=True)) == Grid((3,) * ndim)
    if not name.startswith("Avg"):
        holes = pool(2, dilation=2, ceil_mode=True)
        assert holes.codomain(Grid((4,) * ndim, periodic=True)) == Grid((2,) * ndim)


@pytest.mark.parametrize("name", ALL_POOLS)
def test_signals_without_batch(name):
    x = signal(int(name[-2]))
    layer = getattr(grid_cnn, name)(2)
    assert torch.equal(layer(x[0]), layer(x)[0])


@pytest.mark.parametrize("name", ALL_POOLS)
def test_gradients(name):
    ndim = int(name[-2])
    x = torch.randperm(5**ndim).double().view(1, 1, *(5,) * ndim).requires_grad_()  # no ties
    assert gradcheck(getattr(grid_cnn, name)(3, 2, 1), (x,))


@pytest.mark.parametrize("name", [name for name in ALL_POOLS if not name.startswith("Min")])
def test_constructors_are_those_of_torch(name):
    """An argument given by position means what it means in torch."""
    ours = [p for p in inspect.signature(getattr(grid_cnn, name)).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    theirs = list(inspect.signature(getattr(nn, name)).parameters)
    assert [p.name for p in ours] == theirs[: len(ours)]


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_global_pools_by_loops(ndim):
    x = signal(ndim)
    mean, largest = GlobalAvgPool(ndim)(x), GlobalMaxPool(ndim)(x)
    assert mean.shape == largest.shape == (2, 3)
    for batch, channel in itertools.product(range(2), range(3)):
        values = x[batch, channel].flatten().tolist()
        assert float(mean[batch, channel]) == pytest.approx(statistics.fmean(values))
        assert float(largest[batch, channel]) == max(values)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_flatten_is_channel_by_channel(ndim):
    x = signal(ndim)
    y = Flatten(ndim)(x)
    assert y.shape == (2, x[0].numel())
    assert y[1].tolist() == [v for channel in x[1] for v in channel.flatten().tolist()]


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("layer", [GlobalAvgPool, GlobalMaxPool, Flatten])
def test_what_leaves_the_grid(layer, ndim):
    """After it there is no domain; a batch of one is a signal alone; a periodic grid makes no difference."""
    x, grid = signal(ndim), Grid(SIZES[ndim], periodic=True)
    made = layer(ndim)
    assert made.codomain(grid) is None
    y, domain = made.step(x, grid)
    assert domain is None
    assert torch.equal(y, made(x))
    torch.testing.assert_close(made(x[0]), y[0], rtol=1e-12, atol=1e-12)


def test_pictures_are_the_default():
    x = signal(2)
    for layer in (GlobalAvgPool, GlobalMaxPool, Flatten):
        assert torch.equal(layer()(x), layer(2)(x))


@pytest.mark.parametrize("layer", [GlobalAvgPool, GlobalMaxPool, Flatten])
@pytest.mark.parametrize("ndim", [0, -1, "2", 1.5])
def test_axes_that_cannot_be_are_refused(layer, ndim):
    """Zero axes would average over batch and channels too."""
    with pytest.raises((TypeError, ValueError), match=f"ndim.*{ndim!r}"):
        layer(ndim)


@pytest.mark.parametrize("name", ALL_POOLS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 0}, "kernel_size takes a whole number >= 1.*got 0"),
        ({"kernel_size": (2, 2, 2, 2)}, r"kernel_size.*got \(2, 2, 2, 2\)"),
        ({"kernel_size": 2, "stride": 0}, "stride takes a whole number >= 1.*got 0"),
        ({"kernel_size": 2, "padding": -1}, "padding takes a whole number >= 0.*got -1"),
        ({"kernel_size": 2, "padding": 2}, r"padding \(2.*more than half of kernel_size \(2"),
        ({"kernel_size": "2"}, "kernel_size.*got '2'"),
        ({"kernel_size": 2.5}, r"kernel_size.*2\.5"),
        ({"kernel_size": None}, "kernel_size.*None"),
    ],
)
def test_bad_arguments(name, arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        getattr(grid_cnn, name)(**arguments)

"""Lp pools and max-unpooling, against torch and by hand."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck

import grid_cnn
from grid_cnn import Grid, LpPool2d, MaxPool2d, MaxUnpool2d, MinPool2d, Sequential

SIZES = {1: (9,), 2: (7, 6), 3: (5, 4, 6)}


def signal(ndim: int) -> torch.Tensor:
    return torch.rand(2, 3, *SIZES[ndim], dtype=torch.float64) + 0.1


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("norm_type", [1, 2, 3.5])
@pytest.mark.parametrize("window", [(2,), (3, 2), (2, 3), (2, 2, True), (3, 2, True)], ids=str)
def test_lp_is_that_of_torch(ndim, norm_type, window):
    x = signal(ndim)
    layer = getattr(grid_cnn, f"LpPool{ndim}d")(norm_type, *window)
    expected = getattr(nn, f"LPPool{ndim}d")(norm_type, *window)(x)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)
    assert layer.codomain(Grid(SIZES[ndim])).size == tuple(expected.shape[2:])


def test_lp_by_hand_and_its_limits():
    x = torch.tensor([[[[3.0, 0.0], [4.0, 12.0]]]], dtype=torch.float64)
    assert float(LpPool2d(2, 2)(x)) == pytest.approx(13)
    assert float(LpPool2d(1, 2)(x)) == pytest.approx(19)
    assert float(LpPool2d(60, 2)(x)) == pytest.approx(12)
    assert gradcheck(LpPool2d(3, 2), (signal(2).requires_grad_(),))
    for wrong in (0, -1, float("inf"), "2", None):
        with pytest.raises(ValueError, match="norm_type takes a number above 0"):
            LpPool2d(wrong, 2)


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.booleans())
def test_unpool_is_that_of_torch(ndim, kernel, stride, padding, sized):
    assume(2 * padding <= kernel)
    x, size = signal(ndim), SIZES[ndim]
    pool = getattr(grid_cnn, f"MaxPool{ndim}d")(kernel, stride, padding)
    values, switches = pool.with_switches(x)
    their_values, their_switches = getattr(nn, f"MaxPool{ndim}d")(kernel, stride, padding, return_indices=True)(x)
    assert torch.equal(values, their_values)
    assert torch.equal(switches, their_switches)
    least = tuple((n - 1) * stride - 2 * padding + kernel for n in values.shape[2:])
    assume(sized or int(switches.max()) < torch.tensor(least).prod())
    theirs, ours = (getattr(module, f"MaxUnpool{ndim}d")(kernel, stride, padding) for module in (nn, grid_cnn))
    back = ours(values, switches, Grid(size) if sized else None)
    assert back.shape[2:] == (size if sized else least)
    if all(abs(n - m) < stride for n, m in zip(size, least, strict=True)):  # torch takes no other output_size
        assert torch.equal(back, theirs(values, switches, size if sized else None))
    if sized:
        where = back != 0
        assert torch.equal(back[where], x[where])
        assert torch.equal(ours(values[0], switches[0], size), back[0])


def test_the_largest_of_every_block_go_back_to_their_places():
    x = torch.tensor([[[[1.0, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]]])
    values, switches = MaxPool2d(2).with_switches(x)
    assert switches.flatten().tolist() == [5, 7, 8, 15]
    back = MaxUnpool2d(2)(values, switches)
    assert back.squeeze().tolist() == [[0, 0, 0, 0], [0, 6, 0, 8], [3, 0, 0, 0], [0, 0, 0, 4]]
    torch.testing.assert_close(MaxPool2d(2)(back), values)


def test_min_pools_have_switches_too():
    x = torch.randn(1, 2, 4, 4)
    values, switches = MinPool2d(2).with_switches(x)
    assert torch.equal(values, MinPool2d(2)(x))
    assert torch.equal(x.flatten(2).gather(2, switches.flatten(2)), values.flatten(2))


def test_unpool_gradients_and_compile():
    torch.compiler.reset()
    values, switches = MaxPool2d(2).with_switches(signal(2))
    unpool = MaxUnpool2d(2)
    assert gradcheck(lambda v: unpool(v, switches, (7, 6)), (values.requires_grad_(),))
    compiled = torch.compile(unpool, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(values, switches, (7, 6)), unpool(values, switches, (7, 6)))


def test_what_does_not_go_back_is_named():
    values, switches = MaxPool2d(2).with_switches(torch.randn(1, 1, 5, 5))
    far = torch.full_like(switches, 25)
    with pytest.raises(ValueError, match=r"a switch points at cell 25 of a grid of size \(5, 5\), which has 25"):
        MaxUnpool2d(2)(values, far, (5, 5))
    with pytest.raises(ValueError, match=r"\(1, 1, 2, 2\) and \(1, 1, 2\)"):
        MaxUnpool2d(2)(values, switches[..., 0])
    with pytest.raises(ValueError, match="expects a signal"):
        MaxPool2d(2).with_switches(torch.zeros(5, 5))
    with pytest.raises(TypeError, match="MaxUnpool2d, does not act element by element"):
        Sequential(MaxPool2d(2), MaxUnpool2d(2))


def test_a_size_that_the_pool_does_not_lead_from_is_refused():
    """As torch does: else values would go back to other cells, silently."""
    values, switches = MaxPool2d(2).with_switches(torch.randn(1, 1, 7, 7))
    for size in ((70, 70), (7, 9), (7, 4)):
        with pytest.raises(ValueError, match=r"of a grid of size \(6, 6\).*got size"):
            MaxUnpool2d(2)(values, switches, size)
        with pytest.raises(ValueError, match="invalid output_size"):
            nn.MaxUnpool2d(2)(values, switches, size)


@pytest.mark.parametrize("window", [(3, 1, 0, 2), (2, 2, 1, 3), (3, 3, 0, 1)], ids=str)
def test_pools_with_dilation_go_back(window):
    x = torch.rand(2, 3, 9, 8) + 1
    values, switches = MaxPool2d(*window).with_switches(x)
    back = MaxUnpool2d(*window)(values, switches, (9, 8))
    assert set(back.unique().tolist()) == {0.0, *values.unique().tolist()}
    assert torch.equal(back[back > 0], x[back > 0])


def test_switches_that_are_none_are_named():
    values, switches = MaxPool2d(2).with_switches(torch.randn(1, 1, 4, 4))
    with pytest.raises(ValueError, match="a switch points at cell -1 of a grid"):
        MaxUnpool2d(2)(values, torch.full_like(switches, -1))
    with pytest.raises(TypeError, match=r"whole numbers.*got torch\.float32"):
        MaxUnpool2d(2)(values, switches.float())
    with pytest.raises(TypeError, match=r"two tensors.*got list and Tensor"):
        MaxUnpool2d(2)([1.0], switches)

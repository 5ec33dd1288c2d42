"""Batch normalisation on grids, against its formula and against torch."""

import pytest
import torch
from torch import nn

from grid_cnn import BatchNorm1d, BatchNorm2d, BatchNorm3d, Grid, GridOps, LocalResponseNorm

OURS = {1: BatchNorm1d, 2: BatchNorm2d, 3: BatchNorm3d}
TORCH = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
NDIMS = pytest.mark.parametrize("ndim", [1, 2, 3])


def signal(ndim: int, channels: int = 4) -> torch.Tensor:
    return 3 + 2 * torch.randn(5, channels, *range(4, 4 + ndim), dtype=torch.float64)


@NDIMS
def test_formula(ndim):
    """γ (x - mean) / sqrt(var + ε) + β over batch and cells; in evaluation with the running averages."""
    x, layer = signal(ndim), OURS[ndim](4, eps=1e-3, momentum=0.25).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(4))
        layer.bias.copy_(torch.randn(4))
    columns = x.transpose(0, 1).flatten(1)
    mean, var = columns.mean(1), columns.var(1, unbiased=False)

    def normalised(mean, var):
        y = (columns - mean[:, None]) / (var[:, None] + 1e-3).sqrt() * layer.weight[:, None] + layer.bias[:, None]
        return y.view(x.transpose(0, 1).shape).transpose(0, 1)

    torch.testing.assert_close(layer(x), normalised(mean, var), rtol=1e-10, atol=1e-10)
    running_mean, running_var = 0.25 * mean, 0.75 + 0.25 * columns.var(1, unbiased=True)
    torch.testing.assert_close(layer.running_mean, running_mean)
    torch.testing.assert_close(layer.running_var, running_var)
    torch.testing.assert_close(layer.eval()(x), normalised(running_mean, running_var), rtol=1e-10, atol=1e-10)


@NDIMS
def test_constructor_and_state_dict_are_those_of_torch(ndim):
    arguments = (4, 1e-4, 0.3, True, True)
    ours, theirs = OURS[ndim](*arguments), TORCH[ndim](*arguments)
    assert isinstance(ours, TORCH[ndim])
    x = signal(ndim).float()
    torch.testing.assert_close(ours(x), theirs(x))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    fresh = OURS[ndim](4)
    fresh.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(fresh.state_dict(), strict=True)
    torch.testing.assert_close(fresh.running_mean, ours.running_mean)
    assert not OURS[ndim](4, affine=False, track_running_stats=False).state_dict()


@NDIMS
def test_lives_on_the_grid_it_is_given(ndim):
    x, layer = signal(ndim), OURS[ndim](4).double()
    grid = Grid(x.shape[2:], periodic=True)
    y, domain = layer.step(x, grid)
    assert domain is grid
    assert layer.codomain(grid) is grid
    torch.testing.assert_close(y, layer(x))
    assert layer.step(x)[1] == Grid(x.shape[2:])


@NDIMS
def test_a_signal_without_batch_is_a_batch_of_one(ndim):
    """As for every grid layer: `(C, *size)`, with as many cells as channels and with another number."""
    layer = OURS[ndim](4).double().eval()
    layer.running_mean.copy_(torch.arange(4.0))
    for size in ((4,) * ndim, tuple(range(5, 5 + ndim))):
        x = torch.randn(4, *size, dtype=torch.float64)
        torch.testing.assert_close(layer(x), layer(x[None])[0])


@NDIMS
def test_misfits(ndim):
    layer, x = OURS[ndim](4), signal(ndim).float()
    with pytest.raises(ValueError, match=rf"BatchNorm{ndim}d expects 4 channels, got 3"):
        layer(x[:, :3])
    with pytest.raises(ValueError, match=rf"BatchNorm{ndim}d expects a signal.*got shape"):
        layer(x[..., None, None])
    with pytest.raises(TypeError, match=rf"BatchNorm{ndim}d works on a Grid"):
        layer(x, tuple(x.shape[2:]))


@pytest.mark.parametrize("channels", [0, -1, 2.5, None])
def test_bad_channels(channels):
    with pytest.raises((TypeError, ValueError), match=f"num_features.*{channels}"):
        BatchNorm2d(channels)


@NDIMS
@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
def test_local_response_formula(ndim, size):
    """x / (k + α/n Σ x²)^β over the channels from c - ⌊n/2⌋ to c + ⌊(n - 1)/2⌋, by loops, and as torch has it."""
    x = signal(ndim)
    layer = LocalResponseNorm(size, 0.7, 0.6, 1.5, ndim=ndim)
    expected = torch.empty_like(x)
    for c in range(4):
        near = x[:, max(0, c - size // 2) : c + (size - 1) // 2 + 1]
        expected[:, c] = x[:, c] / (1.5 + 0.7 / size * near.square().sum(1)) ** 0.6
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(nn.LocalResponseNorm(size, 0.7, 0.6, 1.5)(x), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer(x[0]), expected[0], rtol=1e-12, atol=1e-12)
    assert layer.step(x)[1] == Grid(x.shape[2:])
    assert torch.autograd.gradcheck(layer, (x[:1, ..., :2].clone().requires_grad_(),))


def test_local_response_defaults_and_misfits():
    x = signal(2)
    torch.testing.assert_close(GridOps().local_response_norm(5)(x), nn.LocalResponseNorm(5)(x))
    for wrong in (0, -1, 2.0, "2", True):
        with pytest.raises(ValueError, match="the number of channels that are near"):
            LocalResponseNorm(wrong)
    with pytest.raises(ValueError, match="grids of 1 axis"):
        LocalResponseNorm(3, ndim=1)(x, Grid((4, 5)))

"""GridOps: the layers it makes, with the signatures that every family shares."""

import inspect

import pytest
import torch

import grid_cnn
from grid_cnn import GridOps, Ops

METHODS = [name for name, member in vars(Ops).items() if not name.startswith("_") and inspect.isfunction(member)]


@pytest.mark.parametrize("name", METHODS)
def test_signatures_are_those_of_the_protocol(name):
    ours, wanted = inspect.signature(getattr(GridOps, name)), inspect.signature(getattr(Ops, name))
    assert ours == wanted


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_makes_the_layers_of_its_axes(ndim):
    ops = GridOps(ndim)
    made = {
        "Conv": ops.conv(2, 4, 3),
        "MaxPool": ops.max_pool(2),
        "MinPool": ops.min_pool(2),
        "AvgPool": ops.avg_pool(2),
        "BatchNorm": ops.norm(2),
        "AdaptiveAvgPool": ops.adaptive_avg_pool(2),
        "AdaptiveMaxPool": ops.adaptive_max_pool(2),
    }
    for name, layer in made.items():
        assert type(layer) is getattr(grid_cnn, f"{name}{ndim}d")
    x = torch.randn(2, 2, *(6,) * ndim)
    assert made["Conv"](x).shape == (2, 4, *(6,) * ndim)
    for name in ("MaxPool", "MinPool", "AvgPool"):
        assert made[name](x).shape == (2, 2, *(3,) * ndim)
    assert ops.global_avg_pool()(x).shape == (2, 2)
    assert ops.global_max_pool()(x).shape == (2, 2)
    assert ops.flatten()(x).shape == (2, 2 * 6**ndim)
    torch.testing.assert_close(ops.global_avg_pool()(x), x.flatten(2).mean(2))
    torch.testing.assert_close(ops.global_max_pool()(x), x.flatten(2).amax(2))
    assert torch.equal(ops.flatten()(x), x.flatten(1))


def test_arguments_reach_the_layer():
    layer = GridOps().conv(2, 4, 3, 2, 1, 2, 2, False, "circular")
    assert (layer.kernel_size, layer.stride, layer.dilation, layer.groups) == ((3, 3), (2, 2), (2, 2), 2)
    assert layer.borders == ((1, 1), (1, 1))
    assert layer.bias is None
    assert layer.padding_mode == "circular"
    for pool in (GridOps().max_pool(3, 2, 1), GridOps().min_pool(3, 2, 1), GridOps().avg_pool(3, 2, 1)):
        assert (pool.kernel_size, pool.stride, pool.padding) == ((3, 3), (2, 2), (1, 1))
    for pool in (GridOps().max_pool(2, ceil_mode=True), GridOps().min_pool(2, None, 0, True)):
        assert pool.ceil_mode
    average = GridOps().avg_pool(3, 2, 1, True, False)
    assert (average.ceil_mode, average.count_include_pad) == (True, False)
    norm = GridOps().norm(5, 1e-3, 0.01)
    assert (norm.num_features, norm.eps, norm.momentum) == (5, 1e-3, 0.01)
    response = GridOps().local_response_norm(3, 0.1, 0.5, 2.0)
    assert (response.size, response.alpha, response.beta, response.k) == (3, 0.1, 0.5, 2.0)
    assert GridOps().channel_axis == 1


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_borders_are_same_unless_said(kernel, stride):
    layer = GridOps().conv(1, 1, kernel, stride)
    assert layer.padding == "same"
    assert layer(torch.zeros(1, 1, 9, 10)).shape[2:] == (-(-9 // stride), -(-10 // stride))


def test_knows_valid_borders_and_prints_itself():
    assert GridOps().has_valid_borders
    assert repr(GridOps(3)) == "GridOps(ndim=3)"
    assert GridOps().ndim == 2


@pytest.mark.parametrize("ndim", [0, 4, -1, "2", None, 2.0, True, (2,)], ids=repr)
def test_other_numbers_of_axes(ndim):
    with pytest.raises(ValueError, match="ndim 1, 2 or 3") as error:
        GridOps(ndim)
    assert repr(ndim) in str(error.value)

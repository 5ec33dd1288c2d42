"""Concat and Add: branches on one signal, the domain threaded through each, and what cannot be joined."""

import pytest
import torch
from torch import nn

from grid_cnn import (
    Add,
    BatchNorm2d,
    Concat,
    Conv1d,
    Conv2d,
    Conv3d,
    GlobalAvgPool,
    Grid,
    GridOps,
    MaxPool2d,
    Sequential,
    bind,
)


def branches() -> dict[str, nn.Module]:
    return {
        "point": Conv2d(3, 4, 1),
        "wide": Sequential(Conv2d(3, 2, 5, padding="same"), nn.ReLU()),
        "itself": nn.Identity(),
    }


def test_concat_is_torch_cat_and_add_the_sum():
    x = torch.randn(2, 3, 6, 7)
    layer = Concat(branches())
    wide = layer.branches["wide"]
    assert torch.equal(layer(x), torch.cat([layer.get_submodule("point")(x), torch.relu(wide[0](x)), x], 1))
    total = Add({"body": Conv2d(3, 3, 3, padding=1), "shortcut": nn.Identity()})
    assert torch.equal(total(x), total.get_submodule("body")(x) + x)


def test_children_have_the_names_of_the_mapping():
    assert list(Concat(branches()).state_dict()) == ["point.weight", "point.bias", "wide.0.weight", "wide.0.bias"]
    assert list(Add([Conv2d(1, 1, 1, bias=False), nn.Identity()]).state_dict()) == ["0.weight"]


@pytest.mark.parametrize(("conv", "size"), [(Conv1d, (7,)), (Conv2d, (6, 7)), (Conv3d, (4, 5, 6))])
def test_channels_are_found_with_and_without_a_batch(conv, size):
    layer = GridOps(len(size)).concat([conv(3, 2, 1), conv(3, 4, 1)])
    x = torch.randn(2, 3, *size)
    y = layer(x)
    assert y.shape == (2, 6, *size)
    torch.testing.assert_close(layer(x[0], Grid(size)), y[0])
    if len(size) > 1:
        torch.testing.assert_close(layer(x[0]), y[0])


def test_the_domain_goes_through_every_branch():
    torus = Grid((6, 6), periodic=True)
    conv = Conv2d(1, 2, 3, padding=1)
    layer, x = Concat({"conv": conv, "strided": Sequential(conv, nn.Identity())}), torch.randn(1, 1, 6, 6)
    y, domain = layer.step(x, torus)
    assert domain == torus == layer.codomain(torus)
    torch.testing.assert_close(y[:, :2], conv(x, torus))
    assert not torch.allclose(y[:, :2], conv(x))


def test_a_grid_is_read_off_the_signal():
    """An identity alone could not tell on which grid its input lives."""
    layer = Concat([nn.Identity(), Conv2d(2, 2, 3, padding=1)])
    assert layer.step(torch.zeros(1, 2, 5, 5))[1] == Grid((5, 5))
    pooled = Concat([MaxPool2d(2), Conv2d(2, 2, 2, 2)])
    assert pooled.step(torch.zeros(1, 2, 6, 8))[1] == Grid((3, 4)) == pooled.codomain(Grid((6, 8)))


def test_branches_may_leave_the_domain_together():
    layer = Concat([GlobalAvgPool(), Sequential(MaxPool2d(2), GlobalAvgPool())])
    x = torch.randn(2, 3, 4, 4)
    assert layer(x).shape == (2, 6)
    assert layer.leaves_domain
    assert Sequential(layer, nn.Linear(6, 2))(x).shape == (2, 2)
    assert layer.codomain(Grid((4, 4))) is None


def test_in_channels_and_bind():
    layer = Concat({"itself": nn.Identity(), "conv": Conv2d(5, 2, 1)})
    assert layer.in_channels == 5
    x = torch.randn(2, 5, 4, 4)
    torch.testing.assert_close(bind(layer, Grid((4, 4)))(x), layer(x))


def test_hooks_see_joins_inside_a_sequential():
    seen = []
    layer = Concat(branches())
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    Sequential(layer, BatchNorm2d(9))(torch.zeros(2, 3, 4, 4))
    assert seen == [(2, 9, 4, 4)]


def test_trace_shows_every_branch_and_the_join():
    net = Sequential(Concat(branches()), Conv2d(9, 1, 1))
    x = torch.randn(1, 3, 6, 6)
    stages = list(net.trace(x))
    assert [stage.name for stage in stages] == ["0.point", "0.wide.0", "0.wide.1", "0.itself", "0", "1"]
    torch.testing.assert_close(stages[-1].x, net(x))
    assert all(stage.domain == Grid((6, 6)) for stage in stages)


def test_trace_leaves_the_signal_of_in_place_branches_alone():
    x = torch.randn(1, 3, 6, 6)
    kept = x.clone()
    stages = {
        stage.name: stage.x for stage in Add({"rectified": nn.ReLU(inplace=True), "wide": Conv2d(3, 3, 1)}).trace(x)
    }
    assert torch.equal(x, kept)
    assert torch.equal(stages["rectified"], kept.relu())


@pytest.mark.parametrize("join", [Concat, Add])
def test_branches_on_different_domains_are_named(join):
    layer = join({"same": Conv2d(1, 1, 3, padding=1), "coarse": Conv2d(1, 1, 3, 2, 1)})
    message = r"'same' on Grid\(\(6, 6\)\), 'coarse' on Grid\(\(3, 3\)\)"
    with pytest.raises(ValueError, match=message):
        layer(torch.zeros(1, 1, 6, 6))
    with pytest.raises(ValueError, match=message):
        layer.codomain(Grid((6, 6)))


def test_sums_do_not_broadcast():
    layer = Add({"one": Conv2d(3, 1, 1), "shortcut": nn.Identity()})
    with pytest.raises(ValueError, match=r"'one' gives \(1, 1, 4, 4\), 'shortcut' \(1, 3, 4, 4\)"):
        layer(torch.zeros(1, 3, 4, 4))


@pytest.mark.parametrize("join", [Concat, Add])
def test_what_has_no_meaning_is_refused(join):
    with pytest.raises(ValueError, match="at least one branch"):
        join([])
    with pytest.raises(TypeError, match=r"branch 'dense' of this .*, Linear, is no layer"):
        join({"dense": nn.Linear(3, 3)})

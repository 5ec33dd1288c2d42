"""The networks on grids: shapes, parameters, borders, the least sizes, and their names."""

import itertools
import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from grid_cnn import Conv2d, Grid, GridOps, Sequential, bind, models
from grid_cnn.models import lenet5, linear, mlp
from grid_cnn.models.fit import least_size

BORDERS = [None, "same", "valid", *itertools.product(("same", "valid"), repeat=2)]
# The least side for borders same/same, same/valid, valid/same, valid/valid: ((n - a) // 2 - b) // 2 >= 1.
LEAST = {"same": 4, ("same", "valid"): 12, ("valid", "same"): 8, "valid": 16, None: 12}

# The networks whose defaults are a channel of 28×28 pixels and ten classes; tests of the others are in models/.
DIGITS = ["lenet5", "linear", "mlp"]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def side(n: int, padding) -> int:
    """The side of LeNet-5's last feature maps on an n×n picture."""
    first, second = padding if isinstance(padding, tuple) else (padding or "same", padding or "valid")
    for border in (first, second):
        n = (n - 4 * (border == "valid")) // 2
    return n


class Points:
    """A domain that is no grid."""

    num_nodes = 784

    def to(self, device):
        return self

    def zeros(self, channels, *, dtype, device):
        return torch.zeros(1, self.num_nodes, channels, dtype=dtype, device=device)


def test_lenet5_parameters():
    net = lenet5()
    assert count(net) == 61_706
    by_layer = {name: count(module) for name, module in net.named_children() if count(module)}
    assert by_layer == {"conv1": 156, "conv2": 2_416, "fc1": 48_120, "fc2": 10_164, "fc3": 850}


def test_lenet5_stage_by_stage():
    stages = list(lenet5().trace(torch.zeros(2, 1, 28, 28)))
    assert [(stage.name, tuple(stage.x.shape[1:])) for stage in stages] == [
        ("conv1", (6, 28, 28)),
        ("relu1", (6, 28, 28)),
        ("pool1", (6, 14, 14)),
        ("conv2", (16, 10, 10)),
        ("relu2", (16, 10, 10)),
        ("pool2", (16, 5, 5)),
        ("flatten", (400,)),
        ("fc1", (120,)),
        ("relu3", (120,)),
        ("fc2", (84,)),
        ("relu4", (84,)),
        ("fc3", (10,)),
    ]
    assert [stage.domain for stage in stages if stage.domain] == [Grid(s.x.shape[2:]) for s in stages[:6]]
    assert all(stage.domain is None for stage in stages[6:])


def test_lenet5_on_the_original_picture():
    """32×32 with valid borders, as published: 28, 14, 10, 5, and the same number of parameters."""
    net = lenet5(padding="valid", domain=Grid((32, 32)))
    sizes = [stage.domain.size[0] for stage in net.trace(torch.zeros(1, 1, 32, 32)) if stage.domain]
    assert sizes == [28, 28, 14, 10, 10, 5]
    assert count(net) == 61_706


def test_lenet5_is_its_formula():
    net, x = lenet5(num_classes=4, in_channels=2), torch.randn(3, 2, 28, 28)
    w = net.state_dict()
    y = F.max_pool2d(F.relu(F.conv2d(x, w["conv1.weight"], w["conv1.bias"], padding=2)), 2)
    y = F.max_pool2d(F.relu(F.conv2d(y, w["conv2.weight"], w["conv2.bias"])), 2).flatten(1)
    y = F.relu(F.linear(y, w["fc1.weight"], w["fc1.bias"]))
    y = F.relu(F.linear(y, w["fc2.weight"], w["fc2.bias"]))
    torch.testing.assert_close(net(x), F.linear(y, w["fc3.weight"], w["fc3.bias"]))


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(1, 4),
    st.integers(1, 12),
    st.sampled_from(BORDERS),
    st.booleans(),
)
def test_lenet5_of_any_size(size, channels, classes, padding, periodic):
    """Every domain that fits gives a network that runs; every other one is refused with a size that does."""
    grid = Grid(size, periodic=periodic)
    rows, columns = (side(n, padding) for n in size)
    if min(rows, columns) < 1:
        with pytest.raises(ValueError, match="LeNet-5 does not fit") as error:
            lenet5(classes, channels, padding=padding, domain=grid)
        least = int(re.search(r"the least size that fits is (\d+)×\1$", str(error.value)).group(1))
        lenet5(classes, channels, padding=padding, domain=Grid((least, least), periodic=periodic))
        return
    net = lenet5(classes, channels, padding=padding, domain=grid)
    dense = [(16 * rows * columns + 1) * 120, 121 * 84, 85 * classes]
    assert count(net) == (25 * channels + 1) * 6 + (25 * 6 + 1) * 16 + sum(dense)
    assert bind(net, grid)(torch.randn(2, channels, *size)).shape == (2, classes)


@pytest.mark.parametrize("padding", LEAST, ids=str)
def test_the_least_size_is_the_least(padding):
    least = LEAST[padding]
    net = lenet5(padding=padding, domain=Grid((least, least)))
    assert net(torch.zeros(1, 1, least, least)).shape == (1, 10)
    for size in [(least - 1, least - 1), (least - 1, 28), (28, least - 1), (1, 1)]:
        with pytest.raises(ValueError, match=rf"the least size that fits is {least}×{least}$") as error:
            lenet5(padding=padding, domain=Grid(size))
        assert f"LeNet-5 does not fit Grid({size})" in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(("kernel", "least"), [(1, 1), (7, 7), (1024, 1024), (1025, None)])
def test_least_size_of_a_single_layer(kernel, least):
    """The search starts at one cell and ends at 1,024."""
    assert least_size(Conv2d(1, 1, (kernel, 1)), 2) == least


@pytest.mark.parametrize(("ndim", "least", "text"), [(1, 12, "12"), (3, 12, "12×12×12")])
def test_lenet5_on_lines_and_volumes(ndim, least, text):
    net = lenet5(ops=GridOps(ndim), domain=Grid((least,) * ndim))
    assert net.conv1.weight.shape == (6, 1, *(5,) * ndim)
    assert net(torch.zeros(1, 1, *(least,) * ndim)).shape == (1, 10)
    with pytest.raises(ValueError, match=f"the least size that fits is {text}$"):
        lenet5(ops=GridOps(ndim), domain=Grid((least - 1,) * ndim))


def test_default_border_is_the_originals_pair():
    assert (lenet5().conv1.padding, lenet5().conv2.padding) == ("same", "valid")
    assert (lenet5(padding="same").conv1.padding, lenet5(padding="same").conv2.padding) == ("same", "same")
    net = lenet5(padding=("valid", "same"))
    assert (net.conv1.padding, net.conv2.padding) == ("valid", "same")


def test_a_family_without_valid_borders_gets_same():
    class SameOnly(GridOps):
        has_valid_borders = False

    net = lenet5(ops=SameOnly())
    assert (net.conv1.padding, net.conv2.padding) == ("same", "same")


def test_lenet5_builds_with_the_ops_it_is_given():
    class Recorded(GridOps):
        def __init__(self):
            super().__init__()
            self.calls = []

        def conv(self, *args, **kwargs):
            self.calls.append(("conv", args, kwargs))
            return super().conv(*args, **kwargs)

        def max_pool(self, *args, **kwargs):
            self.calls.append(("max_pool", args, kwargs))
            return super().max_pool(*args, **kwargs)

        def flatten(self):
            self.calls.append(("flatten", (), {}))
            return super().flatten()

    ops = Recorded()
    lenet5(in_channels=3, ops=ops)
    assert ops.calls == [
        ("conv", (3, 6, 5), {"padding": "same"}),
        ("max_pool", (2,), {}),
        ("conv", (6, 16, 5), {"padding": "valid"}),
        ("max_pool", (2,), {}),
        ("flatten", (), {}),
    ]


def test_lenet5_on_the_torus_does_not_care_for_shifts():
    """Features of a picture shifted by four cells are those features shifted by one."""
    torus = Grid((16, 16), periodic=True)
    features = lenet5(padding="same", domain=torus)[:6]
    x = torch.randn(1, 1, 16, 16)
    assert features.codomain(torus) == Grid((4, 4), periodic=True)
    y, shifted = features(x, torus), features(x.roll((4, 8), (2, 3)), torus)
    torch.testing.assert_close(shifted, y.roll((1, 2), (2, 3)))


def test_dropout_stands_before_the_last_two_dense_layers():
    net = lenet5(dropout=0.3)
    assert list(dict(net.named_children()))[-6:] == ["relu3", "drop1", "fc2", "relu4", "drop2", "fc3"]
    assert net.drop1.p == net.drop2.p == 0.3
    assert not any(isinstance(module, nn.Dropout) for module in lenet5().modules())
    assert list(net.state_dict()) == list(lenet5().state_dict())
    x = torch.randn(2, 1, 28, 28)
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), net(x))


def test_linear_is_a_matrix():
    net, x = linear(num_classes=7, in_channels=3, domain=Grid((4, 5))), torch.randn(6, 3, 4, 5)
    weight, bias = net.state_dict().values()
    assert weight.shape == (7, 60)
    torch.testing.assert_close(net(x), x.reshape(6, 60) @ weight.T + bias)
    assert count(linear()) == 7_850
    assert count(linear(domain=Grid((16, 16)))) == 2_570  # Net-1 of LeCun 1989


def test_mlp_is_dense_layers_with_relu_between():
    net, x = mlp(num_classes=4, in_channels=2, hidden=(9, 8), domain=Grid((3, 5))), torch.randn(6, 2, 3, 5)
    w0, b0, w1, b1, w2, b2 = net.state_dict().values()
    y = F.relu(F.linear(x.flatten(1), w0, b0))
    torch.testing.assert_close(net(x), F.linear(F.relu(F.linear(y, w1, b1)), w2, b2))
    assert count(mlp()) == 784 * 120 + 120 + 121 * 84 + 850
    assert count(mlp(hidden=())) == count(linear())
    assert count(mlp(hidden=(12,), domain=Grid((16, 16)))) == 3_214  # Net-2


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_dense_networks_on_every_grid(ndim):
    grid = Grid((4,) * ndim)
    for name in ("linear", "mlp"):
        net = models.create(name, ops=GridOps(ndim), domain=grid)
        assert net(torch.zeros(2, 1, *grid.size)).shape == (2, 10)


@pytest.mark.parametrize("name", DIGITS)
def test_every_network(name):
    """Defaults: one channel, 28×28, ten classes; gradients reach every parameter; the seed decides all."""
    torch.manual_seed(3)
    net = models.create(name)
    torch.manual_seed(3)
    other = models.create(name)
    x = torch.randn(4, 1, 28, 28)
    assert isinstance(net, Sequential)
    assert net(x).shape == (4, 10)
    assert torch.equal(net(x), other(x))
    nn.functional.cross_entropy(net(x), torch.arange(4)).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad.abs().sum() > 0, key


def test_names_are_those_that_create_knows():
    assert models.names() == sorted(models.names())
    assert {"lenet5", "linear", "mlp"} <= set(models.names())
    assert models.function("lenet5") is lenet5
    assert models.create("mlp", num_classes=3, hidden=(5,))[-1].out_features == 3
    models.names().clear()
    assert models.names()


@pytest.mark.parametrize(
    ("name", "near"),
    [("lenet", "lenet5"), ("lenet-5", "lenet5"), ("LeNet5", "lenet5"), ("liner", "linear"), ("mpl", "mlp")],
)
def test_a_name_that_is_nearly_right(name, near):
    for look_up in (models.create, models.function):
        with pytest.raises(ValueError, match=f"unknown model '{name}': did you mean .*{near}"):
            look_up(name)


def test_a_name_that_is_like_none():
    with pytest.raises(ValueError, match=r"unknown model 'xyzzy': there are .*lenet5.*linear.*mlp"):
        models.create("xyzzy")


def test_unknown_options_are_named():
    with pytest.raises(TypeError, match=r"lenet5 takes no argument 'colour'; help\(grid_cnn.models.lenet5\)"):
        models.create("lenet5", colour=True)
    with pytest.raises(models.OptionError, match="resnet20_cifar takes no argument 'colour'"):  # hands its options on
        models.create("resnet20_cifar", colour=True)


def test_a_type_error_of_another_kind_is_not_an_unknown_option(monkeypatch):
    def broken(depth=1):
        return nn.Linear(2, 2, colour=depth)

    monkeypatch.setitem(models._MODELS, "broken", broken)
    with pytest.raises(TypeError, match="colour") as error:
        models.create("broken", depth=2)
    assert not isinstance(error.value, models.OptionError)


@pytest.mark.parametrize(
    "padding", ["full", "SAME", ("same",), ("same", "full"), ("same", "same", "same"), 2, (2,)], ids=repr
)
def test_borders_that_lenet5_does_not_know(padding):
    with pytest.raises((TypeError, ValueError), match=r"padding.*'same'.*'valid'"):
        lenet5(padding=padding)


@pytest.mark.parametrize("name", DIGITS)
@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("argument", ["num_classes", "in_channels"])
@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_counts_that_are_not_positive(name, argument, value):
    with pytest.raises(ValueError, match=rf"{argument}.*{value}"):
        models.create(name, **{argument: value})


@pytest.mark.parametrize("hidden", [(0,), (12, -3)])
@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_hidden_widths_that_are_not_positive(hidden):
    with pytest.raises(ValueError, match=rf"hidden.*{hidden[-1]}"):
        mlp(hidden=hidden)


def test_dropout_that_is_no_probability():
    with pytest.raises(ValueError, match=r"dropout.*1\.5"):
        lenet5(dropout=1.5)


def test_layers_for_grids_on_a_domain_that_is_none():
    """The family was forgotten: `ops` and `domain` do not go together."""
    with pytest.raises((TypeError, ValueError), match=r"LeNet-5.*(ops|Grid)"):
        lenet5(domain=Points())


@pytest.mark.parametrize(
    ("ops", "grid"), [(GridOps(), Grid(784)), (GridOps(1), Grid((28, 28))), (GridOps(3), Grid((28, 28)))]
)
def test_grids_of_another_number_of_axes(ops, grid):
    """The message names the grid, and how many axes were wanted."""
    with pytest.raises((TypeError, ValueError), match=rf"{ops.ndim} ax[ie]s") as error:
        lenet5(ops=ops, domain=grid)
    assert repr(grid) in str(error.value)

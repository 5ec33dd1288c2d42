"""Sequential: it threads the domain, keeps torch's habits, and refuses what mixes the nodes of a domain."""

import copy
import inspect
from collections import OrderedDict

import pytest
import torch
from torch import nn

from grid_cnn import (
    AvgPool2d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    Grid,
    Layer,
    MaxPool2d,
    Sequential,
    bind,
)
from grid_cnn.layer import is_elementwise, named


class Seen(Layer):
    """Passes the signal on, and remembers on which domain it was."""

    def forward(self, x, domain=None):
        self.domain = domain
        return x


class EverySecondRow(Layer):
    """A layer that overrides `step`, as one does whose codomain depends on the signal."""

    def step(self, x, domain=None):
        y = self(x, domain)
        return y, Grid(y.shape[2:])

    def forward(self, x, domain=None):
        return x[:, :, ::2]


class Domainless:
    """A domain that is no grid."""

    num_nodes = 12

    def to(self, device):
        return self

    def zeros(self, channels, *, dtype, device):
        return torch.zeros(1, self.num_nodes, channels, dtype=dtype, device=device)


def pictures(channels: int = 1, size: tuple[int, int] = (8, 8)) -> torch.Tensor:
    return torch.randn(2, channels, *size)


def small_net() -> Sequential:
    return Sequential(
        named(
            conv=Conv2d(1, 4, 3, stride=2, padding=1),
            relu=nn.ReLU(),
            pool=MaxPool2d(2),
            flatten=Flatten(),
            fc=nn.Linear(16, 3),
        )
    )


@pytest.mark.parametrize("periodic", [False, True])
def test_threads_the_domain(periodic):
    stages = [Seen() for _ in range(5)]
    net = Sequential(
        stages[0],
        Conv2d(1, 2, 3, stride=2, padding=1),
        stages[1],
        nn.ReLU(),
        Sequential(MaxPool2d(2), stages[2], nn.Tanh()),
        stages[3],
        GlobalAvgPool(),
        nn.Linear(2, 3),
        stages[4],
    )
    grid = Grid((8, 12), periodic=periodic)
    y, domain = net.step(pictures(size=(8, 12)), grid)
    assert y.shape == (2, 3)
    seen = [stage.domain for stage in stages]
    assert seen == [grid, Grid((4, 6), periodic), Grid((2, 3), periodic), Grid((2, 3), periodic), None]
    assert domain is None
    assert net.codomain(grid) is None
    assert net[:5].codomain(grid) == Grid((2, 3), periodic)


def test_a_domain_that_is_not_given_is_read_off_the_signal():
    seen = Seen()
    net = Sequential(nn.ReLU(), Conv2d(1, 2, 3), seen, AvgPool2d(2))
    assert net(pictures()).shape == (2, 2, 3, 3)
    assert seen.domain == Grid((6, 6))


def test_a_periodic_domain_reaches_every_convolution():
    """A stack on the torus commutes with shifts; the same stack on the grid with borders does not."""
    net = Sequential(Conv2d(1, 3, 3, padding="same"), nn.Tanh(), Sequential(Conv2d(3, 2, 5, padding="same"))).double()
    x = pictures().double()
    shifted = x.roll((3, 5), (2, 3))
    torus = Grid((8, 8), periodic=True)
    torch.testing.assert_close(net(shifted, torus), net(x, torus).roll((3, 5), (2, 3)))
    assert not torch.allclose(net(shifted), net(x).roll((3, 5), (2, 3)))


def test_a_codomain_that_depends_on_the_signal():
    seen, inner = Seen(), Seen()
    net = Sequential(EverySecondRow(), seen, Sequential(EverySecondRow(), nn.ReLU()), inner, Conv2d(1, 1, 1))
    y, domain = net.step(pictures(), Grid((8, 8)))
    assert seen.domain == Grid((4, 8))
    assert inner.domain == domain == Grid((2, 8))
    assert y.shape == (2, 1, 2, 8)
    assert [stage.domain for stage in net.trace(pictures(), Grid((8, 8)))][-1] == Grid((2, 8))


def test_equals_the_layers_one_by_one():
    net, x = small_net(), pictures()
    y = x
    for module in net:
        y = module(y)
    assert torch.equal(net(x), y)
    assert torch.equal(net(x, Grid((8, 8))), y)


def test_is_a_torch_sequential_with_its_names():
    theirs = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(1, 4, 3, 2, 1),
            relu=nn.ReLU(),
            pool=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc=nn.Linear(16, 3),
        )
    )
    net = small_net()
    assert isinstance(net, nn.Sequential)
    assert isinstance(net, Layer)
    assert list(net.state_dict()) == list(theirs.state_dict())
    net.load_state_dict(theirs.state_dict(), strict=True)
    x = pictures()
    torch.testing.assert_close(net(x), theirs(x))
    assert net.conv is net[0]
    assert len(net) == 5
    assert named(a=nn.ReLU(), b=None).keys() == {"a"}


def test_slices_are_networks():
    net, x = small_net(), pictures()
    features, head = net[:3], net[3:]
    assert type(features) is type(head) is Sequential
    assert features[0] is net.conv
    assert list(dict(head.named_children())) == ["flatten", "fc"]
    torch.testing.assert_close(head(features(x)), net(x))
    torch.testing.assert_close(net[4:](net[:4](x)), net(x))
    assert features.codomain(Grid((8, 8))) == Grid((2, 2))


def test_append_extend_insert():
    net = Sequential(Conv2d(1, 2, 3))
    net.append(nn.ReLU()).extend([MaxPool2d(2), Flatten(), nn.Linear(18, 3)])
    net.insert(1, BatchNorm2d(2))
    assert [type(module) for module in net] == [Conv2d, BatchNorm2d, nn.ReLU, MaxPool2d, Flatten, nn.Linear]
    assert net(pictures()).shape == (2, 3)
    net += Sequential(nn.Linear(3, 2))
    assert net(pictures()).shape == (2, 2)


@pytest.mark.parametrize(
    "combine",
    [lambda net: net + Sequential(MaxPool2d(2)), lambda net: net * 2, lambda net: 2 * net],
    ids=["a + b", "a * 2", "2 * a"],
)
def test_sums_and_products_thread_the_domain_too(combine):
    net = combine(Sequential(Conv2d(1, 1, 3, padding="same"), nn.ReLU()))
    torus = Grid((8, 8), periodic=True)
    assert isinstance(net, Sequential)
    x = pictures()
    y, domain = x, torus
    for module in net:
        y, domain = module.step(y, domain) if isinstance(module, Layer) else (module(y), domain)
    torch.testing.assert_close(net(x, torus), y)
    assert net.codomain(torus) == domain


def test_swapping_the_head():
    net, x = small_net(), pictures()
    net.fc = nn.Linear(16, 7)
    assert net(x).shape == (2, 7)
    net[-1] = nn.Sequential(nn.Linear(16, 5), nn.Softmax(1))
    torch.testing.assert_close(net(x).sum(1), torch.ones(2))
    del net[-1]
    assert net(x).shape == (2, 16)
    net.append(nn.Linear(16, 2))
    assert net(x).shape == (2, 2)


def test_an_empty_network_is_the_identity():
    x, grid = pictures(), Grid((8, 8))
    assert Sequential()(x, grid) is x
    assert Sequential().codomain(grid) is grid
    assert list(Sequential().trace(x, grid)) == []


def test_copies_are_independent():
    net, x = small_net(), pictures()
    other = copy.deepcopy(net)
    before = net(x)
    with torch.no_grad():
        other.fc.weight.zero_()
    assert torch.equal(net(x), before)
    assert not torch.equal(other(x), before)


def test_channels_that_the_first_layer_asks_for():
    assert small_net().in_channels == 1
    assert Sequential(nn.ReLU(), Sequential(MaxPool2d(2)), Conv2d(3, 4, 3), Conv2d(4, 5, 3)).in_channels == 3
    assert Sequential(MaxPool2d(2)).in_channels is None


# What a domain has no meaning for: it reads a neighbourhood, an axis or another node.
MIXING = [
    nn.BatchNorm1d(2),
    nn.BatchNorm2d(2),
    nn.BatchNorm3d(2),
    nn.Conv1d(2, 2, 1),
    nn.Conv2d(2, 2, 1),
    nn.Conv3d(2, 2, 1),
    nn.ConvTranspose2d(2, 2, 1),
    nn.Linear(6, 2),
    nn.Bilinear(2, 2, 2),
    nn.Softmax(1),
    nn.LogSoftmax(1),
    nn.Softmax2d(),
    nn.PReLU(2),
    nn.GLU(),
    nn.Dropout1d(),
    nn.Dropout2d(),
    nn.FeatureAlphaDropout(),
    nn.LayerNorm(6),
    nn.GroupNorm(1, 2),
    nn.InstanceNorm2d(2),
    nn.LocalResponseNorm(2),
    nn.MaxPool2d(2),
    nn.AvgPool2d(2),
    nn.AdaptiveAvgPool2d(1),
    nn.Upsample(scale_factor=2),
    nn.ZeroPad2d(1),
    nn.PixelShuffle(1),
    nn.Flatten(),
    nn.Unflatten(1, (1, 2)),
    nn.ModuleList(),
    nn.Sequential(nn.ReLU(), nn.BatchNorm2d(2)),
    nn.Sequential(nn.Sequential(nn.Softmax(1))),
    nn.Sequential(Conv2d(2, 2, 1)),
]


@pytest.mark.parametrize("module", MIXING, ids=lambda module: type(module).__name__)
def test_refuses_what_mixes_nodes(module):
    """By name, with a mend; wherever it stands on the domain, and however it came there."""
    wanted = rf"module '2' of this Sequential, {type(module).__name__}, .*element by element.*ops\.norm.*flatten\(\)"
    with pytest.raises(TypeError, match=wanted) as error:
        Sequential(Conv2d(1, 2, 3), nn.ReLU(), module)
    assert "\n" not in str(error.value)
    with pytest.raises(TypeError, match=rf"module 'first' .* {type(module).__name__},"):
        Sequential(OrderedDict(first=module, then=Conv2d(2, 2, 3)))
    net = Sequential(Conv2d(1, 2, 3), nn.ReLU()).append(module)
    with pytest.raises(TypeError, match=wanted):
        net(pictures())
    net = Sequential(Conv2d(1, 2, 3), nn.ReLU(), nn.ReLU())
    net[2] = module
    with pytest.raises(TypeError, match=wanted):
        net(pictures(), Grid((8, 8)))


@pytest.mark.parametrize("make", [lambda: nn.BatchNorm2d(2), lambda: nn.Sequential(nn.BatchNorm2d(2))])
def test_refuses_it_one_level_down(make):
    """In a Sequential of its own it may be somebody's head; on a domain it is refused."""
    inner = Sequential(make())
    with pytest.raises(TypeError, match="module '0' of this Sequential"):
        Sequential(Conv2d(1, 2, 3), inner)(pictures())
    with pytest.raises(TypeError, match="module '0' of this Sequential"):
        inner(pictures(2), Grid((8, 8)))
    with pytest.raises(TypeError, match="module '0' of this Sequential"):
        bind(inner, Domainless())


def test_refuses_it_when_tracing():
    net = Sequential(Conv2d(1, 2, 3)).append(nn.BatchNorm2d(2))
    with pytest.raises(TypeError, match="module '1' of this Sequential, BatchNorm2d"):
        list(net.trace(pictures()))


def activations() -> list[nn.Module]:
    """Every activation and dropout of torch, with defaults where it has any."""
    made: list[nn.Module] = [nn.Threshold(0.1, 20.0), nn.Identity(), nn.PReLU(1), nn.PReLU(3)]
    for module in (torch.nn.modules.activation, torch.nn.modules.dropout):
        for name in module.__all__:
            parameters = inspect.signature(getattr(module, name)).parameters.values()
            if all(p.default is not p.empty for p in parameters):
                made.append(getattr(module, name)())
    return made


@pytest.mark.parametrize("module", activations(), ids=repr)
@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
def test_accepts_exactly_what_acts_element_by_element(module):
    """Trying it out: such a module does not care how the numbers are shuffled over all axes.

    Dropout is tried in training: does it drop values, or whole maps?
    """
    name = type(module).__name__
    x = torch.randn(2, 3, 4, 4)
    order = torch.randperm(x.numel())

    def shuffled(t):
        return t.flatten()[order].view_as(t)

    if "Dropout" in name:
        maps = module(torch.ones(16, 16, *(8,) * {"Dropout1d": 1, "Dropout3d": 3}.get(name, 2))).flatten(2)
        elementwise = bool((maps.amax(-1) > maps.amin(-1)).all())
    else:
        if isinstance(module, nn.PReLU):
            module.weight.data = torch.arange(1.0, 1.0 + module.num_parameters)
        module.eval()
        y = module(x)
        elementwise = y.shape == x.shape and torch.allclose(module(shuffled(x)), shuffled(y))
    assert is_elementwise(module) == elementwise
    if elementwise:
        assert Sequential(Conv2d(3, 3, 1), module)(x).shape == x.shape
        assert Sequential(nn.Sequential(module, module), Conv2d(3, 3, 1))(x).shape == x.shape


def test_accepts_anything_after_the_domain_is_left():
    for leave in (Flatten(), GlobalAvgPool(), GlobalMaxPool(), Sequential(MaxPool2d(2), Flatten())):
        width = leave(torch.zeros(2, 2, 6, 6)).shape[1]
        net = Sequential(Conv2d(1, 2, 3), leave, nn.Linear(width, 4), nn.BatchNorm1d(4), nn.LayerNorm(4), nn.Softmax(1))
        torch.testing.assert_close(net(pictures()).sum(1), torch.ones(2))
        assert net.leaves_domain
    assert not Conv2d(1, 2, 3).leaves_domain


def test_a_head_alone_is_a_network():
    head = Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Softmax(1))
    assert head(torch.randn(5, 4)).shape == (5, 3)
    assert head.step(torch.randn(5, 4))[1] is None


def test_a_head_may_be_made_of_networks():
    """Nested as deeply as one likes: there is no domain in it that a dense layer could mix."""
    head = Sequential(nn.Linear(8, 4), Sequential(nn.ReLU(), nn.Linear(4, 3)))
    assert head(torch.randn(5, 8)).shape == (5, 3)
    net = Sequential(Conv2d(1, 2, 7), Flatten(), head)
    assert net(pictures()).shape == (2, 3)


def test_a_slice_of_the_head_is_a_network():
    net = Sequential(Conv2d(1, 2, 7), Flatten(), nn.Linear(8, 4), Sequential(nn.Linear(4, 3)))
    assert net[2:](torch.randn(5, 8)).shape == (5, 3)


def test_trace_yields_every_stage_with_its_domain():
    net, x = small_net(), pictures()
    stages = list(net.trace(x, Grid((8, 8), periodic=True)))
    assert [stage.name for stage in stages] == ["conv", "relu", "pool", "flatten", "fc"]
    assert [stage.module for stage in stages] == list(net)
    four, two = Grid((4, 4), periodic=True), Grid((2, 2), periodic=True)
    assert [stage.domain for stage in stages] == [four, four, two, None, None]
    assert [tuple(stage.x.shape[1:]) for stage in stages] == [(4, 4, 4), (4, 4, 4), (4, 2, 2), (16,), (3,)]
    assert torch.equal(stages[-1].x, net(x, Grid((8, 8), periodic=True)))


def test_trace_keeps_what_in_place_modules_overwrite():
    """Each stage shows what its layer made, and the signal that went in is left alone."""
    conv, x = Conv2d(1, 2, 3), pictures()
    net = Sequential(
        nn.Hardtanh(inplace=True), conv, Sequential(nn.ReLU(inplace=True)), Flatten(), nn.ReLU6(inplace=True)
    )
    kept = x.clone()
    stages = list(net.trace(x))
    assert torch.equal(x, kept)
    clipped = x.clamp(-1, 1)
    made = conv(clipped)
    assert made.min() < 0
    for stage, wanted in zip(stages, [clipped, made, made.relu(), made.relu().flatten(1)], strict=False):
        assert torch.equal(stage.x, wanted), stage.name
    assert torch.equal(stages[-1].x, net(x.clone()))


def test_trace_names_stages_by_their_path():
    inner = Sequential(Conv2d(1, 2, 3), nn.ReLU())
    net = Sequential(named(features=Sequential(inner, MaxPool2d(2)), head=Sequential(Flatten(), nn.Linear(18, 3))))
    x = pictures()
    stages = list(net.trace(x))
    assert [stage.name for stage in stages] == ["features.0.0", "features.0.1", "features.1", "head.0", "head.1"]
    assert all(net.get_submodule(stage.name) is stage.module for stage in stages)
    assert [stage.domain for stage in stages] == [Grid((6, 6)), Grid((6, 6)), Grid((3, 3)), None, None]
    assert torch.equal(stages[-1].x, net(x))


def test_trace_of_a_single_layer():
    (stage,) = Conv2d(1, 2, 3).trace(pictures(), Grid((8, 8)), "conv")
    assert stage.name == "conv"
    assert stage.domain == Grid((6, 6))


def test_a_module_that_stands_twice_acts_twice():
    """A shared layer or activation is a stage each time; the last stage is what the network gives."""
    conv, double = Conv2d(1, 1, 3), nn.ReLU()
    net = Sequential(conv, double, conv, double)
    x = pictures()
    stages = list(net.trace(x))
    assert [stage.name for stage in stages] == ["0", "1", "2", "3"]
    assert torch.equal(stages[-1].x, net(x))
    assert stages[-1].domain == net.codomain(Grid((8, 8))) == Grid((4, 4))


@pytest.mark.parametrize("name", ["features", "features.0", "features.0.conv", "features.1", "head"])
def test_hooks_see_every_module_once_a_call(name):
    """What people hang on a part of a network to read its features."""
    features = Sequential(Sequential(named(conv=Conv2d(1, 2, 3))), nn.ReLU())
    net = Sequential(named(features=features, flatten=Flatten(), head=nn.Linear(72, 3)))
    calls = []
    net.get_submodule(name).register_forward_hook(lambda module, args, output: calls.append(output))
    x = pictures()
    net(x, Grid((8, 8)))
    assert len(calls) == 1
    expected = {stage.name: stage.x for stage in net.trace(x)}.get(name, features(x))
    assert isinstance(calls[0], torch.Tensor)
    torch.testing.assert_close(calls[0], expected if name != "features.0" else net.features[0](x))


def test_layers_for_lines_in_a_row():
    net = Sequential(Conv1d(2, 3, 3), nn.ReLU(), Conv1d(3, 4, 3, stride=2), Flatten(1), nn.Linear(12, 2))
    assert net(torch.randn(5, 2, 9)).shape == (5, 2)
    assert net[:3].codomain(Grid(9)) == Grid(3)


def test_base_layer_keeps_its_domain():
    grid = Grid((3, 4))
    assert Layer().codomain(grid) is grid
    assert Layer().codomain(None) is None
    x = torch.randn(1, 1, 3, 4)
    assert Seen().step(x, grid) == (x, grid)

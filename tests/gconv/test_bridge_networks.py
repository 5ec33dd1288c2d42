"""The classic networks carried over the bridge: branches, sums, auxiliary heads, and back, with the same numbers."""

import pytest
import torch
from test_bridge import assert_carried, assert_states, warmed
from torch import nn

import grid_cnn
from gconv import DirectionalConv, GraphOps, GridPool, LocalResponseNorm, bridge, grid_graph
from grid_cnn import Add, Concat, Conv2d, Grid, GridOps, MaxPool2d, Sequential, models
from grid_cnn.models.auxiliary import AuxiliaryNetwork, Outputs
from grid_cnn.models.densenet import densenet_cifar
from grid_cnn.models.inception import Units
from grid_cnn.models.inception_resnet import block35
from grid_cnn.models.network import Network
from grid_cnn.models.wiring import Wired, add, concat

SMALL = Grid((16, 16))
# Double precision, so that deep sums of float32 rounding are not mistaken for another function.
NETWORKS = {
    "ResNet-20": lambda: models.resnet20_cifar(),
    "ResNet-18": lambda: models.resnet18(num_classes=5, domain=SMALL),
    "ResNet-18, pre-activation": lambda: models.resnet18_preact(num_classes=5, domain=SMALL),
    "GoogLeNet": lambda: models.googlenet(num_classes=5, domain=SMALL),
    "GoogLeNet, paper": lambda: models.googlenet2014(num_classes=5, domain=SMALL),
    "DenseNet-10": lambda: densenet_cifar(depth=10),
    "DenseNet-BC-16": lambda: densenet_cifar(depth=16, bottleneck=True),
    "an Inception-ResNet block": lambda: block35(Units(GridOps())),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_keep_their_numbers_there_and_back(name):
    assert_carried(warmed(NETWORKS[name](), SMALL.size, torch.float64), SMALL.size, dtype=torch.float64)


def test_on_a_torus():
    assert_carried(warmed(densenet_cifar(depth=10), (8, 8), torch.float64), (8, 8), periodic=True, dtype=torch.float64)


@pytest.mark.parametrize("name", ["resnet20_cifar", "googlenet2014"])
def test_a_carried_network_is_the_recipe_on_the_graph(name):
    """Same names, same shapes, layer for layer the same kinds."""
    graph, options = grid_graph(SMALL), {"num_classes": 5, "in_channels": 1}
    carried = bridge.model_to_graph(models.create(name, domain=SMALL, **options))
    built = models.create(name, ops=GraphOps("directional"), domain=graph, **options)
    assert [(key, type(part)) for key, part in carried.named_modules()] == [
        (key, type(part)) for key, part in built.named_modules()
    ]
    built.load_state_dict(carried.state_dict(), strict=True)
    x = torch.randn(2, 256, 1)
    torch.testing.assert_close(built.eval()(x, graph), carried.eval()(x, graph))


def test_auxiliary_heads_are_carried():
    net = models.googlenet(num_classes=5, in_channels=1, aux_logits=True, dropout=0.0, domain=SMALL).double()
    for head in ("aux1", "aux2"):
        net.get_submodule(head).dropout.p = 0.0
    graph, x = grid_graph(SMALL), torch.randn(2, 1, 16, 16, dtype=torch.float64)
    there = bridge.model_to_graph(net)
    back = bridge.model_to_grid(there)
    assert isinstance(there, AuxiliaryNetwork)
    assert isinstance(back, AuxiliaryNetwork)
    wanted = net(x)
    for found in (there(bridge.to_nodes(x), graph), back(x)):
        assert isinstance(found, Outputs)
        assert len(found.auxiliary) == 2
        for one, other in zip((found.logits, *found.auxiliary), (wanted.logits, *wanted.auxiliary), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    assert_states(back.state_dict(), net.state_dict())
    assert there.eval()(bridge.to_nodes(x), graph).shape == (2, 5)
    assert (back.least, back.least_in_training) == (net.least, net.least_in_training)


def test_a_network_brought_back_refuses_what_it_refused():
    net = models.vgg11(num_classes=5, domain=Grid((32, 32)))
    there = bridge.model_to_graph(net)
    back = bridge.model_to_grid(there)
    assert isinstance(there, Network)
    assert there.name == back.name == net.name
    assert back.least == net.least > 1
    with pytest.raises(ValueError, match=f"takes pictures of at least {net.least}×{net.least}, got 8×8"):
        back(torch.zeros(1, 3, 8, 8))
    sized = models.alphago_policy(3, width=4, depth=3)
    back = bridge.model_to_grid(bridge.model_to_graph(sized))
    assert isinstance(back, Network)
    assert back.built == sized.built == Grid((19, 19))
    with pytest.raises(ValueError, match=r"was built for Grid\(\(19, 19\)\), .*, got \(1, 3, 9, 9\)"):
        back(torch.zeros(1, 3, 9, 9))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_local_response_normalisation(ndim):
    conv = getattr(grid_cnn, f"Conv{ndim}d")
    norm = grid_cnn.LocalResponseNorm(3, alpha=0.5, beta=0.6, k=2.0, ndim=ndim)
    net = Sequential(conv(2, 5, 3, padding="same"), norm).double()
    assert_carried(net, (6, 4, 5)[:ndim], dtype=torch.float64)
    assert isinstance(bridge.model_to_graph(net)[1], LocalResponseNorm)
    assert bridge.model_to_grid(bridge.model_to_graph(net))[1].extra_repr() == norm.extra_repr()


@pytest.mark.parametrize("join", [Add, Concat])
@pytest.mark.parametrize("ndim", [1, 2])
def test_branches(join, ndim):
    conv, pool = getattr(grid_cnn, f"Conv{ndim}d"), getattr(grid_cnn, f"AvgPool{ndim}d")
    branches = {
        "deep": Sequential(conv(3, 4, 3, padding="same"), nn.Tanh(), conv(4, 3, 1)),
        "pooled": pool(3, 1, 1),
        "itself": nn.Identity(),
    }
    net = join(branches, ndim).double()
    assert_carried(net, (6, 4)[:ndim], dtype=torch.float64)
    there = bridge.model_to_graph(net)
    assert list(there.branches) == list(branches)
    assert (there.ndim, bridge.model_to_grid(there).ndim) == (None, ndim)


def test_ways():
    """A part that stands twice, a fork in a fork, and a way without any part."""
    parts = {"conv": Conv2d(2, 2, 3, padding="same"), "point": Conv2d(2, 2, 1), "relu": nn.ReLU()}
    way = ("conv", concat((), (add(("point",), ("conv", "relu")),)))
    net = Wired(parts, way).double().train()
    net.get_submodule("point").eval()
    assert_carried(net, (5, 4), dtype=torch.float64)
    there = bridge.model_to_graph(net)
    assert there.way == way
    assert there.training
    assert not there.get_submodule("point").training
    assert isinstance(there.get_submodule("conv"), DirectionalConv)


def test_a_layer_in_two_branches_stays_one_layer():
    conv = Conv2d(2, 2, 3, padding="same")
    there = bridge.model_to_graph(Concat({"once": conv, "again": Sequential(conv, nn.ReLU())}))
    assert there.branches["again"][0] is there.branches["once"]


@pytest.mark.parametrize(
    "pool", [grid_cnn.AdaptiveAvgPool2d(3), grid_cnn.AdaptiveMaxPool2d((2, None)), grid_cnn.LpPool2d(2, 2)], ids=repr
)
def test_pools_of_every_kind(pool):
    net = Sequential(Conv2d(2, 2, 1), pool)
    assert isinstance(bridge.model_to_graph(net)[1], GridPool)
    assert_carried(net, (7, 6))


def test_trainable_subsampling_keeps_its_weights():
    net = Sequential(Conv2d(1, 3, 3), grid_cnn.Subsampling2d(3))
    nn.init.uniform_(net[1].weight)
    assert_carried(net, (6, 6))


def test_what_holds_layers_and_is_not_known_is_refused():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = MaxPool2d(2)

    with pytest.raises(TypeError, match="Block holds layers, but is no Sequential, Concat, Add"):
        bridge.model_to_graph(Sequential(grid_cnn.Flatten(), Block()))
    with pytest.raises(TypeError, match="PartialConv2d has no twin on the other domain"):
        bridge.model_to_graph(models.lenet1())

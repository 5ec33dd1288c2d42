"""Networks on graphs: the directional build equals the grid build on the same weights; other families build and run."""

import pytest
import torch
from seeded import seeded

from gconv import Graph, GraphOps, bridge, grid_graph
from gconv.data import load as load_data
from gconv.ops import FAMILIES
from gconv.training.fit import batches, fit
from grid_cnn import Grid, bind, models
from grid_cnn.weights import load

# Everything that the lectures show, and one network of every other kind, on pictures small enough for a test.
TWINS = {
    "lenet5": (28, {}),
    "vgg11": (32, {}),
    "resnet20_cifar": (32, {}),
    "googlenet": (20, {}),
    "googlenet2014": (20, {}),
    "densenet40_cifar": (16, {}),
    "densenet121": (28, {}),
    "alphago_policy": (19, {"width": 16}),
    "alexnet": (28, {}),
    "alexnet2012": (28, {}),
    "zfnet": (28, {}),
    "vgg11_lrn": (16, {}),
    "resnet18_preact": (16, {}),
    "resnet50_v1": (16, {}),
    "plain18": (16, {}),
    "inception_v3": (28, {}),
    "inception_resnet_v2": (28, {}),
}


def filled(net):
    """The network with weights that keep signals alive on every way, whatever its depth."""
    net.load_state_dict(seeded(net.state_dict()))
    return net.eval()


@pytest.mark.parametrize("name", TWINS)
def test_a_directional_build_equals_the_grid_build(name):
    side, options = TWINS[name]
    graph = grid_graph((side, side))
    net = filled(models.create(name, domain=Grid((side, side)), **options))
    x = torch.randn(2, net.in_channels, side, side)
    twin = models.create(name, ops=GraphOps("directional"), domain=graph, **options).eval()
    assert sum(p.numel() for p in twin.parameters()) == sum(p.numel() for p in net.parameters())
    load(twin, net.state_dict())
    with torch.no_grad():
        expected = net(x)
        found = twin(bridge.to_nodes(x), graph)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * expected.std()


def test_large_forms_too():
    """Overlapping, ceil-mode and adaptive pools, strides and valid borders at once."""
    for name, side in (("googlenet", 64), ("alexnet", 95), ("resnet18", 50)):
        graph = grid_graph((side, side))
        net = filled(models.create(name, domain=Grid((side, side)), small=False))
        x = torch.randn(2, 3, side, side)
        twin = models.create(name, ops=GraphOps(), domain=graph, small=False).eval()
        load(twin, net.state_dict())
        with torch.no_grad():
            expected = net(x)
            assert (twin(bridge.to_nodes(x), graph) - expected).abs().max() <= 1e-4 * expected.std()


@pytest.mark.parametrize("family", ["cheb", "gcn", "monet", "spectral"])
@pytest.mark.parametrize("name", ["resnet20_cifar", "googlenet", "densenet40_cifar", "alphago_policy"])
def test_other_families_build_and_run(family, name):
    graph = grid_graph((8, 8))
    options = {"width": 4} if name == "alphago_policy" else {"num_classes": 3}
    net = models.create(name, ops=GraphOps(family, **({} if family in ("gcn",) else {"K": 2})), domain=graph, **options)
    y = bind(net, graph)(torch.randn(2, 64, net.in_channels))
    assert y.shape == (2, 64 if name == "alphago_policy" else 3)
    y.sum().backward()


@pytest.mark.parametrize("name", ["lecun1989_net3", "lecun1989_net4", "lecun1989_net5", "lenet1", "lenet5_1998"])
def test_networks_that_are_the_grids_alone(name):
    with pytest.raises(ValueError, match=r"builds? on graphs"):
        models.create(name, ops=GraphOps(), domain=grid_graph((32, 32)))


def test_groups_have_no_meaning_in_other_families():
    graph = grid_graph((28, 28))
    with pytest.raises(ValueError, match=r"groups.*has no meaning for 'cheb'"):
        models.alexnet2012(ops=GraphOps("cheb"), domain=graph)
    models.alexnet2012(groups=1, ops=GraphOps("cheb", K=2), domain=graph)


def test_dense_networks_of_1989_on_any_graph():
    graph = grid_graph((16, 16), neighbors=4)
    for name in ("lecun1989_net1", "lecun1989_net2"):
        net, on_grid = models.create(name, ops=GraphOps(), domain=graph), models.create(name)
        load(net, on_grid.state_dict())
        x = torch.randn(2, 1, 16, 16)
        torch.testing.assert_close(net(bridge.to_nodes(x), graph), on_grid(x))


@pytest.mark.parametrize("family", ["directional", *FAMILIES])
@pytest.mark.parametrize("name", ["lenet5", "resnet20_cifar"])
def test_networks_train_on_digits(family, name):
    """A few steps through each graph convolution lower the loss."""
    images = load_data("digits", size=(12, 12)).subset(train=96)
    graph = grid_graph((12, 12))
    torch.manual_seed(1)
    net = models.create(name, in_channels=1, ops=GraphOps(family), domain=graph)
    loader = batches(bridge.to_nodes(images.train_images), images.train_labels, 32, seed=1)
    epochs = fit(bind(net, graph), loader, epochs=3)
    assert epochs[-1].train_loss < epochs[0].train_loss


def test_features_of_a_graph_build():
    graph = grid_graph((16, 16))
    net = models.resnet20_cifar(ops=GraphOps(), domain=graph).eval()
    taps = models.features(net, torch.randn(2, 256, 3), at=["layer2"], domain=graph)
    assert taps["layer2"].shape == (2, 64, 32)
    assert models.freeze(net, up_to="bn1") == ["conv1.weight", "bn1.module.weight", "bn1.module.bias"]


def test_the_grammar_on_graphs():
    """The lectures' text on a grid's graph equals the grid; without pools it builds on any graph."""
    text, graph = "[(CONV-RELU)*2-POOL?]*2-(FC-RELU)*1,SOFTMAX", grid_graph((12, 12))
    net = filled(models.cnn(text, widths=(4, 8, 16), domain=Grid((12, 12))))
    twin = models.cnn(text, widths=(4, 8, 16), ops=GraphOps(), domain=graph).eval()
    load(twin, net.state_dict())
    x = torch.randn(2, 3, 12, 12)
    torch.testing.assert_close(twin(bridge.to_nodes(x), graph), net(x), rtol=1e-4, atol=1e-4)
    ring = Graph(torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]]))
    anywhere = models.cnn(text, optional=False, ops=GraphOps("gcn"), domain=ring)
    assert anywhere(torch.randn(2, 5, 3), ring).shape == (2, 10)


def test_weight_files_load_on_graph_builds(tmp_path):
    """A file of the grid's network, norms and all, through `create`."""
    graph, net = grid_graph((16, 16)), filled(models.resnet20_cifar())
    torch.save(net.state_dict(), tmp_path / "net.pth")
    twin = models.create("resnet20_cifar", weights=tmp_path / "net.pth", ops=GraphOps(), domain=graph).eval()
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = net(x)
        assert (twin(bridge.to_nodes(x), graph) - expected).abs().max() <= 1e-4 * expected.std()

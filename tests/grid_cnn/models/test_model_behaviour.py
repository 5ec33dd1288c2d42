"""What all networks do: small forms, gradients, seeds, bad input; blocks against torch's own formulas."""

import copy
import pickle
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from grid_cnn import Conv2d, Grid, GridOps, Layer, Sequential, bind, models
from grid_cnn.models import googlenet as googlenet_function
from grid_cnn.models.auxiliary import Outputs
from grid_cnn.models.resnet_cifar import PadChannels
from grid_cnn.models.wiring import Wired, add, concat

# One network of each kind; the others differ in depth and width alone.
SMALL = [
    "alexnet", "alexnet2012", "zfnet", "vgg11", "vgg11_bn", "vgg11_lrn", "vgg16_c", "googlenet", "googlenet2014",
    "inception_v2", "inception_v3", "inception_resnet_v2", "resnet18", "resnet50_v1", "resnet18_preact", "plain18",
    "densenet121", "resnet20_cifar", "plain20_cifar", "densenet40_cifar",
]  # fmt: skip
# The least side of a network in its large form, worked out by hand from its strides and borders.
LEAST = {
    "alexnet": 63, "alexnet2012": 67, "vgg16": 32, "googlenet": 15, "inception_v3": 75, "resnet18": 1,
    "densenet121": 29, "lenet1": 16, "lenet5_1998": 32,
}  # fmt: skip


LARGER = ["alexnet", "alexnet2012", "zfnet", "vgg11", "googlenet2014", "resnet18", "densenet40_cifar"]


@pytest.mark.parametrize(("name", "side"), [*((name, 28) for name in SMALL), *((name, 64) for name in LARGER)])
def test_small_forms(name, side):
    net = models.create(name, num_classes=7, in_channels=2, domain=Grid((side, side)), dropout=0.5)
    assert net.eval()(torch.randn(2, 2, side, side)).shape == (2, 7)


@pytest.mark.parametrize("name", [n for n in SMALL if "inception" not in n])
def test_gradients_reach_every_parameter(name):
    """The seed decides all, and nothing is left out of the way to the logits."""
    nets = []
    for _ in range(2):
        torch.manual_seed(3)
        nets.append(models.create(name, num_classes=3, domain=Grid((16, 16)), dropout=0.0))
    net, other = nets
    x = torch.randn(2, 3, 16, 16)
    out = net(x)
    assert torch.equal(out, other(x))
    F.cross_entropy(out, torch.arange(2)).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", LEAST)
def test_pictures_that_are_too_small(name):
    least = LEAST[name]
    made_on = torch.device("cpu" if name.startswith("lenet") else "meta")
    with made_on:
        net = models.create(name).eval()
    channels, device = net.in_channels, next(net.parameters()).device
    if least > 1:
        x = torch.zeros(1, channels, least - 1, 300, device=device)
        with pytest.raises(ValueError, match=rf"takes pictures of at least {least}×{least}, got {least - 1}×300"):
            net(x)
        options = {} if name.startswith("lenet") else {"small": False}
        with made_on, pytest.raises(ValueError, match=rf"the least size that fits is {least}×{least}"):
            models.create(name, domain=Grid((least - 1, least - 1)), **options)
    if not name.startswith(("lenet", "alexnet2012")):
        assert net(torch.zeros(1, channels, least, least, device=device)).shape == (1, 1000)


def test_heads_ask_for_larger_pictures_in_training_only():
    with torch.device("meta"):
        net = models.inception_v3(aux_logits=True)
    x = torch.zeros(2, 3, 107, 107, device="meta")
    with pytest.raises(ValueError, match="at least 299×299, got 107×107"):
        net.train()(x)
    assert net.eval()(x).shape == (2, 1000)


@pytest.mark.parametrize("name", ["alexnet2012", "zfnet", "lenet1", "lecun1989_net2", "alphago_policy"])
def test_pictures_of_another_size_than_the_dense_layers(name):
    net = models.create(name, **({"small": True} if name in ("alexnet2012", "zfnet") else {}))
    with pytest.raises(ValueError, match=r"was built for Grid\(.*build it with domain=Grid\(\(61, 61\)\)"):
        net(torch.zeros(1, net.in_channels, 61, 61))


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "densenet40_cifar", "googlenet", "lenet1", "alphago_policy"])
def test_a_wrong_number_of_channels(name):
    domain = {"domain": Grid((32, 32))} if name not in ("lenet1", "alphago_policy") else {}
    net = models.create(name, **domain)
    with pytest.raises(ValueError, match=rf"expects {net.in_channels} channels, got 5"):
        net(torch.zeros(1, 5, *{"lenet1": (28, 28), "alphago_policy": (19, 19)}.get(name, (32, 32))))


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "densenet121", "googlenet", "inception_v3", "zfnet", "lenet1"])
@pytest.mark.parametrize("argument", ["num_classes", "in_channels"])
def test_counts_that_are_not_positive(name, argument):
    with pytest.raises(ValueError, match=rf"{argument}.*0"):
        models.create(name, **{argument: 0})


def test_options_that_have_no_meaning():
    for call, match in (
        (lambda: models.resnet18(dropout=2.0), "dropout takes a probability, got 2.0"),
        (lambda: models.zfnet(widths=(1, 2)), "widths takes the channels of three"),
        (lambda: models.create("densenet40_cifar", depth=40), "depth"),
        (lambda: models.alphago_policy(depth=1), "depth takes at least 2"),
        (lambda: models.vgg11(colour=True), "colour"),
    ):
        with pytest.raises((ValueError, TypeError), match=match):
            call()


@pytest.mark.parametrize(("function", "depth"), [("resnet_cifar", 21), ("densenet_cifar", 41)])
def test_depths_that_blocks_do_not_share(function, depth):
    from grid_cnn.models import densenet, resnet_cifar

    build = {"resnet_cifar": resnet_cifar.resnet_cifar, "densenet_cifar": densenet.densenet_cifar}[function]
    with pytest.raises(ValueError, match=rf"depth takes .* n .*{depth}"):
        build(depth=depth)


@pytest.mark.parametrize("name", ["googlenet", "googlenet2014", "inception_v3"])
def test_auxiliary_heads_run_in_training_only(name):
    net = models.create(name, num_classes=4, aux_logits=True, domain=Grid((40, 40)))
    x = torch.randn(2, 3, 40, 40)
    outputs = net.train()(x)
    assert isinstance(outputs, Outputs)
    assert outputs.logits.shape == (2, 4)
    assert [aux.shape for aux in outputs.auxiliary] == [(2, 4)] * (1 if name == "inception_v3" else 2)
    loss = F.cross_entropy(outputs.logits, torch.arange(2)) + sum(aux.sum() for aux in outputs.auxiliary)
    loss.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert net.eval()(x).shape == (2, 4)
    assert not [stage.name for stage in net.trace(x) if stage.name.lower().startswith("aux")]
    assert models.create(name, num_classes=4, domain=Grid((40, 40))).train()(x).shape == (2, 4)


def test_a_residual_block_is_its_formula():
    from grid_cnn.models.resnet import Style, block

    x = torch.randn(2, 8, 7, 7)
    for style, out in ((Style(), 16), (Style(expansion=4), 64), (Style(expansion=4, stride_first=True), 64)):
        layer = block(GridOps(), 8, 16, 2, style).eval()
        w = layer.state_dict()
        y, last = x, 2 if style.expansion == 1 else 3
        strides = {1: [2, 1], 4: [2, 1, 1] if style.stride_first else [1, 2, 1]}[style.expansion]
        for i, stride in enumerate(strides, 1):
            kernel = w[f"conv{i}.weight"]
            y = F.conv2d(y, kernel, stride=stride, padding=kernel.shape[-1] // 2) / (1 + 1e-5) ** 0.5
            y = F.relu(y) if i < last else y
        shortcut = F.conv2d(x, w["downsample.0.weight"], stride=2) / (1 + 1e-5) ** 0.5
        torch.testing.assert_close(layer(x), F.relu(y + shortcut))
        assert layer.codomain(Grid((7, 7))) == Grid((4, 4))
        assert layer(x).shape[1] == out


def test_preactivation_is_its_formula():
    from grid_cnn.models.resnet import Style, block

    x = torch.randn(2, 8, 6, 6)
    layer = block(GridOps(), 8, 8, 1, Style(preactivation=True)).eval()
    w, scale = layer.state_dict(), (1 + 1e-5) ** 0.5
    y = F.conv2d(F.relu(x / scale), w["conv1.weight"], padding=1)
    torch.testing.assert_close(layer(x), x + F.conv2d(F.relu(y / scale), w["conv2.weight"], padding=1))


def test_option_a_pads_channels():
    net = models.resnet20_cifar().eval()
    block = net.layer2[0]
    x = torch.randn(1, 16, 8, 8)
    torch.testing.assert_close(block.downsample(x)[:, :16], x[:, :, ::2, ::2])
    assert block.downsample(x)[:, 16:].abs().max() == 0
    assert PadChannels(3)(torch.ones(1, 2, 4), Grid(4)).shape == (1, 5, 4)
    assert PadChannels(3)(torch.ones(2, 4, 4), Grid((4, 4))).shape == (5, 4, 4)


def test_wired_layers():
    conv = Conv2d(2, 2, 3, padding="same")
    block = Wired({"conv": conv, "relu": nn.ReLU()}, (add(("conv",), ()), "relu", concat((), ("conv",))))
    x = torch.randn(3, 2, 5, 5)
    inner = F.relu(conv(x) + x)
    torch.testing.assert_close(block(x), torch.cat([inner, conv(inner)], 1))
    torch.testing.assert_close(block(x[0]), block(x)[0])
    assert [s.name for s in block.trace(x, None, "b")] == ["b.conv", "b.relu", "b.conv", "b"]
    assert isinstance(block, Layer)
    assert block.in_channels == 2
    assert bind(Sequential(block), Grid((5, 5)))(x).shape == (3, 4, 5, 5)
    with pytest.raises(TypeError, match=r"'norm', BatchNorm2d, does not act element by element"):
        Wired({"norm": nn.BatchNorm2d(2)}, ("norm",))
    with pytest.raises(ValueError, match=r"names other, and the parts are conv"):
        Wired({"conv": conv}, ("conv", "other"))
    uneven = Wired({"conv": Conv2d(2, 2, 3)}, (add(("conv",), ()),))
    with pytest.raises(ValueError, match=r"end on different domains: Grid\(\(3, 3\)\), Grid\(\(5, 5\)\)"):
        uneven(x)


def test_networks_slice_and_copy_like_any_sequential():
    net = models.vgg11(small=True)
    assert net.features[:3](torch.zeros(1, 3, 16, 16)).shape == (1, 64, 8, 8)
    assert net[:1](torch.zeros(1, 3, 16, 16)).shape == (1, 512, 1, 1)
    assert repr(net).startswith("Network(")


def test_trace_shows_what_each_layer_made():
    """Later layers work in place, and do not change what was seen."""
    net = models.resnet20_cifar().eval()
    stages = {stage.name: stage.x.clone() for stage in net.trace(torch.randn(1, 3, 8, 8))}
    assert stages["layer1.0.bn1"].min() < 0
    assert (stages["layer1.0.relu"] >= 0).all()


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "densenet40_cifar"])
def test_networks_compile_and_export(name):
    net = bind(models.create(name, num_classes=3, domain=Grid((16, 16))).eval(), Grid((16, 16)))
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = net(x)
        exported = torch.export.export(net, (x,)).module()
        torch.testing.assert_close(exported(x), expected, rtol=1e-4, atol=1e-5)
        if name == "densenet40_cifar":
            torch.compiler.reset()
            compiled = torch.compile(net, fullgraph=True, backend="eager")
            torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-5)


def test_naming_of_the_papers():
    names = models.names()
    for name in (
        "alexnet2012", "alexnet2012_ungrouped", "googlenet2014", "resnet50_v1", "lenet1", "lenet5_1998", "vgg11_lrn",
        "vgg16_c", "resnet20_cifar", "plain20_cifar", "densenet40_cifar", "alphago_policy",
        *(f"lecun1989_net{i}" for i in range(1, 6)),
    ):  # fmt: skip
        assert name in names
        assert re.fullmatch(r"\S.*\.", (models.function(name).__doc__ or "").splitlines()[0] or "x") is not None
    assert models.function("googlenet") is googlenet_function


@pytest.mark.parametrize("name", ["resnet20_cifar", "googlenet2014", "lecun1989_net5", "lenet5_1998"])
def test_networks_copy_and_pickle(name):
    net = models.create(name, **({"small": True} if name == "googlenet2014" else {})).eval()
    side = {"lecun1989_net5": 16}.get(name, 32)
    x = torch.randn(2, net.in_channels, side, side)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(twin(x), net(x))
        assert (twin.name, twin.least, twin.built) == (net.name, net.least, net.built)

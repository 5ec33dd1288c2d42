"""Parameters of every network, to the last one; the tables of LeCun 1989, AlexNet and GoogLeNet; shapes on the way."""

import pytest
import torch

from grid_cnn import Grid, models
from grid_cnn.models.googlenet import CHANNELS, naive_inception

COUNTS = {
    "lenet1": 2_578, "lenet5_1998": 60_000, "lenet5": 61_706,
    "lecun1989_net1": 2_570, "lecun1989_net2": 3_214, "lecun1989_net3": 1_226, "lecun1989_net4": 1_132,
    "lecun1989_net5": 1_060,
    "alexnet2012": 60_965_224, "alexnet2012_ungrouped": 62_378_344, "alexnet": 61_100_840,
    "zfnet": 62_357_608,
    "vgg11": 132_863_336, "vgg11_lrn": 132_863_336, "vgg13": 133_047_848, "vgg16_c": 133_638_952,
    "vgg16": 138_357_544, "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840, "vgg13_bn": 133_053_736, "vgg16_bn": 138_365_992, "vgg19_bn": 143_678_248,
    "googlenet2014": 6_998_552, "googlenet": 6_624_904,
    "inception_v3": 23_834_568, "inception_resnet_v2": 55_843_464,
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet50_v1": 25_557_032, "resnet101_v1": 44_549_160, "resnet152_v1": 60_192_808,
    "resnet20_cifar": 269_722, "resnet32_cifar": 464_154, "resnet44_cifar": 658_586, "resnet56_cifar": 853_018,
    "resnet110_cifar": 1_727_962, "resnet1202_cifar": 19_421_274,
    "plain20_cifar": 269_722, "plain56_cifar": 853_018,
    "densenet121": 7_978_856, "densenet169": 14_149_480, "densenet201": 20_013_928, "densenet161": 28_681_000,
    "densenet40_cifar": 1_019_722, "densenet100bc_cifar": 769_162,
}  # fmt: skip


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def create(name, **options):
    with torch.device("meta"):
        return models.create(name, **options)


@pytest.mark.parametrize("name", COUNTS)
def test_parameters(name):
    assert count(create(name)) == COUNTS[name]


@pytest.mark.parametrize("name", models.names())
def test_every_network_is_built_without_memory(name):
    """On the meta device, as a comparison does to read off kernels; there is nothing of it elsewhere."""
    net = create(name)
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    assert {key for key, tensor in tensors.items() if tensor.device.type != "meta"} == set()


def test_parameters_with_options():
    assert count(create("zfnet", widths=(512, 1024, 512))) == 107_627_624
    assert count(create("googlenet2014", aux_logits=True)) == 13_378_280
    assert count(create("googlenet", aux_logits=True)) == 13_004_888
    assert count(create("inception_v3", aux_logits=True)) == 27_161_264
    assert count(create("alexnet2012", groups=1)) == 62_378_344
    vgg = create("vgg16")
    biases = sum(p.numel() for name, p in vgg.named_parameters() if name.endswith("bias"))
    assert count(vgg) - biases == 138_344_128


def test_downsampling_by_projection_is_what_plain_networks_lack():
    """ResNet-34 has three 1×1 shortcuts with batch norm, plain-34 none."""
    shortcuts = sum(a * b + 2 * b for a, b in ((64, 128), (128, 256), (256, 512)))
    assert count(create("resnet34")) - count(create("plain34")) == shortcuts


def sizes(name, side, **options):
    """Channels and side behind every layer on the way, on a picture of that side."""
    net = create(name, **options).eval()
    device = next(net.parameters()).device
    x = torch.zeros(1, net.in_channels, side, side, device=device)
    return {s.name: tuple(s.x.shape[1:]) for s in net.trace(x)}


def test_alexnet_on_227():
    shapes = sizes("alexnet2012", 227)
    assert [shapes[name] for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "pool5")] == [
        (96, 55, 55), (256, 27, 27), (384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6),
    ]  # fmt: skip
    assert [shapes[name] for name in ("fc6", "fc7", "fc8")] == [(4096,), (4096,), (1000,)]


def test_zfnet_on_224():
    shapes = sizes("zfnet", 224)
    found = [shapes[name][1] for name in ("conv1", "pool1", "conv2", "pool2", "conv5", "pool5")]
    assert found == [110, 55, 26, 13, 13, 6]


GOOGLENET_OUT = {"3a": 256, "3b": 480, "4a": 512, "4b": 512, "4c": 512, "4d": 528, "4e": 832, "5a": 832, "5b": 1024}
GOOGLENET_SIDE = {"3": 28, "4": 14, "5": 7}


@pytest.mark.parametrize("name", ["googlenet", "googlenet2014"])
def test_googlenet_table(name):
    shapes = sizes(name, 224)
    for module, out in GOOGLENET_OUT.items():
        side = GOOGLENET_SIDE[module[0]]
        assert shapes[f"inception{module}"] == (out, side, side)
    state = create(name).state_dict()
    for module, (point, reduce3, conv3, reduce5, conv5, project) in {
        "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "4a": (192, 96, 208, 16, 48, 64),
        "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
    }.items():  # fmt: skip
        parts = ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")
        widths = [state[f"inception{module}.{part}.conv.weight"].shape[0] for part in parts]
        assert widths == [point, reduce3, conv3, reduce5, conv5, project]
    assert len(CHANNELS) == 9


def test_the_naive_module_can_only_grow():
    from grid_cnn import GridOps

    module = naive_inception(GridOps(), 192, (64, 128, 32))
    assert module(torch.zeros(1, 192, 28, 28)).shape == (1, 64 + 128 + 32 + 192, 28, 28)
    assert count(module) == 64 * 193 + 128 * (9 * 192 + 1) + 32 * (25 * 192 + 1)


def test_googlenet_of_naive_modules():
    """Every pool hands on all channels, so that they pile up; parameters by hand, from the table."""
    shapes, net = sizes("googlenet2014", 224, naive=True), create("googlenet2014", naive=True, aux_logits=True)
    width, parameters = 192, (49 * 3 + 1) * 64 + 65 * 64 + (9 * 64 + 1) * 192
    for name, (point, _, conv3, _, conv5, _) in CHANNELS.items():
        parameters += point * (width + 1) + conv3 * (9 * width + 1) + conv5 * (25 * width + 1)
        width += point + conv3 + conv5
        assert shapes[f"inception{name}"][0] == width
        if name in ("4a", "4d"):
            parameters += 128 * (width + 1) + 1024 * (16 * 128 + 1) + 1000 * 1025
    assert width == 4944
    assert count(net) == parameters + 1000 * (width + 1)
    assert net.eval()(torch.zeros(1, 3, 32, 32, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize("name", ["inception_v2", "inception_v3", "inception_resnet_v2"])
def test_inception_sides_on_299(name):
    channels = {"inception_v2": (288, 768, 2048), "inception_v3": (288, 768, 2048)}.get(name, (320, 1088, 2080))
    last = {"inception_v2": ("Mixed_5d", "Mixed_6f", "Mixed_7c"), "inception_v3": ("Mixed_5d", "Mixed_6e", "Mixed_7c")}
    shapes = sizes(name, 299)
    found = [shapes[key] for key in last.get(name, ("repeat.9", "repeat_1.19", "block8"))]
    assert found == [(c, s, s) for c, s in zip(channels, (35, 17, 8), strict=True)]


def test_alphago_board():
    net = models.alphago_policy(softmax=True)
    convs = [m for m in net if isinstance(m, torch.nn.Conv2d)]
    assert [c.kernel_size[0] for c in convs] == [5] + [3] * 11 + [1]
    assert {c.out_channels for c in convs[:-1]} == {192}
    assert convs[0].in_channels == 48
    assert convs[-1].out_channels == 1
    board = net(torch.randn(2, 48, 19, 19))
    assert board.shape == (2, 361)
    torch.testing.assert_close(board.sum(1), torch.ones(2))
    weights = 48 * 192 * 25 + 11 * 192 * 192 * 9 + 192
    assert count(net) == weights + 12 * 192 + 361


def test_lenet5_of_1998():
    net = models.lenet5_1998()
    by_layer = {name: count(module) for name, module in net.named_children() if count(module)}
    assert by_layer == {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}
    shapes = {s.name: tuple(s.x.shape[1:]) for s in net.trace(torch.zeros(1, 1, 32, 32))}
    assert [shapes[n] for n in ("c1", "s2", "c3", "s4", "c5")] == [
        (6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120, 1, 1),
    ]  # fmt: skip
    x = torch.randn(3, 1, 32, 32)
    inner = net[:-1](x)
    distances = (inner[:, None] - net.output.codes).square().sum(-1)
    torch.testing.assert_close(net(x), -distances)
    other = models.lenet5_1998(num_classes=4)
    assert torch.equal(other.output.codes, models.lenet5_1998(num_classes=4).output.codes)
    assert set(other.output.codes.unique().tolist()) == {-1.0, 1.0}
    with pytest.raises(ValueError, match=r"codes.*\(10, 84\).*\(3, 84\)"):
        models.lenet5_1998(codes=torch.ones(3, 84))


def test_lenet1_links():
    assert sum(map(len, models.lenet1().h3.table)) == 20


def test_lecun1989_maps():
    for index, expected in ((3, [(1, 8, 8), (1, 4, 4)]), (4, [(2, 8, 8), (1, 4, 4)]), (5, [(2, 8, 8), (4, 4, 4)])):
        net = models.create(f"lecun1989_net{index}")
        x, shapes = torch.zeros(1, 1, 16, 16), []
        for layer in list(net)[:4]:
            x = layer(x)
            shapes.append(tuple(x.shape[1:]))
        assert shapes[::2] == expected
        assert isinstance(net.codomain(Grid((16, 16))), type(None))

"""Accounting against the tables of the lectures and numbers worked by hand."""

import csv
import io
import json

import pytest
import torch
from torch import nn

from grid_cnn import AdaptiveAvgPool2d, Conv2d, Grid, GridOps, Layer, MaxPool2d, Sequential, models
from grid_cnn.accounting import Cost, cost, summary


def table(name, side, **options):
    if name.startswith("le"):
        return summary(models.create(name, **options), Grid((side, side)))
    with torch.device("meta"):
        model = models.create(name, **options)
    return summary(model, Grid((side, side)))


@pytest.mark.parametrize(
    ("net", "links", "weights"),
    [(1, 2_570, 2_570), (2, 3_214, 3_214), (3, 1_226, 1_226), (4, 2_266, 1_132), (5, 5_194, 1_060)],
)
def test_lecun_1989(net, links, weights):
    found = table(f"lecun1989_net{net}", 16)
    assert (found.links, found.parameters) == (links, weights)


def test_lenet5_of_1998():
    """Connections as the paper gives them, layer by layer, and parameters."""
    rows = {row.name: row for row in table("lenet5_1998", 32).rows if row.links}
    assert {name: row.links for name, row in rows.items()} == {
        "c1": 122_304, "s2": 5_880, "c3": 151_600, "s4": 2_000, "c5": 48_120, "f6": 10_164, "output": 840,
    }  # fmt: skip
    assert [rows[name].parameters for name in ("c1", "s2", "c3", "s4", "c5", "f6")] == [
        156, 12, 1_516, 32, 48_120, 10_164,
    ]  # fmt: skip


def test_alexnet_by_layer():
    found = table("alexnet2012", 227)
    assert [(row.units, row.weights) for row in found.rows if row.links] == [
        (290_400, 34_848), (186_624, 307_200), (64_896, 884_736), (64_896, 663_552), (43_264, 442_368),
        (4_096, 37_748_736), (4_096, 16_777_216), (1_000, 4_096_000),
    ]  # fmt: skip
    assert (found.units, found.weights, found.parameters) == (659_272, 60_954_656, 60_965_224)
    pool = next(row for row in found.rows if row.name == "pool5")
    assert (pool.field, pool.stride) == ((195, 195), (32, 32))


def test_vgg_d_memory():
    found = table("vgg16", 224)
    assert found.weights == 138_344_128
    assert found.weights * 4 / 1e6 == pytest.approx(550, rel=0.01)
    assert found.activations == 15_237_608
    assert found.activations * 4 / 1e6 == pytest.approx(60, rel=0.02)
    assert found.memory(128) / 1e9 == pytest.approx(8.2, rel=0.02)
    assert found.memory(128, training=True) == 2 * found.memory(128)
    fields = {row.name: row.field for row in found.rows}
    assert fields["features.28"] == (196, 196)
    assert fields["features.30"] == (212, 212)
    assert fields["classifier.0"] is None


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("vgg11", 132_863_336), ("vgg13", 133_047_848), ("vgg16_c", 133_638_952), ("vgg19", 143_667_240)],
)
def test_vgg_parameters(name, parameters):
    assert table(name, 224).parameters == parameters


def test_googlenet_multiply_adds():
    found = table("googlenet2014", 224)
    assert found.multiply_adds / 1e6 == pytest.approx(1_582.7, abs=0.05)
    # Module 3a by hand: 28² cells, and products of channels and taps.
    cells = 28 * 28
    by_hand = cells * (192 * 64 + 192 * 96 + 9 * 96 * 128 + 192 * 16 + 25 * 16 * 32 + 192 * 32)
    assert sum(row.multiply_adds for row in found.rows if row.name.startswith("inception3a")) == by_hand


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("resnet18", 1.8), ("resnet34", 3.6), ("resnet50_v1", 3.8), ("resnet101_v1", 7.6), ("resnet152_v1", 11.3),
        ("resnet50_v1", 3.86), ("resnet101_v1", 7.57), ("resnet152_v1", 11.28),
        ("resnet50", 4.09), ("resnet101", 7.80), ("resnet152", 11.51),
    ],
)  # fmt: skip
def test_resnet_multiply_adds(name, billions):
    assert table(name, 224).multiply_adds / 1e9 == pytest.approx(billions, rel=0.02)


def test_fields_through_branches_and_sums():
    """The widest way counts: in ResNet-18's first block two 3×3 at stride 4, behind a field of 11."""
    rows = {row.name: row for row in table("resnet18", 224).rows}
    assert rows["conv1"].field == (7, 7)
    assert rows["maxpool"].field == (11, 11)
    assert rows["layer1.0"].field == (11 + 2 * 2 * 4,) * 2
    assert rows["layer2.0.downsample.0"].stride == (8, 8)
    assert rows["layer2.0.downsample.0"].field == rows["layer1.1"].field
    inception = {row.name: row for row in table("googlenet2014", 224).rows}
    assert inception["inception3a.branch1.conv"].field == inception["maxpool2"].field
    assert inception["inception3a"].field[0] == inception["maxpool2"].field[0] + 4 * 8
    factors = {row.name: row for row in table("inception_v3", 299).rows}
    assert factors["Mixed_6b.branch7x7_2.conv"].field != factors["Mixed_6b.branch7x7_2.conv"].field[::-1]


def test_a_network_by_hand():
    net = Sequential(
        Conv2d(2, 3, 3, stride=2, bias=False), nn.ReLU(), MaxPool2d(2), GridOps().flatten(), nn.Linear(12, 5)
    )
    found = summary(net, Grid((9, 9)))
    conv, relu, pool, flatten, dense = found.rows
    assert (conv.shape, conv.units, conv.weights, conv.biases) == ((3, 4, 4), 48, 54, 0)
    assert (conv.links, conv.multiply_adds) == (48 * 18, 48 * 18)
    assert (dense.links, dense.multiply_adds) == (65, 60)
    assert [row.makes for row in found.rows] == [True, False, True, False, True]
    assert (pool.field, pool.stride, flatten.field, relu.field) == ((5, 5), (4, 4), None, (3, 3))
    assert found.activations == 2 * 81 + 48 + 12 + 5
    assert found.memory(10) == 4 * (54 + 65 + 10 * found.activations)
    assert found.edges is None


def test_adaptive_pools_look_through_their_blocks():
    """Nine cells in two blocks of five, which overlap by one; then the whole of them."""
    rows = summary(Sequential(Conv2d(1, 1, 3, padding=1), AdaptiveAvgPool2d((2, 3))), Grid((9, 9))).rows
    assert (rows[1].field, rows[1].stride) == ((3 + 4, 3 + 2), (4, 3))
    rows = summary(Sequential(MaxPool2d(2), AdaptiveAvgPool2d(1)), Grid((8, 8))).rows
    assert (rows[1].field, rows[1].stride) == ((8, 8), (8, 8))


def test_formats():
    found = table("lenet5", 28)
    rows = list(csv.DictReader(io.StringIO(found.csv())))
    assert [row["layer"] for row in rows][-1] == "total"
    assert rows[0]["multiply-adds"] == str(28 * 28 * 6 * 25)
    assert int(rows[-1]["weights"]) + int(rows[-1]["biases"]) == 61_706
    content = json.loads(found.json(batch=8))
    assert content["totals"]["parameters"] == 61_706
    assert content["totals"]["memory_forward"] == found.memory(8)
    assert content["layers"][3]["shape"] == [16, 10, 10]
    lines = found.markdown().splitlines()
    assert lines[2].startswith("| conv1 | Conv2d | 6×28×28 | 4,704 | 150 | 6 |")
    assert len({line.count("|") for line in lines}) == 1


def test_the_model_is_not_touched():
    net = models.resnet20_cifar()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    summary(net, Grid((32, 32)))
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert next(net.parameters()).device.type == "cpu"


def test_auxiliary_heads_are_counted():
    found = table("googlenet2014", 224, aux_logits=True)
    assert found.parameters == 13_378_280
    assert next(row for row in found.rows if row.name == "aux1.conv.conv").shape == (128, 4, 4)


def test_layers_of_ones_own():
    class Twice(Layer):
        def __init__(self):
            super().__init__()
            self.matrix = nn.Parameter(torch.zeros(3, 2))

        def forward(self, x, domain=None):
            return torch.einsum("oc,bchw->bohw", self.matrix, x)

    assert summary(Twice(), Grid((4, 4)), in_channels=2).multiply_adds == 6 * 16
    cost.register(Twice, lambda layer, x, y, domain: Cost(7, 8))
    assert summary(Twice(), Grid((4, 4)), in_channels=2).links == 8


def test_a_domain_that_does_not_fit():
    with pytest.raises(ValueError, match=r"does not fit Grid\(\(9, 9\)\).*the least size that fits is 15×15"):
        table("googlenet", 9)

"""The lectures' grammar: what a text builds, and errors that mark the position."""

import pytest
import torch
from torch import nn

from grid_cnn import Conv2d, Grid, MaxPool2d, models
from grid_cnn.models.grammar import GrammarError, parse

LECTURE = "[(CONV-RELU)*2-POOL?]*3-(FC-RELU)*1,SOFTMAX"


def names(text, **options):
    return [word.name for word in parse(text, **options)]


def test_the_lectures_text():
    block = ["CONV", "RELU", "CONV", "RELU", "POOL"]
    assert names(LECTURE) == block * 3 + ["FC", "RELU", "SOFTMAX"]
    assert names(LECTURE, optional=False) == block[:-1] * 3 + ["FC", "RELU", "SOFTMAX"]


def test_the_lectures_network():
    net = models.cnn(LECTURE, widths=(8, 16, 32, 64), num_classes=5)
    convs = [m for m in net if isinstance(m, Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convs] == [(3, 8), (8, 8), (8, 16), (16, 16), (16, 32), (32, 32)]
    dense = [m for m in net if isinstance(m, nn.Linear)]
    assert [(d.in_features, d.out_features) for d in dense] == [(32 * 16, 64), (64, 5)]
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conv-relu", ["CONV", "RELU"]),
        ("CONV * 2 , POOL", ["CONV", "CONV", "POOL"]),
        ("((CONV)*2-[RELU])*2", ["CONV", "CONV", "RELU"] * 2),
        ("CONV-(FC-RELU)*0-SOFTMAX", ["CONV", "SOFTMAX"]),
        ("CONV-(BN-RELU)*2?", ["CONV", "NORM", "RELU", "NORM", "RELU"]),
    ],
)
def test_texts(text, expected):
    assert names(text) == expected


def test_kernels_and_strides():
    net = models.cnn("CONV7/2-RELU-POOL3/2-CONV5-AVGPOOL4-GAP-SOFTMAX", domain=Grid((64, 64)))
    assert (net[0].kernel_size, net[0].stride) == ((7, 7), (2, 2))
    assert isinstance(net[2], MaxPool2d)
    assert (net[2].kernel_size, net[2].stride) == ((3, 3), (2, 2))
    assert net[3].kernel_size == (5, 5)
    assert (net[4].kernel_size, net[4].stride) == ((4, 4), (4, 4))
    assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 10)


def test_every_layer_and_probabilities():
    text = "CONV-NORM-RELU-LRN-DROPOUT-POOL-CONV-TANH-FC-BN-RELU-SOFTMAX"
    net = models.cnn(text, num_classes=4, softmax=True, dropout=0.25)
    torch.testing.assert_close(net(torch.randn(3, 3, 32, 32)).sum(1), torch.ones(3))
    assert [m.p for m in net if isinstance(m, nn.Dropout)] == [0.25]


def test_widths():
    assert [c.out_channels for c in models.cnn("(CONV-RELU)*6-GAP-SOFTMAX") if isinstance(c, Conv2d)] == [
        32, 64, 128, 256, 512, 512,
    ]  # fmt: skip
    each = models.cnn("(CONV*2-POOL)*2-FC,SOFTMAX", widths=(1, 2, 3, 4, 5))
    assert [c.out_channels for c in each if isinstance(c, Conv2d)] == [1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"each of the 5 CONVs and FCs .* 3 stages; got 2: \(1, 2\)"):
        models.cnn("(CONV*2-POOL)*2-FC,SOFTMAX", widths=(1, 2))
    with pytest.raises(ValueError, match=r"widths takes numbers in order, as in \(16, 32\), got 8"):
        models.cnn("CONV", widths=8)
    with pytest.raises(ValueError, match="widths takes a whole number >= 1, got 0"):
        models.cnn("CONV", widths=(0,))


@pytest.mark.parametrize(
    ("text", "position", "what"),
    [
        ("[(CONV-RELU*2-POOL", 19, r"expected '\)' for the '\(' at position 2"),
        ("(CONV-RELU]", 11, r"expected '\)' for the '\(' at position 1"),
        ("CONV--RELU", 6, "expected a layer"),
        ("CONV-RELU-", 11, "expected a layer"),
        ("CONV-()", 7, "expected a layer"),
        ("CONV-KONV", 6, "unknown layer 'KONV'; there are CONV"),
        ("CONV*RELU", 6, "expected a whole number after '\\*'"),
        ("CONV*", 6, "expected a whole number after '\\*'"),
        ("CONV*1001", 6, "at most 1000"),
        ("CONV RELU", 6, "expected '-' or ','"),
        ("CONV)", 5, "expected '-' or ','"),
        ("CONV-#", 6, "'#' has no meaning"),
        ("CONV-FC-POOL", 9, "POOL works on a domain"),
        ("GAP-CONV", 5, "CONV works on a domain"),
        ("SOFTMAX-FC", 1, "stands last"),
        ("FC3", 1, "FC takes no kernel size"),
        ("CONV0", 1, "whole numbers >= 1"),
        ("CONV3/0", 1, "whole numbers >= 1"),
        ("2*CONV", 1, "expected a layer"),
        ("CONV*0", 1, "at least one layer"),
        ("", 1, "at least one layer"),
    ],
)
def test_malformed_texts_are_marked(text, position, what):
    with pytest.raises(GrammarError, match=f"{what}.*, at position {position}:") as error:
        models.cnn(text)
    *_, line, mark = str(error.value).split("\n")
    assert line == f"    {text}"
    assert mark.index("^") == 4 + position - 1
    assert error.value.at == position - 1


def test_too_many_pools_for_the_picture():
    with pytest.raises(ValueError, match="the least size that fits is 64×64"):
        models.cnn("(CONV-POOL)*6-SOFTMAX", widths=(2,) * 6)

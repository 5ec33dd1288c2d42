"""The networks, a family a file: `create(name)`, `names()`, or the functions themselves.

A bare name is torchvision's network, whose weight files load unchanged; a year, `_v1` or `_cifar` marks the papers'
own. Which of them build on graphs:

| network | on a grid's graph, directional | on any graph, other families |
|---|---|---|
| linear, mlp, Net-1, Net-2 | yes | yes |
| Net-3, Net-4, Net-5 of 1989 | no: weights or biases for every cell of one grid | no |
| LeNet-1 and LeNet-5 of the papers | no: tables of connections, trainable subsampling are the grid's | no |
| LeNet-5 (modern) | yes | on graphs of grids, 'same' borders for valid ones |
| AlexNet (torchvision), ungrouped, ZFNet, VGG | yes | on graphs of grids: their pools are windows |
| AlexNet 2012 | yes | no: groups have no meaning there; `groups=1`, or the ungrouped one |
| GoogLeNet, Inception v2, v3, Inception-ResNet-v2 | yes | on graphs of grids, 'same' borders for valid ones |
| ResNet, plain, pre-activation, DenseNet, for ImageNet and CIFAR | yes | on graphs of grids: they halve the size |
| AlphaGo's policy network | yes | yes: no pools, no strides |
| `cnn(text)` | yes | without POOL, AVGPOOL and strides on any graph |
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grid_cnn.layer import Layer
from grid_cnn.models.alexnet import alexnet, alexnet2012, alexnet2012_ungrouped
from grid_cnn.models.alphago import alphago_policy
from grid_cnn.models.dense import linear, mlp
from grid_cnn.models.densenet import (
    densenet40_cifar,
    densenet100bc_cifar,
    densenet121,
    densenet161,
    densenet169,
    densenet201,
)
from grid_cnn.models.googlenet import googlenet, googlenet2014
from grid_cnn.models.grammar import GrammarError, cnn
from grid_cnn.models.inception import inception_v2, inception_v3
from grid_cnn.models.inception_resnet import inception_resnet_v2
from grid_cnn.models.lecun1989 import lecun1989_net1, lecun1989_net2, lecun1989_net3, lecun1989_net4, lecun1989_net5
from grid_cnn.models.lenet import lenet5
from grid_cnn.models.lenet1998 import lenet1, lenet5_1998
from grid_cnn.models.network import OptionError, built
from grid_cnn.models.resnet import (
    plain18,
    plain34,
    resnet18,
    resnet18_preact,
    resnet34,
    resnet34_preact,
    resnet50,
    resnet50_preact,
    resnet50_v1,
    resnet101,
    resnet101_preact,
    resnet101_v1,
    resnet152,
    resnet152_preact,
    resnet152_v1,
)
from grid_cnn.models.resnet_cifar import (
    plain20_cifar,
    plain32_cifar,
    plain44_cifar,
    plain56_cifar,
    plain110_cifar,
    plain1202_cifar,
    resnet20_cifar,
    resnet32_cifar,
    resnet44_cifar,
    resnet56_cifar,
    resnet110_cifar,
    resnet1202_cifar,
)
from grid_cnn.models.vgg import vgg11, vgg11_bn, vgg11_lrn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg16_c, vgg19, vgg19_bn
from grid_cnn.models.zfnet import zfnet
from grid_cnn.names import guess
from grid_cnn.taps import features, freeze
from grid_cnn.weights import load

_MODELS: dict[str, Callable[..., Layer]] = {
    model.__name__: model
    for model in (
        alexnet,
        alexnet2012,
        alexnet2012_ungrouped,
        alphago_policy,
        linear,
        mlp,
        densenet121,
        densenet161,
        densenet169,
        densenet201,
        densenet40_cifar,
        densenet100bc_cifar,
        googlenet,
        googlenet2014,
        inception_v3,
        inception_v2,
        inception_resnet_v2,
        lecun1989_net1,
        lecun1989_net2,
        lecun1989_net3,
        lecun1989_net4,
        lecun1989_net5,
        lenet1,
        lenet5,
        lenet5_1998,
        resnet18,
        resnet34,
        resnet50,
        resnet101,
        resnet152,
        resnet50_v1,
        resnet101_v1,
        resnet152_v1,
        plain18,
        plain34,
        resnet18_preact,
        resnet34_preact,
        resnet50_preact,
        resnet101_preact,
        resnet152_preact,
        resnet20_cifar,
        resnet32_cifar,
        resnet44_cifar,
        resnet56_cifar,
        resnet110_cifar,
        resnet1202_cifar,
        plain20_cifar,
        plain32_cifar,
        plain44_cifar,
        plain56_cifar,
        plain110_cifar,
        plain1202_cifar,
        vgg11,
        vgg13,
        vgg16,
        vgg19,
        vgg11_bn,
        vgg13_bn,
        vgg16_bn,
        vgg19_bn,
        vgg11_lrn,
        vgg16_c,
        zfnet,
    )
}

__all__ = [
    "GrammarError",
    "OptionError",
    "alexnet",
    "alexnet2012",
    "alexnet2012_ungrouped",
    "alphago_policy",
    "cnn",
    "create",
    "densenet40_cifar",
    "densenet100bc_cifar",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "features",
    "freeze",
    "function",
    "googlenet",
    "googlenet2014",
    "inception_resnet_v2",
    "inception_v2",
    "inception_v3",
    "lecun1989_net1",
    "lecun1989_net2",
    "lecun1989_net3",
    "lecun1989_net4",
    "lecun1989_net5",
    "lenet1",
    "lenet5",
    "lenet5_1998",
    "linear",
    "load",
    "mlp",
    "names",
    "plain18",
    "plain20_cifar",
    "plain32_cifar",
    "plain34",
    "plain44_cifar",
    "plain56_cifar",
    "plain110_cifar",
    "plain1202_cifar",
    "resnet18",
    "resnet18_preact",
    "resnet20_cifar",
    "resnet32_cifar",
    "resnet34",
    "resnet34_preact",
    "resnet44_cifar",
    "resnet50",
    "resnet50_preact",
    "resnet50_v1",
    "resnet56_cifar",
    "resnet101",
    "resnet101_preact",
    "resnet101_v1",
    "resnet110_cifar",
    "resnet152",
    "resnet152_preact",
    "resnet152_v1",
    "resnet1202_cifar",
    "vgg11",
    "vgg11_bn",
    "vgg11_lrn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg16_c",
    "vgg19",
    "vgg19_bn",
    "zfnet",
]


def names() -> list[str]:
    """The names that `create` knows.

    >>> [name for name in names() if name.startswith("resnet50")]
    ['resnet50', 'resnet50_preact', 'resnet50_v1']
    """
    return sorted(_MODELS)


def create(
    name: str,
    weights: str | Path | None = None,
    *,
    sha256: str | None = None,
    adapt_channels: bool = False,
    **kwargs: Any,
) -> Layer:
    """Build a network by name, and load its weights from a file if there is one.

    What could not be loaded as it is (a head of another number of classes, a first layer of other channels, auxiliary
    heads that the network has not) is told as a warning.

    Args:
        name: one of `names()`. weights: a `.pth` or `.safetensors` file of torchvision or timm, or its address.
        sha256, adapt_channels: as for `grid_cnn.weights.load`.
        kwargs: what the network's function takes (`num_classes`, `in_channels`, `ops`, `domain` ...).

    Raises:
        ValueError: for an unknown name, with the nearest ones, or a file that does not belong to the network.
        OptionError: for an argument that the network's function does not take.

    >>> create("lenet5", num_classes=3)(__import__("torch").zeros(1, 1, 28, 28)).shape
    torch.Size([1, 3])
    """
    model = built(name, function(name), kwargs)
    if weights is not None:
        report = load(model, weights, sha256=sha256, adapt_channels=adapt_channels, title=name)
        if report.new_head or report.adapted or report.dropped:
            warnings.warn(str(report), stacklevel=2)
    return model


def function(name: str) -> Callable[..., Layer]:
    """The function that builds the network of that name.

    Raises:
        ValueError: for an unknown name, with the nearest ones.

    >>> function("lenet5") is lenet5
    True
    """
    if name not in _MODELS:
        hint = guess(name, _MODELS) or f"there are {', '.join(names())}"
        raise ValueError(f"unknown model {name!r}: {hint}")
    return _MODELS[name]

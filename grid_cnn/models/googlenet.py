"""GoogLeNet, of the paper and of torchvision: nine Inception modules, and two auxiliary heads.

    reduced:  [1×1 | 1×1 → 3×3 | 1×1 → 5×5 | pool 3×3 → 1×1]        naive:  [1×1 | 3×3 | 5×5 | pool 3×3]

side by side along the channels, with a ReLU after every convolution. Shapes: `(B, C, H, W)` to `(B, num_classes)`; in
training with auxiliary heads to `Outputs`. Multiply-adds at 224² without heads: 1,582.7 M. The paper's network has
biases, local response normalisation and 5×5 kernels; torchvision's has batch normalisation, and 3×3 in their place. Its
weight files expect pictures scaled to [-1, 1]. The small form has a 3×3 stem of stride 1 and leaves out the first two
pools. References: Szegedy et al., Going deeper with convolutions (2015), table 1; Lin, Chen and Yan, Network in
network.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from grid_cnn.checks import probability
from grid_cnn.domain import Domain
from grid_cnn.layer import Layer, Sequential, named
from grid_cnn.models import init
from grid_cnn.models.auxiliary import AuxiliaryNetwork
from grid_cnn.models.fit import features_size
from grid_cnn.models.network import borders, setting
from grid_cnn.ops import Ops

# Channels of each module: 1×1; 3×3 reduce, 3×3; 5×5 reduce, 5×5; pool projection.
CHANNELS: dict[str, tuple[int, int, int, int, int, int]] = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}

# The channels before the first module.
STEM = 192

# A convolution with all that follows it: (in_channels, out_channels, kernel_size, stride) -> layer.
Unit = Callable[..., Sequential]


def conv_relu(ops: Ops, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> Sequential:
    """A convolution with bias, and a ReLU."""
    conv = ops.conv(in_channels, out_channels, kernel_size, stride, borders(ops, kernel_size // 2))
    return Sequential(named(conv=conv, relu=nn.ReLU(inplace=True)))


def conv_norm_relu(ops: Ops, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> Sequential:
    """A convolution without bias, batch normalisation, and a ReLU."""
    conv = ops.conv(in_channels, out_channels, kernel_size, stride, borders(ops, kernel_size // 2), bias=False)
    return Sequential(named(conv=conv, bn=ops.norm(out_channels, eps=0.001), relu=nn.ReLU(inplace=True)))


def inception(ops: Ops, in_channels: int, channels: tuple[int, ...], unit: Unit, large: int = 5) -> Layer:
    """An Inception module with reductions; `large` is the kernel of its third branch.

    >>> from grid_cnn import GridOps
    >>> import torch
    >>> module = inception(GridOps(), 192, CHANNELS["3a"], partial(conv_relu, GridOps()))
    >>> module(torch.zeros(1, 192, 28, 28)).shape
    torch.Size([1, 256, 28, 28])
    """
    point, reduce3, conv3, reduce5, conv5, project = channels
    return ops.concat(
        {
            "branch1": unit(in_channels, point, 1),
            "branch2": Sequential(unit(in_channels, reduce3, 1), unit(reduce3, conv3, 3)),
            "branch3": Sequential(unit(in_channels, reduce5, 1), unit(reduce5, conv5, large)),
            "branch4": Sequential(ops.max_pool(3, 1, 1), unit(in_channels, project, 1)),
        }
    )


def naive_inception(ops: Ops, in_channels: int, channels: tuple[int, int, int], unit: Unit | None = None) -> Layer:
    """An Inception module without reductions: 1×1, 3×3, 5×5 and a pool, whose channels can only grow.

    >>> from grid_cnn import GridOps
    >>> import torch
    >>> naive_inception(GridOps(), 192, (64, 128, 32))(torch.zeros(1, 192, 28, 28)).shape
    torch.Size([1, 416, 28, 28])
    """
    unit = unit or partial(conv_relu, ops)
    point, conv3, conv5 = channels
    return ops.concat(
        {
            "branch1": unit(in_channels, point, 1),
            "branch2": unit(in_channels, conv3, 3),
            "branch3": unit(in_channels, conv5, 5),
            "branch4": ops.max_pool(3, 1, 1),
        }
    )


def _head(ops: Ops, pool: Layer, in_channels: int, cells: int, num_classes: int, unit: Unit, dropout: float) -> Layer:
    return Sequential(
        named(
            pool=pool,
            conv=unit(in_channels, 128, 1),
            flatten=ops.flatten(),
            fc1=nn.Linear(128 * cells, 1024),
            relu=nn.ReLU(inplace=True),
            dropout=nn.Dropout(dropout),
            fc2=nn.Linear(1024, num_classes),
        )
    )


def googlenet(
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    aux_logits: bool = False,
    dropout: float = 0.2,
    small: bool | None = None,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> AuxiliaryNetwork:
    """GoogLeNet as torchvision has it: batch normalisation, and 3×3 in place of 5×5.

    Args:
        num_classes: outputs. in_channels: channels of the input signal.
        aux_logits: with the two auxiliary heads, which run in training only. dropout: before the last layer.
        small: the form for 28 to 64 pixels; None: where `domain` has no more than 64×64 nodes.
        ops: the family of layers; `GridOps()` if None. domain: where inputs live.

    Raises:
        ValueError: for a domain that is too small, with the least size.

    >>> import torch
    >>> googlenet(num_classes=10, small=True).eval()(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """
    ops, domain, small = setting(ops, domain, small, num_classes=num_classes, in_channels=in_channels)
    probability("dropout", dropout)
    unit = partial(conv_norm_relu, ops)
    stem = {
        "conv1": unit(in_channels, 64, 3 if small else 7, 1 if small else 2),
        **({} if small else {"maxpool1": ops.max_pool(3, 2, ceil_mode=True)}),
        "conv2": unit(64, 64, 1),
        "conv3": unit(64, 192, 3),
        **({} if small else {"maxpool2": ops.max_pool(3, 2, ceil_mode=True)}),
    }
    trunk = {
        **stem,
        **_modules(ops, unit, "3", 192, 3),
        "maxpool3": ops.max_pool(3, 2, ceil_mode=True),
        **_modules(ops, unit, "4", 480, 3),
        "maxpool4": ops.max_pool(2, 2, ceil_mode=True),
        **_modules(ops, unit, "5", 832, 3),
    }
    heads = {}
    if aux_logits:
        heads = {
            name: _head(ops, ops.adaptive_avg_pool(4), channels, 16, num_classes, unit, 0.7)
            for name, channels in (("aux1", 512), ("aux2", 528))
        }
    net = _finish("GoogLeNet", ops, domain, trunk, heads, dropout, num_classes)
    init.truncated(net, 0.01)
    return net


def googlenet2014(
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    naive: bool = False,
    aux_logits: bool = False,
    dropout: float = 0.4,
    small: bool | None = None,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> AuxiliaryNetwork:
    """GoogLeNet of the paper: biases, local response normalisation, 5×5 kernels; arguments as for `googlenet`.

    The auxiliary heads' dense layers are as wide as `domain` makes them. With `naive` the modules have no reductions
    (figure 2a): channels pile up from 192 to 4,944, which is what the reductions are for.

    >>> import torch
    >>> with torch.device("meta"):
    ...     net = googlenet2014()
    >>> sum(parameter.numel() for parameter in net.parameters())
    6998552
    """
    ops, domain, small = setting(ops, domain, small, num_classes=num_classes, in_channels=in_channels)
    probability("dropout", dropout)
    unit, widths = partial(conv_relu, ops), _widths(STEM, naive)
    trunk: dict[str, nn.Module] = {
        "conv1": unit(in_channels, 64, 3 if small else 7, 1 if small else 2),
        **({} if small else {"maxpool1": ops.max_pool(3, 2, ceil_mode=True)}),
        "norm1": ops.local_response_norm(5, alpha=1e-4, beta=0.75, k=1.0),
        "conv2": unit(64, 64, 1),
        "conv3": unit(64, 192, 3),
        "norm2": ops.local_response_norm(5, alpha=1e-4, beta=0.75, k=1.0),
        **({} if small else {"maxpool2": ops.max_pool(3, 2, ceil_mode=True)}),
        **_modules(ops, unit, "3", STEM, 5, naive),
        "maxpool3": ops.max_pool(3, 2, ceil_mode=True),
        **_modules(ops, unit, "4", widths["3b"], 5, naive),
        "maxpool4": ops.max_pool(3, 2, ceil_mode=True),
        **_modules(ops, unit, "5", widths["4e"], 5, naive),
    }
    heads = {}
    if aux_logits:
        until = list(trunk).index("inception4a") + 1
        pools = [ops.avg_pool(5, 3) for _ in range(2)]
        read = Sequential(named(**dict(list(trunk.items())[:until]), pool=pools[0]))
        cells = features_size("GoogLeNet 2014 with auxiliary heads", read, domain)
        heads = {
            name: _head(ops, pool, channels, cells, num_classes, unit, 0.7)
            for name, channels, pool in (("aux1", widths["4a"], pools[0]), ("aux2", widths["4d"], pools[1]))
        }
    net = _finish("GoogLeNet 2014", ops, domain, trunk, heads, dropout, num_classes, widths["5b"])
    init.he(net)  # the paper names no start; without norms, torchvision's 0.01 would let every signal vanish
    return net


def _widths(in_channels: int, naive: bool = False) -> dict[str, int]:
    """The channels behind each module, by its name: a naive one hands on all that it was given."""
    out: dict[str, int] = {}
    for name, (point, _, conv3, _, conv5, project) in CHANNELS.items():
        in_channels = point + conv3 + conv5 + (in_channels if naive else project)
        out[name] = in_channels
    return out


def _modules(
    ops: Ops, unit: Unit, stage: str, in_channels: int, large: int, naive: bool = False
) -> dict[str, nn.Module]:
    """The Inception modules between two pools."""
    widths, out = _widths(STEM, naive), {}
    for name, channels in CHANNELS.items():
        if name.startswith(stage):
            point, _, conv3, _, conv5, _ = channels
            out[f"inception{name}"] = (
                naive_inception(ops, in_channels, (point, conv3, conv5), unit)
                if naive
                else inception(ops, in_channels, channels, unit, large)
            )
            in_channels = widths[name]
    return out


def _finish(
    name: str,
    ops: Ops,
    domain: Domain,
    trunk: dict[str, nn.Module],
    heads: dict[str, Layer],
    dropout: float,
    num_classes: int,
    width: int = 1024,
) -> AuxiliaryNetwork:
    last = {"avgpool": ops.global_avg_pool(), "dropout": nn.Dropout(dropout), "fc": nn.Linear(width, num_classes)}
    hung = {"aux1": "inception4a", "aux2": "inception4d"} if heads else {}
    return AuxiliaryNetwork({**trunk, **heads, **last}, heads=hung, name=name, domain=domain)

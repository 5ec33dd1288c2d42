"""Residual networks for large pictures: v1.5 (torchvision's), v1 of the paper, pre-activation, and plain.

    basic:       y = ReLU(B(W₂ ReLU(B(W₁ x))) + x)             bottleneck: 1×1 → 3×3 → 1×1 with four times the width
    pre-activation: y = W₂ ReLU(B(W₁ ReLU(B(x)))) + x          plain: the same layers without the sum

with B batch normalisation, and a 1×1 convolution in place of x where channels or size change. v1 strides in the first
1×1 of a bottleneck, v1.5 in its 3×3. Shapes: `(B, C, H, W)` to `(B, num_classes)`; any size, through a global pool. The
small form has a 3×3 stem of stride 1 and no pool. Multiply-adds at 224²: 1.8, 3.7, 4.1, 7.8, 11.5 ·10⁹ for 18, 34, 50,
101, 152 layers. References: He, Zhang, Ren and Sun, Deep residual learning for image recognition (2016); Identity
mappings in deep residual networks (2016).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from torch import nn

from grid_cnn.checks import probability
from grid_cnn.domain import Domain
from grid_cnn.layer import Sequential
from grid_cnn.models import init
from grid_cnn.models.network import Network, borders, setting
from grid_cnn.models.wiring import Wired, add
from grid_cnn.ops import Ops


@dataclass(frozen=True)
class Style:
    """What sets the kinds of residual network apart.

    Args:
        expansion: the width of a block's output in units of its 3×3's: 1 for basic blocks, 4 for bottlenecks.
        stride_first: stride in the first convolution of a bottleneck (v1), not in its 3×3 (v1.5).
        preactivation: normalise and rectify before the convolutions. residual: whether the input is added.
    """

    expansion: int = 1
    stride_first: bool = False
    preactivation: bool = False
    residual: bool = True


def block(ops: Ops, in_channels: int, width: int, stride: int, style: Style) -> Wired:
    """One residual block; its parts are named as in torchvision.

    >>> from grid_cnn import GridOps
    >>> list(block(GridOps(), 64, 64, 1, Style())._modules)
    ['conv1', 'bn1', 'relu', 'conv2', 'bn2']
    """
    out = width * style.expansion
    if style.expansion == 1:
        shapes = [(in_channels, width, 3, stride), (width, out, 3, 1)]
    else:
        steps = (stride, 1) if style.stride_first else (1, stride)
        shapes = [(in_channels, width, 1, steps[0]), (width, width, 3, steps[1]), (width, out, 1, 1)]
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (c_in, c_out, kernel, step) in enumerate(shapes, 1):
        norm = ops.norm(c_in if style.preactivation else c_out)
        conv = ops.conv(c_in, c_out, kernel, stride=step, padding=borders(ops, kernel // 2), bias=False)
        pair = {f"bn{index}": norm, f"conv{index}": conv} if style.preactivation else {f"conv{index}": conv}
        parts.update(pair if style.preactivation else {**pair, f"bn{index}": norm})
        if index == 1:
            parts["relu"] = nn.ReLU(inplace=True)
    changes = stride != 1 or in_channels != out
    if changes and style.residual:
        shortcut = ops.conv(in_channels, out, 1, stride=stride, padding=borders(ops, 0), bias=False)
        norms = () if style.preactivation else (ops.norm(out),)
        parts["downsample"] = Sequential(shortcut, *norms)
    bypass = ("downsample",) if changes else ()
    last = len(shapes)
    if style.preactivation:
        rest = tuple(name for i in range(2, last + 1) for name in (f"bn{i}", "relu", f"conv{i}"))
        if changes:
            return Wired(parts, ("bn1", "relu", add(("conv1", *rest), bypass)))
        return Wired(parts, (add(("bn1", "relu", "conv1", *rest), ()),))
    way = [name for i in range(1, last + 1) for name in (f"conv{i}", f"bn{i}", "relu")][:-1]
    return Wired(parts, (add(tuple(way), bypass), "relu") if style.residual else (*way, "relu"))


def stages(ops: Ops, in_channels: int, widths: tuple[int, ...], depths: tuple[int, ...], style: Style) -> list[Any]:
    """A `Sequential` of blocks for each width; every one but the first halves the size."""
    out = []
    for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        blocks = []
        for number in range(depth):
            blocks.append(block(ops, in_channels, width, 2 if number == 0 and index else 1, style))
            in_channels = width * style.expansion
        out.append(Sequential(*blocks))
    return out


def _resnet(
    name: str,
    depths: tuple[int, ...],
    style: Style,
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    dropout: float = 0.0,
    small: bool | None = None,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> Network:
    ops, domain, small = setting(ops, domain, small, num_classes=num_classes, in_channels=in_channels)
    probability("dropout", dropout)
    kernel, stride = (3, 1) if small else (7, 2)
    stem: dict[str, nn.Module] = {
        "conv1": ops.conv(in_channels, 64, kernel, stride, borders(ops, kernel // 2), bias=False)
    }
    rectified = {"bn1": ops.norm(64), "relu": nn.ReLU(inplace=True)}
    stem |= {} if style.preactivation else rectified
    stem |= {} if small else {"maxpool": ops.max_pool(3, 2, 1)}
    layers = stages(ops, 64, (64, 128, 256, 512), depths, style)
    width = 512 * style.expansion
    last = {"bn": ops.norm(width), "relu": nn.ReLU(inplace=True)} if style.preactivation else {}
    head = {
        "avgpool": ops.global_avg_pool(),
        **({"dropout": nn.Dropout(dropout)} if dropout else {}),
        "fc": nn.Linear(width, num_classes),
    }
    blocks = {f"layer{index}": layer for index, layer in enumerate(layers, 1)}
    net = Network({**stem, **blocks, **last, **head}, name=name, domain=domain)
    init.he(net)
    return net


_BASIC, _BOTTLENECK = Style(), Style(expansion=4)
_V1 = Style(expansion=4, stride_first=True)
_PLAIN = Style(residual=False)
_PRE, _PRE_BOTTLENECK = Style(preactivation=True), Style(expansion=4, preactivation=True)
_D18, _D34, _D50, _D101, _D152 = (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)


def resnet18(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-18, torchvision's.

    Args:
        num_classes: outputs. in_channels: channels of the input signal.
        options: `dropout` before the last layer; `small` for the form of 28 to 64 pixels (None: where `domain` has no
            more than 64×64 nodes); `ops`, the family of layers, `GridOps()` if None; `domain`, where inputs live.

    Raises:
        ValueError: for a domain that is too small, with the least size.

    >>> import torch
    >>> resnet18(num_classes=10, small=True)(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """
    return _resnet("ResNet-18", _D18, _BASIC, num_classes, in_channels, **options)


def resnet34(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-34, torchvision's; arguments as for `resnet18`."""
    return _resnet("ResNet-34", _D34, _BASIC, num_classes, in_channels, **options)


def resnet50(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-50 v1.5, torchvision's: stride in the 3×3; arguments as for `resnet18`."""
    return _resnet("ResNet-50", _D50, _BOTTLENECK, num_classes, in_channels, **options)


def resnet101(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-101 v1.5, torchvision's; arguments as for `resnet18`."""
    return _resnet("ResNet-101", _D101, _BOTTLENECK, num_classes, in_channels, **options)


def resnet152(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-152 v1.5, torchvision's; arguments as for `resnet18`."""
    return _resnet("ResNet-152", _D152, _BOTTLENECK, num_classes, in_channels, **options)


def resnet50_v1(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-50 of the paper: stride in the first 1×1; arguments as for `resnet18`."""
    return _resnet("ResNet-50 v1", _D50, _V1, num_classes, in_channels, **options)


def resnet101_v1(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-101 of the paper: stride in the first 1×1; arguments as for `resnet18`."""
    return _resnet("ResNet-101 v1", _D101, _V1, num_classes, in_channels, **options)


def resnet152_v1(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-152 of the paper: stride in the first 1×1; arguments as for `resnet18`."""
    return _resnet("ResNet-152 v1", _D152, _V1, num_classes, in_channels, **options)


def plain18(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-18 without its sums, what He et al. compare with; arguments as for `resnet18`."""
    return _resnet("plain-18", _D18, _PLAIN, num_classes, in_channels, **options)


def plain34(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-34 without its sums, what He et al. compare with; arguments as for `resnet18`."""
    return _resnet("plain-34", _D34, _PLAIN, num_classes, in_channels, **options)


def resnet18_preact(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-18 with pre-activation (v2); arguments as for `resnet18`."""
    return _resnet("ResNet-18 with pre-activation", _D18, _PRE, num_classes, in_channels, **options)


def resnet34_preact(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-34 with pre-activation (v2); arguments as for `resnet18`."""
    return _resnet("ResNet-34 with pre-activation", _D34, _PRE, num_classes, in_channels, **options)


def resnet50_preact(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-50 with pre-activation (v2); arguments as for `resnet18`."""
    return _resnet("ResNet-50 with pre-activation", _D50, _PRE_BOTTLENECK, num_classes, in_channels, **options)


def resnet101_preact(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-101 with pre-activation (v2); arguments as for `resnet18`."""
    return _resnet("ResNet-101 with pre-activation", _D101, _PRE_BOTTLENECK, num_classes, in_channels, **options)


def resnet152_preact(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-152 with pre-activation (v2); arguments as for `resnet18`."""
    return _resnet("ResNet-152 with pre-activation", _D152, _PRE_BOTTLENECK, num_classes, in_channels, **options)

"""Residual networks for CIFAR, and the plain ones beside them: 6n + 2 layers, three widths, no parameters in shortcuts.

    conv 3×3 → 16, (basic block → 16) × n, (→ 32, half the size) × n, (→ 64, half the size) × n, mean, dense

Option A: where the size halves, the shortcut takes every second cell, with zeros for the new channels. Shapes:
`(B, C, H, W)` to `(B, num_classes)`, for pictures of 28 to 64 pixels. Multiply-adds at 32²: 41 M (20 layers) to 253 M
(110). Reference: He, Zhang, Ren and Sun, Deep residual learning for image recognition (2016), section 4.2.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad

from grid_cnn.checks import probability
from grid_cnn.domain import Domain
from grid_cnn.layer import Layer, Sequential
from grid_cnn.models import init
from grid_cnn.models.network import Network, borders, setting
from grid_cnn.models.wiring import Wired, add, channel_axis
from grid_cnn.ops import Ops


class PadChannels(Layer):
    """The signal with channels of zeros behind its own: `(..., C, ...)` to `(..., C + extra, ...)`.

    Args:
        extra: how many channels of zeros.

    >>> import torch
    >>> from grid_cnn import Grid
    >>> PadChannels(2)(torch.ones(1, 3, 4, 4), Grid((4, 4))).shape
    torch.Size([1, 5, 4, 4])
    """

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.extra = extra

    def forward(self, x: Tensor, domain: Domain | None = None) -> Tensor:
        """The padded signal."""
        behind = -1 - channel_axis(domain)
        return pad(x, [0, 0] * behind + [0, self.extra])

    def extra_repr(self) -> str:
        return str(self.extra)


def _block(ops: Ops, in_channels: int, width: int, stride: int, residual: bool) -> Wired:
    parts: dict[str, nn.Module] = {
        "conv1": ops.conv(in_channels, width, 3, stride, borders(ops, 1), bias=False),
        "bn1": ops.norm(width),
        "relu": nn.ReLU(inplace=True),
        "conv2": ops.conv(width, width, 3, padding=borders(ops, 1), bias=False),
        "bn2": ops.norm(width),
    }
    way, bypass = ("conv1", "bn1", "relu", "conv2", "bn2"), ()
    if not residual:
        return Wired(parts, (*way, "relu"))
    if stride != 1 or in_channels != width:
        parts["downsample"] = Sequential(ops.max_pool(1, stride), PadChannels(width - in_channels))
        bypass = ("downsample",)
    return Wired(parts, (add(way, bypass), "relu"))


def resnet_cifar(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    depth: int = 20,
    residual: bool = True,
    dropout: float = 0.0,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> Network:
    """A residual network for CIFAR, or the plain one of the same layers.

    Args:
        num_classes: outputs. in_channels: channels of the input signal. dropout: before the last layer.
        depth: layers with weights, 6n + 2. residual: with sums, or plain.
        ops: the family of layers; `GridOps()` if None. domain: where inputs live; `Grid((32, 32))` if None.

    Raises:
        ValueError: for a depth that is not 6n + 2.

    >>> sum(parameter.numel() for parameter in resnet_cifar().parameters())
    269722
    """
    ops, domain, _ = setting(ops, domain, True, num_classes=num_classes, in_channels=in_channels, depth=depth)
    probability("dropout", dropout)
    each, rest = divmod(depth - 2, 6)
    if rest or each < 1:
        raise ValueError(f"depth takes 6 n + 2 with n >= 1, as in 20, 32 or 56; got {depth!r}")
    parts: dict[str, nn.Module] = {
        "conv1": ops.conv(in_channels, 16, 3, padding=borders(ops, 1), bias=False),
        "bn1": ops.norm(16),
        "relu": nn.ReLU(inplace=True),
    }
    channels = 16
    for index, width in enumerate((16, 32, 64), 1):
        blocks = []
        for number in range(each):
            blocks.append(_block(ops, channels, width, 2 if number == 0 and index > 1 else 1, residual))
            channels = width
        parts[f"layer{index}"] = Sequential(*blocks)
    parts["avgpool"] = ops.global_avg_pool()
    parts |= {"dropout": nn.Dropout(dropout)} if dropout else {}
    parts["fc"] = nn.Linear(64, num_classes)
    net = Network(parts, name=f"{'ResNet' if residual else 'plain'}-{depth} for CIFAR", domain=domain)
    init.he(net)
    return net


def resnet20_cifar(num_classes: int = 10, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-20 for CIFAR; arguments as for `resnet_cifar`."""
    return resnet_cifar(num_classes, in_channels, depth=20, **options)


def resnet32_cifar(num_classes: int = 10, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-32 for CIFAR; arguments as for `resnet_cifar`."""
    return resnet_cifar(num_classes, in_channels, depth=32, **options)


def resnet44_cifar(num_classes: int = 10, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-44 for CIFAR; arguments as for `resnet_cifar`."""
    return resnet_cifar(num_classes, in_channels, depth=44, **options)


def resnet56_cifar(num_classes: int = 10, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-56 for CIFAR; arguments as for `resnet_cifar`."""
    return resnet_cifar(num_classes, in_channels, depth=56, **options)


def resnet110_cifar(num_classes: int = 10, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-110 for CIFAR; arguments as for `resnet_cifar`."""
    return resnet_cifar(num_classes, in_channels, depth=110, **options)


def resnet1202_cifar(num_classes: int = 10, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-1202 for CIFAR; arguments as for `resnet_cifar`."""
    return resnet_cifar(num_classes, in_channels, depth=1202, **options)


def plain20_cifar(num_classes: int = 10, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-20 for CIFAR without its sums; arguments as for `resnet_cifar`."""
    return resnet_cifar(num_classes, in_channels, depth=20, residual=False, **options)


def plain32_cifar(num_classes: int = 10, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-32 for CIFAR without its sums; arguments as for `resnet_cifar`."""
    return resnet_cifar(num_classes, in_channels, depth=32, residual=False, **options)


def plain44_cifar(num_classes: int = 10, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-44 for CIFAR without its sums; arguments as for `resnet_cifar`."""
    return resnet_cifar(num_classes, in_channels, depth=44, residual=False, **options)


def plain56_cifar(num_classes: int = 10, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-56 for CIFAR without its sums; arguments as for `resnet_cifar`."""
    return resnet_cifar(num_classes, in_channels, depth=56, residual=False, **options)


def plain110_cifar(num_classes: int = 10, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-110 for CIFAR without its sums; arguments as for `resnet_cifar`."""
    return resnet_cifar(num_classes, in_channels, depth=110, residual=False, **options)


def plain1202_cifar(num_classes: int = 10, in_channels: int = 3, **options: Any) -> Network:
    """ResNet-1202 for CIFAR without its sums; arguments as for `resnet_cifar`."""
    return resnet_cifar(num_classes, in_channels, depth=1202, residual=False, **options)

"""Inception-ResNet-v2: Inception modules inside residual blocks.

    y = ReLU(x + s · W [branches(x)])        with s = 0.17, 0.10, 0.20 in the blocks at 35, 17 and 8 cells

W a 1×1 convolution with bias that restores the channels; every other convolution is followed by batch normalisation and
a ReLU. The last of the 8-cell blocks has s = 1 and no ReLU. Shapes: `(B, C, 299, 299)` to `(B, num_classes)`, or any
size from 75 on. Names and shapes of the state dict are timm's. The small form keeps the size through the stem.
Multiply-adds at 299²: 13.2 ·10⁹. Reference: Szegedy, Ioffe, Vanhoucke and Alemi, Inception-v4, Inception-ResNet and the
impact of residual connections on learning (2017).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from grid_cnn.checks import probability
from grid_cnn.domain import Domain
from grid_cnn.layer import Layer, Sequential
from grid_cnn.models import init
from grid_cnn.models.inception import Units
from grid_cnn.models.network import Network, borders, setting
from grid_cnn.models.wiring import Wired, add, concat
from grid_cnn.ops import Ops


class Scale(Layer):
    """The signal times a fixed factor, which keeps residual sums of many Inception modules stable.

    >>> import torch
    >>> Scale(0.5)(torch.ones(2))
    tensor([0.5000, 0.5000])
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor, domain: Domain | None = None) -> Tensor:
        """The scaled signal."""
        return x * self.factor

    def extra_repr(self) -> str:
        return str(self.factor)


def _residual(
    unit: Units, branches: Mapping[str, nn.Module], width: int, channels: int, scale: float, relu: bool
) -> Wired:
    """x + scale · conv([branches(x)]), and a ReLU if there is one."""
    conv = unit.ops.conv(width, channels, 1, padding=borders(unit.ops, 0))
    parts = {**branches, "conv2d": conv, "scale": Scale(scale)}
    way = (concat(*((name,) for name in branches)), "conv2d", "scale")
    if not relu:
        return Wired(parts, (add(way, ()),))
    return Wired({**parts, "relu": nn.ReLU(inplace=True)}, (add(way, ()), "relu"))


def block35(unit: Units) -> Wired:
    """A block at 35 cells a side: 320 channels."""
    branches = {
        "branch0": unit(320, 32, 1),
        "branch1": Sequential(unit(320, 32, 1), unit(32, 32, 3)),
        "branch2": Sequential(unit(320, 32, 1), unit(32, 48, 3), unit(48, 64, 3)),
    }
    return _residual(unit, branches, 128, 320, 0.17, relu=True)


def block17(unit: Units) -> Wired:
    """A block at 17 cells a side: 1,088 channels."""
    branches = {
        "branch0": unit(1088, 192, 1),
        "branch1": Sequential(unit(1088, 128, 1), unit(128, 160, (1, 7)), unit(160, 192, (7, 1))),
    }
    return _residual(unit, branches, 384, 1088, 0.10, relu=True)


def block8(unit: Units, scale: float = 0.20, relu: bool = True) -> Wired:
    """A block at 8 cells a side: 2,080 channels."""
    branches = {
        "branch0": unit(2080, 192, 1),
        "branch1": Sequential(unit(2080, 192, 1), unit(192, 224, (1, 3)), unit(224, 256, (3, 1))),
    }
    return _residual(unit, branches, 448, 2080, scale, relu)


def inception_resnet_v2(
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    dropout: float = 0.2,
    small: bool | None = None,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> Network:
    """Inception-ResNet-v2, with timm's names.

    Args:
        num_classes: outputs. in_channels: channels of the input signal. dropout: before the last layer.
        small: the form for 28 to 64 pixels; None: where `domain` has no more than 64×64 nodes.
        ops: the family of layers; `GridOps()` if None. domain: where inputs live.

    Raises:
        ValueError: for a domain that is too small, with the least size.

    >>> import torch
    >>> with torch.device("meta"):
    ...     net = inception_resnet_v2()
    >>> sum(parameter.numel() for parameter in net.parameters())
    55843464
    """
    ops, domain, small = setting(ops, domain, small, size=299, num_classes=num_classes, in_channels=in_channels)
    probability("dropout", dropout)
    unit, step, same = Units(ops), 1 if small else 2, small or not ops.has_valid_borders
    halving = not ops.has_valid_borders
    pool = int(same)
    parts: dict[str, nn.Module] = {
        "conv2d_1a": unit(in_channels, 32, 3, step, same),
        "conv2d_2a": unit(32, 32, 3, 1, same),
        "conv2d_2b": unit(32, 64, 3),
        **({} if small else {"maxpool_3a": ops.max_pool(3, 2, pool)}),
        "conv2d_3b": unit(64, 80, 1),
        "conv2d_4a": unit(80, 192, 3, 1, same),
        **({} if small else {"maxpool_5a": ops.max_pool(3, 2, pool)}),
        "mixed_5b": ops.concat(
            {
                "branch0": unit(192, 96, 1),
                "branch1": Sequential(unit(192, 48, 1), unit(48, 64, 5)),
                "branch2": Sequential(unit(192, 64, 1), unit(64, 96, 3), unit(96, 96, 3)),
                "branch3": Sequential(ops.avg_pool(3, 1, 1, count_include_pad=False), unit(192, 64, 1)),
            }
        ),
        "repeat": Sequential(*(block35(unit) for _ in range(10))),
        "mixed_6a": ops.concat(
            {
                "branch0": unit(320, 384, 3, 2, halving),
                "branch1": Sequential(unit(320, 256, 1), unit(256, 256, 3), unit(256, 384, 3, 2, halving)),
                "branch2": ops.max_pool(3, 2, int(halving)),
            }
        ),
        "repeat_1": Sequential(*(block17(unit) for _ in range(20))),
        "mixed_7a": ops.concat(
            {
                "branch0": Sequential(unit(1088, 256, 1), unit(256, 384, 3, 2, halving)),
                "branch1": Sequential(unit(1088, 256, 1), unit(256, 288, 3, 2, halving)),
                "branch2": Sequential(unit(1088, 256, 1), unit(256, 288, 3), unit(288, 320, 3, 2, halving)),
                "branch3": ops.max_pool(3, 2, int(halving)),
            }
        ),
        "repeat_2": Sequential(*(block8(unit) for _ in range(9))),
        "block8": block8(unit, scale=1.0, relu=False),
        "conv2d_7b": unit(2080, 1536, 1),
        "global_pool": ops.global_avg_pool(),
        "head_drop": nn.Dropout(dropout),
        "classif": nn.Linear(1536, num_classes),
    }
    net = Network(parts, name="Inception-ResNet-v2", domain=domain)
    init.he(net)
    return net

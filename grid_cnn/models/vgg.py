"""VGG: stacks of 3×3 convolutions between pools, then three dense layers.

    (conv 3×3, [batch norm,] ReLU) × n, max pool 2      five times, widths 64, 128, 256, 512, 512
    dense 4096, ReLU, dropout, dense 4096, ReLU, dropout, dense classes

Shapes: `(B, C, H, W)` to `(B, num_classes)`; from 32 pixels a side on, pooled to 7×7 before the dense layers as in
torchvision. The small form leaves out the last pool, takes the mean over what is left, and has dense layers of 512.
Configurations A (11 layers), B (13), D (16), E (19) are torchvision's, name for name; A-LRN and C (1×1 convolutions)
the paper's alone. Multiply-adds at 224²: 7.6, 11.3, 15.5, 19.6 ·10⁹ for A, B, D, E. Reference: Simonyan and Zisserman,
Very deep convolutional networks for large-scale image recognition (2015), table 1.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from grid_cnn.checks import probability
from grid_cnn.domain import Domain
from grid_cnn.layer import Sequential
from grid_cnn.models import init
from grid_cnn.models.network import Network, borders, setting
from grid_cnn.ops import Ops

# Kernel sizes of the convolutions between two pools; the widths are the same in every configuration.
_WIDTHS = (64, 128, 256, 512, 512)
CONFIGURATIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "B": ((3, 3),) * 5,
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}


def _vgg(
    name: str,
    configuration: str,
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    batch_norm: bool = False,
    lrn: bool = False,
    dropout: float = 0.5,
    small: bool | None = None,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> Network:
    ops, domain, small = setting(ops, domain, small, num_classes=num_classes, in_channels=in_channels)
    probability("dropout", dropout)
    modules: list[nn.Module] = []
    channels = in_channels
    for width, kernels in zip(_WIDTHS, CONFIGURATIONS[configuration], strict=True):
        for kernel in kernels:
            modules.append(ops.conv(channels, width, kernel, padding=borders(ops, kernel // 2)))
            modules += [ops.norm(width)] if batch_norm else []
            modules.append(nn.ReLU(inplace=True))
            if lrn and channels == in_channels:  # after the first layer; torch divides α by the number of channels
                modules.append(ops.local_response_norm(5, alpha=5e-4, beta=0.75, k=2.0))
            channels = width
        modules.append(ops.max_pool(2))
    features = Sequential(*(modules[:-1] if small else modules))
    init.he(features)
    hidden, cells = (512, 1) if small else (4096, 49)
    classifier = Sequential(
        init.dense(512 * cells, hidden, 0.01),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        init.dense(hidden, hidden, 0.01),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        init.dense(hidden, num_classes, 0.01),
    )
    pools = {"avgpool": ops.global_avg_pool()} if small else {"avgpool": ops.adaptive_avg_pool(7)}
    flatten = {} if small else {"flatten": ops.flatten()}
    return Network({"features": features, **pools, **flatten, "classifier": classifier}, name=name, domain=domain)


def vgg11(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """VGG A, 11 layers with weights, torchvision's.

    Args:
        num_classes: outputs. in_channels: channels of the input signal.
        options: `dropout` between the dense layers; `small` for the form of 16 to 64 pixels (None: where `domain` has
            no more than 64×64 nodes); `ops`, the family of layers, `GridOps()` if None; `domain`, where inputs live.

    Raises:
        ValueError: for a domain that is too small, with the least size.

    >>> import torch
    >>> vgg11(num_classes=10, small=True)(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """
    return _vgg("VGG-11", "A", num_classes, in_channels, **options)


def vgg13(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """VGG B, 13 layers, torchvision's; arguments as for `vgg11`."""
    return _vgg("VGG-13", "B", num_classes, in_channels, **options)


def vgg16(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """VGG D, 16 layers, torchvision's; arguments as for `vgg11`."""
    return _vgg("VGG-16", "D", num_classes, in_channels, **options)


def vgg19(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """VGG E, 19 layers, torchvision's; arguments as for `vgg11`."""
    return _vgg("VGG-19", "E", num_classes, in_channels, **options)


def vgg11_bn(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """VGG A with batch normalisation, torchvision's; arguments as for `vgg11`."""
    return _vgg("VGG-11 with batch norm", "A", num_classes, in_channels, batch_norm=True, **options)


def vgg13_bn(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """VGG B with batch normalisation, torchvision's; arguments as for `vgg11`."""
    return _vgg("VGG-13 with batch norm", "B", num_classes, in_channels, batch_norm=True, **options)


def vgg16_bn(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """VGG D with batch normalisation, torchvision's; arguments as for `vgg11`."""
    return _vgg("VGG-16 with batch norm", "D", num_classes, in_channels, batch_norm=True, **options)


def vgg19_bn(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """VGG E with batch normalisation, torchvision's; arguments as for `vgg11`."""
    return _vgg("VGG-19 with batch norm", "E", num_classes, in_channels, batch_norm=True, **options)


def vgg11_lrn(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """VGG A-LRN: local response normalisation after the first layer; arguments as for `vgg11`."""
    return _vgg("VGG-11 with LRN", "A", num_classes, in_channels, lrn=True, **options)


def vgg16_c(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """VGG C, 16 layers: 1×1 convolutions end the last three stacks; arguments as for `vgg11`."""
    return _vgg("VGG-16 C", "C", num_classes, in_channels, **options)

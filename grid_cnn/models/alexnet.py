"""AlexNet: of the paper (two groups, local response normalisation), ungrouped, and torchvision's.

    conv 11×11/4 → 96, LRN, pool; conv 5×5 → 256, LRN, pool; conv 3×3 → 384, 384, 256, pool; dense 4096, 4096, classes

with a ReLU after every layer but the last, overlapping 3×3/2 max pools, and dropout before the first two dense layers.
Shapes: `(B, C, 227, 227)` to `(B, num_classes)`, 227 → 55 → 27 → 13 → 6. torchvision's is the variant of 2014 (64, 192,
384, 256, 256 channels, no groups, no LRN), for 224 and any size from 63 on. The small form has a 5×5 stem of stride 1
and dense layers of 1,024. Multiply-adds: 0.72 (grouped), 1.14 (ungrouped), 0.71 (torchvision) ·10⁹. References:
Krizhevsky, Sutskever and Hinton, ImageNet classification with deep convolutional neural networks (2012); Krizhevsky,
One weird trick for parallelizing convolutional neural networks (2014).
"""

from __future__ import annotations

from typing import Any

from torch import nn

from grid_cnn.checks import probability
from grid_cnn.domain import Domain
from grid_cnn.layer import Sequential
from grid_cnn.models.fit import features_size
from grid_cnn.models.network import Network, borders, setting
from grid_cnn.ops import Ops


def alexnet(
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    dropout: float = 0.5,
    small: bool | None = None,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> Network:
    """AlexNet as torchvision has it, the variant of 2014.

    Args:
        num_classes: outputs. in_channels: channels of the input signal. dropout: before the first two dense layers.
        small: the form for 28 to 64 pixels; None: where `domain` has no more than 64×64 nodes.
        ops: the family of layers; `GridOps()` if None. domain: where inputs live.

    Raises:
        ValueError: for a domain that is too small, with the least size.

    >>> import torch
    >>> alexnet(num_classes=10, small=True)(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """
    ops, domain, small = setting(ops, domain, small, num_classes=num_classes, in_channels=in_channels)
    probability("dropout", dropout)
    kernel, stride = (5, 1) if small else (11, 4)
    features = Sequential(
        ops.conv(in_channels, 64, kernel, stride, borders(ops, 2)),
        nn.ReLU(inplace=True),
        ops.max_pool(3, 2),
        ops.conv(64, 192, 5, padding=borders(ops, 2)),
        nn.ReLU(inplace=True),
        ops.max_pool(3, 2),
        ops.conv(192, 384, 3, padding=borders(ops, 1)),
        nn.ReLU(inplace=True),
        ops.conv(384, 256, 3, padding=borders(ops, 1)),
        nn.ReLU(inplace=True),
        ops.conv(256, 256, 3, padding=borders(ops, 1)),
        nn.ReLU(inplace=True),
        ops.max_pool(3, 2),
    )
    hidden = 1024 if small else 4096
    side = 2 if small else 6
    classifier = Sequential(
        nn.Dropout(dropout),
        nn.Linear(256 * side**2, hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, num_classes),
    )
    pooled = {"avgpool": ops.adaptive_avg_pool(side), "flatten": ops.flatten()}
    return Network({"features": features, **pooled, "classifier": classifier}, name="AlexNet", domain=domain)


def alexnet2012(num_classes: int = 1000, in_channels: int = 3, *, groups: int = 2, **options: Any) -> Network:
    """AlexNet of the paper: the second, fourth and fifth convolutions in two groups, one for each of two GPUs.

    Args:
        groups: into how many groups those convolutions fall. Other arguments as for `alexnet`, on 227×227 pixels.

    Raises:
        ValueError: for a domain that is too small, with the least size.

    >>> import torch
    >>> with torch.device("meta"):
    ...     net = alexnet2012()
    >>> sum(parameter.numel() for parameter in net.parameters())
    60965224
    """
    return _alexnet2012("AlexNet 2012", num_classes, in_channels, groups, **options)


def alexnet2012_ungrouped(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """AlexNet of the paper without groups, as one large GPU would have it; arguments as for `alexnet`."""
    return _alexnet2012("AlexNet 2012, ungrouped", num_classes, in_channels, 1, **options)


def _alexnet2012(
    name: str,
    num_classes: int,
    in_channels: int,
    groups: int,
    *,
    dropout: float = 0.5,
    small: bool | None = None,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> Network:
    ops, domain, small = setting(ops, domain, small, size=227, num_classes=num_classes, in_channels=in_channels)
    probability("dropout", dropout)
    kernel, stride, border = (5, 1, 2) if small else (11, 4, 0)
    features: dict[str, nn.Module] = {
        "conv1": ops.conv(in_channels, 96, kernel, stride, borders(ops, border)),
        "relu1": nn.ReLU(inplace=True),
        "norm1": ops.local_response_norm(5, alpha=5e-4, beta=0.75, k=2.0),  # torch divides α by the five channels
        "pool1": ops.max_pool(3, 2),
        "conv2": ops.conv(96, 256, 5, padding=borders(ops, 2), groups=groups),
        "relu2": nn.ReLU(inplace=True),
        "norm2": ops.local_response_norm(5, alpha=5e-4, beta=0.75, k=2.0),
        "pool2": ops.max_pool(3, 2),
        "conv3": ops.conv(256, 384, 3, padding=borders(ops, 1)),
        "relu3": nn.ReLU(inplace=True),
        "conv4": ops.conv(384, 384, 3, padding=borders(ops, 1), groups=groups),
        "relu4": nn.ReLU(inplace=True),
        "conv5": ops.conv(384, 256, 3, padding=borders(ops, 1), groups=groups),
        "relu5": nn.ReLU(inplace=True),
        "pool5": ops.max_pool(3, 2),
    }
    hidden = 1024 if small else 4096
    width = 256 * features_size(name, Network(features), domain)
    head = {
        "flatten": ops.flatten(),
        "drop6": nn.Dropout(dropout),
        "fc6": nn.Linear(width, hidden),
        "relu6": nn.ReLU(inplace=True),
        "drop7": nn.Dropout(dropout),
        "fc7": nn.Linear(hidden, hidden),
        "relu7": nn.ReLU(inplace=True),
        "fc8": nn.Linear(hidden, num_classes),
    }
    net = Network({**features, **head}, name=name, domain=domain, sized=True)
    _start(net)
    return net


def _start(net: Network) -> None:
    """The paper's weights from N(0, 0.01²), with biases of one where they wake the ReLUs."""
    for name, module in net.named_children():
        weight, bias = module._parameters.get("weight"), module._parameters.get("bias")
        if weight is None or bias is None or (name.startswith("conv") and weight.dim() < 4):
            continue
        nn.init.normal_(weight, 0.0, 0.01)
        nn.init.constant_(bias, 1.0 if name in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0.0)

"""ZFNet: AlexNet with a finer first layer, found by looking at what its features see.

    conv 7×7/2 → 96, pool, LRN; conv 5×5/2 → 256, pool, LRN; conv 3×3 → 384, 384, 256, pool; dense 4096, 4096, classes

with a ReLU after every layer but the last and 3×3/2 max pools. Shapes: `(B, C, 224, 224)` to `(B, num_classes)`, 224 →
110 → 55 → 26 → 13 → 6. Wider later layers (512, 1024, 512) are the paper's best. The small form has strides of 1 in
both first convolutions and dense layers of 1,024. Multiply-adds: 1.17 ·10⁹. Reference: Zeiler and Fergus, Visualizing
and understanding convolutional networks (2014), figure 3 and table 3.
"""

from __future__ import annotations

from torch import nn

from grid_cnn.checks import probability, whole
from grid_cnn.domain import Domain
from grid_cnn.models.fit import features_size
from grid_cnn.models.network import Network, borders, setting
from grid_cnn.ops import Ops


def zfnet(
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    widths: tuple[int, int, int] = (384, 384, 256),
    dropout: float = 0.5,
    small: bool | None = None,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> Network:
    """ZFNet.

    Args:
        num_classes: outputs. in_channels: channels of the input signal. dropout: before the first two dense layers.
        widths: channels of the last three convolutions; `(512, 1024, 512)` are the paper's larger ones.
        small: the form for 28 to 64 pixels; None: where `domain` has no more than 64×64 nodes.
        ops: the family of layers; `GridOps()` if None. domain: where inputs live.

    Raises:
        ValueError: for a domain that is too small, with the least size.

    >>> import torch
    >>> zfnet(num_classes=10, small=True)(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """
    ops, domain, small = setting(ops, domain, small, num_classes=num_classes, in_channels=in_channels)
    probability("dropout", dropout)
    if len(widths) != 3:
        raise ValueError(f"widths takes the channels of three convolutions, got {widths!r}")
    for width in widths:
        whole("widths", width)
    third, fourth, fifth = widths
    stride = 1 if small else 2
    features: dict[str, nn.Module] = {
        "conv1": ops.conv(in_channels, 96, 7, stride, borders(ops, 3 if small else 1)),
        "relu1": nn.ReLU(inplace=True),
        "pool1": ops.max_pool(3, 2, 1),
        "norm1": ops.local_response_norm(5, alpha=5e-4, beta=0.75, k=2.0),
        "conv2": ops.conv(96, 256, 5, stride, borders(ops, 2 if small else 0)),
        "relu2": nn.ReLU(inplace=True),
        "pool2": ops.max_pool(3, 2, 1),
        "norm2": ops.local_response_norm(5, alpha=5e-4, beta=0.75, k=2.0),
        "conv3": ops.conv(256, third, 3, padding=borders(ops, 1)),
        "relu3": nn.ReLU(inplace=True),
        "conv4": ops.conv(third, fourth, 3, padding=borders(ops, 1)),
        "relu4": nn.ReLU(inplace=True),
        "conv5": ops.conv(fourth, fifth, 3, padding=borders(ops, 1)),
        "relu5": nn.ReLU(inplace=True),
        "pool5": ops.max_pool(3, 2),
    }
    hidden = 1024 if small else 4096
    width = fifth * features_size("ZFNet", Network(features), domain)
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
    return Network({**features, **head}, name="ZFNet", domain=domain, sized=True)

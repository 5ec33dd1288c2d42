"""DenseNet: every layer reads the maps of all layers before it in its block.

    x_l = [x_{l-1}, H_l(x_{l-1})]        H = BN, ReLU, conv 3×3 → k      bottleneck: BN, ReLU, conv 1×1 → 4k before it

along the channels, k the growth; between blocks BN, ReLU, conv 1×1 to θ times the channels, average pool 2. Shapes:
`(B, C, H, W)` to `(B, num_classes)`. DenseNet-121, 161, 169, 201 are torchvision's, name for name, with bottlenecks and
θ = ½; their small form has a 3×3 stem of stride 1 and no pool. The networks for CIFAR have three blocks. Multiply-adds
at 224²: 2.8, 7.7, 3.4, 4.3 ·10⁹. Reference: Huang, Liu, van der Maaten and Weinberger, Densely connected convolutional
networks (2017).
"""

from __future__ import annotations

from typing import Any

from torch import nn

from grid_cnn.checks import probability
from grid_cnn.domain import Domain
from grid_cnn.layer import Sequential, named
from grid_cnn.models import init
from grid_cnn.models.network import Network, borders, setting
from grid_cnn.models.wiring import Wired, concat
from grid_cnn.ops import Ops


def dense_layer(ops: Ops, in_channels: int, growth: int, bottleneck: int, dropout: float) -> Wired:
    """One layer, its input and its own maps side by side; `bottleneck` 0 is none.

    >>> import torch
    >>> from grid_cnn import GridOps
    >>> dense_layer(GridOps(), 16, 12, 4, 0.0)(torch.zeros(1, 16, 8, 8)).shape
    torch.Size([1, 28, 8, 8])
    """
    parts: dict[str, nn.Module] = {}
    last, channels = 1, in_channels
    if bottleneck:
        parts |= {"norm1": ops.norm(channels), "relu1": nn.ReLU(inplace=True)}
        parts["conv1"] = ops.conv(channels, bottleneck * growth, 1, padding=borders(ops, 0), bias=False)
        last, channels = 2, bottleneck * growth
    parts |= {f"norm{last}": ops.norm(channels), f"relu{last}": nn.ReLU(inplace=True)}
    parts[f"conv{last}"] = ops.conv(channels, growth, 3, padding=borders(ops, 1), bias=False)
    parts |= {"dropout": nn.Dropout(dropout)} if dropout else {}
    return Wired(parts, (concat((), tuple(parts)),))


def transition(ops: Ops, in_channels: int, out_channels: int) -> Sequential:
    """What lies between two blocks: fewer channels, half the size."""
    return Sequential(
        named(
            norm=ops.norm(in_channels),
            relu=nn.ReLU(inplace=True),
            conv=ops.conv(in_channels, out_channels, 1, padding=borders(ops, 0), bias=False),
            pool=ops.avg_pool(2, 2),
        )
    )


def _blocks(
    ops: Ops, channels: int, depths: tuple[int, ...], growth: int, bottleneck: int, compression: float, dropout: float
) -> tuple[dict[str, nn.Module], int]:
    parts: dict[str, nn.Module] = {}
    for index, depth in enumerate(depths, 1):
        layers = {}
        for number in range(1, depth + 1):
            layers[f"denselayer{number}"] = dense_layer(ops, channels, growth, bottleneck, dropout)
            channels += growth
        parts[f"denseblock{index}"] = Sequential(named(**layers))
        if index < len(depths):
            narrow = int(channels * compression)
            parts[f"transition{index}"] = transition(ops, channels, narrow)
            channels = narrow
    return parts, channels


def _densenet(
    name: str,
    depths: tuple[int, ...],
    growth: int,
    first: int,
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
    stem = {
        "conv0": ops.conv(in_channels, first, kernel, stride, borders(ops, kernel // 2), bias=False),
        "norm0": ops.norm(first),
        "relu0": nn.ReLU(inplace=True),
        **({} if small else {"pool0": ops.max_pool(3, 2, 1)}),
    }
    blocks, channels = _blocks(ops, first, depths, growth, 4, 0.5, dropout)
    features = Sequential(named(**stem, **blocks, norm5=ops.norm(channels)))
    init.he(features, "fan_in")
    return _headed(name, ops, domain, features, channels, num_classes)


def _headed(name: str, ops: Ops, domain: Domain, features: Sequential, channels: int, num_classes: int) -> Network:
    head = nn.Linear(channels, num_classes)
    nn.init.zeros_(head.bias)
    parts = {"features": features, "relu": nn.ReLU(inplace=True), "avgpool": ops.global_avg_pool(), "classifier": head}
    return Network(parts, name=name, domain=domain)


def densenet121(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """DenseNet-121, torchvision's.

    Args:
        num_classes: outputs. in_channels: channels of the input signal.
        options: `dropout` after each layer's last convolution; `small` for the form of 28 to 64 pixels (None: where
            `domain` has no more than 64×64 nodes); `ops`, the family of layers, `GridOps()` if None; `domain`, where
            inputs live.

    Raises:
        ValueError: for a domain that is too small, with the least size.

    >>> import torch
    >>> densenet121(num_classes=10, small=True)(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """
    return _densenet("DenseNet-121", (6, 12, 24, 16), 32, 64, num_classes, in_channels, **options)


def densenet161(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """DenseNet-161, torchvision's: growth 48; arguments as for `densenet121`."""
    return _densenet("DenseNet-161", (6, 12, 36, 24), 48, 96, num_classes, in_channels, **options)


def densenet169(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """DenseNet-169, torchvision's; arguments as for `densenet121`."""
    return _densenet("DenseNet-169", (6, 12, 32, 32), 32, 64, num_classes, in_channels, **options)


def densenet201(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Network:
    """DenseNet-201, torchvision's; arguments as for `densenet121`."""
    return _densenet("DenseNet-201", (6, 12, 48, 32), 32, 64, num_classes, in_channels, **options)


def densenet_cifar(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    depth: int = 40,
    growth: int = 12,
    bottleneck: bool = False,
    dropout: float = 0.0,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> Network:
    """DenseNet for CIFAR: three blocks of (depth - 4) / 3 layers, half as many with bottlenecks.

    Args:
        num_classes: outputs. in_channels: channels of the input signal.
        depth: layers with weights. growth: k. bottleneck: with 1×1 convolutions and θ = ½, the paper's BC.
        dropout: after each layer's last convolution (the paper's 0.2 without data augmentation).
        ops: the family of layers; `GridOps()` if None. domain: where inputs live; `Grid((32, 32))` if None.

    Raises:
        ValueError: for a depth that the blocks do not share evenly, or a domain that is too small.

    >>> sum(parameter.numel() for parameter in densenet_cifar().parameters())
    1019722
    """
    ops, domain, _ = setting(
        ops, domain, True, num_classes=num_classes, in_channels=in_channels, depth=depth, growth=growth
    )
    probability("dropout", dropout)
    each, rest = divmod(depth - 4, 6 if bottleneck else 3)
    if rest or each < 1:
        raise ValueError(f"depth takes 4 + {6 if bottleneck else 3} n with n >= 1, got {depth!r}")
    first = 2 * growth if bottleneck else 16
    compression = 0.5 if bottleneck else 1.0
    conv0 = ops.conv(in_channels, first, 3, padding=borders(ops, 1), bias=False)
    blocks, channels = _blocks(ops, first, (each,) * 3, growth, 4 * bottleneck, compression, dropout)
    features = Sequential(named(conv0=conv0, **blocks, norm5=ops.norm(channels)))
    init.he(features, "fan_in")
    kind = "BC-" if bottleneck else ""
    return _headed(f"DenseNet-{kind}{depth}-{growth} for CIFAR", ops, domain, features, channels, num_classes)


def densenet40_cifar(num_classes: int = 10, in_channels: int = 3, **options: Any) -> Network:
    """DenseNet-40 with growth 12 for CIFAR; arguments as for `densenet_cifar`."""
    return densenet_cifar(num_classes, in_channels, depth=40, growth=12, **options)


def densenet100bc_cifar(num_classes: int = 10, in_channels: int = 3, **options: Any) -> Network:
    """DenseNet-BC-100 with growth 12 for CIFAR; arguments as for `densenet_cifar`."""
    return densenet_cifar(num_classes, in_channels, depth=100, growth=12, bottleneck=True, **options)

"""Inception v2 and v3: the modules of GoogLeNet with their large kernels factorised.

    A  5×5 as two 3×3      B  3×3/2 beside a pool      C  7×7 as 1×7 and 7×1      D  as B      E  3×3 as 1×3 beside 3×1

Every convolution is followed by batch normalisation and a ReLU. Shapes: `(B, C, 299, 299)` to `(B, num_classes)`, with
35, 17 and 8 cells a side in the modules, or any size from 75 on. Inception v3 is torchvision's, name for name; v2 is
table 1 of the paper: another stem, three equal modules A, five C, two E, no auxiliary head. The small form keeps the
size through the stem. Multiply-adds at 299²: 5.7 (v3), 6.4 (v2) ·10⁹. torchvision's weight files expect pictures scaled
to [-1, 1]. Reference: Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, Rethinking the Inception architecture for computer
vision (2016).
"""

from __future__ import annotations

from torch import nn

from grid_cnn.checks import probability
from grid_cnn.domain import Domain
from grid_cnn.layer import Sequential, named
from grid_cnn.models import init
from grid_cnn.models.auxiliary import AuxiliaryNetwork
from grid_cnn.models.network import Network, borders, setting
from grid_cnn.models.wiring import Wired, concat
from grid_cnn.ops import Ops

Kernel = int | tuple[int, int]


class Units:
    """Makes the convolutions of a network: with batch normalisation and a ReLU.

    Args:
        ops: the family of layers.
    """

    def __init__(self, ops: Ops) -> None:
        self.ops = ops

    def __call__(
        self, in_channels: int, out_channels: int, kernel_size: Kernel, stride: int = 1, same: bool = True
    ) -> Sequential:
        """One convolution; `same` False: without a border."""
        kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        padding = borders(self.ops, tuple(k // 2 if same else 0 for k in kernel))
        conv = self.ops.conv(in_channels, out_channels, kernel, stride, padding, bias=False)
        return Sequential(named(conv=conv, bn=self.ops.norm(out_channels, eps=0.001), relu=nn.ReLU(inplace=True)))


def module_a(unit: Units, channels: int, project: int, large: int = 5) -> Wired:
    """1×1, 5×5 (or `large`), two 3×3, and a pool: to 224 + `project` channels."""
    parts = {
        "branch1x1": unit(channels, 64, 1),
        "branch5x5_1": unit(channels, 48, 1),
        "branch5x5_2": unit(48, 64, large),
        "branch3x3dbl_1": unit(channels, 64, 1),
        "branch3x3dbl_2": unit(64, 96, 3),
        "branch3x3dbl_3": unit(96, 96, 3),
        "pool": unit.ops.avg_pool(3, 1, 1),
        "branch_pool": unit(channels, project, 1),
    }
    double = ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
    return Wired(parts, (concat(("branch1x1",), ("branch5x5_1", "branch5x5_2"), double, ("pool", "branch_pool")),))


def module_b(unit: Units, channels: int) -> Wired:
    """To half the size: 3×3, two 3×3, and a pool: 480 channels more."""
    same = not unit.ops.has_valid_borders
    parts = {
        "branch3x3": unit(channels, 384, 3, 2, same),
        "branch3x3dbl_1": unit(channels, 64, 1),
        "branch3x3dbl_2": unit(64, 96, 3),
        "branch3x3dbl_3": unit(96, 96, 3, 2, same),
        "pool": unit.ops.max_pool(3, 2, int(same)),
    }
    double = ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
    return Wired(parts, (concat(("branch3x3",), double, ("pool",)),))


def module_c(unit: Units, channels: int, width: int) -> Wired:
    """1×1, 7×7 and two 7×7 in factors, and a pool: to 768 channels."""
    parts = {
        "branch1x1": unit(channels, 192, 1),
        "branch7x7_1": unit(channels, width, 1),
        "branch7x7_2": unit(width, width, (1, 7)),
        "branch7x7_3": unit(width, 192, (7, 1)),
        "branch7x7dbl_1": unit(channels, width, 1),
        "branch7x7dbl_2": unit(width, width, (7, 1)),
        "branch7x7dbl_3": unit(width, width, (1, 7)),
        "branch7x7dbl_4": unit(width, width, (7, 1)),
        "branch7x7dbl_5": unit(width, 192, (1, 7)),
        "pool": unit.ops.avg_pool(3, 1, 1),
        "branch_pool": unit(channels, 192, 1),
    }
    single = ("branch7x7_1", "branch7x7_2", "branch7x7_3")
    double = tuple(f"branch7x7dbl_{i}" for i in range(1, 6))
    return Wired(parts, (concat(("branch1x1",), single, double, ("pool", "branch_pool")),))


def module_d(unit: Units, channels: int) -> Wired:
    """To half the size: 3×3, 7×7 and 3×3, and a pool: 512 channels more."""
    same = not unit.ops.has_valid_borders
    parts = {
        "branch3x3_1": unit(channels, 192, 1),
        "branch3x3_2": unit(192, 320, 3, 2, same),
        "branch7x7x3_1": unit(channels, 192, 1),
        "branch7x7x3_2": unit(192, 192, (1, 7)),
        "branch7x7x3_3": unit(192, 192, (7, 1)),
        "branch7x7x3_4": unit(192, 192, 3, 2, same),
        "pool": unit.ops.max_pool(3, 2, int(same)),
    }
    seven = tuple(f"branch7x7x3_{i}" for i in range(1, 5))
    return Wired(parts, (concat(("branch3x3_1", "branch3x3_2"), seven, ("pool",)),))


def module_e(unit: Units, channels: int) -> Wired:
    """1×1, a 3×3 and two 3×3 that end in 1×3 beside 3×1, and a pool: to 2,048 channels."""
    parts = {
        "branch1x1": unit(channels, 320, 1),
        "branch3x3_1": unit(channels, 384, 1),
        "branch3x3_2a": unit(384, 384, (1, 3)),
        "branch3x3_2b": unit(384, 384, (3, 1)),
        "branch3x3dbl_1": unit(channels, 448, 1),
        "branch3x3dbl_2": unit(448, 384, 3),
        "branch3x3dbl_3a": unit(384, 384, (1, 3)),
        "branch3x3dbl_3b": unit(384, 384, (3, 1)),
        "pool": unit.ops.avg_pool(3, 1, 1),
        "branch_pool": unit(channels, 192, 1),
    }
    single = ("branch3x3_1", concat(("branch3x3_2a",), ("branch3x3_2b",)))
    double = ("branch3x3dbl_1", "branch3x3dbl_2", concat(("branch3x3dbl_3a",), ("branch3x3dbl_3b",)))
    return Wired(parts, (concat(("branch1x1",), single, double, ("pool", "branch_pool")),))


def inception_v3(
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    aux_logits: bool = False,
    dropout: float = 0.5,
    small: bool | None = None,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> AuxiliaryNetwork:
    """Inception v3, torchvision's.

    Args:
        num_classes: outputs. in_channels: channels of the input signal.
        aux_logits: with the auxiliary head, which runs in training only. dropout: before the last layer.
        small: the form for 28 to 64 pixels; None: where `domain` has no more than 64×64 nodes.
        ops: the family of layers; `GridOps()` if None. domain: where inputs live.

    Raises:
        ValueError: for a domain that is too small, with the least size.

    >>> import torch
    >>> inception_v3(num_classes=10, small=True).eval()(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """
    ops, domain, small = setting(ops, domain, small, size=299, num_classes=num_classes, in_channels=in_channels)
    probability("dropout", dropout)
    unit, step, same = Units(ops), 1 if small else 2, small or not ops.has_valid_borders
    trunk: dict[str, nn.Module] = {
        "Conv2d_1a_3x3": unit(in_channels, 32, 3, step, same),
        "Conv2d_2a_3x3": unit(32, 32, 3, 1, same),
        "Conv2d_2b_3x3": unit(32, 64, 3),
        **({} if small else {"maxpool1": ops.max_pool(3, 2, int(same))}),
        "Conv2d_3b_1x1": unit(64, 80, 1),
        "Conv2d_4a_3x3": unit(80, 192, 3, 1, same),
        **({} if small else {"maxpool2": ops.max_pool(3, 2, int(same))}),
        "Mixed_5b": module_a(unit, 192, 32),
        "Mixed_5c": module_a(unit, 256, 64),
        "Mixed_5d": module_a(unit, 288, 64),
        "Mixed_6a": module_b(unit, 288),
        **{f"Mixed_6{x}": module_c(unit, 768, width) for x, width in zip("bcde", (128, 160, 160, 192), strict=True)},
    }
    heads = {}
    if aux_logits:
        pool = ops.adaptive_avg_pool(5) if small else ops.avg_pool(5, 3)
        convs = {"conv0": unit(768, 128, 1), "conv1": unit(128, 768, 5, 1, not ops.has_valid_borders)}
        heads["AuxLogits"] = Sequential(
            named(pool=pool, **convs, avgpool=ops.global_avg_pool(), fc=nn.Linear(768, num_classes))
        )
    last = {"Mixed_7a": module_d(unit, 768), "Mixed_7b": module_e(unit, 1280), "Mixed_7c": module_e(unit, 2048)}
    end = {"avgpool": ops.global_avg_pool(), "dropout": nn.Dropout(dropout), "fc": nn.Linear(2048, num_classes)}
    hung = {"AuxLogits": "Mixed_6e"} if heads else {}
    parts = {**trunk, **heads, **last, **end}
    net = AuxiliaryNetwork(parts, heads=hung, name="Inception v3", domain=domain)
    init.truncated(net, 0.1)
    if heads:
        init.truncated(heads["AuxLogits"][2], 0.01)
        init.truncated(heads["AuxLogits"][4], 0.001)
    return net


def inception_v2(
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    dropout: float = 0.5,
    small: bool | None = None,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> Network:
    """Inception v2, table 1 of the paper; arguments as for `inception_v3`, without a head.

    >>> import torch
    >>> inception_v2(num_classes=10, small=True).eval()(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """
    ops, domain, small = setting(ops, domain, small, size=299, num_classes=num_classes, in_channels=in_channels)
    probability("dropout", dropout)
    unit, step, same = Units(ops), 1 if small else 2, small or not ops.has_valid_borders
    parts: dict[str, nn.Module] = {
        "Conv2d_1a_3x3": unit(in_channels, 32, 3, step, same),
        "Conv2d_2a_3x3": unit(32, 32, 3, 1, same),
        "Conv2d_2b_3x3": unit(32, 64, 3),
        **({} if small else {"maxpool1": ops.max_pool(3, 2, int(same))}),
        "Conv2d_3b_3x3": unit(64, 80, 3, 1, same),
        "Conv2d_4a_3x3": unit(80, 192, 3, step, same),
        "Conv2d_4b_3x3": unit(192, 288, 3),
        **{f"Mixed_5{x}": module_a(unit, 288, 64, large=3) for x in "bcd"},
        "Mixed_6a": module_b(unit, 288),
        **{f"Mixed_6{x}": module_c(unit, 768, w) for x, w in zip("bcdef", (128, 160, 160, 160, 192), strict=True)},
        "Mixed_7a": module_d(unit, 768),
        "Mixed_7b": module_e(unit, 1280),
        "Mixed_7c": module_e(unit, 2048),
        "avgpool": ops.global_avg_pool(),
        "dropout": nn.Dropout(dropout),
        "fc": nn.Linear(2048, num_classes),
    }
    net = Network(parts, name="Inception v2", domain=domain)
    init.truncated(net, 0.1)
    return net

"""LeNet-1 and LeNet-5 as published: partially connected maps, trainable subsampling, scaled tanh, RBF output.

    LeNet-1  conv 5×5 → 4, subsample 2, conv 5×5 → 12 (20 links), subsample 2, dense classes
    LeNet-5  conv 5×5 → 6, subsample 2, conv 5×5 → 16 (60 links), subsample 2, conv 5×5 → 120, dense 84, RBF classes

with valid borders, and 1.7159 tanh(2x/3) after every layer but the last. Shapes: LeNet-1 `(B, C, 28, 28)`, LeNet-5
`(B, C, 32, 32)`, to `(B, num_classes)`: LeNet-5's are minus the squared distances to the classes' codes, so that the
largest wins. Parameters: 2,578 and 60,000, beside the fixed codes. References: LeCun et al., Handwritten digit
recognition with a back-propagation network (1990); LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied
to document recognition (1998).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from grid_cnn.domain import Domain, Grid
from grid_cnn.lecun import RBF, Subsampling2d
from grid_cnn.models.fit import features_size
from grid_cnn.models.network import Network, setting
from grid_cnn.ops import GridOps, Ops
from grid_cnn.separable import LENET_C3, PartialConv2d
from grid_cnn.squash import ScaledTanh

# The maps of H2 that each map of H3 reads in LeNet-1 (1990, table 1): 20 links.
LENET_H3 = ((0,), (0, 1), (0, 1), (1,), (0, 1), (0, 1), (2,), (2, 3), (2, 3), (3,), (2, 3), (2, 3))


def _grid_only(name: str, ops: Ops, domain: Domain) -> None:
    if not isinstance(ops, GridOps) or not isinstance(domain, Grid):
        raise ValueError(
            f"{name} has tables of connections and trainable subsampling, which are layers of the grid; got {ops!r} on "
            f"{domain!r}. The modern LeNet-5, models.lenet5, builds on graphs"
        )


def lenet1(
    num_classes: int = 10,
    in_channels: int = 1,
    *,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> Network:
    """LeNet-1 (1990), on a grid only.

    Args:
        num_classes: outputs. in_channels: channels of the input signal.
        ops: `GridOps()` or None. domain: where inputs live; `Grid((28, 28))` if None.

    Raises:
        ValueError: for a graph, or a grid that is too small, with the least size.

    >>> sum(parameter.numel() for parameter in lenet1().parameters())
    2578
    """
    ops, domain, _ = setting(ops, domain, True, small_size=28, num_classes=num_classes, in_channels=in_channels)
    _grid_only("LeNet-1", ops, domain)
    features: dict[str, nn.Module] = {
        "h1": ops.conv(in_channels, 4, 5, padding="valid"),
        "tanh1": ScaledTanh(),
        "h2": Subsampling2d(4),
        "tanh2": ScaledTanh(),
        "h3": PartialConv2d(4, 12, 5, LENET_H3),
        "tanh3": ScaledTanh(),
        "h4": Subsampling2d(12),
        "tanh4": ScaledTanh(),
    }
    width = 12 * features_size("LeNet-1", Network(features), domain)
    head = {"flatten": ops.flatten(), "output": nn.Linear(width, num_classes)}
    return Network({**features, **head}, name="LeNet-1", domain=domain, sized=True)


def lenet5_1998(
    num_classes: int = 10,
    in_channels: int = 1,
    *,
    codes: Tensor | None = None,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> Network:
    """LeNet-5 (1998) with its table of connections, trainable subsampling and RBF output, on a grid only.

    Args:
        num_classes: outputs. in_channels: channels of the input signal.
        codes: the classes' codes, `(num_classes, 84)`, numbers of ±1; None for pictures of the ten digits in 7×12
            cells, or, where there are not ten classes, for codes drawn with a fixed seed.
        ops: `GridOps()` or None. domain: where inputs live; `Grid((32, 32))` if None.

    Raises:
        ValueError: for a graph, or a grid that is too small, with the least size, or codes of other sizes.

    >>> sum(parameter.numel() for parameter in lenet5_1998().parameters())
    60000
    """
    ops, domain, _ = setting(ops, domain, True, num_classes=num_classes, in_channels=in_channels)
    _grid_only("LeNet-5", ops, domain)
    if codes is not None and tuple(codes.shape) != (num_classes, 84):
        raise ValueError(
            f"codes have shape ({num_classes}, 84), one of 84 numbers for each class; got {tuple(codes.shape)}"
        )
    if codes is None and num_classes != 10:
        random = torch.Generator().manual_seed(1998)
        codes = torch.randint(0, 2, (num_classes, 84), generator=random, device="cpu") * 2.0 - 1.0
    features: dict[str, nn.Module] = {
        "c1": ops.conv(in_channels, 6, 5, padding="valid"),
        "tanh1": ScaledTanh(),
        "s2": Subsampling2d(6),
        "tanh2": ScaledTanh(),
        "c3": PartialConv2d(6, 16, 5, LENET_C3),
        "tanh3": ScaledTanh(),
        "s4": Subsampling2d(16),
        "tanh4": ScaledTanh(),
        "c5": ops.conv(16, 120, 5, padding="valid"),
        "tanh5": ScaledTanh(),
    }
    width = 120 * features_size("LeNet-5", Network(features), domain)
    head = {
        "flatten": ops.flatten(),
        "f6": nn.Linear(width, 84),
        "tanh6": ScaledTanh(),
        "output": RBF(codes, negative=True),
    }
    return Network({**features, **head}, name="LeNet-5 (1998)", domain=domain, sized=True)

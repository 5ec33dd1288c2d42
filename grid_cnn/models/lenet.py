"""LeNet-5 in its modern form: two convolutions, two pools, three dense layers.

    conv 5×5 → 6, ReLU, max pool 2, conv 5×5 → 16, ReLU, max pool 2, dense 120, ReLU, dense 84, ReLU, dense classes

Dense connections between S2 and C3, ReLU for tanh, max for average pools and a softmax head mend the original, whose
shapes and weights (61,706 on 28×28 digits) it keeps. Reference: LeCun, Bottou, Bengio and Haffner, Gradient-based
learning applied to document recognition (1998), figure 2.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from grid_cnn.checks import probability, whole
from grid_cnn.domain import Domain, Grid
from grid_cnn.layer import Sequential, named
from grid_cnn.models.fit import features_size
from grid_cnn.ops import GridOps, Ops

Border = Literal["same", "valid"]


def lenet5(
    num_classes: int = 10,
    in_channels: int = 1,
    *,
    padding: Border | tuple[Border, Border] | None = None,
    dropout: float = 0.0,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> Sequential:
    """LeNet-5 on any domain that it fits.

    Args:
        num_classes: outputs. in_channels: channels of the input signal.
        padding: the borders of the two convolutions, one for both or one each. None is the original's pair on a
            28×28 picture, ('same', 'valid'), where the family knows valid borders, and 'same' elsewhere.
        dropout: the probability of dropping a value before each of the last two dense layers.
        ops: the family of layers; `GridOps()` if None. domain: where inputs live; `Grid((28, 28))` if None.

    Shapes: `(B, in_channels, H, W)` on a grid, `(B, N, in_channels)` on a graph, to `(B, num_classes)`.

    Raises:
        ValueError: if the domain is too small (with the least size that fits), or a border is unknown to the family.

    >>> import torch
    >>> net = lenet5()
    >>> sum(p.numel() for p in net.parameters())
    61706
    >>> net(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    ops, domain = ops or GridOps(), domain or Grid((28, 28))
    if padding is None:
        padding = ("same", "valid") if ops.has_valid_borders else "same"
    whole("num_classes", num_classes)
    if padding not in ("same", "valid") and not (
        isinstance(padding, tuple) and len(padding) == 2 and set(padding) <= {"same", "valid"}
    ):
        raise ValueError(f"padding takes 'same' or 'valid', or one of them for each convolution; got {padding!r}")
    probability("dropout", dropout)
    first, second = (padding, padding) if isinstance(padding, str) else padding
    features = named(
        conv1=ops.conv(in_channels, 6, 5, padding=first),
        relu1=nn.ReLU(),
        pool1=ops.max_pool(2),
        conv2=ops.conv(6, 16, 5, padding=second),
        relu2=nn.ReLU(),
        pool2=ops.max_pool(2),
    )
    width = 16 * features_size("LeNet-5", Sequential(features), domain)
    head = named(
        flatten=ops.flatten(),
        fc1=nn.Linear(width, 120),
        relu3=nn.ReLU(),
        drop1=nn.Dropout(dropout) if dropout else None,
        fc2=nn.Linear(120, 84),
        relu4=nn.ReLU(),
        drop2=nn.Dropout(dropout) if dropout else None,
        fc3=nn.Linear(84, num_classes),
    )
    return Sequential(named(**features, **head))

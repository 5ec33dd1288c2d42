"""The baselines that convolution is argued against: every pixel an input, no neighbourhood.

    linear:  y = W vec(x) + b            mlp:  y = W₂ max(0, W₁ vec(x) + b₁) + b₂

Shapes: a signal on `domain` to `(B, num_classes)`. Weights: cells · in_channels · width, for each dense layer.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from grid_cnn.checks import whole
from grid_cnn.domain import Domain, Grid
from grid_cnn.layer import Sequential
from grid_cnn.ops import GridOps, Ops


def linear(
    num_classes: int = 10, in_channels: int = 1, *, ops: Ops | None = None, domain: Domain | None = None
) -> Sequential:
    """One dense layer on all values of the signal (softmax regression, LeCun 1989's Net-1).

    >>> import torch
    >>> linear()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    return mlp(num_classes, in_channels, hidden=(), ops=ops, domain=domain)


def mlp(
    num_classes: int = 10,
    in_channels: int = 1,
    hidden: Sequence[int] = (120, 84),
    *,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> Sequential:
    """Dense layers with ReLU between; by default as wide as LeNet-5's head, straight on the pixels.

    Args:
        hidden: the widths between input and classes.
        ops, domain: the family and the domain (a 28×28 grid); only the number of its nodes matters.

    >>> mlp(hidden=(30,))[1]
    Linear(in_features=784, out_features=30, bias=True)
    """
    for name, value in (("num_classes", num_classes), ("in_channels", in_channels), *(("hidden", n) for n in hidden)):
        whole(name, value)
    width = in_channels * (domain or Grid((28, 28))).num_nodes
    flatten = (ops or GridOps()).flatten()
    flatten.in_channels = in_channels
    modules: list[nn.Module] = [flatten]
    for out in hidden:
        modules += [nn.Linear(width, out), nn.ReLU()]
        width = out
    return Sequential(*modules, nn.Linear(width, num_classes))

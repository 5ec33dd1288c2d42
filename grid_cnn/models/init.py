"""How weights are drawn at first: He's and truncated normal numbers, as the papers and torchvision draw them.

    He (fan out): w ~ N(0, 2 / (C_out · taps))        truncated: w ~ N(0, σ²) within [-2, 2]

Only kernels with a weight for every offset are drawn anew (a grid's convolution, a directional one): every other graph
convolution keeps its own paper's start. Reference: He, Zhang, Ren and Sun, Delving deep into rectifiers (2015).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from torch import Tensor, nn


def kernels(model: nn.Module) -> Iterator[nn.Module]:
    """The modules in a model that hold a kernel with a weight for every offset of two or more axes."""
    for module in model.modules():
        weight = module._parameters.get("weight")
        if weight is not None and weight.dim() >= 4:
            yield module


def he(model: nn.Module, mode: Literal["fan_in", "fan_out"] = "fan_out") -> None:
    """Draw every kernel from He's normal distribution, and set its bias to zero.

    >>> from grid_cnn import Conv2d
    >>> layer = Conv2d(1, 2, 3)
    >>> he(layer)
    >>> layer.bias.tolist()
    [0.0, 0.0]
    """
    _draw(model, lambda weight: nn.init.kaiming_normal_(weight, mode=mode, nonlinearity="relu"))


def _draw(model: nn.Module, draw: Callable[[Tensor], Tensor]) -> None:
    for module in kernels(model):
        draw(module.get_parameter("weight"))
        bias = module._parameters.get("bias")
        if bias is not None:
            nn.init.zeros_(bias)


def truncated(model: nn.Module, std: float) -> None:
    """Draw every kernel and dense weight from a normal distribution cut off at ±2; biases stay.

    >>> layer = nn.Linear(3, 2)
    >>> truncated(layer, 0.01)
    >>> bool(layer.weight.abs().max() < 0.1)
    True
    """
    dense = [module for module in model.modules() if type(module) is nn.Linear]
    for module in [*kernels(model), *dense]:
        nn.init.trunc_normal_(module.get_parameter("weight"), std=std, a=-2.0, b=2.0)


def dense(in_features: int, out_features: int, std: float | None = None) -> nn.Linear:
    """A dense layer; with `std`, its weights from N(0, std²) and its bias zero, as VGG's.

    >>> dense(3, 2, 0.01).bias.tolist()
    [0.0, 0.0]
    """
    layer = nn.Linear(in_features, out_features)
    if std is not None:
        nn.init.normal_(layer.weight, 0.0, std)
        nn.init.zeros_(layer.bias)
    return layer

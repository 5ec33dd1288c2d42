"""The networks, a family a file: `create(name)`, `names()`, or the functions themselves."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from grid_cnn.layer import Layer
from grid_cnn.models.dense import linear, mlp
from grid_cnn.models.lenet import lenet5

__all__ = ["create", "function", "lenet5", "linear", "mlp", "names"]

_MODELS: dict[str, Callable[..., Layer]] = {"lenet5": lenet5, "linear": linear, "mlp": mlp}


def names() -> list[str]:
    """The names that `create` knows.

    >>> names()
    ['lenet5', 'linear', 'mlp']
    """
    return sorted(_MODELS)


def create(name: str, **kwargs: Any) -> Layer:
    """Build a network by name.

    Args:
        name: one of `names()`. kwargs: what its function takes (`num_classes`, `in_channels`, `ops`, `domain` ...).

    Raises:
        ValueError: for an unknown name, with the nearest ones.

    >>> create("lenet5", num_classes=3)(__import__("torch").zeros(1, 1, 28, 28)).shape
    torch.Size([1, 3])
    """
    return function(name)(**kwargs)


def function(name: str) -> Callable[..., Layer]:
    """The function that builds the network of that name.

    Raises:
        ValueError: for an unknown name, with the nearest ones.

    >>> function("lenet5") is lenet5
    True
    """
    if name not in _MODELS:
        near = difflib.get_close_matches(name, _MODELS)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names())}"
        raise ValueError(f"unknown model {name!r}: {hint}")
    return _MODELS[name]

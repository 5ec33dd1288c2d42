"""The networks, a family a file: `create(name)`, `names()`, or the functions themselves."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from grid_cnn.layer import Layer
from grid_cnn.models.dense import linear, mlp
from grid_cnn.models.lenet import lenet5

__all__ = ["create", "lenet5", "linear", "mlp", "names"]

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
    if name not in _MODELS:
        near = difflib.get_close_matches(name, _MODELS)
        hint = f"did you mean {' or '.join(near)}?" if near else "there are"
        raise ValueError(f"unknown model {name!r}: {hint} {'' if near else ', '.join(names())}".rstrip())
    return _MODELS[name](**kwargs)

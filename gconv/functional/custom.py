"""How the engine's custom operators are registered."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch


def operator(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Register a function of tensors as a custom operator, which runs in the dtypes it is given: without autocast."""

    def register(function: Callable[..., Any]) -> Any:
        @wraps(function)
        def plain(*given: Any) -> Any:
            with torch.autocast(given[0].device.type, enabled=False):
                return function(*given)

        plain.__signature__ = inspect.signature(function, eval_str=True)  # pyright: ignore[reportAttributeAccessIssue]
        return torch.library.custom_op(name, mutates_args=())(plain)

    return register

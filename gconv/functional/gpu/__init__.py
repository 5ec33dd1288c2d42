"""Triton kernels for the three sums over neighbours: weighted sum, heads and attention, kernels; and their gradients.

Pure functions of tensors on a GPU, without autograd: the engine 'triton' of `rows` and the operators of
`attention.triton` bring the derivatives together. All take the graph as rows: entry q of row t (`offsets[t] <= q <
offsets[t + 1]`) reads column `index[q]`, and weights are in the order of these entries. Inputs in float32, bfloat16,
float16 or float64; sums run in float32 (float64 for float64). No atomic additions: bit-equal from run to run. Triton
loads with the first function that is named.

    row_gather, edge_dot, edge_dot_total                   y[t] = Σ w[q] x[index[q]]
    heads_gather, heads_dot, heads_dot_total               a weight for each entry and head
    kernels_gather, kernels_sum, kernels_dot               a weight for each entry and kernel
    additive_forward, additive_backward                    attention with GAT's scores
    dynamic_forward, dynamic_backward                      attention with GATv2's
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from gconv.functional.gpu.additive import additive_forward
    from gconv.functional.gpu.additive_gradient import additive_backward
    from gconv.functional.gpu.dot import edge_dot, edge_dot_total, heads_dot, heads_dot_total, kernels_dot
    from gconv.functional.gpu.dynamic import dynamic_forward
    from gconv.functional.gpu.dynamic_gradient import dynamic_backward
    from gconv.functional.gpu.gather import heads_gather, row_gather
    from gconv.functional.gpu.kernels import kernels_gather, kernels_sum

_HOMES = {
    "additive_backward": "additive_gradient",
    "additive_forward": "additive",
    "dynamic_backward": "dynamic_gradient",
    "dynamic_forward": "dynamic",
    "edge_dot": "dot",
    "edge_dot_total": "dot",
    "heads_dot": "dot",
    "heads_dot_total": "dot",
    "heads_gather": "gather",
    "kernels_dot": "dot",
    "kernels_gather": "kernels",
    "kernels_sum": "kernels",
    "row_gather": "gather",
}

# Looked at once, so that a compiler that traces the choice of a form meets constants.
_PRESENT = importlib.util.find_spec("triton") is not None
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

__all__ = [
    "additive_backward",
    "additive_forward",
    "available",
    "dynamic_backward",
    "dynamic_forward",
    "edge_dot",
    "edge_dot_total",
    "heads_dot",
    "heads_dot_total",
    "heads_gather",
    "kernels_dot",
    "kernels_gather",
    "kernels_sum",
    "row_gather",
    "runs_on",
]


def available() -> bool:
    """Whether Triton is installed; looking does not load it.

    >>> isinstance(available(), bool)
    True
    """
    return _PRESENT


def runs_on(device: torch.device) -> bool:
    """Whether the kernels run there: on a GPU with Triton, or anywhere by its interpreter.

    The interpreter is on where `TRITON_INTERPRET=1` was set before gconv was imported.

    >>> runs_on(torch.device("cuda")) == available() and not runs_on(torch.device("meta"))
    True
    """
    return _PRESENT and (device.type == "cuda" or (_INTERPRETED and device.type == "cpu"))


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

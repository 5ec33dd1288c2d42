"""What the nodes of each graph of a batch have in common: means and extremes, and their way back to the nodes.

    mean[g] = 1/n_g Σ_{i in g} x[i]      largest[g] = max_{i in g} x[i]      spread[i] = v[g(i)]

Shapes: `(..., N, C)` to `(..., G, C)` and back; graphs without nodes get 0. Without a batch (None) all nodes of a
signal are one graph. Sums run over sorted rows: the same bits from run to run. Cost: N · C a signal.
"""

from __future__ import annotations

import math

from torch import Tensor

from gconv.domains.batch import Parts
from gconv.functional.edgewise import edgewise, of_neighbour
from gconv.functional.propagate import propagate


def part_mean(x: Tensor, parts: Parts | None) -> Tensor:
    """The mean over the nodes of each graph.

    >>> import torch
    >>> parts = Parts(torch.tensor([0, 0, 1]), 2)
    >>> part_mean(torch.tensor([[1.0], [3.0], [5.0]]), parts).flatten()
    tensor([2., 5.])
    """
    if parts is None:
        return x.mean(-2, keepdim=True)
    return propagate(x, parts.structure) / parts.sizes.clamp(min=1).to(x.dtype)[:, None]


def part_max(x: Tensor, parts: Parts | None) -> Tensor:
    """The largest value over the nodes of each graph.

    >>> import torch
    >>> part_max(torch.tensor([[1.0], [3.0], [5.0]]), Parts(torch.tensor([0, 0, 1]), 2)).flatten()
    tensor([3., 5.])
    """
    if parts is None:
        return x.amax(-2, keepdim=True)
    signals = x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
    nothing = signals.new_zeros(signals.shape[0], parts.count, 1)
    out = edgewise(nothing, signals, parts.structure, of_neighbour, [], "max")
    return out.reshape(*x.shape[:-2], *out.shape[-2:])


def spread(values: Tensor, parts: Parts | None) -> Tensor:
    """The values of the graphs at their nodes; without a batch one row, which broadcasts."""
    return values if parts is None else propagate(values, parts.structure.flipped)

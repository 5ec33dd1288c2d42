"""Losses of a classifier, by name, all of logits and of labels or probabilities.

    cross-entropy   -Σ_c t_c log p_c                       p = softmax(z)
    squared-error   ½ Σ_c (t_c - p_c)²
    hinge           Σ_y t_y Σ_{c≠y} max(0, 1 + z_c - z_y)

z are `logits`, t is 1 for the label and 0 elsewhere, or the given probabilities; with smoothing ε, (1 - ε) t + ε / C.
Shapes: logits `(B, C)`, or `(B, C, ...)` with a label for each place; labels `(B, ...)` int64 or `(B, C, ...)`
floating; a number, the mean over the batch. Cost: a few passes over the logits; the hinge B C² numbers. References:
Weston and Watkins, Support vector machines for multi-class pattern recognition (1999), for the hinge; Szegedy et al.,
Rethinking the Inception architecture (2016), for smoothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]


def soft(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """t: labels as probabilities, smoothed, in the logits' shape and dtype.

    >>> import torch
    >>> soft(torch.zeros(1, 4), torch.tensor([2]), smoothing=0.4)
    tensor([[0.1000, 0.1000, 0.7000, 0.1000]])
    """
    classes = logits.shape[1]
    if not labels.is_floating_point():
        labels = F.one_hot(labels, classes).movedim(-1, 1)
    found = labels.to(logits.dtype)
    return found * (1 - smoothing) + smoothing / classes if smoothing else found


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """torch's own.

    >>> import torch
    >>> cross_entropy(torch.zeros(1, 10), torch.tensor([3]))
    tensor(2.3026)
    """
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def squared_error(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Of probabilities.

    >>> import torch
    >>> squared_error(torch.tensor([[0.2, 0.4, 0.1, 0.3]]).log(), torch.tensor([2]))
    tensor(0.5500)
    """
    return 0.5 * (soft(logits, labels, smoothing) - logits.softmax(1)).square().sum(1).mean()


def hinge(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Of every class against every class that the target gives weight to.

    >>> import torch
    >>> hinge(torch.tensor([[3.2, 5.1, -1.7]]), torch.tensor([0]))
    tensor(2.9000)
    """
    # The class itself would count max(0, 1) for itself.
    margins = (1 + logits.unsqueeze(1) - logits.unsqueeze(2)).clamp_min(0).sum(2) - 1
    return (soft(logits, labels, smoothing) * margins).sum(1).mean()


LOSSES: Mapping[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "cross-entropy": cross_entropy,
    "squared-error": squared_error,
    "hinge": hinge,
}


def loss(name: str, smoothing: float = 0.0) -> Loss:
    """A loss by its name, of logits and labels."""
    chosen = LOSSES[name]
    return lambda logits, labels: chosen(logits, labels, smoothing)

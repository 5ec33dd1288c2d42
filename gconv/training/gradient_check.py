"""Gradients held against difference quotients: is what backward computes the derivative of what forward computes?

    numeric_i = (L(θ + h e_i) - L(θ - h e_i)) / 2h,   error = |analytic - numeric| / max(|analytic|, |numeric|, floor)

θ are the parameters, h is `step`; everything in a float64 copy of the network on the CPU, in evaluation mode, so that
dropout and batch statistics hold still. A few entries of every parameter are tried, those with the largest gradient and
some at random. The floor is a millionth of the largest gradient: below it difference quotients know nothing. Where a
ReLU or a maximum lies within h, the quotient has no limit; a smaller h is then tried before it counts as an error.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gconv.training.losses import Loss, cross_entropy

TOLERANCE = 1e-4
_STEPS = (1e-5, 1e-6, 1e-7)


@dataclass(frozen=True)
class Entry:
    """One entry of one parameter: where it is, and both derivatives."""

    parameter: str
    index: int
    analytic: float
    numeric: float
    error: float


def check(
    module: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    loss: Loss = cross_entropy,
    entries: int = 4,
    seed: int = 0,
) -> list[Entry]:
    """Compare derivatives in `entries` entries of every parameter; the module itself is left as it is.

    Args:
        module: gives logits of `inputs`. loss: of logits and labels. seed: draws the entries.

    >>> found = check(nn.Linear(3, 2), torch.randn(4, 3), torch.tensor([0, 1, 1, 0]))
    >>> len(found), max(entry.error for entry in found) < 1e-6
    (6, True)
    """
    twin = copy.deepcopy(module).cpu().double().eval()
    inputs, labels = inputs.detach().cpu().double(), labels.cpu()

    def value() -> Tensor:
        return loss(twin(inputs), labels)

    named = [(name, parameter) for name, parameter in twin.named_parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(value(), [parameter for _, parameter in named], allow_unused=True)
    floor = 1e-6 * max((float(g.abs().max()) for g in gradients if g is not None and g.numel()), default=0.0)
    generator = torch.Generator().manual_seed(seed)
    found = []
    with torch.no_grad():
        for (name, parameter), gradient in zip(named, gradients, strict=True):
            flat = torch.zeros(parameter.numel(), dtype=parameter.dtype) if gradient is None else gradient.reshape(-1)
            for index in _chosen(flat, entries, generator):
                found.append(_entry(name, parameter, index, float(flat[index]), value, floor))
    return found


def require(entries: Sequence[Entry]) -> None:
    """Refuse gradients that are wrong.

    Raises:
        ValueError: naming the worst entry.
    """
    worst = max(entries, key=lambda entry: entry.error)
    if worst.error > TOLERANCE:
        raise ValueError(
            f"the gradient of {worst.parameter}, entry {worst.index}, is {worst.analytic:.6g} by backward and "
            f"{worst.numeric:.6g} by difference quotients: a relative error of {worst.error:.1e}, above {TOLERANCE}; "
            "a layer's backward is not the derivative of its forward"
        )


def _chosen(gradient: Tensor, entries: int, generator: torch.Generator) -> list[int]:
    largest = gradient.abs().topk(min((entries + 1) // 2, len(gradient))).indices.tolist()
    others = torch.randperm(len(gradient), generator=generator)[:entries].tolist()
    return list(dict.fromkeys(largest + others))[:entries]


def _entry(
    name: str, parameter: Tensor, index: int, analytic: float, value: Callable[[], Tensor], floor: float
) -> Entry:
    best: Entry | None = None
    flat = parameter.view(-1)
    kept = float(flat[index])
    for step in _STEPS:
        flat[index] = kept + step
        above = float(value())
        flat[index] = kept - step
        below = float(value())
        flat[index] = kept
        numeric = (above - below) / (2 * step)
        size = max(abs(analytic), abs(numeric), floor)
        entry = Entry(name, index, analytic, numeric, abs(analytic - numeric) / size if size else 0.0)
        if best is None or entry.error < best.error:
            best = entry
        if best.error <= TOLERANCE:
            break
    assert best is not None
    return best

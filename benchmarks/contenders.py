"""Steps of both libraries: forward and backward by the signal and by every parameter, and whether they agree.

A step runs the layer on each of a list of signals, in turn, and sums the parameters' gradients: on a list of one for
batches, of B for a loop over single signals. Before anything is timed, all steps must give the same outputs and
gradients: to 1e-4 of the largest entry, each. Where rounding may decide on which side of a kink a gradient is taken,
they must agree in float64, to 1e-9, and float32 is held to less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module

TOLERANCE = 1e-4
# Rounding puts so few entries at most on the other side of a ReLU's or a maximum's kink.
_KINKS = 1e-3
# And changes a parameter's gradient, a sum over all nodes, by so much.
_KINKS_IN_SUMS = 100.0
EXACT_TOLERANCE = 1e-9


class Result(NamedTuple):
    """What a step gives: outputs and gradients by the signals, signal by signal, and the parameters' gradients."""

    outputs: list[Tensor]
    signals: list[Tensor]
    parameters: dict[str, Tensor]


Step = Callable[[], Result]


def step_of(
    layer: Module,
    signals: Sequence[Tensor],
    gradients: Sequence[Tensor],
    arguments: tuple[Any, ...],
    differentiable: bool = True,
) -> Step:
    """Forward and backward of `layer(signal, *arguments)` on each signal, in turn.

    Args:
        gradients: of the loss by each output. differentiable: by the signals too; else by the parameters alone.

    >>> step = step_of(torch.nn.Linear(2, 1, bias=False), [torch.ones(3, 2)], [torch.ones(3, 1)], ())
    >>> step().parameters["weight"]
    tensor([[3., 3.]])
    """
    leaves = [signal.detach().requires_grad_(differentiable) for signal in signals]
    names = sorted(name for name, parameter in layer.named_parameters() if parameter.requires_grad)
    parameters = [layer.get_parameter(name) for name in names]

    def step() -> Result:
        outputs, inputs = [], []
        totals: list[Tensor | None] = [None] * len(names)
        for x, gradient in zip(leaves, gradients, strict=True):
            y = layer(x, *arguments)
            wanted = [x, *parameters] if differentiable else parameters
            found = list(torch.autograd.grad(y, wanted, gradient, allow_unused=True))
            if differentiable:
                inputs.append(found.pop(0))
            outputs.append(y.detach())
            totals = [g if t is None else t if g is None else t + g for t, g in zip(totals, found, strict=True)]
        filled = (torch.zeros_like(p) if t is None else t for t, p in zip(totals, parameters, strict=True))
        return Result(outputs, inputs, dict(zip(names, filled, strict=True)))

    return step


def disagreement(found: Result, expected: Result, kinks: bool = False, tolerance: float = TOLERANCE) -> str:
    """Where two results differ by more than the tolerance; empty if nowhere.

    >>> one = Result([torch.ones(2, 1)], [], {"weight": torch.ones(1)})
    >>> disagreement(one, one)
    ''
    >>> disagreement(one, one._replace(parameters={"weight": torch.zeros(1)}))
    'the gradient of weight differs by 1, and its largest entry is 0'
    """
    if found.parameters.keys() != expected.parameters.keys():
        return f"parameters {sorted(found.parameters)} here, {sorted(expected.parameters)} there"
    pairs = {"the output": (_joined(found.outputs), _joined(expected.outputs), 0.0, tolerance)}
    if expected.signals:
        pairs["the gradient of x"] = _joined(found.signals), _joined(expected.signals), _KINKS * kinks, tolerance
    for name, gradient in expected.parameters.items():
        looser = tolerance * (_KINKS_IN_SUMS if kinks else 1.0)
        pairs[f"the gradient of {name}"] = found.parameters[name], gradient, 0.0, looser
    for name, (ours, theirs, allowed, within) in pairs.items():
        if ours.shape != theirs.shape:
            return f"{name} has shape {tuple(ours.shape)} here, {tuple(theirs.shape)} there"
        scale, distance = theirs.abs().max(), (ours - theirs).abs()
        outside = ~(distance <= within * scale)  # what is not a number is outside
        if outside.float().mean() > allowed:
            return f"{name} differs by {float(distance.max()):.3g}, and its largest entry is {float(scale):.3g}"
    return ""


def bit_equal(one: Result, other: Result) -> bool:
    """Whether two runs gave the same bits."""
    first = [*one.outputs, *one.signals, *one.parameters.values()]
    second = [*other.outputs, *other.signals, *other.parameters.values()]
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def _joined(signals: list[Tensor]) -> Tensor:
    """All signals' nodes below each other, `(B · N, C)`."""
    return torch.cat([signal.reshape(-1, signal.shape[-1]) for signal in signals])

"""One training step: forward, loss, backward, and every so many batches a step of the optimiser.

    g = (1/n) Σ_batches ∇ (L(logits, labels) + w Σ_a L(head_a, labels) + λ₁ Σ |θ|)

n is `accumulate`, w `auxiliary_weight`, λ₁ `l1`. Then g is clipped: its entries to `clip_value`, its norm over all
parameters to `clip_norm`; the optimiser, the schedule and the running average follow. With precision 'bf16' or 'fp16'
forward and loss run under autocast; for fp16 the loss is scaled, so that small gradients do not vanish, and steps whose
gradients overflow are left out. Reference: Micikevicius et al., Mixed precision training (2018).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from gconv.training.ema import Average
from gconv.training.losses import Loss
from grid_cnn.models.auxiliary import Outputs

_DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

Prepare = Callable[[Tensor], Tensor]
Augment = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class DivergedError(ValueError):
    """A loss, or the weights, are no longer finite numbers."""


class Step:
    """A training step over `model`, called with a batch that is on the right device.

    Args:
        model: what is trained. optimizer, schedule, average: what follows a gradient. loss: of logits and labels.
        others: as in the module's words. augment, prepare: what pictures go through before the model.

    Raises:
        ValueError: for settings that are out of range, by name.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loss: Loss = nn.functional.cross_entropy,
        *,
        schedule: LRScheduler | None = None,
        average: Average | None = None,
        auxiliary_weight: float = 0.3,
        l1: float = 0.0,
        accumulate: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        precision: str = "fp32",
        device: torch.device | str = "cpu",
        augment: Augment | None = None,
        prepare: Prepare | None = None,
    ) -> None:
        for name, least in (("auxiliary_weight", auxiliary_weight), ("l1", l1)):
            if not 0 <= least < math.inf:
                raise ValueError(f"{name} takes a number >= 0, got {least!r}")
        for name, bound in (("clip_norm", clip_norm), ("clip_value", clip_value)):
            if bound is not None and not 0 < bound < math.inf:
                raise ValueError(f"{name} takes a number above 0 or None, got {bound!r}")
        if isinstance(accumulate, bool) or not isinstance(accumulate, int) or accumulate < 1:
            raise ValueError(f"accumulate takes a whole number >= 1, got {accumulate!r}")
        if precision not in _DTYPES:
            raise ValueError(f"precision takes one of {', '.join(_DTYPES)}, got {precision!r}")
        self.model, self.optimizer, self.loss, self.schedule, self.average = model, optimizer, loss, schedule, average
        self.auxiliary_weight, self.l1, self.accumulate = auxiliary_weight, l1, accumulate
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.augment, self.prepare = augment, prepare
        self._dtype, self._kind = _DTYPES[precision], torch.device(device).type
        self.scaler = torch.amp.GradScaler(self._kind, enabled=precision == "fp16")
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def __call__(self, inputs: Tensor, labels: Tensor, number: int, length: int | None) -> tuple[float, Tensor]:
        """Do batch `number` (from 1) of an epoch of `length` batches: its loss, and how many logits were right."""
        targets = labels
        with torch.no_grad():
            if self.augment is not None:
                inputs, targets = self.augment(inputs, labels)
            if self.prepare is not None:
                inputs = self.prepare(inputs)
        position = (number - 1) % self.accumulate
        group = self.accumulate if length is None else min(self.accumulate, length - (number - 1 - position))
        if position == 0:
            self.optimizer.zero_grad()
        with torch.autocast(self._kind, self._dtype) if self._dtype else contextlib.nullcontext():
            output = self.model(inputs)
            value = self._loss(output, targets)
        if self.l1:
            value = value + self.l1 * torch.stack([p.abs().sum() for p in self.parameters]).sum()
        self.scaler.scale(value / group if group > 1 else value).backward()
        if position + 1 == group:
            self._follow()
        logits = output.logits if isinstance(output, Outputs) else output
        hard = targets.argmax(1) if targets.is_floating_point() else targets
        return value.item(), (logits.detach().argmax(1) == hard).sum()

    def _loss(self, output: Tensor | Outputs, targets: Tensor) -> Tensor:
        try:
            return total_loss(output, targets, self.loss, self.auxiliary_weight)
        except (IndexError, RuntimeError) as error:
            logits = output.logits if isinstance(output, Outputs) else output
            if targets.is_floating_point() or not targets.numel():
                raise
            low, high = (int(value) for value in targets.aminmax())
            if low >= 0 and high < logits.shape[1]:
                raise
            raise ValueError(
                f"labels must lie in 0 to {logits.shape[1] - 1}, since the network has {logits.shape[1]} outputs; "
                f"got {low} to {high}: give the network more classes, or mend the labels"
            ) from error

    def _follow(self) -> None:
        if self.clip_norm is not None or self.clip_value is not None:
            self.scaler.unscale_(self.optimizer)
            if self.clip_value is not None:
                nn.utils.clip_grad_value_(self.parameters, self.clip_value)
            if self.clip_norm is not None:
                nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.schedule is not None and not isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step()
        if self.average is not None:
            self.average.update()

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, beside random states."""
        gradients = [p.grad for p in self.parameters] if self.accumulate > 1 else None
        return {
            "model": dict(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": None if self.average is None else self.average.state_dict(),
            "gradients": gradients,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from such a state.

        Raises:
            ValueError: if it is of another network or of other settings.
        """
        for name, part in (("schedule", self.schedule), ("ema", self.average)):
            if (part is None) != (state[name] is None):
                has = "without" if part is None else "with"
                raise ValueError(f"this training is {has} {name}, unlike the checkpoint's; take the same settings")
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
        except (RuntimeError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"the checkpoint is of another network or optimiser: {reason}") from error
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        if self.average is not None:
            self.average.load_state_dict(state["ema"])
        for parameter, gradient in zip(self.parameters, state["gradients"] or (), strict=False):
            parameter.grad = None if gradient is None else gradient.to(parameter.device)


def total_loss(
    output: Tensor | Outputs,
    labels: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
    auxiliary_weight: float = 0.3,
) -> Tensor:
    """The loss of the logits, and of auxiliary heads where there are any: L(logits) + w Σ_a L(head_a).

    >>> logits, labels = torch.zeros(1, 2), torch.tensor([0])
    >>> round(float(total_loss(Outputs(logits, (logits, logits)), labels) / total_loss(logits, labels)), 4)
    1.6
    """
    if not isinstance(output, Outputs):
        return loss(output, labels)
    value = loss(output.logits, labels)
    for logits in output.auxiliary:
        value = value + auxiliary_weight * loss(logits, labels)
    return value

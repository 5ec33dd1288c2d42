"""Learning rates over a training: how they fall, and how they warm up.

    η_t = η · min(1, (t + 1) / w) · f(t) · s

    constant     f = 1                                  cosine   f = ½ (1 + cos(π (t - w) / (T - w))), 1 before w
    step         f = γ^⌊epoch / n⌋                      plateau  f = 1; s ← γ s after more than p epochs without a
    exponential  f = γ^epoch                                     lower loss

t counts the optimiser's steps from 0, T all of them, w those of the warm-up; γ is `gamma`, n `step_epochs`, p
`patience`, and the epoch is ⌊t / steps_per_epoch⌋. References: Loshchilov and Hutter, SGDR (2017), for the cosine;
Goyal et al., Accurate, large minibatch SGD (2017), for the warm-up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

# A loss counts as lower if it is so by this part, as in torch's ReduceLROnPlateau.
_LOWER = 1e-4


@dataclass(frozen=True)
class Shape:
    """What a schedule is made of, in the module's words.

    >>> Shape("step", steps_per_epoch=10, epochs=4, gamma=0.1, step_epochs=2).factor(25)
    0.1
    """

    kind: str
    steps_per_epoch: int
    epochs: int
    warmup: float = 0.0
    gamma: float = 0.1
    step_epochs: int = 10
    patience: int = 3

    @property
    def warmup_steps(self) -> int:
        """The steps of the warm-up."""
        return round(self.warmup * self.steps_per_epoch)

    def factor(self, t: int) -> float:
        """η_t / (η s)."""
        rise = min(1.0, (t + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        return rise * SHAPES[self.kind](self, t)


def _step(shape: Shape, t: int) -> float:
    return shape.gamma ** (t // shape.steps_per_epoch // shape.step_epochs)


def _cosine(shape: Shape, t: int) -> float:
    total = shape.epochs * shape.steps_per_epoch - shape.warmup_steps
    done = max(0, t - shape.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done / total))) if total else 1.0


def _exponential(shape: Shape, t: int) -> float:
    return shape.gamma ** (t // shape.steps_per_epoch)


SHAPES: Mapping[str, Callable[[Shape, int], float]] = {
    "constant": lambda shape, t: 1.0,
    "step": _step,
    "cosine": _cosine,
    "exponential": _exponential,
    "plateau": lambda shape, t: 1.0,
}


class Schedule(LRScheduler):
    """A learning rate that is set anew after every step of the optimiser, and told of every epoch's loss.

    Args:
        optimizer: whose rates are set; those that it has are η. shape: which schedule.

    >>> import torch
    >>> optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=1.0)
    >>> schedule = Schedule(optimizer, Shape("exponential", steps_per_epoch=1, epochs=3, gamma=0.5))
    >>> optimizer.step(); schedule.step(); schedule.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, shape: Shape) -> None:
        self._shape = shape
        self.scale, self.best, self.worse = 1.0, math.inf, 0
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """The rates of the next step."""
        return [float(base) * self._shape.factor(self.last_epoch) * self.scale for base in self.base_lrs]

    def observe(self, loss: float) -> None:
        """Tell an epoch's loss: of the validation, or of the training where there is none."""
        if self._shape.kind != "plateau":
            return
        if loss < self.best * (1 - math.copysign(_LOWER, self.best)):
            self.best, self.worse = loss, 0
            return
        self.worse += 1
        if self.worse > self._shape.patience:
            self.scale, self.worse = self.scale * self._shape.gamma, 0
            self._last_lr = self.get_lr()
            for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
                group["lr"] = rate

    def state_dict(self) -> dict[str, float | int | list[float]]:
        """Where the schedule stands; what it is comes from the settings."""
        return {
            "last_epoch": self.last_epoch,
            "base_lrs": [float(rate) for rate in self.base_lrs],
            "last_lr": [float(rate) for rate in self.get_last_lr()],
            "scale": self.scale,
            "best": self.best,
            "worse": self.worse,
        }

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from where a schedule stood."""
        found = dict(state_dict)
        self._last_lr = found.pop("last_lr")
        self.__dict__.update(found)

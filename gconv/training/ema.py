"""A running average of a network's weights, which is what is evaluated in the end.

    w̄ ← w̄ + (1 - d_t) (w - w̄),   d_t = min(decay, (1 + t) / (10 + t))

t counts the updates from 1: the average begins short, so that the first weights, which are noise, are soon forgotten.
Running statistics of norms are averaged too; counts are copied. Cost: a pass over the weights a step, and their memory.
Reference: Polyak and Juditsky, Acceleration of stochastic approximation by averaging (1992).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """The running average of a module's parameters and buffers.

    Args:
        module: whose weights are averaged; on its final device. decay: how slowly, 0 < decay < 1.

    Raises:
        ValueError: for a decay outside.

    >>> module = nn.Linear(1, 1)
    >>> average = Average(module, decay=0.9)
    >>> average.update()
    >>> with average.applied():
    ...     answer = module(torch.zeros(1, 1))
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"decay takes a number between 0 and 1, got {decay!r}")
        self.decay = decay
        self.updates = 0
        self._current = dict(module.state_dict(keep_vars=True))
        self.weights: dict[str, Tensor] = {name: value.detach().clone() for name, value in self._current.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now: once after every step of the optimiser."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        floating = [name for name, value in self.weights.items() if value.is_floating_point()]
        mean, now = ([part[name].detach() for name in floating] for part in (self.weights, self._current))
        torch._foreach_lerp_(mean, now, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
        for name, value in self.weights.items():
            if not value.is_floating_point():
                value.copy_(self._current[name])

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within it the module has the average weights; afterwards its own again."""
        own = {name: value.detach().clone() for name, value in self._current.items()}
        self._put(self.weights)
        try:
            yield
        finally:
            self._put(own)

    def state_dict(self) -> dict[str, Any]:
        """The average, and how many updates made it."""
        return {"updates": self.updates, "weights": dict(self.weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from an average."""
        self.updates = state["updates"]
        for name, value in self.weights.items():
            value.copy_(state["weights"][name])

    @torch.no_grad()
    def _put(self, weights: dict[str, Tensor]) -> None:
        for name, value in self._current.items():
            value.copy_(weights[name])

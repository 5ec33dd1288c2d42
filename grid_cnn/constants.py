"""A tensor that a layer is made with and that no training changes: on the CPU, with a copy wherever it is read."""

from __future__ import annotations

import torch
from torch import Tensor


class Constant:
    """A tensor of indices that belongs to a layer's constructor, not to its state.

    Unlike a buffer it stays true where a module is made on meta, then emptied or filled by `load_state_dict`.

    Args:
        tensor: what it holds.

    >>> Constant(torch.tensor([2, 0])).on(torch.device("cpu"))
    tensor([2, 0])
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.cpu()
        self._copies: dict[torch.device, Tensor] = {}

    def on(self, device: torch.device) -> Tensor:
        """The tensor on `device`, copied there once."""
        if device.type == "cpu":
            return self.tensor
        if device not in self._copies:
            self._copies[device] = self.tensor.to(device)
        return self._copies[device]

    def __reduce__(self) -> tuple[type[Constant], tuple[Tensor]]:
        return Constant, (self.tensor,)  # copies are made anew where they are read

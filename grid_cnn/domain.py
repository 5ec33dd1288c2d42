"""Where a signal lives: the `Domain` protocol, and the regular `Grid`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import torch


@runtime_checkable
class Domain(Protocol):
    """What every domain offers. A domain is frozen and cheap to pass around."""

    @property
    def num_nodes(self) -> int:
        """The number of places at which a signal has a value."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """The same domain with all that it computes kept on `device`."""
        ...

    def zeros(self, channels: int, *, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """A batch of one signal, all zero, in this domain's own layout."""
        ...


@dataclass(frozen=True, repr=False)
class Grid:
    """A regular grid of cells, compared by value.

    A signal on it is a tensor `(B, C, *size)`, as in torch. A periodic grid closes on itself along every axis
    (a ring, a torus): it has no borders, so layers that pad wrap around instead.

    Args:
        size: the number of cells along each axis; an integer means one axis.
        periodic: whether every axis wraps around.

    Raises:
        ValueError: for no axis at all, or an axis that is not a positive whole number.

    >>> Grid((28, 28)).num_nodes
    784
    >>> Grid([28, 28]) == Grid((28, 28))
    True
    """

    size: tuple[int, ...]
    periodic: bool = False

    def __init__(self, size: int | Sequence[int], periodic: bool = False) -> None:
        axes = tuple(size) if isinstance(size, Iterable) else (size,)
        if not axes or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in axes):
            raise ValueError(f"Grid takes one positive whole number an axis, as in Grid((28, 28)); got size={size!r}")
        object.__setattr__(self, "size", axes)
        object.__setattr__(self, "periodic", bool(periodic))

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.size)

    @property
    def num_nodes(self) -> int:
        """The number of cells."""
        return math.prod(self.size)

    def to(self, device: torch.device | str) -> Grid:
        """A grid holds no tensors: itself."""
        return self

    def zeros(self, channels: int, *, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """A zero signal `(1, channels, *size)`."""
        return torch.zeros(1, channels, *self.size, dtype=dtype, device=device)

    def __repr__(self) -> str:
        return f"Grid({self.size}{', periodic=True' if self.periodic else ''})"

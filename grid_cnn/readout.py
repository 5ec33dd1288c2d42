"""What ends a grid: pools over all of it, and its values as one vector.

    y[c] = mean or max over all cells of x[c, ·]

Shapes: `(B, C, *size) -> (B, C)`, or `(B, C · cells)`. No parameters.
"""

from __future__ import annotations

from torch import Tensor

from grid_cnn.domain import Domain
from grid_cnn.layer import GridLayer, LeavesDomain, check_ndim


class _WholeGrid(GridLayer, LeavesDomain):
    def __init__(self, ndim: int = 2) -> None:
        super().__init__()
        self.ndim = check_ndim(type(self).__name__, ndim)

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(range(-self.ndim, 0))


class GlobalAvgPool(_WholeGrid):
    """The mean of every channel over the whole grid: `(B, C, *size) -> (B, C)`.

    >>> import torch
    >>> GlobalAvgPool()(torch.ones(2, 3, 4, 4)).shape
    torch.Size([2, 3])
    """

    def forward(self, input: Tensor, domain: Domain | None = None) -> Tensor:
        self.grid(input, domain)
        return input.mean(self.axes)


class GlobalMaxPool(_WholeGrid):
    """The largest value of every channel over the whole grid: `(B, C, *size) -> (B, C)`.

    >>> import torch
    >>> GlobalMaxPool()(torch.ones(2, 3, 4, 4)).shape
    torch.Size([2, 3])
    """

    def forward(self, input: Tensor, domain: Domain | None = None) -> Tensor:
        self.grid(input, domain)
        return input.amax(self.axes)


class Flatten(_WholeGrid):
    """All values of a signal as one vector, channel by channel: `(B, C, *size) -> (B, C · cells)`.

    >>> import torch
    >>> Flatten()(torch.ones(2, 3, 4, 4)).shape
    torch.Size([2, 48])
    """

    def forward(self, input: Tensor, domain: Domain | None = None) -> Tensor:
        self.grid(input, domain)
        return input.flatten(-self.ndim - 1)

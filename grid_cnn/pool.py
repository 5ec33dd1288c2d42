"""Pools on grids: max, min and average over windows.

    y[c, p] = max / min / mean over the window of x[c, S p + d m - P]

Shapes: `(B, C, *size) -> (B, C, *output_size(size, F, S, P, d))`. No parameters. Constructors are torch's. They do not
wrap around on a periodic grid; padding is never the maximum, nor the minimum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import torch.nn.functional as F
from torch import Tensor

from grid_cnn.arithmetic import output_size, per_axis
from grid_cnn.domain import Domain, Grid
from grid_cnn.layer import GridLayer

Size = int | Sequence[int]


class Pool(GridLayer):
    """A pool from a grid to a coarser one; abstract: subclasses give `codomain` and `pool`.

    `reduction` names what is done to the values under a window, for domains that have other windows.
    """

    reduction: ClassVar[str] = ""

    def codomain(self, domain: Domain | None) -> Grid | None:
        """The grid of pooled cells."""
        raise TypeError(f"{type(self).__name__} is abstract")

    def window(self, grid: Grid) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Kernel, stride and dilation along each axis of a grid."""
        raise TypeError(f"{type(self).__name__} is abstract")

    def reach(self, grid: Grid) -> int:
        """How many cells away from its place a window's farthest cell lies."""
        kernel, _, dilation = self.window(grid)
        return max(d * (f - 1) for f, d in zip(kernel, dilation, strict=True))

    def forward(self, input: Tensor, domain: Domain | None = None) -> Tensor:
        self.codomain(self.grid(input, domain))
        return self.pool(input)

    def pool(self, x: Tensor) -> Tensor:
        """The pool of a tensor that is known to fit."""
        raise TypeError(f"{type(self).__name__} is abstract")


class WindowPool(Pool):
    """A pool over windows; abstract: what is done to a window is for the subclasses to say."""

    def __init__(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1, *, ceil_mode: bool
    ) -> None:
        super().__init__()
        self.kernel_size = per_axis(kernel_size, self.ndim, "kernel_size")
        self.stride = self.kernel_size if stride is None else per_axis(stride, self.ndim, "stride")
        self.padding = per_axis(padding, self.ndim, "padding", least=0)
        self.dilation = per_axis(dilation, self.ndim, "dilation")
        self.ceil_mode = ceil_mode
        if any(2 * p > f for p, f in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(f"padding {self.padding} is more than half of kernel_size {self.kernel_size}")

    def codomain(self, domain: Domain | None) -> Grid | None:
        """The grid of windows; still periodic if each lies in a block of its own and the blocks tile the grid."""
        if not isinstance(domain, Grid):
            return None
        self.check_axes(domain)
        size = output_size(
            domain.size, self.kernel_size, self.stride, self.padding, self.dilation, ceil_mode=self.ceil_mode
        )
        axes = zip(self.kernel_size, self.stride, self.dilation, strict=True)
        tiles = not any(self.padding) and all(d * (f - 1) < s for f, s, d in axes)
        tiles = tiles and all(o * s == n for o, s, n in zip(size, self.stride, domain.size, strict=True))
        return Grid(size, periodic=domain.periodic and tiles)

    def window(self, grid: Grid) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Kernel, stride and dilation, whatever the grid."""
        return self.kernel_size, self.stride, self.dilation

    def reach(self, grid: Grid) -> int:
        """How many cells away from its place a window's farthest cell lies, on either side."""
        axes = zip(self.kernel_size, self.dilation, self.padding, strict=True)
        return max(max(p, d * (f - 1) - p) for f, d, p in axes)

    def extra_repr(self) -> str:
        ceil = ", ceil_mode=True" * self.ceil_mode
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}{ceil}"


class _MaxPool(WindowPool):
    reduction = "max"

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode=ceil_mode)

    def pool(self, x: Tensor) -> Tensor:
        return self._windows((F.max_pool1d, F.max_pool2d, F.max_pool3d), x)

    def with_switches(self, input: Tensor, domain: Domain | None = None) -> tuple[Tensor, Tensor]:
        """The pooled signal, and the cell (row-major) that each value came from: what `MaxUnpool2d` takes."""
        self.codomain(self.grid(input, domain))
        table = (F.max_pool1d_with_indices, F.max_pool2d_with_indices, F.max_pool3d_with_indices)
        return self._windows(table, input)

    def _windows(self, table: Sequence[Callable[..., Any]], x: Tensor) -> Any:
        window = self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        return table[self.ndim - 1](x, *window)


class _MinPool(_MaxPool):
    reduction = "min"

    def pool(self, x: Tensor) -> Tensor:
        return -super().pool(-x)

    def with_switches(self, input: Tensor, domain: Domain | None = None) -> tuple[Tensor, Tensor]:
        """The pooled signal, and the cell (row-major) that each value came from."""
        values, switches = super().with_switches(-input, domain)
        return -values, switches


class _AvgPool(WindowPool):
    reduction = "mean"

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode=ceil_mode)
        self.count_include_pad = count_include_pad

    def codomain(self, domain: Domain | None) -> Grid | None:
        """The grid of windows; still periodic if they tile the grid."""
        grid = super().codomain(domain)
        if isinstance(domain, Grid) and self.ndim == 3 and any(map(int.__lt__, domain.size, self.kernel_size)):
            raise ValueError(
                f"{type(self).__name__} takes no window larger than the input without its padding, got kernel_size="
                f"{self.kernel_size} on {domain!r}; take a larger input or a smaller kernel"
            )
        return grid

    def pool(self, x: Tensor) -> Tensor:
        operator = cast(Callable[..., Tensor], (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[self.ndim - 1])
        return operator(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class MaxPool1d(_MaxPool):
    """The largest value of each window on a line.

    >>> import torch
    >>> MaxPool1d(2)(torch.tensor([[[1.0, 5.0, 2.0, 3.0]]]))
    tensor([[[5., 3.]]])
    """

    ndim = 1


class MaxPool2d(_MaxPool):
    """The largest value of each window of a picture.

    >>> import torch
    >>> MaxPool2d(2)(torch.tensor([[[[1., 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]]]))
    tensor([[[[6., 8.],
              [3., 4.]]]])
    """

    ndim = 2


class MaxPool3d(_MaxPool):
    """The largest value of each window of a volume.

    >>> import torch
    >>> MaxPool3d(2)(torch.zeros(1, 1, 4, 4, 4)).shape
    torch.Size([1, 1, 2, 2, 2])
    """

    ndim = 3


class MinPool1d(_MinPool):
    """The smallest value of each window on a line.

    >>> import torch
    >>> MinPool1d(2)(torch.tensor([[[1.0, 5.0, 2.0, 3.0]]]))
    tensor([[[1., 2.]]])
    """

    ndim = 1


class MinPool2d(_MinPool):
    """The smallest value of each window of a picture.

    >>> import torch
    >>> MinPool2d(2)(torch.tensor([[[[1., 2], [3, 4]]]]))
    tensor([[[[1.]]]])
    """

    ndim = 2


class MinPool3d(_MinPool):
    """The smallest value of each window of a volume.

    >>> import torch
    >>> MinPool3d(2)(torch.zeros(1, 1, 4, 4, 4)).shape
    torch.Size([1, 1, 2, 2, 2])
    """

    ndim = 3


class AvgPool1d(_AvgPool):
    """The mean of each window on a line.

    >>> import torch
    >>> AvgPool1d(2)(torch.tensor([[[1.0, 5.0, 2.0, 3.0]]]))
    tensor([[[3.0000, 2.5000]]])
    """

    ndim = 1


class AvgPool2d(_AvgPool):
    """The mean of each window of a picture.

    >>> import torch
    >>> AvgPool2d(2)(torch.tensor([[[[2., 3, 2, 5], [5, 6, 9, 8], [3, 2, 1, 2], [1, 2, 0, 1]]]]))
    tensor([[[[4., 6.],
              [2., 1.]]]])
    """

    ndim = 2


class AvgPool3d(_AvgPool):
    """The mean of each window of a volume.

    >>> import torch
    >>> AvgPool3d(2)(torch.zeros(1, 1, 4, 4, 4)).shape
    torch.Size([1, 1, 2, 2, 2])
    """

    ndim = 3

"""Pools to a given size, whatever the size of the input: adaptive pools, and the spatial pyramid.

    y[c, p] = mean or max over the cells ⌊p W / O⌋ ... ⌈(p + 1) W / O⌉ - 1 of each axis of x[c, ·]       (adaptive)
    y       = [adaptive(x, n_1), ..., adaptive(x, n_L)], each flattened, as one vector                    (pyramid)

Symbols: O = `output_size`, W the input's size, n_l = `levels`. Blocks overlap by a cell where W is no multiple of O.
Shapes: `(B, C, *size) -> (B, C, *output_size)`; the pyramid's `(B, C Σ_l n_l^ndim)`, level by level, each
channel-major. No parameters. Reads every cell about once a level.
Reference: He, Zhang, Ren and Sun, Spatial pyramid pooling in deep convolutional networks (2014).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from grid_cnn.arithmetic import per_axis
from grid_cnn.domain import Domain, Grid
from grid_cnn.layer import GridLayer, LeavesDomain, check_ndim
from grid_cnn.pool import Pool

Size = int | Sequence[int | None] | None


class AdaptivePool(Pool):
    """A pool to a given size; abstract: what is done to a block is for the subclasses to say."""

    def __init__(self, output_size: Size) -> None:
        super().__init__()
        axes = tuple(output_size) if isinstance(output_size, Sequence) else (output_size,) * self.ndim
        if len(axes) != self.ndim or any(n is not None and (type(n) is not int or n < 1) for n in axes):
            raise ValueError(
                f"output_size takes a whole number >= 1, or {self.ndim} of them, None where an axis keeps its size; "
                f"got {output_size!r}"
            )
        self.output_size = axes

    def codomain(self, domain: Domain | None) -> Grid | None:
        """The grid of `output_size`; still periodic if the blocks tile the grid."""
        if not isinstance(domain, Grid):
            return None
        self.check_axes(domain)
        size = tuple(n if o is None else o for o, n in zip(self.output_size, domain.size, strict=True))
        tiles = all(n % o == 0 for n, o in zip(domain.size, size, strict=True))
        return Grid(size, periodic=domain.periodic and tiles)

    def window(self, grid: Grid) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """The largest block along each axis, and by how many cells blocks lie apart, rounded down.

        >>> AdaptiveAvgPool1d(2).window(Grid((5,)))
        ((3,), (2,), (1,))
        """
        reached = self.codomain(grid)
        assert reached is not None
        axes = [*zip(grid.size, reached.size, strict=True)]
        kernel = tuple(max(-(-(p + 1) * n // o) - p * n // o for p in range(o)) for n, o in axes)
        return kernel, tuple(max(n // o, 1) for n, o in axes), (1,) * len(axes)

    def target(self, x: Tensor) -> tuple[int, ...]:
        """The size of the result for this input."""
        return tuple(n if o is None else o for o, n in zip(self.output_size, x.shape[-self.ndim :], strict=True))

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class _AdaptiveAvgPool(AdaptivePool):
    reduction = "mean"

    def pool(self, x: Tensor) -> Tensor:
        table = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
        return cast(Callable[..., Tensor], table[self.ndim - 1])(x, self.target(x))


class _AdaptiveMaxPool(AdaptivePool):
    reduction = "max"

    def pool(self, x: Tensor) -> Tensor:
        table = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)
        return cast(Callable[..., Tensor], table[self.ndim - 1])(x, self.target(x))


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The mean of each of `output_size` blocks on a line.

    >>> AdaptiveAvgPool1d(2)(torch.tensor([[[1.0, 5.0, 2.0, 4.0]]]))
    tensor([[[3., 3.]]])
    """

    ndim = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The mean of each of `output_size` blocks of a picture: `torch.nn.AdaptiveAvgPool2d`.

    Args:
        output_size: O, one whole number, or one an axis; None for an axis that keeps its size.

    Raises:
        ValueError: for another `output_size`.

    >>> AdaptiveAvgPool2d((6, 6))(torch.zeros(2, 3, 13, 9)).shape
    torch.Size([2, 3, 6, 6])
    """

    ndim = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The mean of each of `output_size` blocks of a volume.

    >>> AdaptiveAvgPool3d(2)(torch.zeros(2, 3, 5, 5, 5)).shape
    torch.Size([2, 3, 2, 2, 2])
    """

    ndim = 3


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest value of each of `output_size` blocks on a line.

    >>> AdaptiveMaxPool1d(2)(torch.tensor([[[1.0, 5.0, 2.0, 4.0]]]))
    tensor([[[5., 4.]]])
    """

    ndim = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest value of each of `output_size` blocks of a picture.

    >>> AdaptiveMaxPool2d(1)(torch.zeros(2, 3, 13, 9)).shape
    torch.Size([2, 3, 1, 1])
    """

    ndim = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest value of each of `output_size` blocks of a volume.

    >>> AdaptiveMaxPool3d((1, 2, 3))(torch.zeros(2, 3, 5, 5, 5)).shape
    torch.Size([2, 3, 1, 2, 3])
    """

    ndim = 3


class SpatialPyramidPool(GridLayer, LeavesDomain):
    """One vector from pictures of any size: adaptive pools to several sizes, flattened side by side.

    Args:
        levels: n_l, the sides of the pooled grids; (4, 2, 1) gives 21 numbers a channel on pictures.
        average: take means; the paper takes the largest values.
        ndim: the number of axes.

    Raises:
        ValueError: for no level, or one that is not a positive whole number.

    >>> layer = SpatialPyramidPool((4, 2, 1))
    >>> layer(torch.zeros(2, 3, 13, 9)).shape, layer(torch.zeros(2, 3, 32, 32)).shape
    (torch.Size([2, 63]), torch.Size([2, 63]))
    """

    def __init__(self, levels: Sequence[int] = (4, 2, 1), *, average: bool = False, ndim: int = 2) -> None:
        super().__init__()
        self.ndim, self.average = check_ndim(type(self).__name__, ndim), average
        if not isinstance(levels, Sequence) or isinstance(levels, str) or not levels:
            raise ValueError(f"levels takes the sides of the pooled grids, as in (4, 2, 1); got {levels!r}")
        self.levels = per_axis(levels, len(levels), "levels")
        kinds = (AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d) if average else None
        kind = (kinds or (AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d))[self.ndim - 1]
        self.pools = tuple(kind(level) for level in self.levels)

    @property
    def features(self) -> int:
        """How many numbers a channel gives: Σ_l n_l^ndim, what a dense head needs to know."""
        return sum(level**self.ndim for level in self.levels)

    def forward(self, input: Tensor, domain: Domain | None = None) -> Tensor:
        self.grid(input, domain)
        return torch.cat([pool.pool(input).flatten(-self.ndim - 1) for pool in self.pools], -1)

    def extra_repr(self) -> str:
        return f"levels={self.levels}, average={self.average}"

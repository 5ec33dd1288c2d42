"""A family of layers to build a network from: the `Ops` protocol, and `GridOps` for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from grid_cnn import conv, norm, pool
from grid_cnn.arithmetic import Padding
from grid_cnn.layer import Layer, check_ndim

Size = int | Sequence[int]


class Ops(Protocol):
    """What a recipe may ask for; every family gives its layers the same signatures and meanings."""

    @property
    def has_valid_borders(self) -> bool:
        """Whether `conv` knows `padding='valid'` and numbers, and not only 'same'."""
        ...

    def conv(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = "same",
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> Layer:
        """A convolution with as many terms as a kernel of `kernel_size` has weights."""
        ...

    def max_pool(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> Layer:
        """The largest value of each window; stride None: windows that do not overlap."""
        ...

    def min_pool(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> Layer:
        """The smallest value of each window."""
        ...

    def avg_pool(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> Layer:
        """The mean of each window, cells of padding counted as zeros."""
        ...

    def global_avg_pool(self) -> Layer:
        """The mean over the whole domain: one vector of channels a signal."""
        ...

    def global_max_pool(self) -> Layer:
        """The largest value over the whole domain: one vector of channels a signal."""
        ...

    def norm(self, channels: int) -> Layer:
        """Batch normalisation, channel by channel."""
        ...

    def flatten(self) -> Layer:
        """All values of a signal as one vector, channel-major."""
        ...


class GridOps:
    """The layers of image CNNs, on grids of one to three axes.

    Args:
        ndim: the number of axes: 1 for sequences, 2 for pictures, 3 for volumes.

    Raises:
        ValueError: for another `ndim`.

    >>> GridOps().conv(1, 6, 5)
    Conv2d(1, 6, kernel_size=(5, 5), padding='same')
    """

    has_valid_borders = True

    def __init__(self, ndim: int = 2) -> None:
        self.ndim = check_ndim("GridOps", ndim)

    def __repr__(self) -> str:
        return f"GridOps(ndim={self.ndim})"

    def conv(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = "same",
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> Layer:
        """`Conv1d`, `Conv2d` or `Conv3d`."""
        layer = (conv.Conv1d, conv.Conv2d, conv.Conv3d)[self.ndim - 1]
        return layer(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)

    def max_pool(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> Layer:
        """`MaxPool1d`, `MaxPool2d` or `MaxPool3d`."""
        return (pool.MaxPool1d, pool.MaxPool2d, pool.MaxPool3d)[self.ndim - 1](kernel_size, stride, padding)

    def min_pool(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> Layer:
        """`MinPool1d`, `MinPool2d` or `MinPool3d`."""
        return (pool.MinPool1d, pool.MinPool2d, pool.MinPool3d)[self.ndim - 1](kernel_size, stride, padding)

    def avg_pool(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> Layer:
        """`AvgPool1d`, `AvgPool2d` or `AvgPool3d`."""
        return (pool.AvgPool1d, pool.AvgPool2d, pool.AvgPool3d)[self.ndim - 1](kernel_size, stride, padding)

    def global_avg_pool(self) -> Layer:
        """`GlobalAvgPool`."""
        return pool.GlobalAvgPool(self.ndim)

    def global_max_pool(self) -> Layer:
        """`GlobalMaxPool`."""
        return pool.GlobalMaxPool(self.ndim)

    def norm(self, channels: int) -> Layer:
        """`BatchNorm1d`, `BatchNorm2d` or `BatchNorm3d`."""
        return (norm.BatchNorm1d, norm.BatchNorm2d, norm.BatchNorm3d)[self.ndim - 1](channels)

    def flatten(self) -> Layer:
        """`Flatten`."""
        return pool.Flatten(self.ndim)

"""A family of layers to build a network from: the `Ops` protocol, and `GridOps` for pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import nn

from grid_cnn import adaptive, conv, join, norm, pool, readout
from grid_cnn.arithmetic import Padding
from grid_cnn.layer import Layer, check_ndim

Size = int | Sequence[int]

# What `concat` and `add` take: layers and modules that act element by element, named or in order.
Branches = Mapping[str, nn.Module] | Sequence[nn.Module]


class Ops(Protocol):
    """What a recipe may ask for; every family gives its layers the same signatures and meanings."""

    @property
    def has_valid_borders(self) -> bool:
        """Whether `conv` knows `padding='valid'` and numbers, and not only 'same'."""
        ...

    @property
    def channel_axis(self) -> int:
        """The axis of a batch of signals along which channels lie."""
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

    def max_pool(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False
    ) -> Layer:
        """The largest value of each window; stride None: windows that do not overlap; ceil_mode: sizes rounded up."""
        ...

    def min_pool(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False
    ) -> Layer:
        """The smallest value of each window."""
        ...

    def avg_pool(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> Layer:
        """The mean of each window, cells of padding counted as zeros, or not at all."""
        ...

    def adaptive_avg_pool(self, size: Size) -> Layer:
        """The mean of each of `size` blocks an axis, whatever the size of the input."""
        ...

    def adaptive_max_pool(self, size: Size) -> Layer:
        """The largest value of each of `size` blocks an axis."""
        ...

    def global_avg_pool(self) -> Layer:
        """The mean over the whole domain: one vector of channels a signal."""
        ...

    def global_max_pool(self) -> Layer:
        """The largest value over the whole domain: one vector of channels a signal."""
        ...

    def norm(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> Layer:
        """Batch normalisation, channel by channel."""
        ...

    def local_response_norm(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Layer:
        """Every value divided by a power of the mean square of its neighbours among the channels."""
        ...

    def concat(self, branches: Branches) -> Layer:
        """Every branch on the same signal, their results side by side along the channels."""
        ...

    def add(self, branches: Branches) -> Layer:
        """Every branch on the same signal, and the sum of their results."""
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
    channel_axis = 1

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

    def max_pool(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False
    ) -> Layer:
        """`MaxPool1d`, `MaxPool2d` or `MaxPool3d`."""
        layer = (pool.MaxPool1d, pool.MaxPool2d, pool.MaxPool3d)[self.ndim - 1]
        return layer(kernel_size, stride, padding, ceil_mode=ceil_mode)

    def min_pool(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False
    ) -> Layer:
        """`MinPool1d`, `MinPool2d` or `MinPool3d`."""
        layer = (pool.MinPool1d, pool.MinPool2d, pool.MinPool3d)[self.ndim - 1]
        return layer(kernel_size, stride, padding, ceil_mode=ceil_mode)

    def avg_pool(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> Layer:
        """`AvgPool1d`, `AvgPool2d` or `AvgPool3d`."""
        layer = (pool.AvgPool1d, pool.AvgPool2d, pool.AvgPool3d)[self.ndim - 1]
        return layer(kernel_size, stride, padding, ceil_mode, count_include_pad)

    def adaptive_avg_pool(self, size: Size) -> Layer:
        """`AdaptiveAvgPool1d`, `AdaptiveAvgPool2d` or `AdaptiveAvgPool3d`."""
        return (adaptive.AdaptiveAvgPool1d, adaptive.AdaptiveAvgPool2d, adaptive.AdaptiveAvgPool3d)[self.ndim - 1](size)

    def adaptive_max_pool(self, size: Size) -> Layer:
        """`AdaptiveMaxPool1d`, `AdaptiveMaxPool2d` or `AdaptiveMaxPool3d`."""
        return (adaptive.AdaptiveMaxPool1d, adaptive.AdaptiveMaxPool2d, adaptive.AdaptiveMaxPool3d)[self.ndim - 1](size)

    def global_avg_pool(self) -> Layer:
        """`GlobalAvgPool`."""
        return readout.GlobalAvgPool(self.ndim)

    def global_max_pool(self) -> Layer:
        """`GlobalMaxPool`."""
        return readout.GlobalMaxPool(self.ndim)

    def norm(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> Layer:
        """`BatchNorm1d`, `BatchNorm2d` or `BatchNorm3d`."""
        layer = (norm.BatchNorm1d, norm.BatchNorm2d, norm.BatchNorm3d)[self.ndim - 1]
        return layer(channels, eps, momentum)

    def local_response_norm(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Layer:
        """`LocalResponseNorm`."""
        return norm.LocalResponseNorm(size, alpha, beta, k, ndim=self.ndim)

    def concat(self, branches: Branches) -> Layer:
        """`Concat`, along axis 1."""
        return join.Concat(branches, self.ndim)

    def add(self, branches: Branches) -> Layer:
        """`Add`."""
        return join.Add(branches, self.ndim)

    def flatten(self) -> Layer:
        """`Flatten`."""
        return readout.Flatten(self.ndim)

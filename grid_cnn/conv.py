"""Convolutions on grids: torch's, name for name, as layers over a domain.

With offsets m of the kernel, stride S and dilation d, and the border given by `padding` and `padding_mode`,

    y[o, p] = b[o] + Σ_{c, m} w[o, c, m] x[c, S p + d m - P]        (cross-correlation, the default)
    y[o, p] = b[o] + Σ_{c, m} w[o, c, F - 1 - m] x[c, S p + d m - P]  (true convolution: the kernel flipped)

Shapes: `(B, C_in, *size) -> (B, C_out, *output_size(size, F, S, P, d))`; any floating dtype; constructor, parameter
names and state dict are `torch.nn.Conv1d/2d/3d`'s. Multiply-adds: C_in/groups · C_out · F^ndim an output cell.
Reference: Dumoulin and Visin, A guide to convolution arithmetic for deep learning (2016).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from grid_cnn.arithmetic import Padding, border, per_axis, positions
from grid_cnn.checks import whole
from grid_cnn.domain import Domain, Grid
from grid_cnn.layer import GridLayer

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    borders: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int,
    padding_mode: str,
) -> Tensor:
    """Cross-correlate `x` `(B, C, *size)` with `weight`, with the given cells added before and after each axis."""
    operator = cast(Callable[..., Tensor], (F.conv1d, F.conv2d, F.conv3d)[len(borders) - 1])
    if padding_mode == "zeros" and all(before == after for before, after in borders):
        return operator(x, weight, bias, stride, [before for before, _ in borders], dilation, groups)
    flat = [cells for pair in reversed(borders) for cells in pair]
    if any(flat):
        x = F.pad(x, flat, mode="constant" if padding_mode == "zeros" else padding_mode)
    return operator(x, weight, bias, stride, 0, dilation, groups)


def output_grid(
    grid: Grid,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    borders: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    padding_mode: str,
) -> Grid:
    """The grid of a window's positions; still periodic if it wrapped and the stride divides every axis.

    Raises:
        ValueError: if the kernel is larger than the padded input, or a border would copy more cells than there are.
    """
    mode = "circular" if grid.periodic else padding_mode
    most = {"reflect": [n - 1 for n in grid.size], "circular": list(grid.size)}.get(mode)
    if most is not None and any(max(pair) > limit for pair, limit in zip(borders, most, strict=True)):
        where = "on a periodic grid" if grid.periodic else f"with padding_mode={mode!r}"
        mend = "a larger grid" if grid.periodic else "padding_mode='zeros'"
        raise ValueError(
            f"padding {[max(pair) for pair in borders]} {where} needs more cells than the input "
            f"has: {grid.size}; take less padding, or {mend}"
        )
    axes = zip(grid.size, kernel_size, stride, dilation, borders, strict=True)
    size = tuple(positions(n, f, s, d, *pair) for n, f, s, d, pair in axes)
    even = all(o * s == n for o, s, n in zip(size, stride, grid.size, strict=True))
    return Grid(size, periodic=grid.periodic and even)


class _ConvLayer(GridLayer):
    """What the three convolutions share; mixed in before torch's class, which holds the parameters."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    weight: Tensor
    bias: Tensor | None
    groups: int
    padding_mode: str

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: Padding = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        true_convolution: bool = False,
    ) -> None:
        kernel, spread = per_axis(kernel_size, self.ndim, "kernel_size"), per_axis(dilation, self.ndim, "dilation")
        steps = per_axis(stride, self.ndim, "stride")
        check_channels(in_channels, out_channels, groups)
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"padding_mode is one of {', '.join(PADDING_MODES)}; got {padding_mode!r}")
        # torch's own constructor refuses 'same' with a stride; the border is applied by `convolve`, so it sees none.
        super().__init__(in_channels, out_channels, kernel, steps, 0, spread, groups, bias, padding_mode, device, dtype)  # pyright: ignore[reportCallIssue]
        self.padding = padding if isinstance(padding, str) else per_axis(padding, self.ndim, "padding", least=0)
        self.borders = border(kernel, spread, padding)
        self.true_convolution = true_convolution

    def codomain(self, domain: Domain | None) -> Grid | None:
        """The grid of output cells; still periodic if wrapped and divided evenly."""
        if not isinstance(domain, Grid):
            return None
        self.check_axes(domain)
        return output_grid(domain, self.kernel_size, self.stride, self.borders, self.dilation, self.padding_mode)

    def forward(self, input: Tensor, domain: Domain | None = None) -> Tensor:
        grid = self.grid(input, domain)
        self.check_dtype(input, self.weight)
        self.codomain(grid)
        weight = self.weight.flip(tuple(range(2, 2 + self.ndim))) if self.true_convolution else self.weight
        mode = "circular" if grid.periodic else self.padding_mode
        batch = input if input.dim() == self.ndim + 2 else input.unsqueeze(0)
        out = self.convolve(batch, weight, mode)
        return out if batch is input else out.squeeze(0)

    def convolve(self, x: Tensor, weight: Tensor, padding_mode: str) -> Tensor:
        """The cross-correlation of a batch that is known to fit with `weight`."""
        return convolve(x, weight, self.bias, self.stride, self.borders, self.dilation, self.groups, padding_mode)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.weight.shape[0]}, kernel_size={self.kernel_size}"
        shown = {"stride": self.stride, "dilation": self.dilation, "groups": self.groups}
        text += "".join(f", {name}={value}" for name, value in shown.items() if value not in (1, (1,) * self.ndim))
        text += f", padding={self.padding!r}" if self.padding != (0,) * self.ndim else ""
        text += f", padding_mode={self.padding_mode!r}" if self.padding_mode != "zeros" else ""
        return text + (", bias=False" if self.bias is None else "") + (", true" * self.true_convolution)


def check_channels(in_channels: int, out_channels: int, groups: int = 1) -> None:
    """Refuse channel counts that are not positive, or that `groups` does not divide.

    Raises:
        ValueError: naming the culprit.
    """
    for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
        whole(name, value)
    if in_channels % groups or out_channels % groups:
        raise ValueError(f"groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}")


class Conv1d(_ConvLayer, nn.Conv1d):
    """Convolution along a line: `torch.nn.Conv1d` with 'same' at every stride and `true_convolution`.

    >>> import torch
    >>> Conv1d(1, 2, 3, padding="same")(torch.zeros(1, 1, 12)).shape
    torch.Size([1, 2, 12])
    """

    ndim = 1


class Conv2d(_ConvLayer, nn.Conv2d):
    """Convolution of pictures: `torch.nn.Conv2d` with 'same' at every stride and `true_convolution`.

    On a periodic grid padding wraps around, whatever `padding_mode` says: there is no border to pad.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode: as in torch;
            `padding` 'same' also with a stride (every S-th of the stride-1 positions).
        true_convolution: flip the kernel, the convolution of mathematics, instead of torch's cross-correlation.

    Raises:
        ValueError: for a signal of other channels or size than expected, or smaller than the kernel.

    >>> import torch
    >>> Conv2d(3, 8, 3, stride=2, padding="same")(torch.zeros(1, 3, 28, 28)).shape
    torch.Size([1, 8, 14, 14])
    """

    ndim = 2


class Conv3d(_ConvLayer, nn.Conv3d):
    """Convolution of volumes: `torch.nn.Conv3d` with 'same' at every stride and `true_convolution`.

    >>> import torch
    >>> Conv3d(1, 2, 3)(torch.zeros(1, 1, 5, 5, 5)).shape
    torch.Size([1, 2, 3, 3, 3])
    """

    ndim = 3

"""Transposed convolutions on grids: torch's, as layers over a domain; they spread each cell over a window.

    y[o, S p + d m - P] += w[c, o, m] x[c, p]      for every cell p and tap m; plus b[o]

the adjoint of a convolution with the same weights, stride, padding and dilation (the backward pass of one). Symbols:
w = `weight` `(C_in, C_out / groups, *kernel_size)`, b = `bias`, S = `stride`, P = `padding`, d = `dilation`.
Shapes: `(B, C_in, *size) -> (B, C_out, *out_size)` with (W - 1) S - 2P + d (F - 1) + `output_padding` + 1 cells an
axis. Cost: C_in/groups · C_out · F^ndim multiply-adds an input cell. Constructor, parameter names and state dict are
`torch.nn.ConvTranspose1d/2d/3d`'s. Reference: Dumoulin and Visin (2016); Zeiler and Fergus (2014).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from grid_cnn.arithmetic import per_axis
from grid_cnn.conv import check_channels
from grid_cnn.domain import Domain, Grid
from grid_cnn.layer import GridLayer

Size = int | Sequence[int]


class _TransposedLayer(GridLayer):
    """What the three layers share; mixed in before torch's class, which holds the parameters."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        kernel, steps = per_axis(kernel_size, self.ndim, "kernel_size"), per_axis(stride, self.ndim, "stride")
        cut, spread = per_axis(padding, self.ndim, "padding", least=0), per_axis(dilation, self.ndim, "dilation")
        more = per_axis(output_padding, self.ndim, "output_padding", least=0)
        check_channels(in_channels, out_channels, groups)
        if padding_mode != "zeros":
            raise ValueError(f"{type(self).__name__} knows padding_mode='zeros' alone, got {padding_mode!r}")
        if any(m >= max(s, d) for m, s, d in zip(more, steps, spread, strict=True)):
            raise ValueError(f"output_padding {more} must be smaller than stride {steps} or dilation {spread}")
        super().__init__(
            in_channels, out_channels, kernel, steps, cut, more, groups, bias, spread, padding_mode, device, dtype  # pyright: ignore[reportCallIssue]
        )  # fmt: skip

    def codomain(self, domain: Domain | None) -> Grid | None:
        """The grid of spread windows; a torus becomes the torus with `stride` times its cells.

        Raises:
            ValueError: if the padding takes away all cells.
        """
        if not isinstance(domain, Grid):
            return None
        self.check_axes(domain)
        if domain.periodic:
            return Grid(tuple(n * s for n, s in zip(domain.size, self.stride, strict=True)), periodic=True)
        size = tuple(
            (n - 1) * s - 2 * p + d * (f - 1) + m + 1
            for n, s, p, d, f, m in zip(
                domain.size,
                self.stride,
                self.padding,
                self.dilation,
                self.kernel_size,
                self.output_padding,
                strict=True,
            )
        )
        if min(size) < 1:
            raise ValueError(
                f"{type(self).__name__} with padding {self.padding} leaves no cell of {domain!r}: the result has size "
                f"{size}; take less padding or a larger input"
            )
        return Grid(size)

    def forward(self, input: Tensor, domain: Domain | None = None) -> Tensor:
        grid = self.grid(input, domain)
        self.check_dtype(input, self.weight)
        target = cast(Grid, self.codomain(grid))
        batch = input if input.dim() == self.ndim + 2 else input.unsqueeze(0)
        table = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
        spread = cast(Callable[..., Tensor], table[self.ndim - 1])
        if grid.periodic:
            whole = spread(batch, self.weight, None, self.stride, 0, 0, self.groups, self.dilation)
            out = _wrap(whole, target.size, self.padding)
            out = out if self.bias is None else out + self.bias.view(-1, *[1] * self.ndim)
        else:
            settings = self.stride, self.padding, self.output_padding, self.groups, self.dilation
            out = spread(batch, self.weight, self.bias, *settings)
        return out if batch is input else out.squeeze(0)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.weight.shape[1] * self.groups}, kernel_size={self.kernel_size}"
        ones, none = (1,) * self.ndim, (0,) * self.ndim
        shown = {
            "stride": (self.stride, ones),
            "padding": (self.padding, none),
            "output_padding": (self.output_padding, none),
            "dilation": (self.dilation, ones),
            "groups": (self.groups, 1),
        }
        text += "".join(f", {name}={value}" for name, (value, default) in shown.items() if value != default)
        return text + (", bias=False" if self.bias is None else "")


def _wrap(x: Tensor, size: Sequence[int], shift: Sequence[int]) -> Tensor:
    """`x` wound around a torus of `size`, its first cell `shift` cells before the origin: what meets adds up."""
    first = x.dim() - len(size)
    for axis, (n, before) in enumerate(zip(size, shift, strict=True), start=first):
        rest = -x.shape[axis] % n
        x = F.pad(x, [0, 0] * (x.dim() - 1 - axis) + [0, rest])
        x = x.unflatten(axis, (-1, n)).sum(axis).roll(-before, axis)
    return x


class ConvTranspose1d(_TransposedLayer, nn.ConvTranspose1d):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Transposed convolution along a line: `torch.nn.ConvTranspose1d`.

    >>> import torch
    >>> ConvTranspose1d(1, 2, 4, stride=2, padding=1)(torch.zeros(1, 1, 6)).shape
    torch.Size([1, 2, 12])
    """

    ndim = 1


class ConvTranspose2d(_TransposedLayer, nn.ConvTranspose2d):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Transposed convolution of pictures: `torch.nn.ConvTranspose2d`.

    On a periodic grid windows wrap around, so that the layer is the adjoint of the circular convolution; its result has
    `stride` times the cells, and `output_padding` has no part in it.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation: as in torch.

    Raises:
        ValueError: for a signal of other channels, or padding that leaves nothing.

    >>> import torch
    >>> ConvTranspose2d(8, 3, 4, stride=2, padding=1)(torch.zeros(1, 8, 7, 7)).shape
    torch.Size([1, 3, 14, 14])
    """

    ndim = 2


class ConvTranspose3d(_TransposedLayer, nn.ConvTranspose3d):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Transposed convolution of volumes: `torch.nn.ConvTranspose3d`.

    >>> import torch
    >>> ConvTranspose3d(1, 2, 2, stride=2)(torch.zeros(1, 1, 3, 3, 3)).shape
    torch.Size([1, 2, 6, 6, 6])
    """

    ndim = 3

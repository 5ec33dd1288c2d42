"""Locally connected layers: a convolution's fields with weights of their own at every position, and biases per unit.

    y[o, p] = b[o, p] + Σ_{c, m} w[p, o, c, m] x[c, S p + d m - P]        (b[o] where biases are shared)
    y[c, p] = x[c, p] + b[c, p]                                           (position bias, beside shared weights)

Symbols: w = `weight` `(*out_size, C_out, C_in, *kernel_size)`, b = `bias` `(C_out, *out_size)`, m an offset of the
kernel, S = `stride`, d = `dilation`, P = `padding`. Shapes: `(B, C_in, *size) -> (B, C_out, *out_size)`, on one size
of grid, which the constructor fixes. Cost: C_in · C_out · F^ndim multiply-adds an output cell, as a convolution, but as
many weights. All positions run as one batched product, whose innermost axis is the batch.
References: LeCun, Generalization and network design strategies (1989), nets 3 to 5; Taigman et al., DeepFace (2014).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grid_cnn.arithmetic import Padding, border, per_axis
from grid_cnn.constants import Constant
from grid_cnn.conv import check_channels, output_grid
from grid_cnn.domain import Domain, Grid
from grid_cnn.layer import GridLayer

Size = int | Sequence[int]


class _Collect(torch.autograd.Function):
    """Rows of a matrix by index. Backward is `_Gather`, and the other way round."""

    @staticmethod
    def forward(rows: Tensor, index: Tensor, order: Tensor, offsets: Tensor) -> Tensor:
        return F.embedding(index, rows)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return cast(Tensor, _Gather.apply(grads[0], *ctx.saved_tensors)), None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Tensor) -> tuple[Tensor, int]:
        return _side_by_side(_Collect, info, in_dims[0], *inputs)


class _Gather(torch.autograd.Function):
    """For each row of a matrix, the sum of the entries that read it: no scattered additions."""

    @staticmethod
    def forward(entries: Tensor, index: Tensor, order: Tensor, offsets: Tensor) -> Tensor:
        return F.embedding_bag(order, entries.contiguous(), offsets, mode="sum", include_last_offset=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return cast(Tensor, _Collect.apply(grads[0], *ctx.saved_tensors)), None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Tensor) -> tuple[Tensor, int]:
        return _side_by_side(_Gather, info, in_dims[0], *inputs)


def _side_by_side(
    function: type[_Collect] | type[_Gather], info: Any, axis: int, rows: Tensor, *tables: Tensor
) -> tuple[Tensor, int]:
    """Under `torch.vmap`: what is done to rows is done to all their columns at once."""
    wide = function.apply(rows.movedim(axis, 2).flatten(1), *tables)
    return cast(Tensor, wide).unflatten(1, (-1, info.batch_size)), 2


def field_table(size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """The cell under each tap of the kernel at each of its positions, `(positions, taps)`, cells in row-major order.

    >>> field_table((4,), (2,), (2,), (1,))
    tensor([[0, 1],
            [2, 3]])
    """
    table = torch.zeros(1, 1, dtype=torch.long, device="cpu")  # also where parameters are on meta
    for n, f, s, d in zip(size, kernel, stride, dilation, strict=True):
        starts, taps = torch.arange(0, n - d * (f - 1), s, device="cpu"), torch.arange(0, d * f, d, device="cpu")
        cells = starts[:, None] + taps
        table = (table[:, None, :, None] * n + cells[None, :, None, :]).flatten(2).flatten(0, 1)
    return table


class _LocallyConnected(GridLayer):
    in_channels: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: Size,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        shared_bias: bool = False,
    ) -> None:
        super().__init__()
        check_channels(in_channels, out_channels)
        self.in_channels, self.out_channels, self.shared_bias = in_channels, out_channels, shared_bias
        self.size, self.kernel_size = per_axis(size, self.ndim, "size"), per_axis(kernel_size, self.ndim, "kernel_size")
        self.stride, self.dilation = per_axis(stride, self.ndim, "stride"), per_axis(dilation, self.ndim, "dilation")
        self.padding = padding if isinstance(padding, str) else per_axis(padding, self.ndim, "padding", least=0)
        self.borders = border(self.kernel_size, self.dilation, padding)
        out_size = self._output(Grid(self.size)).size
        shape = *out_size, out_channels, in_channels, *self.kernel_size
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        units = (out_channels,) if shared_bias else (out_channels, *out_size)
        self.bias = nn.Parameter(torch.empty(units, device=device, dtype=dtype)) if bias else None
        # Where every tap reads, channel by channel; which taps read each cell, for backward. int32, as gathers like it.
        padded = [n + sum(pair) for n, pair in zip(self.size, self.borders, strict=True)]
        fields, cells = field_table(padded, self.kernel_size, self.stride, self.dilation), math.prod(padded)
        index = (fields[:, None] + torch.arange(in_channels, device="cpu")[:, None] * cells).flatten()
        counts = torch.bincount(index, minlength=in_channels * cells)
        tables = index, torch.argsort(index, stable=True), F.pad(counts.cumsum(0), (1, 0))
        self._tables = tuple(Constant(table.int()) for table in tables)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights and biases as torch's convolutions do, U(±1 / sqrt(taps · C_in))."""
        bound = 1 / math.sqrt(self.in_channels * math.prod(self.kernel_size))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def check_axes(self, domain: Grid) -> None:
        """Refuse another grid than the one that the weights belong to."""
        super().check_axes(domain)
        if domain.size != self.size:
            raise ValueError(
                f"{type(self).__name__} has weights of its own for every position of a grid of size {self.size}, and "
                f"got {domain!r}; build it with size={domain.size}"
            )

    def _output(self, grid: Grid) -> Grid:
        return output_grid(grid, self.kernel_size, self.stride, self.borders, self.dilation, "zeros")

    def codomain(self, domain: Domain | None) -> Grid | None:
        """The grid of output cells; still periodic if wrapped and divided evenly."""
        if not isinstance(domain, Grid):
            return None
        self.check_axes(domain)
        return self._output(domain)

    def forward(self, input: Tensor, domain: Domain | None = None) -> Tensor:
        grid = self.grid(input, domain)
        self.check_dtype(input, self.weight)
        out_size = cast(Grid, self.codomain(grid)).size
        batch = input if input.dim() == self.ndim + 2 else input.unsqueeze(0)
        flat = [cells for pair in reversed(self.borders) for cells in pair]
        padded = F.pad(batch, flat, mode="circular" if grid.periodic else "constant") if any(flat) else batch
        rows = (
            padded.flatten(1).t().contiguous()
        )  # (C_in · cells, B): the batch lies innermost, so rows are copied whole
        positions = math.prod(out_size)
        index, order, offsets = (table.on(rows.device) for table in self._tables)
        weight = self.weight.reshape(positions, self.out_channels, -1)
        fields = cast(Tensor, _Collect.apply(rows, index, order, offsets))
        fields = fields.view(positions, weight.shape[2], rows.shape[1])
        if self.bias is None:
            out = torch.bmm(weight, fields)
        else:
            bias = self.bias[None] if self.shared_bias else self.bias.flatten(1).t()
            out = torch.baddbmm(bias[..., None].to(fields.dtype), weight, fields)
        out = out.permute(2, 1, 0).reshape(-1, self.out_channels, *out_size)
        return out if batch is input else out.squeeze(0)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, size={self.size}, kernel_size={self.kernel_size}"
        shown = {"stride": self.stride, "dilation": self.dilation}
        text += "".join(f", {name}={value}" for name, value in shown.items() if value != (1,) * self.ndim)
        text += f", padding={self.padding!r}" if self.padding != (0,) * self.ndim else ""
        return text + (", bias=False" if self.bias is None else "") + (", shared_bias=True" * self.shared_bias)


class LocallyConnected1d(_LocallyConnected):
    """A convolution along a line with weights of its own at every position.

    >>> layer = LocallyConnected1d(1, 2, size=12, kernel_size=3)
    >>> layer(torch.zeros(5, 1, 12)).shape, layer.weight.shape
    (torch.Size([5, 2, 10]), torch.Size([10, 2, 1, 3]))
    """

    ndim = 1


class LocallyConnected2d(_LocallyConnected):
    """A convolution of pictures with weights of its own at every position.

    On a periodic grid padding wraps around.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, bias: as in `torch.nn.Conv2d`.
        size: of the pictures: one whole number, or one an axis.
        shared_bias: one bias a channel, instead of one a unit.

    Raises:
        ValueError: for pictures of another size or other channels, or smaller than the kernel.

    >>> net3 = LocallyConnected2d(1, 1, 16, 3, stride=2, padding=1), LocallyConnected2d(1, 1, 8, 5)
    >>> net3[1](net3[0](torch.zeros(5, 1, 16, 16))).shape
    torch.Size([5, 1, 4, 4])
    >>> [sum(p.numel() for p in layer.parameters()) for layer in net3]
    [640, 416]
    """

    ndim = 2


class PositionBias(GridLayer):
    """Add a number of its own to every unit: after a convolution without bias, shared weights and unshared biases.

    Args:
        channels: C. size: of the grid, one whole number an axis.

    Raises:
        ValueError: for a signal of another size or other channels.

    >>> PositionBias(3, (4, 4))(torch.zeros(2, 3, 4, 4)).shape
    torch.Size([2, 3, 4, 4])
    """

    def __init__(self, channels: int, size: Sequence[int], device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        check_channels(channels, channels)
        self.in_channels, self.size = channels, per_axis(size, len(size), "size")
        self.ndim = len(self.size)
        self.bias = nn.Parameter(torch.zeros(channels, *self.size, device=device, dtype=dtype))

    def check_axes(self, domain: Grid) -> None:
        """Refuse another grid than the one that the biases belong to."""
        super().check_axes(domain)
        if domain.size != self.size:
            raise ValueError(
                f"PositionBias has a bias for every cell of a grid of size {self.size}, and got {domain!r}; build it "
                f"with size={domain.size}"
            )

    def codomain(self, domain: Domain | None) -> Domain | None:
        """The same grid."""
        if isinstance(domain, Grid):
            self.check_axes(domain)
        return domain

    def forward(self, input: Tensor, domain: Domain | None = None) -> Tensor:
        self.check_axes(self.grid(input, domain))
        return input + self.bias

    def extra_repr(self) -> str:
        return f"{self.in_channels}, size={self.size}"

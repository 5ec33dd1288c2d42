"""Convolutions with fewer links between maps: depthwise, separable, and partially connected by a table.

    depthwise   y[c n + j] = b[c n + j] + w[c n + j] ⋆ x[c]                    n maps from each one, j = 0 ... n - 1
    separable   y[o] = b[o] + Σ_i v[o, i] (w[i] ⋆ x)[i]                        a depthwise one, then one of size 1
    partial     y[o] = b[o] + Σ_{c linked to o} w[link(o, c)] ⋆ x[c]           the links of a table

Symbols: w = `weight` (`depthwise.weight`), v = `pointwise.weight`, b = `bias`, n = `multiplier`, ⋆ the convolution of
`conv`. Shapes: `(B, C_in, *size) -> (B, C_out, *output_size(size, F, S, P, d))`. Cost, multiply-adds an output cell:
C_in n F² (depthwise), that and C_in n C_out (separable), links · F² parameters but a dense convolution's
C_in · C_out · F² operations (partial).
References: Sifre (2014); Chollet, Xception (2017); LeCun et al., Gradient-based learning (1998), table I.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from grid_cnn.arithmetic import Padding, border, per_axis
from grid_cnn.constants import Constant
from grid_cnn.conv import PADDING_MODES, Conv2d, check_channels, convolve, output_grid
from grid_cnn.domain import Domain, Grid
from grid_cnn.layer import GridLayer

Size = int | Sequence[int]

# Which of LeNet-5's six maps of S2 each of the sixteen maps of C3 reads: three neighbours, four, four apart, all.
LENET_C3: tuple[tuple[int, ...], ...] = (
    *(tuple(sorted((i + j) % 6 for j in range(3))) for i in range(6)),
    *(tuple(sorted((i + j) % 6 for j in range(4))) for i in range(6)),
    *(tuple(sorted((i + j) % 6 for j in (0, 1, 3, 4))) for i in range(3)),
    tuple(range(6)),
)


class DepthwiseConv2d(Conv2d):
    """A convolution of every map by itself: `Conv2d` with as many groups as channels.

    Args:
        in_channels, kernel_size, stride, padding, dilation, bias, padding_mode: as for `Conv2d`.
        multiplier: how many maps are made of each.

    Raises:
        ValueError: for a count that is not positive.

    >>> layer = DepthwiseConv2d(8, 3, padding="same")
    >>> layer(torch.zeros(1, 8, 9, 9)).shape, sum(p.numel() for p in layer.parameters())
    (torch.Size([1, 8, 9, 9]), 80)
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        multiplier: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        check_channels(in_channels, multiplier)
        out = in_channels * multiplier
        super().__init__(
            in_channels, out, kernel_size, stride, padding, dilation, in_channels, bias, padding_mode, device, dtype
        )


class SeparableConv2d(GridLayer):
    """A depthwise convolution, then one of size 1 that mixes the maps: children `depthwise` and `pointwise`.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, padding_mode: as for `Conv2d`.
        multiplier: how many maps the depthwise part makes of each.
        bias: of the pointwise part; the depthwise part has none, since it would add nothing.

    Raises:
        ValueError: for a count that is not positive, or a signal that does not fit.

    >>> layer = SeparableConv2d(8, 16, 3, padding="same")
    >>> layer(torch.zeros(1, 8, 9, 9)).shape, sum(p.numel() for p in layer.parameters())
    (torch.Size([1, 16, 9, 9]), 216)
    """

    ndim = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        multiplier: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.depthwise = DepthwiseConv2d(
            in_channels, kernel_size, stride, padding, dilation, multiplier, False, padding_mode, device, dtype
        )
        self.pointwise = Conv2d(in_channels * multiplier, out_channels, 1, bias=bias, device=device, dtype=dtype)

    def codomain(self, domain: Domain | None) -> Grid | None:
        """The grid of output cells."""
        return self.depthwise.codomain(domain)

    def forward(self, input: Tensor, domain: Domain | None = None) -> Tensor:
        self.grid(input, domain)
        return self.pointwise(self.depthwise(input, domain))


class PartialConv2d(GridLayer):
    """A convolution in which every map reads some of the maps below, as a table says; other links do not exist.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, bias, padding_mode: as for `Conv2d`.
        table: for each output map the input maps it reads, as in `LENET_C3`; or a `(C_out, C_in)` tensor, true (or not
            zero) where there is a link.

    Raises:
        ValueError: for a table of other sizes, with an unknown map, a map twice, or an output map without any link.

    >>> c3 = PartialConv2d(6, 16, 5, table=LENET_C3)
    >>> c3(torch.zeros(1, 6, 14, 14)).shape, sum(p.numel() for p in c3.parameters())
    (torch.Size([1, 16, 10, 10]), 1516)
    """

    ndim = 2
    in_channels: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        table: Sequence[Sequence[int]] | Tensor,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels, out_channels)
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"padding_mode is one of {', '.join(PADDING_MODES)}; got {padding_mode!r}")
        self.in_channels, self.out_channels, self.padding_mode = in_channels, out_channels, padding_mode
        self.kernel_size, self.stride = per_axis(kernel_size, 2, "kernel_size"), per_axis(stride, 2, "stride")
        self.dilation = per_axis(dilation, 2, "dilation")
        self.padding = padding if isinstance(padding, str) else per_axis(padding, 2, "padding", least=0)
        self.borders = border(self.kernel_size, self.dilation, padding)
        self.table = links_of(table, in_channels, out_channels)
        places = [o * in_channels + c for o, row in enumerate(self.table) for c in row]
        self._places = Constant(torch.tensor(places, device="cpu"))
        self.weight = nn.Parameter(torch.empty(len(places), *self.kernel_size, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights and biases of an output map from U(±1 / sqrt(fan-in)), its own links counted."""
        taps = math.prod(self.kernel_size)
        bounds = [1 / math.sqrt(len(row) * taps) for row in self.table]
        per_link = [bound for bound, row in zip(bounds, self.table, strict=True) for _ in row]
        with torch.no_grad():
            self.weight.uniform_(-1, 1).mul_(self.weight.new_tensor(per_link).view(-1, 1, 1))
            if self.bias is not None:
                self.bias.uniform_(-1, 1).mul_(self.bias.new_tensor(bounds))

    def dense_weight(self) -> Tensor:
        """The weights as `Conv2d` has them, `(C_out, C_in, *kernel_size)`, zero where there is no link."""
        whole = self.weight.new_zeros(self.out_channels * self.in_channels, *self.kernel_size)
        whole = whole.index_copy(0, self._places.on(self.weight.device), self.weight)
        return whole.unflatten(0, (self.out_channels, self.in_channels))

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
        mode = "circular" if grid.periodic else self.padding_mode
        batch = input if input.dim() == 4 else input.unsqueeze(0)
        out = convolve(batch, self.dense_weight(), self.bias, self.stride, self.borders, self.dilation, 1, mode)
        return out if batch is input else out.squeeze(0)

    def extra_repr(self) -> str:
        links = len(self.weight)
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, {links} links"


def links_of(
    table: Sequence[Sequence[int]] | Tensor, in_channels: int, out_channels: int
) -> tuple[tuple[int, ...], ...]:
    """The links as rows of input maps, one row an output map, checked.

    Raises:
        ValueError: if the table does not fit.

    >>> links_of(torch.eye(2), 2, 2)
    ((0,), (1,))
    """
    if isinstance(table, Tensor):
        if table.shape != (out_channels, in_channels):
            raise ValueError(
                f"table has shape (C_out, C_in) = ({out_channels}, {in_channels}), got {tuple(table.shape)}"
            )
        rows = tuple(tuple(row.nonzero().flatten().tolist()) for row in table)
    else:
        if not isinstance(table, Sequence) or not all(isinstance(row, Sequence) for row in table):
            raise ValueError(f"table has a row of input maps for each output map, like ((0, 1), (1, 2)); got {table!r}")
        rows = tuple(tuple(row) for row in table)
    if len(rows) != out_channels:
        raise ValueError(f"table has a row for each of {out_channels} output maps, got {len(rows)} rows")
    for o, row in enumerate(rows):
        if not row or len(set(row)) != len(row) or any(type(c) is not int or not 0 <= c < in_channels for c in row):
            raise ValueError(
                f"row {o} of the table names input maps from 0 to {in_channels - 1}, at least one and none twice; got "
                f"{row}"
            )
    return rows

"""Pools that only some networks have: the Lp pool, and the way back from a max pool through its switches.

    Lp       y[c, p] = ( Σ_{cells of window p} x[c, ·]^q )^(1/q)                       q = `norm_type`
    unpool   y[c, s[c, p]] = x[c, p], zero elsewhere                                   s the switches of the max pool

With `ceil_mode` a window that the border cuts short counts as if the rest of it had the mean of what is there, as in
torch. The switches are the places of the largest values, which `MaxPool2d.with_switches` gives beside these. Shapes:
`(B, C, *size) -> (B, C, *output_size(size, F, S))`, and back. No parameters. Names and numbers are torch's.
References: Sermanet, Chintala and LeCun (2012); Zeiler and Fergus, Visualizing convolutional networks (2014).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grid_cnn.arithmetic import per_axis
from grid_cnn.domain import Grid
from grid_cnn.pool import Size, WindowPool


class _LpPool(WindowPool):
    def __init__(
        self, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
    ) -> None:
        super().__init__(kernel_size, stride, ceil_mode=ceil_mode)
        if isinstance(norm_type, bool) or not isinstance(norm_type, int | float) or not 0 < norm_type < math.inf:
            raise ValueError(f"norm_type takes a number above 0, got {norm_type!r}; for infinity take a max pool")
        self.norm_type = norm_type

    def pool(self, x: Tensor) -> Tensor:
        operator = cast(Callable[..., Tensor], (F.lp_pool1d, F.lp_pool2d, F.lp_pool3d)[self.ndim - 1])
        kernel = self.kernel_size if self.ndim > 1 else self.kernel_size[0]  # torch's own takes a number along a line
        return operator(x, float(self.norm_type), kernel, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        return f"norm_type={self.norm_type}, {super().extra_repr()}"


class LpPool1d(_LpPool):
    """The Lp norm of each window on a line.

    >>> LpPool1d(2, 2)(torch.tensor([[[3.0, 4.0, 6.0, 8.0]]]))
    tensor([[[ 5., 10.]]])
    """

    ndim = 1


class LpPool2d(_LpPool):
    """The Lp norm of each window of a picture: `torch.nn.LpPool2d`.

    Args:
        norm_type: q; 1 gives the sum, large ones come near the largest value.
        kernel_size, stride, ceil_mode: as for the other pools.

    Raises:
        ValueError: for a norm that is not above 0.

    >>> LpPool2d(2, 2)(torch.full((1, 1, 2, 2), 3.0))
    tensor([[[[6.]]]])
    """

    ndim = 2


class LpPool3d(_LpPool):
    """The Lp norm of each window of a volume.

    >>> LpPool3d(1, 2)(torch.ones(1, 1, 2, 2, 2))
    tensor([[[[[8.]]]]])
    """

    ndim = 3


class _MaxUnpool(nn.Module):
    """No layer over a domain: it needs the switches too, so a network calls it where it has them."""

    ndim: int

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1) -> None:
        super().__init__()
        self.kernel_size = per_axis(kernel_size, self.ndim, "kernel_size")
        self.stride = self.kernel_size if stride is None else per_axis(stride, self.ndim, "stride")
        self.padding = per_axis(padding, self.ndim, "padding", least=0)
        self.dilation = per_axis(dilation, self.ndim, "dilation")

    def forward(self, input: Tensor, switches: Tensor, size: Grid | Sequence[int] | None = None) -> Tensor:
        """The values back at their places, zeros elsewhere; `size`: of the grid before the pool, None for the least.

        Raises:
            TypeError: for switches that are no whole numbers.
            ValueError: if values and switches differ in shape, the pool gives another shape on a grid of `size`, or a
                switch lies outside of it.
        """
        if not isinstance(input, Tensor) or not isinstance(switches, Tensor):
            given = f"{type(input).__name__} and {type(switches).__name__}"
            raise TypeError(f"{type(self).__name__} takes two tensors, values and their switches; got {given}")
        if switches.dtype not in (torch.int64, torch.int32):
            raise TypeError(
                f"{type(self).__name__} takes switches of whole numbers, as with_switches makes; got {switches.dtype}"
            )
        if input.shape != switches.shape or input.dim() not in (self.ndim + 1, self.ndim + 2):
            raise ValueError(
                f"{type(self).__name__} takes values (batch, channels{', size' * self.ndim}) and their switches, both "
                f"of one shape; got {tuple(input.shape)} and {tuple(switches.shape)}"
            )
        window = self.kernel_size, self.stride, self.padding, self.dilation
        axes = zip(input.shape[-self.ndim :], *window, strict=True)
        least = tuple((n - 1) * s - 2 * p + d * (f - 1) + 1 for n, f, s, p, d in axes)
        whole = least if size is None else per_axis(size.size if isinstance(size, Grid) else size, self.ndim, "size")
        if not all(abs(n - w) < s or n == w for n, w, s in zip(whole, least, self.stride, strict=True)):
            raise ValueError(
                f"a pool with {self.extra_repr()} makes {tuple(input.shape[-self.ndim :])} of a grid of size {least}, "
                f"give or take less than a stride; got size {whole}: pass that of the grid before the pool"
            )
        cells = math.prod(whole)
        if switches.numel() and not torch.compiler.is_compiling():
            first, last = map(int, switches.aminmax())
            if first < 0 or last >= cells:
                raise ValueError(
                    f"a switch points at cell {first if first < 0 else last} of a grid of size {whole}, which has "
                    f"{cells}; pass the size of the grid before the pool"
                )
        flat = input.flatten(-self.ndim), switches.flatten(-self.ndim)
        # Windows that overlap can name a cell twice, with the same value both times.
        out = input.new_zeros(*input.shape[: -self.ndim], cells).scatter(-1, flat[1], flat[0])
        return out.unflatten(-1, whole)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """The largest values of a pool along a line, back at their places.

    >>> from grid_cnn import MaxPool1d
    >>> values, switches = MaxPool1d(2).with_switches(torch.tensor([[[1.0, 5.0, 2.0, 3.0]]]))
    >>> MaxUnpool1d(2)(values, switches)
    tensor([[[0., 5., 0., 3.]]])
    """

    ndim = 1


class MaxUnpool2d(_MaxUnpool):
    """The largest values of a pool of pictures, back at their places: `torch.nn.MaxUnpool2d`.

    Args:
        kernel_size, stride, padding, dilation: those of the max pool; they give the size of the result where none is
            passed.

    >>> from grid_cnn import MaxPool2d
    >>> x = torch.randn(2, 3, 7, 7)
    >>> values, switches = MaxPool2d(2).with_switches(x)
    >>> MaxUnpool2d(2)(values, switches, (7, 7)).shape
    torch.Size([2, 3, 7, 7])
    """

    ndim = 2


class MaxUnpool3d(_MaxUnpool):
    """The largest values of a pool of volumes, back at their places.

    >>> from grid_cnn import MaxPool3d
    >>> values, switches = MaxPool3d(2).with_switches(torch.randn(1, 1, 4, 4, 4))
    >>> MaxUnpool3d(2)(values, switches).count_nonzero()
    tensor(8)
    """

    ndim = 3

"""What LeNet-1 and LeNet-5 have beside convolutions: trainable subsampling, and an output of radial basis functions.

    subsampling   y[c, p] = a[c] Σ_{m in 2×2} x[c, 2p + m] + b[c]
    RBF           y[i]    = Σ_j (x[j] - w[i, j])²

Symbols: a = `weight`, b = `bias`, one of each a map; w = `codes`, rows of ±1, by default the picture of each digit in
7×12 cells. Shapes: `(B, C, *size) -> (B, C, *size // 2)`, and `(B, 84) -> (B, classes)`. Parameters: 2 C; none for the
RBF unless its codes are learned. Reference: LeCun et al., Gradient-based learning (1998), section II.B.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grid_cnn.conv import check_channels
from grid_cnn.pool import Size, WindowPool

# The ten digits in 7×12 cells, drawn for this library: '#' is +1, '.' is -1.
DIGITS = """
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
..###..  ...##..  .#####.  .#####.  ....##.  ######.  ..####.  #######  .#####.  .####..
.##.##.  ..###..  ##...##  ##...##  ...###.  ##.....  .##....  .....##  ##...##  ##..##.
##...##  .####..  .....##  .....##  ..####.  ##.....  ##.....  ....##.  ##...##  ##...##
##...##  ...##..  ....##.  .....##  .##.##.  ##.....  ##.....  ....##.  ##...##  ##...##
##...##  ...##..  ....##.  ..####.  ##..##.  #####..  #####..  ...##..  .#####.  ##...##
##...##  ...##..  ...##..  .....##  ##..##.  ....##.  ##..##.  ...##..  ##...##  .######
##...##  ...##..  ..##...  .....##  #######  .....##  ##...##  ..##...  ##...##  .....##
##...##  ...##..  .##....  .....##  ....##.  .....##  ##...##  ..##...  ##...##  .....##
.##.##.  ...##..  ##.....  ##...##  ....##.  ##..##.  .##.##.  .##....  ##...##  ...##..
..###..  .######  #######  .#####.  ....##.  .####..  ..###..  .##....  .#####.  .###...
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
"""


def digit_codes() -> Tensor:
    """The targets of LeNet-5's RBF output: ten pictures of 7×12 cells of ±1, a row a digit, `(10, 84)`.

    >>> digit_codes().shape, digit_codes().unique()
    (torch.Size([10, 84]), tensor([-1.,  1.]))
    """
    lines = [line.split() for line in DIGITS.split("\n") if line]
    return torch.tensor([[1.0 if cell == "#" else -1.0 for line in lines for cell in line[d]] for d in range(10)])


class Subsampling2d(WindowPool):
    """LeNet's S-layers: the sum of each window, times a coefficient of its map, plus a bias.

    Args:
        in_channels: C. kernel_size: of the window; stride None: windows that do not overlap.

    Raises:
        ValueError: for a signal of other channels, or smaller than the window.

    >>> layer = Subsampling2d(6)
    >>> layer(torch.zeros(2, 6, 28, 28)).shape, sum(p.numel() for p in layer.parameters())
    (torch.Size([2, 6, 14, 14]), 12)
    """

    ndim = 2

    def __init__(
        self, in_channels: int, kernel_size: Size = 2, stride: Size | None = None, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(kernel_size, stride, ceil_mode=False)
        check_channels(in_channels, in_channels)
        self.in_channels = in_channels
        self.weight = nn.Parameter(torch.empty(in_channels, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(in_channels, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as the mean of each window."""
        nn.init.constant_(self.weight, 1 / math.prod(self.kernel_size))
        nn.init.zeros_(self.bias)

    def pool(self, x: Tensor) -> Tensor:
        sums = F.avg_pool2d(x, self.kernel_size, self.stride, divisor_override=1)
        return torch.addcmul(self.bias.view(-1, 1, 1), sums, self.weight.view(-1, 1, 1))

    def extra_repr(self) -> str:
        return f"{self.in_channels}, kernel_size={self.kernel_size}, stride={self.stride}"


class RBF(nn.Module):
    """The squared distance of a vector to a code of each class; the nearest code is the answer.

    It stands after a flatten, in place of a last dense layer.

    Args:
        codes: `(classes, features)`; None for the digits' 7×12 pictures, `(10, 84)`.
        learned: make the codes a parameter; else they are a buffer, and fixed.
        negative: give minus the distances, so that the largest wins, as a cross-entropy and an accuracy expect.

    Raises:
        ValueError: for codes that are no matrix, or a signal of other features.

    >>> codes = digit_codes()
    >>> RBF()(codes[3:4]).argmin(1), RBF(negative=True)(codes[3:4]).argmax(1)
    (tensor([3]), tensor([3]))
    """

    codes: Tensor

    def __init__(
        self, codes: Tensor | Sequence[Sequence[float]] | None = None, *, learned: bool = False, negative: bool = False
    ) -> None:
        super().__init__()
        codes = digit_codes() if codes is None else torch.as_tensor(codes)
        if codes.dim() != 2 or not codes.numel():
            raise ValueError(f"codes have shape (classes, features), got {tuple(codes.shape)}")
        codes = codes.detach().clone()
        codes = codes if codes.is_floating_point() else codes.to(torch.get_default_dtype())
        self.out_features, self.in_features = codes.shape
        self.negative = negative
        if learned:
            self.codes = nn.Parameter(codes)
        else:
            self.register_buffer("codes", codes)

    def forward(self, input: Tensor) -> Tensor:
        if not isinstance(input, Tensor):
            raise TypeError(f"RBF takes a tensor (..., {self.in_features}), got {type(input).__name__}")
        if not input.dim() or input.shape[-1] != self.in_features:
            raise ValueError(f"RBF expects {self.in_features} features, got shape {tuple(input.shape)}")
        # Differences first: expanding the square would cancel digits just where a class is near.
        distances = (input.unsqueeze(-2) - self.codes).square().sum(-1)
        return -distances if self.negative else distances

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}" + ", negative=True" * self.negative

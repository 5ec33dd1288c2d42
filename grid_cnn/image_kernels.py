"""The fixed kernels of image processing, and a function that applies them to a picture.

    y[p] = Σ_m k[m] x[p + m - r],   r the middle of the kernel        (cross-correlation: no flip)

    box        1/n² everywhere                      gaussian   falls off with the distance, sums to 1
    sobel_x    -1 0 1 / -2 0 2 / -1 0 1             sobel_y    1 2 1 / 0 0 0 / -1 -2 -1
    laplacian  0 1 0 / 1 -4 1 / 0 1 0               sharpen    the picture minus its Laplacian

Shapes: kernels `(n, n)`; pictures `(H, W)`, `(C, H, W)` or `(B, C, H, W)`, to the same number of axes. Cost: one
multiply-add a tap and cell. Reference: Gonzalez and Woods, Digital image processing, chapter 3.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from grid_cnn.checks import whole

# What lies beyond the border of a picture: torch's name of the padding; None where only whole windows count.
BORDERS: dict[str, str | None] = {"ignore": None, "replicate": "replicate", "zero": "constant"}


def box(size: int = 3) -> Tensor:
    """The mean of a window.

    >>> box(3).sum()
    tensor(1.)
    """
    return torch.full((whole("size, the side of a kernel,", size), size), 1 / size**2)


def gaussian(size: int = 3, sigma: float | None = None) -> Tensor:
    """A smooth mean: exp(-d² / 2σ²), scaled to sum to 1; sigma None for binomial coefficients, a Gaussian in whole
    numbers.

    Raises:
        ValueError: for a size or sigma that is not positive.

    >>> gaussian(3) * 16
    tensor([[1., 2., 1.],
            [2., 4., 2.],
            [1., 2., 1.]])
    """
    n = whole("size, the side of a kernel,", size) - 1
    if sigma is None:
        row = torch.tensor([float(math.comb(n, i)) for i in range(size)])
    elif not sigma > 0:
        raise ValueError(f"sigma takes a number above 0, got {sigma!r}")
    else:
        row = torch.exp(-0.5 * ((torch.arange(size) - n / 2) / sigma) ** 2)
    row = row / row.sum()
    return torch.outer(row, row)


def sobel_x() -> Tensor:
    """The slope from left to right, smoothed across.

    >>> sobel_x()
    tensor([[-1.,  0.,  1.],
            [-2.,  0.,  2.],
            [-1.,  0.,  1.]])
    """
    return torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def sobel_y() -> Tensor:
    """The slope from bottom to top, smoothed across.

    >>> sobel_y()
    tensor([[ 1.,  2.,  1.],
            [ 0.,  0.,  0.],
            [-1., -2., -1.]])
    """
    return torch.tensor([[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]])


def laplacian(diagonals: bool = False) -> Tensor:
    """How much the neighbours exceed a cell: four of them, or with `diagonals` eight.

    >>> laplacian()
    tensor([[ 0.,  1.,  0.],
            [ 1., -4.,  1.],
            [ 0.,  1.,  0.]])
    """
    corner = float(diagonals)
    return torch.tensor([[corner, 1.0, corner], [1.0, -4 - 4 * corner, 1.0], [corner, 1.0, corner]])


def sharpen(diagonals: bool = False) -> Tensor:
    """The picture minus its Laplacian: edges stand out.

    >>> sharpen()
    tensor([[ 0., -1.,  0.],
            [-1.,  5., -1.],
            [ 0., -1.,  0.]])
    """
    identity = torch.zeros(3, 3)
    identity[1, 1] = 1
    return identity - laplacian(diagonals)


def filter_image(picture: Tensor, kernel: Tensor, border: str = "ignore") -> Tensor:
    """Apply one kernel to every channel of a picture or of a batch of pictures.

    Args:
        picture: `(H, W)`, `(C, H, W)` or `(B, C, H, W)`; whole numbers are read as floating ones.
        kernel: `(h, w)`, applied as it stands (cross-correlation).
        border: 'ignore' keeps the places where the kernel lies inside the picture, so that the result is smaller;
            'replicate' repeats the outermost cells, 'zero' puts zeros beyond them, and the size is kept.

    Raises:
        TypeError: for what is no tensor.
        ValueError: for other shapes, an unknown border, or a picture smaller than the kernel where borders are ignored.

    >>> edge = torch.tensor([[0.0, 0.0, 9.0, 9.0]]).repeat(3, 1)
    >>> filter_image(edge, sobel_x())
    tensor([[36., 36.]])
    >>> filter_image(edge, box(), border="replicate")[1]
    tensor([0., 3., 6., 9.])
    """
    for name, tensor, axes in (("picture", picture, (2, 3, 4)), ("kernel", kernel, (2,))):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"filter_image takes a tensor as {name}, got {type(tensor).__name__}")
        if tensor.dim() not in axes or not tensor.numel():
            wanted = "(h, w)" if name == "kernel" else "(H, W), (C, H, W) or (B, C, H, W)"
            raise ValueError(f"{name} has shape {wanted}, got {tuple(tensor.shape)}")
    if border not in BORDERS:
        raise ValueError(f"border is one of {', '.join(BORDERS)}; got {border!r}")
    if not picture.is_floating_point():
        picture = picture.to(torch.get_default_dtype())
    height, width = kernel.shape
    planes = picture.reshape(-1, 1, *picture.shape[-2:])
    mode = BORDERS[border]
    if mode is not None:
        cells = [(width - 1) // 2, width // 2, (height - 1) // 2, height // 2]
        planes = F.pad(planes, cells, mode=mode)
    elif planes.shape[2] < height or planes.shape[3] < width:
        raise ValueError(
            f"the kernel is larger than the picture: {tuple(kernel.shape)} against {tuple(picture.shape[-2:])}; take a "
            "larger picture, or border='replicate' or 'zero'"
        )
    out = F.conv2d(planes, kernel.to(planes)[None, None])
    return out.reshape(*picture.shape[:-2], *out.shape[-2:])

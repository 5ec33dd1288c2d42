"""Find the digit on a picture of one, and bring it to the form that MNIST's digits have.

    background   a surface of second degree through the pixels that are no ink, beginning with those at the border
    polarity     dark on light where the ink lies under the background's brightness, else light on dark
    ink          the difference from the background, above a threshold (Otsu's) and joined to the digit, not a speck
    size         the ink's box scaled to 20 of 28 pixels, its centre of mass in the middle

Pens that are thin for the size of the digit are widened to about MNIST's. A picture that has MNIST's form already (its
size, one bright figure on a black border) is taken as it is.

Shapes: `(1, H, W)` in [0, 1] to `(1, h, w)`. Cost: a few passes over at most 400x400 pixels. Reference: LeCun, Bottou,
Bengio and Haffner, Gradient-based learning applied to document recognition (1998), section III.A.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gconv.data.errors import DataError

_LARGEST = 400  # pixels along a side; finer ones tell nothing about a digit of 20
_BOX = 20 / 28
_FAINT = 0.06  # ink that differs less from the paper is none
_SPECK = 0.05  # of the largest piece of ink: smaller ones are dirt
_THINNEST = 1.6  # pixels of a stroke, where a digit has 20; MNIST's have two to three
_WIDTH = 2.0
_BORDER = 0.1


@dataclass(frozen=True)
class Handwriting:
    """A digit in MNIST's form, `(1, h, w)`, and in words how it was found."""

    pixels: Tensor
    how: str


def read_handwriting(picture: Tensor, size: tuple[int, int] = (28, 28)) -> Handwriting:
    """Find the digit on a grey picture.

    Args:
        picture: `(1, H, W)` in [0, 1], of any size. size: (height, width) of the result.

    Raises:
        DataError: for a blank picture.

    >>> picture = torch.full((1, 60, 80), 0.9)
    >>> picture[0, 10:50, 35:40] = 0.2
    >>> read_handwriting(picture).how
    'dark on light, cropped 40x5 to 20x2'
    """
    if _is_ready(picture, size):
        return Handwriting(picture, "light on dark, as it is")
    shrunk = _shrink(picture)
    difference = shrunk[0] - _background(shrunk[0])
    dark = float(_strength(-difference)) > float(_strength(difference))
    ink = (-difference if dark else difference).clamp_min(0)
    level = float(_strength(ink))
    if level < _FAINT:
        raise DataError(f"no digit found: the picture is blank, its ink differs by {level:.3f} of 1 from its paper")
    figure = _figure(ink)
    rows, columns = figure.any(1).nonzero().flatten(), figure.any(0).nonzero().flatten()
    box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    ink = (ink / float(ink[figure].median())).clamp(0.0, 1.0) * _grown(figure, 1)
    digit = _thickened(ink[box], figure[box])
    placed, scaled = _placed(digit, size)
    factor = picture.shape[1] / shrunk.shape[1]
    cropped = "x".join(str(round((part.stop - part.start) * factor)) for part in box)
    found = f"cropped {cropped} to {scaled[0]}x{scaled[1]}"
    return Handwriting(placed[None], f"{'dark on light' if dark else 'light on dark'}, {found}")


def _is_ready(picture: Tensor, size: tuple[int, int]) -> bool:
    ring = torch.cat([picture[0, [0, -1]].flatten(), picture[0, :, [0, -1]].flatten()])
    return tuple(picture.shape[1:]) == size and float(ring.max()) <= _BORDER and float(picture.max()) >= 0.5


def _shrink(picture: Tensor) -> Tensor:
    height, width = picture.shape[1:]
    scale = min(1.0, _LARGEST / max(height, width))
    smaller = (max(1, round(height * scale)), max(1, round(width * scale)))
    if smaller == (height, width):
        return picture
    return F.interpolate(picture[None], size=smaller, mode="bilinear", antialias=True)[0].clamp(0.0, 1.0)


def _strength(values: Tensor) -> Tensor:
    """How far the strongest pixels stand out: the mean of the top percent, at least of four pixels."""
    count = max(4, values.numel() // 100)
    return values.flatten().topk(min(count, values.numel())).values.mean()


def _background(grey: Tensor) -> Tensor:
    """The brightness that the paper has under the ink: fitted to the border first, then to all that is near the fit."""
    height, width = grey.shape
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    terms = torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y], -1).reshape(-1, 6)
    values = grey.flatten()
    edge = max(1, min(height, width) // 12)
    inner = torch.zeros(height, width, dtype=torch.bool)
    inner[edge:-edge, edge:-edge] = True
    used, first = ~inner.flatten(), 1  # a level first: at the border the ink may be a large part
    fitted = values[used].median().expand_as(values)
    for first in (1, 3, 6, 6):
        near = (values - fitted).abs()
        spread = 1.4826 * near[used].median()
        used = near <= max(3 * float(spread), 0.04)
        if first < 6 and inner.any():
            used &= ~inner.flatten()  # the inside only once the lighting is known
        if int(used.sum()) < 12:
            break
        part = terms[used, :first]
        solved = torch.linalg.lstsq(part, values[used, None], driver="gelsd").solution
        fitted = (terms[:, :first] @ solved).flatten()
    return fitted.reshape(height, width)


def _figure(ink: Tensor) -> Tensor:
    """Where the digit is: the large pieces of what lies above Otsu's threshold."""
    from scipy import ndimage

    smooth = torch.from_numpy(ndimage.gaussian_filter(ink.numpy(), max(ink.shape) / 300))
    above = smooth > _otsu(smooth)
    pieces = torch.zeros(above.shape, dtype=torch.int32)
    ndimage.label(above.numpy(), structure=torch.ones(3, 3).numpy(), output=pieces.numpy())
    areas = pieces.flatten().bincount()
    areas[0] = 0  # the paper
    return (areas >= _SPECK * areas.max())[pieces.long()] & above


def _otsu(values: Tensor) -> float:
    """The threshold that separates two groups of values best: least variance inside them."""
    counts = torch.histc(values, 256, 0.0, float(values.max())).double()
    centers = (torch.arange(256) + 0.5) * float(values.max()) / 256
    below = counts.cumsum(0)
    above = below[-1] - below
    sums = (counts * centers).cumsum(0)
    mean_below, mean_above = sums / below.clamp_min(1), (sums[-1] - sums) / above.clamp_min(1)
    score = below * above * (mean_below - mean_above) ** 2
    return float(centers[score >= 0.99 * score.max()].mean())  # crisp pictures have many that are as good


def _grown(figure: Tensor, radius: int) -> Tensor:
    side = 2 * radius + 1
    return F.max_pool2d(figure[None, None].float(), side, 1, radius)[0, 0]


def _thickened(digit: Tensor, figure: Tensor) -> Tensor:
    """With strokes of about MNIST's width, where they are thinner; a bar of width w has a mean distance of w / 4."""
    from scipy import ndimage

    distance = torch.zeros(figure.shape[0] + 2, figure.shape[1] + 2, dtype=torch.float64)
    ndimage.distance_transform_edt(F.pad(figure, (1, 1, 1, 1)).numpy(), distances=distance.numpy())
    unit = max(digit.shape) / 20
    width = 4 * float(distance[distance > 0].mean()) / unit
    radius = round((_WIDTH - width) * unit / 2) if width < _THINNEST else 0
    if radius < 1:
        return digit
    wide = F.pad(digit, (radius,) * 4)[None, None]
    return F.max_pool2d(wide, 2 * radius + 1, 1, radius)[0, 0]


def _placed(digit: Tensor, size: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """Scaled to its box, its centre of mass in the middle of a black field; and the size that it has there."""
    scale = min(_BOX * side for side in size) / max(digit.shape)
    scaled = (max(1, round(digit.shape[0] * scale)), max(1, round(digit.shape[1] * scale)))
    small = F.interpolate(digit[None, None], size=scaled, mode="bilinear", antialias=True)[0, 0]
    small = (small / small.max().clamp_min(1e-6)).clamp(0.0, 1.0)
    rows, columns = small.sum(1), small.sum(0)
    centers = [float((part * (torch.arange(len(part)) + 0.5)).sum() / part.sum()) for part in (rows, columns)]
    field = torch.zeros(size)
    top, left = (
        min(max(round(side / 2 - center), 0), side - length)
        for side, center, length in zip(size, centers, scaled, strict=True)
    )
    field[top : top + scaled[0], left : left + scaled[1]] = small
    return field, scaled

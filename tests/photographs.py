"""Digits as a camera sees them, drawn from MNIST's: of any size, on paper or a board, blurred, unevenly lit, noisy."""

import torch
from torch import Tensor
from torch.nn import functional as F


def photograph(
    digit: Tensor,
    *,
    scale: float = 6.0,
    margins: tuple[int, int, int, int] = (30, 60, 20, 40),
    paper: float = 0.85,
    ink: float = 0.15,
    blur: int = 0,
    light: float = 0.0,
    noise: float = 0.0,
) -> Tensor:
    """A picture `(1, H, W)` of an MNIST digit `(1, 28, 28)`.

    Args:
        scale: of the digit. margins: left, right, above, below. paper, ink: their brightness; paper < ink is a board.
        blur: radius of a box, applied twice. light: how much darker the far corner is, a share. noise: deviation.
    """
    strokes = F.interpolate(digit[None], scale_factor=scale, mode="bicubic").clamp(0, 1)
    strokes = F.pad(strokes, margins)
    for _ in range(2 if blur else 0):
        strokes = F.avg_pool2d(strokes, 2 * blur + 1, 1, blur, count_include_pad=False)
    picture = (paper + (ink - paper) * strokes)[0]
    height, width = picture.shape[1:]
    across = torch.linspace(0, 1, width).expand(height, width)
    down = torch.linspace(0, 1, height)[:, None].expand(height, width)
    picture = picture * (1 - light * (0.6 * across + 0.4 * down))
    return (picture + noise * torch.randn(picture.shape)).clamp(0, 1)

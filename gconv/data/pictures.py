"""Read picture files (JPEG, PNG and what else Pillow knows) as tensors, and say how each was read.

A picture is turned as its camera says (EXIF), brought to one channel or three, and scaled to [0, 1]:

    grey, 16-bit grey, black and white     one channel: the pixel's share of the largest value
    RGB                                    three channels
    palette                                three channels, each pixel by its colour
    with alpha                             over white, so that what is transparent is paper
    CMYK, YCbCr, LAB, HSV                  three channels, converted

Three channels to one is by luminance (0.299 R + 0.587 G + 0.114 B); one to three repeats it. Shapes: `(C, H, W)`.
Pillow is imported where a picture is read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gconv.data.errors import DataError
from gconv.data.optional import import_optional

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")

# Pillow's modes in words.
_KINDS = {
    "1": "black and white", "L": "grey", "I;16": "16-bit grey", "I;16B": "16-bit grey", "I": "16-bit grey",
    "P": "palette", "RGB": "RGB", "LA": "grey with alpha", "La": "grey with alpha", "PA": "palette with alpha",
    "RGBA": "RGB with alpha", "RGBa": "RGB with alpha", "RGBX": "RGB", "CMYK": "CMYK", "YCbCr": "YCbCr", "LAB": "LAB",
    "HSV": "HSV",
}  # fmt: skip
_ORIENTATION = 0x0112  # EXIF; from 5 on the picture is turned by a quarter
GREY = frozenset({"black and white", "grey", "16-bit grey", "grey with alpha"})


@dataclass(frozen=True)
class Header:
    """What the first bytes of a picture tell: in words what its pixels are, and its (height, width)."""

    kind: str
    size: tuple[int, int]


def is_picture(path: Path) -> bool:
    """Whether a file's name says that it is a picture."""
    return path.suffix.lower() in ENDINGS


def read_header(path: Path) -> Header:
    """Look at a picture without decoding its pixels.

    Raises:
        DataError: for a file that is no picture, empty, missing or of pixels whose range is unknown.
    """
    image, kind = _open(path)
    try:
        with image:
            # A PNG tells its orientation only after its pixels; it hardly ever has one.
            turned = image.format in ("JPEG", "TIFF", "WEBP") and image.getexif().get(_ORIENTATION, 1) >= 5
            return Header(kind, (image.width, image.height) if turned else (image.height, image.width))
    except _broken() as error:
        raise _unreadable(path, error) from error


def read_picture(path: str | Path, channels: int | None = None, size: tuple[int, int] | None = None) -> Tensor:
    """Decode a picture: `(C, H, W)` float32 in [0, 1].

    Args:
        path: of the file. channels: 1 or 3; None for 1 where the picture is grey and 3 where it is not.
        size: (height, width) to bring it to: scaled until it covers that, then its middle.

    Raises:
        DataError: for what cannot be read, with the reason.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "white.pgm"
    >>> _ = path.write_bytes(b"P5 3 2 255 " + bytes([255] * 6))
    >>> read_picture(path, channels=3).shape
    torch.Size([3, 2, 3])
    """
    path = Path(path)
    image, kind = _open(path)
    try:
        with image:
            if size is not None and image.format == "JPEG":
                image.draft(None, (2 * size[1], 2 * size[0]))  # the decoder itself leaves out what is much too fine
            pixels = _pixels(image, kind)
    except _broken() as error:
        raise _unreadable(path, error) from error
    pixels = _with_channels(pixels, channels)
    return pixels if size is None else cover(pixels[None], size)[0]


def cover(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale pictures `(B, C, H, W)` until they cover `size`, and cut out the middle.

    >>> cover(torch.ones(1, 3, 20, 40), (10, 10)).shape
    torch.Size([1, 3, 10, 10])
    """
    height, width = images.shape[2:]
    scale = max(size[0] / height, size[1] / width)
    scaled = (max(size[0], round(height * scale)), max(size[1], round(width * scale)))
    if scaled != (height, width):
        images = F.interpolate(images, size=scaled, mode="bilinear", antialias=True).clamp(0.0, 1.0)
    top, left = (scaled[0] - size[0]) // 2, (scaled[1] - size[1]) // 2
    return images[:, :, top : top + size[0], left : left + size[1]]


def _pillow() -> ModuleType:
    return import_optional("PIL.Image", package="pillow", purpose="reading pictures")


def _broken() -> tuple[type[Exception], ...]:
    """What Pillow's decoders raise for files that are damaged."""
    return (
        OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError, struct.error,
        _pillow().DecompressionBombError,
    )  # fmt: skip


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).replace(repr(str(path)), "the file").split()) or type(error).__name__
    return DataError(f"{path}: cannot be read as a picture ({reason})")


def _open(path: Path) -> tuple[Any, str]:
    pillow = _pillow()
    try:
        if path.stat().st_size == 0:
            raise OSError("the file is empty")
        image = pillow.open(path)
    except _broken() as error:
        raise _unreadable(path, error) from error
    if image.mode not in _KINDS:
        image.close()
        raise DataError(f"{path}: cannot be read as a picture (pixels of mode {image.mode} have no known range)")
    return image, _KINDS[image.mode]


def _pixels(image: Any, kind: str) -> Tensor:
    """`(1, H, W)` or `(3, H, W)`, as the picture is."""
    import numpy as np
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if kind == "16-bit grey":
        values = torch.from_numpy(np.asarray(image).astype(np.float32))
        return (values / 65535).clamp(0.0, 1.0)[None]
    if "alpha" in kind or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if kind in GREY else "RGB")
    values = torch.from_numpy(np.array(image)).to(torch.float32).div_(255)
    return values[None] if values.dim() == 2 else values.permute(2, 0, 1).contiguous()


def _with_channels(pixels: Tensor, channels: int | None) -> Tensor:
    if channels in (None, len(pixels)):
        return pixels
    if channels == 1:
        return (pixels * pixels.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True).clamp(0.0, 1.0)
    if channels == 3:
        return pixels.expand(3, -1, -1)
    raise ValueError(f"pictures have 1 or 3 channels, got channels={channels!r}")

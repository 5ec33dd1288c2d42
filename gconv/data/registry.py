"""Which data sets there are, and the one function that loads them."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gconv.data import cifar, digits, mnist
from gconv.data.images import ImageData

DEFAULT_DATA_DIR = "data"


@dataclass(frozen=True)
class _Row:
    default_size: tuple[int, int]
    load: Callable[[Path, tuple[int, int], bool], ImageData]


def _cifar(layout: cifar.Layout) -> _Row:
    return _Row(
        cifar.NATIVE_SIZE,
        lambda data_dir, size, download: cifar.load_cifar(data_dir, layout, size, download=download),
    )


_DATA_SETS = {
    "digits": _Row(digits.DEFAULT_SIZE, lambda data_dir, size, download: digits.load_digits(size)),
    "mnist": _Row(
        mnist.NATIVE_SIZE, lambda data_dir, size, download: mnist.load_mnist(data_dir, size, download=download)
    ),
    "cifar10": _cifar(cifar.CIFAR10),
    "cifar100": _cifar(cifar.CIFAR100),
}


def names() -> tuple[str, ...]:
    """The names that `load` knows."""
    return tuple(_DATA_SETS)


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    size: tuple[int, int] | None = None,
    download: bool = False,
) -> ImageData:
    """Load a data set by its name: float32 images in [0, 1] and int64 labels.

    Args:
        name: one of `names()`.
        data_dir: the folder for data sets that come as files, `./data` where it is `None`; `digits` needs none.
        size: `(height, width)` to resize the images to; `None` means 28x28 for `digits` and `mnist`, 32x32 for
            `cifar10` and `cifar100`.
        download: fetch files that are not in `data_dir`.

    Raises `ValueError` for an unknown name or a size that is not two positive integers, `DataError` for files that
    are missing or damaged, `ImportError` for a package that the data set needs and that is not installed.

    >>> load("digits").train_images.shape
    torch.Size([1347, 1, 28, 28])
    """
    row = _row(name)
    size = row.default_size if size is None else _check_size(size)
    folder = Path(DEFAULT_DATA_DIR if data_dir is None else data_dir).expanduser()
    return row.load(folder, size, download)


def _row(name: str) -> _Row:
    if name in _DATA_SETS:
        return _DATA_SETS[name]
    near = difflib.get_close_matches(name.lower(), _DATA_SETS)
    guess = f"; did you mean {' or '.join(repr(other) for other in near)}?" if near else ""
    raise ValueError(f"unknown data set {name!r}{guess} (there are: {', '.join(names())})")


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(size, tuple) or len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise ValueError(f"size must be (height, width), two positive integers; got {size!r}")
    return size

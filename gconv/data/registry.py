"""Which data sets there are, and the functions that load them, by name or from a folder of pictures."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gconv.data import cifar, digits, mnist
from gconv.data.folder import FolderData, load_folder
from gconv.data.images import ImageData
from grid_cnn.names import guess

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


def _mnist(layout: mnist.Layout) -> _Row:
    return _Row(
        mnist.NATIVE_SIZE,
        lambda data_dir, size, download: mnist.load_mnist(data_dir, layout, size, download=download),
    )


_DATA_SETS = {
    "digits": _Row(digits.DEFAULT_SIZE, lambda data_dir, size, download: digits.load_digits(size)),
    "mnist": _mnist(mnist.MNIST),
    "fashion-mnist": _mnist(mnist.FASHION_MNIST),
    "cifar10": _cifar(cifar.CIFAR10),
    "cifar100": _cifar(cifar.CIFAR100),
}


def names() -> tuple[str, ...]:
    """The names that `load` knows."""
    return tuple(_DATA_SETS)


def load(
    name: str | Path,
    *,
    data_dir: str | Path | None = None,
    size: tuple[int, int] | None = None,
    download: bool = False,
    strict: bool = False,
) -> ImageData:
    """Load a data set by its name, or a folder of pictures: float32 images in [0, 1] and int64 labels.

    Args:
        name: one of `names()`, or a folder: ROOT/train/CLASS and ROOT/val/CLASS, or ROOT/CLASS (`data.folder`). A
            folder that is called like a data set is written with its place, as in ./mnist.
        data_dir: the folder for data sets that come as files, `./data` where it is `None`; `digits` needs none.
        size: `(height, width)` to bring the images to; `None` means 28x28 for `digits`, `mnist` and `fashion-mnist`,
            32x32 for `cifar10` and `cifar100`, and for a folder the size of its pictures, or 224x224 where they differ.
        download: fetch files that are not in `data_dir`.
        strict: refuse a folder with pictures that cannot be read, instead of leaving them out.

    Raises:
        ValueError: for an unknown name or a size that is not two positive integers.
        DataError: for files that are missing or damaged.
        ImportError: for a package that the data set needs and that is not installed.

    >>> load("digits").train_images.shape
    torch.Size([1347, 1, 28, 28])
    """
    found = load_lazily(name, data_dir=data_dir, size=size, download=download, strict=strict)
    return found.in_memory() if isinstance(found, FolderData) else found


def load_lazily(
    name: str | Path,
    *,
    data_dir: str | Path | None = None,
    size: tuple[int, int] | None = None,
    download: bool = False,
    strict: bool = False,
) -> ImageData | FolderData:
    """As `load`, but a folder's pictures stay on the disk: its parts decode what they are asked for.

    >>> load_lazily("digits").test[[0, 1]][0].shape
    torch.Size([2, 1, 28, 28])
    """
    size = None if size is None else _check_size(size)
    if is_folder(name):
        return load_folder(name, size, strict=strict)
    row = _row(str(name))
    data_dir = Path(DEFAULT_DATA_DIR if data_dir is None else data_dir).expanduser()
    return row.load(data_dir, size or row.default_size, download)


def is_folder(name: str | Path) -> bool:
    """Whether `load` takes this as a folder: no data set's name, and a folder that is there or a path with a slash.

    >>> is_folder("mnist"), is_folder("./mnist")
    (False, True)
    """
    text = str(name)
    if isinstance(name, str) and text in _DATA_SETS:
        return False
    return Path(text).expanduser().is_dir() or os.sep in text or "/" in text


def _row(name: str) -> _Row:
    if name in _DATA_SETS:
        return _DATA_SETS[name]
    meant = guess(name.lower(), _DATA_SETS, shown=repr)
    hint = f"; {meant}" if meant else ""
    raise ValueError(f"unknown data set {name!r}{hint} (there are: {', '.join(names())}; or a folder of pictures)")


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(size, tuple) or len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise ValueError(f"size must be (height, width), two positive integers; got {size!r}")
    return size

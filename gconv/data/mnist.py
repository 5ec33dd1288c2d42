"""The `mnist` and `fashion-mnist` data sets: 70,000 pictures of 28x28 pixels each, read from the published IDX files.

    DATA_DIR/MNIST/raw/train-images-idx3-ubyte ...       handwritten digits
    DATA_DIR/FashionMNIST/raw/ the same four names       articles of clothing

The folders are torchvision's; files may end in `.gz` or not.

References: LeCun, Bottou, Bengio, Haffner, *Gradient-based learning applied to document recognition*, 1998; Xiao,
Rasul, Vollgraf, *Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms*, 2017.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gconv.data.download import fetch
from gconv.data.errors import MissingDataError
from gconv.data.idx import damaged, read_idx
from gconv.data.images import ImageData, resize

NATIVE_SIZE = (28, 28)


@dataclass(frozen=True)
class Layout:
    """What sets the two data sets apart.

    Args:
        name, title: of the data set; the title says what its pictures are. classes: their names.
        folder: under the data folder. base_url: where the files are published. sha256: of each, by name.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    folder: str
    base_url: str
    sha256: Mapping[str, str]


MNIST = Layout(
    name="mnist",
    title="MNIST: {count:,} handwritten digits of 28x28 pixels",
    classes=tuple("0123456789"),
    folder="MNIST/raw",
    base_url="https://ossci-datasets.s3.amazonaws.com/mnist/",
    sha256={
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)
FASHION_MNIST = Layout(
    name="fashion-mnist",
    title="Fashion-MNIST: {count:,} articles of clothing, 28x28 pixels",
    classes=(
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    folder="FashionMNIST/raw",
    base_url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    sha256={
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)  # fmt: skip


def load_mnist(
    data_dir: Path,
    layout: Layout = MNIST,
    size: tuple[int, int] = NATIVE_SIZE,
    *,
    download: bool = False,
    base_url: str | None = None,
    sha256: Mapping[str, str] | None = None,
) -> ImageData:
    """Load MNIST or Fashion-MNIST: 60,000 training and 10,000 held-out images of one channel.

    A file that is there is read and never fetched again; with `download`, one that is not is fetched from `base_url`
    and must have the checksum that `sha256` gives under its name (the layout's own where they are `None`).

    Raises:
        MissingDataError: where a file is missing.
        DataError: where one is damaged, does not match its partner or could not be fetched.
    """
    folder = data_dir / layout.folder
    base_url, sha256 = base_url or layout.base_url, sha256 or layout.sha256
    if download:
        for file_name in _missing(folder, layout):
            fetch(file_name, folder=folder, base_url=base_url, sha256=sha256[file_name])
    if missing := _missing(folder, layout):
        raise MissingDataError(
            f"not found in {folder.absolute()}: {', '.join(missing)} (nor without .gz); "
            f"fetch with --download (download=True), or put the files there by hand from {base_url}"
        )
    train_images, train_labels = _read_part(folder, "train", layout)
    test_images, test_labels = _read_part(folder, "t10k", layout)
    resized = "" if size == NATIVE_SIZE else f", resized to {size[0]}x{size[1]}"
    return ImageData(
        name=layout.name,
        title=layout.title.format(count=len(train_labels) + len(test_labels)) + resized,
        train_images=resize(train_images, size),
        train_labels=train_labels,
        test_images=resize(test_images, size),
        test_labels=test_labels,
        classes=layout.classes,
    )


def _find(folder: Path, file_name: str) -> Path | None:
    """Where a file lies, uncompressed by preference, since that reads faster."""
    candidates = (folder / file_name.removesuffix(".gz"), folder / file_name)
    return next((path for path in candidates if path.is_file()), None)


def _missing(folder: Path, layout: Layout) -> list[str]:
    return [file_name for file_name in layout.sha256 if _find(folder, file_name) is None]


def _read_part(folder: Path, part: str, layout: Layout) -> tuple[Tensor, Tensor]:
    """Images `(M, 1, 28, 28)` float32 in [0, 1] and labels `(M,)` int64 of one part, checked against each other."""
    images_path = _find(folder, f"{part}-images-idx3-ubyte.gz")
    labels_path = _find(folder, f"{part}-labels-idx1-ubyte.gz")
    assert images_path is not None
    assert labels_path is not None
    images, labels = read_idx(images_path, rank=3), read_idx(labels_path, rank=1)
    if tuple(images.shape[1:]) != NATIVE_SIZE:
        raise damaged(images_path, f"images of {images.shape[1]}x{images.shape[2]} pixels", "28x28")
    if len(images) != len(labels):
        found = f"{len(labels):,} labels"
        raise damaged(labels_path, found, f"{len(images):,}, as many as the images in {images_path.name}")
    if labels.max() >= len(layout.classes):
        position = int(torch.nonzero(labels >= len(layout.classes))[0])
        raise damaged(labels_path, f"label {int(labels[position])} at position {position:,}", "0 to 9")
    return images.unsqueeze(1).to(torch.float32).div_(255), labels.to(torch.int64)

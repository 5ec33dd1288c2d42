"""The `cifar10` and `cifar100` data sets: 60,000 colour pictures of 32x32 pixels, in their own two layouts.

    DATA_DIR/cifar-10-batches-py/data_batch_1 ... 5, test_batch      pickles, read without running code
    DATA_DIR/cifar-10-batches-bin/data_batch_1.bin ... test_batch.bin      label byte, 3,072 pixel bytes, repeated
    DATA_DIR/cifar-100-python/train, test                            DATA_DIR/cifar-100-binary/train.bin, test.bin

Whichever is there is read; the pickles where both are. Files that are not the published ones, byte for byte, are read
as well, and the title says so: pictures decoded from JPEG copies, for one, are not quite CIFAR.

Reference: Krizhevsky, *Learning multiple layers of features from tiny images*, 2009.
"""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gconv.data.download import fetch
from gconv.data.errors import DataError, MissingDataError
from gconv.data.idx import damaged
from gconv.data.images import ImageData, resize
from gconv.data.pickles import read_pickle

NATIVE_SIZE = (32, 32)
BASE_URL = "https://www.cs.toronto.edu/~kriz/"
_PIXELS = 3 * 32 * 32

_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


@dataclass(frozen=True)
class Layout:
    """What sets the two data sets apart.

    Args:
        name, title: of the data set. classes: their names. folder, binary: of the pickles and of the binary files.
        train, test: file names; the binary ones end in '.bin'. labels: the pickles' key. label_bytes: before a picture.
        archive, sha256: the published archive of pickles. md5: of its files.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    folder: str
    binary: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: str
    label_bytes: int
    archive: str
    sha256: str
    md5: tuple[str, ...]


CIFAR10 = Layout(
    name="cifar10",
    title="CIFAR-10",
    classes=_CIFAR10,
    folder="cifar-10-batches-py",
    binary="cifar-10-batches-bin",
    train=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test=("test_batch",),
    labels="labels",
    label_bytes=1,
    archive="cifar-10-python.tar.gz",
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    md5=(
        "c99cafc152244af753f735de768cd75f",
        "d4bba439e000b95fd0a9bffe97cbabec",
        "54ebc095f3ab1f0389bbae665268c751",
        "634d18415352ddfa80567beed471001a",
        "482c414d41f54cd18b22e5b47cb7c3cb",
        "40351d587109b95175f43aff81a1287e",
    ),
)
CIFAR100 = Layout(
    name="cifar100",
    title="CIFAR-100",
    classes=tuple(_CIFAR100.split()),
    folder="cifar-100-python",
    binary="cifar-100-binary",
    train=("train",),
    test=("test",),
    labels="fine_labels",
    label_bytes=2,
    archive="cifar-100-python.tar.gz",
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    md5=("16019d7e3df5f24257cddd939b257f8d", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
)


def load_cifar(
    data_dir: Path,
    layout: Layout = CIFAR10,
    size: tuple[int, int] = NATIVE_SIZE,
    *,
    download: bool = False,
    base_url: str = BASE_URL,
    sha256: str | None = None,
) -> ImageData:
    """Load CIFAR-10 or CIFAR-100: 50,000 training and 10,000 held-out pictures of three channels.

    With `download`, the archive is fetched from `base_url` where no file is there, and must have the checksum `sha256`
    (the layout's own where it is `None`).

    Raises:
        MissingDataError: where a file is missing. DataError: where one is damaged, holds code or could not be fetched.
    """
    parts = _find(data_dir, layout)
    if parts is None and download:
        _download(data_dir, layout, base_url, sha256 or layout.sha256)
        parts = _find(data_dir, layout)
    if parts is None:
        raise MissingDataError(
            f"not found in {data_dir.absolute()}: {layout.folder}/ with {', '.join(layout.train + layout.test)}, nor "
            f"{layout.binary}/ with the same names and .bin; fetch with --download (download=True), or unpack "
            f"{base_url}{layout.archive} there"
        )
    train, test = parts
    read = _read_binary if train[0].suffix == ".bin" else _read_batch
    train_images, train_labels = _joined([read(path, layout) for path in train])
    test_images, test_labels = _joined([read(path, layout) for path in test])
    copy = "" if _published((*train, *test), layout) else ", from files that are not the published ones"
    resized = "" if size == NATIVE_SIZE else f", resized to {size[0]}x{size[1]}"
    count = len(train_labels) + len(test_labels)
    return ImageData(
        name=layout.name,
        title=f"{layout.title}{copy}: {count:,} pictures of 32x32 pixels{resized}",
        train_images=resize(train_images, size),
        train_labels=train_labels,
        test_images=resize(test_images, size),
        test_labels=test_labels,
        classes=layout.classes,
    )


def _find(data_dir: Path, layout: Layout) -> tuple[list[Path], list[Path]] | None:
    """The files of one layout, all of them."""
    for folder, ending in ((layout.folder, ""), (layout.binary, ".bin")):
        train = [data_dir / folder / f"{name}{ending}" for name in layout.train]
        test = [data_dir / folder / f"{name}{ending}" for name in layout.test]
        if all(path.is_file() for path in (*train, *test)):
            return train, test
    return None


def _download(data_dir: Path, layout: Layout, base_url: str, sha256: str) -> None:
    archive = fetch(layout.archive, folder=data_dir, base_url=base_url, sha256=sha256)
    wanted = {f"{layout.folder}/{name}" for name in layout.train + layout.test}
    try:
        with tarfile.open(archive) as tar:
            members = [member for member in tar.getmembers() if member.isfile() and member.name in wanted]
            tar.extractall(data_dir, members, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{archive} could not be unpacked ({error}); delete it and fetch it again") from error


def _read_batch(path: Path, layout: Layout) -> tuple[Tensor, Tensor]:
    """Pictures `(M, 3, 32, 32)` and labels `(M,)` of one pickle, uint8 and int64."""
    batch = read_pickle(path)
    pixels, labels = batch.get("data"), batch.get(layout.labels)
    if not isinstance(pixels, Tensor) or pixels.dim() != 2 or pixels.shape[1] != _PIXELS:
        found = f"data of shape {tuple(pixels.shape)}" if isinstance(pixels, Tensor) else "no array under 'data'"
        raise damaged(path, found, f"(M, {_PIXELS}) bytes")
    if not isinstance(labels, list) or any(type(label) is not int or label.bit_length() > 31 for label in labels):
        raise damaged(
            path, f"no list of whole numbers under {layout.labels!r}", f"one label for each of {len(pixels):,}"
        )
    return _checked(path, layout, pixels, torch.tensor(labels, dtype=torch.int64))


def _read_binary(path: Path, layout: Layout) -> tuple[Tensor, Tensor]:
    """Pictures and labels of one binary file: its label bytes (the last is the class) before each picture."""
    content = bytearray(path.read_bytes())
    row = layout.label_bytes + _PIXELS
    if not content or len(content) % row:
        raise damaged(path, f"{len(content):,} bytes", f"a multiple of {row:,}, the bytes of a picture and its label")
    rows = torch.frombuffer(content, dtype=torch.uint8).reshape(-1, row)
    return _checked(path, layout, rows[:, layout.label_bytes :], rows[:, layout.label_bytes - 1].long())


def _checked(path: Path, layout: Layout, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    if len(pixels) != len(labels):
        raise damaged(path, f"{len(labels):,} labels", f"{len(pixels):,}, as many as the pictures")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(layout.classes):
        wrong = int(torch.nonzero((labels < 0) | (labels >= len(layout.classes)))[0])
        raise damaged(path, f"label {int(labels[wrong])} at position {wrong:,}", f"0 to {len(layout.classes) - 1}")
    return pixels.reshape(-1, 3, *NATIVE_SIZE), labels


def _joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    images = torch.cat([images for images, _ in parts]).to(torch.float32).div_(255)
    return images, torch.cat([labels for _, labels in parts])


def _published(paths: tuple[Path, ...], layout: Layout) -> bool:
    """Whether the files are the published ones; of the binary layout no checksums are known, and none is doubted."""
    if paths[0].suffix == ".bin":
        return True
    digests = (hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() for path in paths)
    return all(found == expected for found, expected in zip(digests, layout.md5, strict=True))

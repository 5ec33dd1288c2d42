"""Folders of pictures, one folder a class: read from the disk batch by batch, where the batch is made.

    ROOT/train/CLASS/*.jpg      ROOT/val/CLASS/*.jpg       (or ROOT/test): ImageNet's layout
    ROOT/CLASS/*.jpg                                       a fifth of each class is held out, the same in every run

Classes are the folders' names in alphabetic order; pictures may lie in folders inside a class. Pictures that cannot be
read are left out, counted, and named with the reason; with `strict` they are refused before anything begins. How pixels
are read is said in `pictures.py`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gconv.data.errors import DataError, MissingDataError
from gconv.data.images import ImageData, permutation
from gconv.data.picture_files import PictureFiles
from gconv.data.pictures import ENDINGS, GREY, Header, is_picture, read_header
from gconv.data.skipped import Skipped

DEFAULT_SIZE = (224, 224)
HELD_OUT = 0.2
_SPLIT_SEED = 1998
_TEST_FOLDERS = ("val", "test", "validation")
_MOST_BYTES = 8 * 2**30  # of pictures in memory
_SAMPLE = 1024


@dataclass(frozen=True, eq=False, repr=False)
class FolderData:
    """Labelled pictures in folders, with a training part and a held-out part, left on the disk.

    Args:
        name: the folder. title: one line for people: what is there and how it is read. classes: by label.
        train, test: the two parts. left_out: what cannot be read by its first bytes, or is empty.
    """

    name: str
    title: str
    train: PictureFiles
    test: PictureFiles
    classes: tuple[str, ...]
    left_out: tuple[Skipped, ...]

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def in_channels(self) -> int:
        """How many channels pictures are read with."""
        return self.train.channels

    @property
    def size(self) -> tuple[int, ...]:
        """The size that pictures are brought to, `(height, width)`."""
        return self.train.size

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """All that was left out so far: at the beginning, and where a picture turned out to be damaged."""
        return (*self.left_out, *self.train.skipped, *self.test.skipped)

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation of the training pixels, from 1,024 pictures at even distances."""
        step = max(1, len(self.train) // _SAMPLE)
        pictures, _ = self.train[list(range(0, len(self.train), step))[:_SAMPLE]]
        return float(pictures.mean()), float(pictures.std())

    def in_memory(self) -> ImageData:
        """Decode everything.

        Raises:
            DataError: where that would take more than 8 GiB.
        """
        needed = 4 * (len(self.train) + len(self.test)) * self.in_channels * self.size[0] * self.size[1]
        if needed > _MOST_BYTES:
            raise DataError(
                f"{self.name}: {len(self.train) + len(self.test):,} pictures of {self.size[0]}x{self.size[1]} take "
                f"{needed / 2**30:.1f} GiB in memory; make them smaller with --size, or use `gconv train`, which reads "
                "them from the disk"
            )
        with ThreadPoolExecutor() as pool:
            (train_images, train_labels), (test_images, test_labels) = (_all(part, pool) for part in self.parts)
        return ImageData(
            self.name, self.title, train_images, train_labels, test_images, test_labels, self.classes, self.skipped
        )

    @property
    def parts(self) -> tuple[PictureFiles, PictureFiles]:
        """The training part and the held-out part."""
        return self.train, self.test

    def __repr__(self) -> str:
        counts = f"{len(self.train):,} train + {len(self.test):,} test pictures"
        shape = f"{self.in_channels}x{self.size[0]}x{self.size[1]}"
        return f"FolderData({self.name!r}: {counts}, {shape}, {self.num_classes} classes)"


def _all(part: PictureFiles, pool: ThreadPoolExecutor) -> tuple[Tensor, Tensor]:
    pictures = list(pool.map(part.attempt, range(len(part))))
    kept = [i for i, picture in enumerate(pictures) if picture is not None]
    if not kept:
        raise DataError(f"none of the {len(part):,} pictures can be read; the first is {part.paths[0]}")
    return torch.stack([picture for picture in pictures if picture is not None]), part.labels[kept]


def load_folder(
    root: str | Path, size: tuple[int, int] | None = None, *, channels: int | None = None, strict: bool = False
) -> FolderData:
    """Find the pictures of a folder, and leave them there.

    Args:
        root: ROOT/train/CLASS and ROOT/val/CLASS (or test), or ROOT/CLASS.
        size: (height, width) to bring pictures to; None for the size that all have, or 224x224 where they differ.
        channels: 1 or 3; None for 1 where all pictures are grey. strict: decode every picture, and refuse the folder
            if one cannot be read.

    Raises:
        MissingDataError: for a folder that is not there. DataError: for one without pictures, a class without, a test
            class that is not in the training part, and with `strict` for pictures that cannot be read.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise MissingDataError(
            f"{root.absolute()} is no folder; give ROOT with ROOT/train/CLASS/*.jpg or ROOT/CLASS/*.jpg"
        )
    classes, train_files, test_files = _layout(root)
    found = _headers([path for path, _ in (*train_files, *test_files)])
    left_out = [Skipped(path, why) for path, why in found.items() if isinstance(why, str)]
    headers = {path: header for path, header in found.items() if isinstance(header, Header)}
    kept = [[(path, label) for path, label in files if path in headers] for files in (train_files, test_files)]
    for part, files, before in zip(("train", "test"), kept, (train_files, test_files), strict=True):
        _check_classes(root, part, files, before, classes, left_out)
    channels = channels or (1 if {header.kind for header in headers.values()} <= GREY else 3)
    sizes = {header.size for header in headers.values()}
    size = size or (sizes.pop() if len(sizes) == 1 else DEFAULT_SIZE)
    train, test = (
        PictureFiles([path for path, _ in files], torch.tensor([label for _, label in files]), size, channels)
        for files in kept
    )
    title = _title(root, headers, size, channels, len(left_out), held_out=not _is_split(root))
    result = FolderData(str(root), title, train, test, classes, tuple(left_out))
    if strict:
        _refuse_damaged(result)
    return result


def _is_split(root: Path) -> bool:
    return (root / "train").is_dir()


Files = list[tuple[Path, int]]


def _layout(root: Path) -> tuple[tuple[str, ...], Files, Files]:
    """Class names, and the files of both parts with their labels."""
    if not _is_split(root):
        classes = _folders(root)
        train, test = [], []
        for label, name in enumerate(classes):
            files = _files(root / name)
            order = permutation(len(files), _SPLIT_SEED).tolist()
            count = max(1, round(HELD_OUT * len(files))) if len(files) > 1 else 0
            test += [(files[i], label) for i in sorted(order[:count])]
            train += [(files[i], label) for i in sorted(order[count:])]
        return classes, train, test
    held = next((root / name for name in _TEST_FOLDERS if (root / name).is_dir()), None)
    if held is None:
        raise DataError(
            f"{root} has train/ but none of {', '.join(_TEST_FOLDERS)} beside it; add the held-out pictures there"
        )
    classes = _folders(root / "train")
    strangers = [name for name in _folders(held) if name not in classes]
    if strangers:
        raise DataError(
            f"{held} has classes that {root / 'train'} has not: {', '.join(strangers)}; the training part's are "
            f"{', '.join(classes)}"
        )
    parts = [
        [(path, label) for label, name in enumerate(classes) for path in _files(part / name)]
        for part in (root / "train", held)
    ]
    return classes, parts[0], parts[1]


def _folders(root: Path) -> tuple[str, ...]:
    names = tuple(sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")))
    if len(names) < 2:
        found = f"one folder, {names[0]}" if names else "no folders"
        raise DataError(
            f"{root}: found {found}; expected a folder for each of two or more classes, with pictures in it"
        )
    return names


def _files(folder: Path) -> list[Path]:
    found = (Path(where) / name for where, _, names in os.walk(folder, followlinks=True) for name in names)
    return sorted(path for path in found if is_picture(path) and not path.name.startswith("."))


def _headers(paths: Sequence[Path]) -> dict[Path, Header | str]:
    """Of each file its header, or why it has none."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(paths, pool.map(_header, paths), strict=True))


def _header(path: Path) -> Header | str:
    try:
        return read_header(path)
    except DataError as error:
        return str(error)


def _check_classes(
    root: Path, part: str, files: Files, before: Files, classes: Sequence[str], left_out: Sequence[Skipped]
) -> None:
    if not before:
        raise DataError(f"{root}: found no pictures for the {part} part; expected files ending in {', '.join(ENDINGS)}")
    there = {label for _, label in files}
    empty = [name for label, name in enumerate(classes) if label not in there]
    if not files or (part == "train" and empty):
        why = f" ({len(left_out)} cannot be read, the first: {left_out[0].why})" if left_out else ""
        raise DataError(
            f"{root}: found no readable pictures of {', '.join(empty)} in the {part} part{why}; add some, or "
            "remove the folder"
        )


def _title(
    root: Path, headers: dict[Path, Header], size: tuple[int, int], channels: int, left_out: int, held_out: bool
) -> str:
    kinds = Counter(header.kind for header in headers.values())
    read = "grey" if channels == 1 else "RGB"
    words = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    over = ", what is transparent over white" if any("alpha" in kind for kind in kinds) else ""
    skipped = f"; {left_out:,} that cannot be read left out" if left_out else ""
    split = f"; {HELD_OUT:.0%} of each class held out" if held_out else ""
    return f"{root.name}: {len(headers):,} pictures ({words}) read as {read}{over}, {size[0]}x{size[1]}{skipped}{split}"


def _refuse_damaged(found: FolderData) -> None:
    with ThreadPoolExecutor() as pool:
        for part in found.parts:
            for _ in pool.map(part.attempt, range(len(part))):  # one at a time: none is kept
                pass
    if found.skipped:
        shown = "; ".join(skipped.why for skipped in found.skipped[:3])
        more = f"; and {len(found.skipped) - 3:,} more" if len(found.skipped) > 3 else ""
        raise DataError(
            f"{found.name}: {len(found.skipped):,} pictures cannot be read: {shown}{more}; mend or remove them"
        )

"""A data set of labelled images as four tensors, and the resizing that the data sets share."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from gconv.data.skipped import Skipped


class Part(TensorDataset):
    """A part of a data set in memory: an index, or a list of them, gives pictures and labels."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        super().__init__(images, labels)
        self.labels = labels


@dataclass(frozen=True, eq=False, repr=False)
class ImageData:
    """A labelled image data set in memory, with a training part and a held-out part.

    Shapes: images `(M, C, *size)` floating in [0, 1]; labels `(M,)` int64, each an index into `classes`.
    `ValueError` where a part breaks this, is empty, or where the two parts differ in channels or size.

    Args:
        name: what `load` knows the data set by.
        title: one line for people: what it is and where it comes from.
        classes: the classes' names, in the order of the labels.
        skipped: files that were left out, and why.

    >>> image, label = torch.zeros(6, 1, 4, 4), torch.tensor([0, 1, 0, 1, 0, 1])
    >>> data = ImageData("blank", "nothing to see", image, label, image, label, ("odd", "even"))
    >>> data.subset(train=4)
    ImageData('blank': 4 train + 6 test images, 1x4x4, 2 classes)
    """

    name: str
    title: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()

    def __post_init__(self) -> None:
        _check_part("train", self.train_images, self.train_labels, self.num_classes)
        _check_part("test", self.test_images, self.test_labels, self.num_classes)
        train, test = tuple(self.train_images.shape[1:]), tuple(self.test_images.shape[1:])
        if train != test:
            raise ValueError(f"train images are {train} each and test images {test}; both must have one shape")

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def in_channels(self) -> int:
        """How many channels an image has."""
        return self.train_images.shape[1]

    @property
    def size(self) -> tuple[int, ...]:
        """The spatial size of an image, `(height, width)`."""
        return tuple(self.train_images.shape[2:])

    @property
    def train(self) -> Part:
        """The training part."""
        return Part(self.train_images, self.train_labels)

    @property
    def test(self) -> Part:
        """The held-out part."""
        return Part(self.test_images, self.test_labels)

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation of the training pixels."""
        return float(self.train_images.mean()), float(self.train_images.std())

    def subset(self, train: int | None = None, test: int | None = None, *, seed: int = 0) -> "ImageData":
        """Keep `train` and `test` images, drawn without replacement; `None` leaves a part as it is.

        The draw is the beginning of one permutation for each `seed`, so a smaller subset lies inside a larger one.
        `ValueError` where more images are asked for than there are, or fewer than one.
        """
        train_images, train_labels = _draw("train", self.train_images, self.train_labels, train, seed)
        test_images, test_labels = _draw("test", self.test_images, self.test_labels, test, seed)
        return replace(
            self,
            train_images=train_images,
            train_labels=train_labels,
            test_images=test_images,
            test_labels=test_labels,
        )

    def __repr__(self) -> str:
        shape = "x".join(str(side) for side in self.train_images.shape[1:])
        counts = f"{len(self.train_labels):,} train + {len(self.test_labels):,} test images"
        return f"ImageData({self.name!r}: {counts}, {shape}, {self.num_classes} classes)"


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize images in [0, 1] by antialiased bilinear interpolation, `(M, C, H, W)` to `(M, C, *size)`.

    >>> resize(torch.ones(5, 1, 8, 8), (28, 28)).shape
    torch.Size([5, 1, 28, 28])
    """
    if tuple(images.shape[2:]) == size:
        return images
    # The weights of a pixel sum to one only to rounding, which would let white end a little above 1.
    return F.interpolate(images, size=size, mode="bilinear", antialias=True).clamp_(0.0, 1.0)


def permutation(count: int, seed: int) -> Tensor:
    """A permutation of `range(count)`, int64, the same for a seed on every machine and with every version.

    numpy promises never to change the stream of `RandomState`; neither torch nor numpy's newer generators do.

    >>> permutation(5, seed=0).tolist()
    [2, 0, 1, 3, 4]
    """
    return torch.from_numpy(np.random.RandomState(seed).permutation(count).astype(np.int64))


def _draw(part: str, images: Tensor, labels: Tensor, count: int | None, seed: int) -> tuple[Tensor, Tensor]:
    if count is None:
        return images, labels
    if not 1 <= count <= len(labels):
        raise ValueError(f"{part}={count} images asked for; this part has {len(labels):,}: give 1 to {len(labels)}")
    chosen = permutation(len(labels), seed)[:count].to(labels.device)
    return images[chosen], labels[chosen]


def _check_part(part: str, images: Tensor, labels: Tensor, num_classes: int) -> None:
    if images.ndim < 3 or not images.is_floating_point():
        found = f"{tuple(images.shape)} {images.dtype}"
        raise ValueError(f"{part} images must be floating, of shape (M, C, *size); got {found}")
    if labels.ndim != 1 or labels.dtype != torch.int64:
        raise ValueError(f"{part} labels must be int64, of shape (M,); got {tuple(labels.shape)} {labels.dtype}")
    if len(images) != len(labels) or images.numel() == 0:
        raise ValueError(
            f"{part} images and labels must be as many, and not empty; "
            f"got images {tuple(images.shape)} and {len(labels)} labels"
        )
    low, high = (value.item() for value in images.aminmax())
    if not (low >= 0.0 and high <= 1.0):  # written so that NaN fails too
        raise ValueError(f"{part} images must lie in [0, 1]; got {low:g} to {high:g}")
    first, last = (int(value.item()) for value in labels.aminmax())
    if first < 0 or last >= num_classes:
        raise ValueError(f"{part} labels must lie in 0 to {num_classes - 1}, one a class; got {first} to {last}")

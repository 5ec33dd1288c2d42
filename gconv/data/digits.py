"""The `digits` data set: what scikit-learn carries with it, so that a comparison runs with no download.

1,797 scans of 8x8 pixels with 17 grey levels, by 13 writers: scikit-learn's copy of the test half of *Optical
Recognition of Handwritten Digits* (Alpaydin & Kaynak, 1998, UCI Machine Learning Repository).

The held-out part is the same in every run, whatever seed a training uses: 45 images of each class, drawn with a seed
fixed here.  The data do not name the writers, so each may be in both parts: accuracies here are for known hands.
"""

import torch
from torch import Tensor

from gconv.data.images import ImageData, permutation, resize
from gconv.data.optional import import_optional

DEFAULT_SIZE = (28, 28)

_CLASSES = tuple("0123456789")
_GREY_LEVELS = 16
_TEST_PER_CLASS = 45
_SPLIT_SEED = 1998


def load_digits(size: tuple[int, int] = DEFAULT_SIZE) -> ImageData:
    """Load scikit-learn's digits, resized from 8x8 to `size`: 1,347 training and 450 held-out images of one channel.

    Raises:
        ImportError: where scikit-learn is not installed.

    >>> load_digits((8, 8)).test_labels.bincount().tolist()
    [45, 45, 45, 45, 45, 45, 45, 45, 45, 45]
    """
    datasets = import_optional("sklearn.datasets", package="scikit-learn", purpose='the data set "digits"')
    bunch = datasets.load_digits()
    labels = torch.from_numpy(bunch.target).to(torch.int64)
    images = torch.from_numpy(bunch.images).to(torch.float32).unsqueeze(1) / _GREY_LEVELS
    images = resize(images, size)
    train, test = _split(labels)
    resized = "" if size == (8, 8) else f", resized to {size[0]}x{size[1]}"
    return ImageData(
        name="digits",
        title=f"scikit-learn digits: {len(labels):,} scans of 8x8 pixels{resized}",
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        classes=_CLASSES,
    )


def _split(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The indices of the training and of the held-out images, each in the order of the data."""
    shuffled = permutation(len(labels), _SPLIT_SEED)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(len(_CLASSES)):
        held_out[shuffled[labels[shuffled] == label][:_TEST_PER_CLASS]] = True
    return torch.nonzero(~held_out).flatten(), torch.nonzero(held_out).flatten()

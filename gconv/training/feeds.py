"""From settings to loaders: the data, a validation part drawn class by class, and how pictures are normalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gconv import data
from gconv.data.images import permutation
from gconv.training.blueprint import Blueprint
from gconv.training.loading import loader
from gconv.training.settings import Settings

_SAMPLE = 4096
_TEST_BATCH = 512
_TEST_BATCH_DECODED = 64


class Chosen(Dataset):
    """Some examples of a data set that takes lists of indices.

    >>> from torch.utils.data import TensorDataset
    >>> Chosen(TensorDataset(torch.arange(5)), [4, 2])[[0, 1]]
    (tensor([4, 2]),)
    """

    def __init__(self, part: Any, indices: Sequence[int]) -> None:
        self._part, self._indices = part, list(indices)

    def __getitem__(self, index: int | Sequence[int]) -> Any:
        if isinstance(index, int):
            return self._part[self._indices[index]]
        return self._part[[self._indices[i] for i in index]]

    def __len__(self) -> int:
        return len(self._indices)


@dataclass(frozen=True)
class Feeds:
    """What a training reads.

    Args:
        data: the data set. train, validation, test: loaders of (pictures in [0, 1], labels); no validation where its
            share is 0. mean, deviation: of the training pictures, one a channel.
    """

    data: data.ImageData | data.FolderData
    train: DataLoader
    validation: DataLoader | None
    test: DataLoader
    counts: dict[str, int]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def blueprint(self, chosen: Settings) -> Blueprint:
        """The network of the settings, for these data."""
        height, width = self.data.size
        return Blueprint(
            chosen.model,
            tuple(self.data.classes),
            (height, width),
            self.data.in_channels,
            self.mean,
            self.deviation,
            chosen.domain,
            chosen.conv,
            chosen.K,
            chosen.neighbors,
            chosen.dropout,
        )


def feeds(chosen: Settings) -> Feeds:
    """Load the data that the settings name.

    Raises:
        ValueError: for data that are missing, damaged, or too few for the validation share.

    >>> feeds(Settings(size=(8, 8), validation=0.1)).counts
    {'train': 1211, 'validation': 136, 'test': 450}
    """
    found = data.load_lazily(
        chosen.data, data_dir=chosen.data_dir, size=chosen.size, download=chosen.download, strict=chosen.strict
    )
    kept, held_out = split(found.train.labels, chosen.validation, chosen.seed)
    train: Any = Chosen(found.train, kept)
    mean, deviation = moments(train)
    workers = chosen.workers if isinstance(found, data.FolderData) else 0
    test_batch = _TEST_BATCH_DECODED if isinstance(found, data.FolderData) else _TEST_BATCH

    def in_order(part: Any) -> DataLoader:
        return loader(part, len(part), test_batch, workers=workers)

    return Feeds(
        found,
        loader(train, len(kept), chosen.batch_size, chosen.seed, workers),
        in_order(Chosen(found.train, held_out)) if held_out else None,
        in_order(found.test),
        {"train": len(kept), "validation": len(held_out), "test": len(found.test)},
        mean,
        deviation,
    )


def split(labels: Tensor, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices to train on and indices to hold out, each in the data's order: `share` of every class, rounded.

    Raises:
        ValueError: if nothing would be held out, or a class would have nothing left to train on.

    >>> split(torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), 0.25, seed=0)
    ([0, 1, 3, 4, 5, 7], [2, 6])
    """
    if not share:
        return list(range(len(labels))), []
    shuffled = permutation(len(labels), seed)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        of_class = shuffled[labels[shuffled] == label]
        count = round(share * len(of_class))
        if count == len(of_class):
            raise ValueError(
                f"class {label} has {count} training images, and a validation share of {share:g} takes them all; "
                "give a smaller one"
            )
        held_out[of_class[:count]] = True
    if not held_out.any():
        raise ValueError(
            f"a validation share of {share:g} of {len(labels)} images holds out none; give a larger one, or 0"
        )
    return torch.nonzero(~held_out).flatten().tolist(), torch.nonzero(held_out).flatten().tolist()


def moments(part: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, over at most 4,096 pictures at even distances."""
    count = len(part)  # pyright: ignore[reportArgumentType]
    step = -(-count // _SAMPLE)
    pictures, _ = part[list(range(0, count, step))]
    channels = pictures.double().movedim(1, 0).flatten(1)
    deviation = [value if value > 0 else 1.0 for value in channels.std(1, correction=0).tolist()]
    return tuple(round(value, 6) for value in channels.mean(1).tolist()), tuple(round(value, 6) for value in deviation)

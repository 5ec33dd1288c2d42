"""Labelled picture files as a data set that decodes what it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from gconv.data.errors import DataError
from gconv.data.pictures import read_picture
from gconv.data.skipped import Skipped


class PictureFiles(Dataset):
    """Pictures on the disk with their labels; decoded where they are asked for, in a loader's workers if it has any.

    An index gives a picture `(C, H, W)` and its label; a list of indices a batch `(B, C, H, W)` and labels `(B,)`, from
    which pictures that turn out to be damaged are missing. Where nothing of a batch can be read, and for a single
    index, the next readable picture stands in. `skipped` names those that were damaged, whichever worker met them.

    Args:
        paths, labels: of the pictures. size: (height, width) to bring them to. channels: 1 or 3.
    """

    def __init__(self, paths: Sequence[Path], labels: Tensor, size: tuple[int, int], channels: int) -> None:
        self.paths, self.labels, self.size, self.channels = tuple(map(str, paths)), labels, size, channels
        self._damaged = torch.zeros(len(self.paths), dtype=torch.uint8).share_memory_()  # the workers write here

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int | Sequence[int]) -> tuple[Tensor, Tensor]:
        if isinstance(index, int):
            found = self._first_readable(index)
            return self._read(found), self.labels[found]
        wanted = [i for i in index if self._readable(i)]
        pictures = [(i, picture) for i in wanted if (picture := self.attempt(i)) is not None]
        if not pictures:
            found = self._first_readable(index[0])
            pictures = [(found, self._read(found))]
        return torch.stack([picture for _, picture in pictures]), self.labels[[i for i, _ in pictures]]

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """The pictures that were found to be damaged so far."""
        return tuple(map(self._why, self._damaged.nonzero().flatten().tolist()))

    def _readable(self, index: int) -> bool:
        return not self._damaged[index]

    def _read(self, index: int) -> Tensor:
        return read_picture(self.paths[index], self.channels, self.size)

    def attempt(self, index: int) -> Tensor | None:
        """The picture, or None where it is damaged, which is noted."""
        try:
            return self._read(index)
        except DataError:
            self._damaged[index] = 1
            return None

    def _why(self, index: int) -> Skipped:
        path = Path(self.paths[index])
        try:
            self._read(index)
        except DataError as error:
            return Skipped(path, str(error))
        return Skipped(path, f"{path}: could not be read when it was needed, and can be now")

    def _first_readable(self, index: int) -> int:
        for step in range(len(self)):
            candidate = (index + step) % len(self)
            if self._readable(candidate) and self.attempt(candidate) is not None:
                return candidate
        raise DataError(f"none of the {len(self):,} pictures can be read; the first is {self.paths[0]}")

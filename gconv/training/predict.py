"""What a trained network, or several together, take pictures for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gconv import data
from gconv.data.handwriting import read_handwriting
from gconv.data.pictures import ENDINGS, is_picture, read_header
from gconv.training.evaluate import together
from gconv.training.sources import Source

READINGS = ("auto", "digit", "picture")
_BATCH = 64


@dataclass(frozen=True)
class Answer:
    """What a picture was taken for.

    Args:
        path: the file. how: in words how it was read. top: the most probable classes, (name, index, probability).
    """

    path: Path
    how: str
    top: tuple[tuple[str, int, float], ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        top = [{"class": name, "index": index, "probability": share} for name, index, share in self.top]
        return {"image": str(self.path), "read": self.how, "top": top}


@dataclass(frozen=True)
class Predictions:
    """Answers in the order of the pictures, and the pictures that could not be read, with the reason."""

    answers: tuple[Answer, ...]
    unreadable: tuple[data.Skipped, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "predictions": [answer.as_json() for answer in self.answers],
            "unreadable": [{"image": str(skipped.path), "why": skipped.why} for skipped in self.unreadable],
        }


def find_pictures(given: Sequence[Path]) -> list[Path]:
    """The files that are meant: pictures as they are, of a folder all in it, in alphabetic order.

    Raises:
        ValueError: for a path that is not there, and a folder without pictures.
    """
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file() and is_picture(file))
            if not inside:
                raise ValueError(f"found no pictures in {path}; expected files ending in {', '.join(ENDINGS)}")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise ValueError(f"there is no file or folder {path}")
    return found


def predict(sources: Sequence[Source], pictures: Sequence[Path], *, top: int = 3, reading: str = "auto") -> Predictions:
    """Ask networks, together, what pictures show.

    Args:
        sources: networks of the same classes. pictures: files. top: how many classes to name, at most all.
        reading: 'digit' looks for a digit on the picture and brings it to MNIST's form, 'picture' scales the picture
            until it covers the network's size and takes its middle; 'auto' is 'digit' for networks that were trained
            on handwritten digits.

    Raises:
        ValueError: for top < 1, or an unknown reading.
    """
    if top < 1:
        raise ValueError(f"--top takes a whole number >= 1, got {top}")
    if reading not in READINGS:
        raise ValueError(f"--read is one of {', '.join(READINGS)}; got {reading!r}")
    if reading == "auto":
        reading = "digit" if sources[0].reads_handwriting else "picture"
    classifiers = [source.classifier for source in sources]
    blueprint = max((classifier.blueprint for classifier in classifiers), key=lambda each: each.size)
    if reading == "digit" and blueprint.in_channels != 1:
        raise ValueError(f"--read digit is for networks of one channel; {sources[0].name} has {blueprint.in_channels}")
    answer = together(classifiers)
    answers: list[Answer] = []
    unreadable: list[data.Skipped] = []
    for batch in _batches(pictures, reading, blueprint.in_channels, blueprint.size, unreadable):
        shares = answer(torch.stack([pixels for _, pixels, _ in batch])).exp()
        best = shares.topk(min(top, len(blueprint.classes)), dim=1)
        for (path, _, how), values, indices in zip(batch, best.values.tolist(), best.indices.tolist(), strict=True):
            named = tuple((blueprint.classes[i], i, share) for i, share in zip(indices, values, strict=True))
            answers.append(Answer(path, how, named))
    return Predictions(tuple(answers), tuple(unreadable))


def _batches(
    pictures: Sequence[Path], reading: str, channels: int, size: tuple[int, int], unreadable: list[data.Skipped]
) -> Iterator[list[tuple[Path, Tensor, str]]]:
    batch: list[tuple[Path, Tensor, str]] = []
    for path in pictures:
        try:
            batch.append((path, *_READERS[reading](path, channels, size)))
        except data.DataError as error:
            unreadable.append(data.Skipped(path, str(error)))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _digit(path: Path, channels: int, size: tuple[int, int]) -> tuple[Tensor, str]:
    header = read_header(path)
    try:
        found = read_handwriting(data.read_picture(path, channels), size)
    except data.DataError as error:
        raise data.DataError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    return found.pixels, f"{header.kind}, read as {found.how}"


def _picture(path: Path, channels: int, size: tuple[int, int]) -> tuple[Tensor, str]:
    header = read_header(path)
    pixels = data.read_picture(path, channels, size)
    given, wanted = (f"{height}x{width}" for height, width in (header.size, size))
    scaled = "as it is" if given == wanted else f"{given} scaled to {wanted}"
    return pixels, f"{header.kind}, read as {'grey' if channels == 1 else 'RGB'}, {scaled}"


_READERS = {"digit": _digit, "picture": _picture}

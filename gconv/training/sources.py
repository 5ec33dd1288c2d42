"""Trained networks by what users call them: a run folder of `gconv train`, or the name of one that comes with gconv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from gconv.training import checks, pretrained
from gconv.training.blueprint import Classifier
from gconv.training.runs import Run
from grid_cnn.names import guess

_HANDWRITING = ("mnist", "digits")


@dataclass(frozen=True)
class Source:
    """A trained network, and what it was trained on.

    Args:
        name: what the user called it. data: a data set's name or a folder. data_dir: where it was; None if unknown.
        strict: whether that folder was read strictly.
    """

    name: str
    classifier: Classifier
    data: str
    data_dir: Path | None = None
    strict: bool = False

    @property
    def reads_handwriting(self) -> bool:
        """Whether it was trained on handwritten digits, so that a digit is looked for on a picture."""
        return self.data in _HANDWRITING and self.classifier.blueprint.in_channels == 1


def open_source(name: str, weights: str = "best", device: torch.device | str = "cpu") -> Source:
    """A trained network.

    Args:
        name: a run folder, or one of `pretrained.names()`. weights: of a run, 'best' or 'last'.

    Raises:
        ValueError: for what is neither, with near names, for damaged or foreign files, and for a device that is not
            there.

    >>> open_source("lenet5-mnist").reads_handwriting
    True
    """
    expected = checks.device(str(device))
    if expected:
        raise ValueError(f"device takes {expected}; got {str(device)!r}")
    if name in pretrained.names():
        return Source(name, pretrained.load(name, device).classifier, "mnist")
    folder = Path(name).expanduser()
    if not folder.exists():
        hint = guess(name, pretrained.names()) or f"there are {', '.join(pretrained.names())}"
        raise ValueError(f"{name!r} is neither a run folder of gconv train nor a network that comes with gconv: {hint}")
    run = Run.open(folder, weights, device)
    settings = run.settings
    return Source(name, run.classifier, settings.data, settings.data_dir, settings.strict)


def open_sources(names: Sequence[str], weights: str = "best", device: torch.device | str = "cpu") -> list[Source]:
    """Several networks that answer together: their classes are the same, in the same order.

    Raises:
        ValueError: for networks of different classes or channels, naming them.
    """
    found = [open_source(name, weights, device) for name in names]
    first = found[0]
    for other in found[1:]:
        mine, its = first.classifier.blueprint, other.classifier.blueprint
        if mine.classes != its.classes or mine.in_channels != its.in_channels:
            raise ValueError(
                f"{first.name} and {other.name} cannot answer together: {_told(mine.classes, mine.in_channels)} "
                f"against {_told(its.classes, its.in_channels)}"
            )
    return found


def _told(classes: Sequence[str], channels: int) -> str:
    shown = ", ".join(classes[:3]) + (" ..." if len(classes) > 3 else "")
    return f"{len(classes)} classes ({shown}) on {channels} channels"

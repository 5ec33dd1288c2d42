"""What trained networks are worth on held-out pictures: one view of each, several scales, ten crops, several networks.

    p(x) = mean over networks n and views v of softmax(n(v(x)))

A view at scale s is the picture scaled to s times the network's size; its middle, or with borders repeated where s < 1.
Ten crops are the four corners, the middle and their mirror images, of the picture at 8/7 of that scale (256 for 224).

Symbols: n = `classifiers`; v = `Views`. Shapes: pictures `(B, C, H, W)` in [0, 1] to log p, `(B, classes)`. Cost: a
forward pass for each network and view. References: Krizhevsky, Sutskever and Hinton (2012), section 4.1, for ten crops;
Simonyan and Zisserman (2015), section 4.2, for scales.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from gconv import data
from gconv.training import metrics
from gconv.training.blueprint import Classifier
from gconv.training.metrics import Scores
from gconv.training.sources import Source

TEN_CROP_MARGIN = 8 / 7
SPLITS = ("test", "train", "all")

Size = tuple[int, int]


@dataclass(frozen=True)
class Views:
    """In how many ways a picture is looked at.

    Args:
        scales: of the picture, 1 for the network's own size. ten_crop: ten pieces of the picture at each scale.

    Raises:
        ValueError: for no scales, or one outside 0.25 to 4.

    >>> [tuple(view.shape) for view in Views((1.0, 1.5))(torch.zeros(2, 1, 8, 8), (8, 8))]
    [(2, 1, 8, 8), (2, 1, 8, 8)]
    """

    scales: tuple[float, ...] = (1.0,)
    ten_crop: bool = False

    def __post_init__(self) -> None:
        wrong = [scale for scale in self.scales if not 0.25 <= scale <= 4]
        if wrong or not self.scales:
            raise ValueError(f"scales are numbers from 0.25 to 4, 1 for the network's own size; got {wrong or 'none'}")

    @classmethod
    def parse(cls, scales: str, ten_crop: bool = False) -> Views:
        """Read scales as in "0.9,1,1.1"."""
        try:
            return cls(tuple(float(part) for part in scales.split(",")), ten_crop)
        except ValueError as error:
            if "scales" in str(error):
                raise
            raise ValueError(f"--scales takes numbers, as in 0.9,1,1.1; got {scales!r}") from error

    @property
    def largest(self) -> float:
        """The largest scale that pictures are brought to."""
        return max(self.scales) * (TEN_CROP_MARGIN if self.ten_crop else 1.0)

    def __call__(self, pictures: Tensor, size: Size) -> Iterator[Tensor]:
        """The views of a batch `(B, C, H, W)`, each `(B, C, *size)`."""
        for scale in self.scales:
            if self.ten_crop:
                yield from ten_crops(_scaled(pictures, size, scale * TEN_CROP_MARGIN), size)
            else:
                yield _middle(_scaled(pictures, size, scale), size)


def ten_crops(pictures: Tensor, size: Size) -> Iterator[Tensor]:
    """Corners and middle, each as it is and mirrored.

    >>> [crop[0, 0].tolist() for crop in ten_crops(torch.arange(4.0).reshape(1, 1, 1, 4), (1, 2))][:4]
    [[[0.0, 1.0]], [[1.0, 0.0]], [[2.0, 3.0]], [[3.0, 2.0]]]
    """
    pictures = _padded(pictures, size)
    down, right = pictures.shape[2] - size[0], pictures.shape[3] - size[1]
    for top, left in ((0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)):
        crop = pictures[:, :, top : top + size[0], left : left + size[1]]
        yield crop
        yield crop.flip(3)


def _scaled(pictures: Tensor, size: Size, scale: float) -> Tensor:
    wanted = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    if tuple(pictures.shape[2:]) == wanted:
        return pictures
    return F.interpolate(pictures, size=wanted, mode="bilinear", antialias=True).clamp(0.0, 1.0)


def _padded(pictures: Tensor, size: Size) -> Tensor:
    """At least as large as `size`, by repeating the border."""
    missing = [max(0, wanted - given) for wanted, given in zip(size, pictures.shape[2:], strict=True)]
    if not any(missing):
        return pictures
    top, left = missing[0] // 2, missing[1] // 2
    return F.pad(pictures, (left, missing[1] - left, top, missing[0] - top), mode="replicate")


def _middle(pictures: Tensor, size: Size) -> Tensor:
    pictures = _padded(pictures, size)
    top, left = (pictures.shape[2] - size[0]) // 2, (pictures.shape[3] - size[1]) // 2
    return pictures[:, :, top : top + size[0], left : left + size[1]]


def together(classifiers: Sequence[Classifier], views: Views | None = None) -> Callable[[Tensor], Tensor]:
    """One answer of several networks and views: pictures to the logarithm of the mean of their probabilities."""
    views = views or Views()

    def log_probabilities(pictures: Tensor) -> Tensor:
        answers = [
            classifier.logits(view).double().log_softmax(1)
            for classifier in classifiers
            for view in views(pictures.to(classifier.device), classifier.blueprint.size)
        ]
        return (torch.stack(answers).logsumexp(0) - torch.tensor(float(len(answers))).log()).float()

    return log_probabilities


@dataclass(frozen=True)
class Evaluation:
    """What was found: of which networks, on which pictures, in which views."""

    sources: tuple[Source, ...]
    data: str
    split: str
    views: Views
    scores: Scores
    skipped: tuple[data.Skipped, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names."""
        return self.sources[0].classifier.classes


def evaluate(
    sources: Sequence[Source],
    name: str | None = None,
    *,
    data_dir: Path | None = None,
    download: bool = False,
    split: str = "test",
    views: Views | None = None,
    batch_size: int = 256,
    workers: int = 0,
    strict: bool | None = None,
) -> Evaluation:
    """Look at all pictures of a data set's part.

    Args:
        sources: networks that answer together. name: the data set or folder; None for what the first was trained on.
        data_dir, download: where data sets lie; None for where they lay in training. split: 'test', 'train' or 'all'.
        views: one at the network's size if None. batch_size: pictures at a time. workers: processes that decode a
            folder's pictures. strict: refuse a folder with unreadable pictures; None for what the run did.

    Raises:
        ValueError: for data that does not fit the networks: other channels, or classes that they do not know.
    """
    first = sources[0]
    views = views or Views()
    if split not in SPLITS:
        raise ValueError(f"--split is one of {', '.join(SPLITS)}; got {split!r}")
    if batch_size < 1 or workers < 0:
        raise ValueError(f"batch-size takes a number >= 1 and workers >= 0; got {batch_size} and {workers}")
    name = name or first.data
    strict = first.strict if strict is None else strict
    images = _load(name, sources, views, data_dir or first.data_dir, download, strict)
    parts = {"test": [images.test], "train": [images.train], "all": [images.train, images.test]}[split]
    device = first.classifier.device
    columns = _columns(images.classes, first.classifier.classes, images.title)
    answer = together([source.classifier for source in sources], views)
    loaders = [
        DataLoader(part, sampler=_in_order(part, batch_size), batch_size=None, num_workers=workers) for part in parts
    ]
    batches = ((pictures, columns[labels]) for loader in loaders for pictures, labels in loader)
    scores = metrics.evaluate(answer, batches, len(first.classifier.classes), device=device)
    return Evaluation(tuple(sources), images.title, split, views, scores, images.skipped)


def _in_order(part: data.Part | data.PictureFiles, batch_size: int) -> BatchSampler:
    return BatchSampler(SequentialSampler(part), batch_size, drop_last=False)


def _load(
    name: str, sources: Sequence[Source], views: Views, data_dir: Path | None, download: bool, strict: bool
) -> data.ImageData | data.FolderData:
    """The pictures at the size of the largest network; those of a folder at that of the largest view."""
    blueprints = [source.classifier.blueprint for source in sources]
    size = max(blueprint.size for blueprint in blueprints)
    channels = blueprints[0].in_channels
    if data.is_folder(name):
        enlarged = (round(size[0] * max(1.0, views.largest)), round(size[1] * max(1.0, views.largest)))
        return data.load_folder(name, enlarged, channels=channels, strict=strict)
    images = data.load_lazily(name, data_dir=data_dir, size=size, download=download)
    if images.in_channels != channels:
        raise ValueError(
            f"{images.name} has pictures of {images.in_channels} channels, and {sources[0].name} reads {channels}; "
            "give other pictures with --data"
        )
    return images


def _columns(found: Sequence[str], known: Sequence[str], title: str) -> Tensor:
    """For each label of the pictures the network's own, by the class's name."""
    strangers = [name for name in found if name not in known]
    if strangers:
        raise ValueError(
            f"{title}: has classes that the network was not trained on, {', '.join(strangers[:5])}; it knows "
            f"{', '.join(known[:10])}{' ...' if len(known) > 10 else ''}"
        )
    return torch.tensor([list(known).index(name) for name in found])

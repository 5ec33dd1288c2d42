"""Augmentation: pictures changed at random on their device, before they become signals of a graph.

    crop[:PIXELS=4]                               zeros around the picture, then a piece of the old size
    flip                                          left for right, half of the pictures
    affine[:DEGREES=10[:SHIFT=0.1[:SCALE=0.1[:SHEAR=0]]]]
                                                  turned, moved (a share of the sides), scaled, sheared (degrees)
    elastic[:PIXELS=1[:SMOOTHNESS=4]]             moved by a smooth random field of so many pixels (root mean square)
    color[:STRENGTH=0.2]                          brightness and contrast, of colours saturation and hue too
    cutout[:PIXELS=8]                             a square of zeros
    mixup[:ALPHA=0.2]                             x = (1 - λ) x_a + λ x_b, y = (1 - λ) y_a + λ y_b, λ ~ Beta(α, α)
    cutmix[:ALPHA=1]                              a rectangle of another picture; the labels mixed by area

Settings are written as "crop:4,flip,cutout:8,mixup:0.2" and are done in that order. "affine:15@0.5" changes half of the
pictures, each by a toss of its own; `mixup` and `cutmix` come last, toss once a batch, and where both are given another
toss decides between them. Everything is drawn from torch's global generator on the CPU, so
that a seed repeats it and a run that is resumed with that generator's state goes on with the same pictures.

Shapes: pictures `(B, C, H, W)` in [0, 1], labels `(B,)` int64; to pictures of the same shape, and labels, or with
`mixup` or `cutmix` probabilities `(B, classes)`. Cost: a few passes over the batch; `elastic` has a Gaussian filter.
References: DeVries and Taylor, Improved regularization of CNNs with cutout (2017); Zhang et al., mixup (2018); Yun et
al., CutMix (2019); Simard et al., Best practices for CNNs (2003), for elastic fields. The operations are kornia's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gconv.data.optional import import_optional
from grid_cnn.names import guess

Change = Callable[[Tensor], Tensor]
Mix = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Setting:
    """A number of an operation: its name, what it is if left out, and between what it lies."""

    name: str
    default: float
    low: float = 0.0
    high: float = math.inf
    whole: bool = False

    def parse(self, text: str, operation: str) -> float:
        """The number in `text`.

        Raises:
            ValueError: for what is no number, or lies outside.
        """
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not self.low <= value <= self.high or value == math.inf or (self.whole and value != int(value)):
            kind = "a whole number" if self.whole else "a number"
            span = f">= {self.low:g}" if self.high == math.inf else f"from {self.low:g} to {self.high:g}"
            raise ValueError(f"{operation}: {self.name} takes {kind} {span}, got {text!r}")
        return value


def _kornia():
    return import_optional("kornia.augmentation", package="kornia", purpose="augmentation")


# Each gets the shape of the batch, the probability for a picture, and the operation's own numbers.


def _crop(size: torch.Size, p: float, pixels: float) -> Change:
    crop = _kornia().RandomCrop(tuple(size[2:]), padding=int(pixels), p=1.0)
    if p == 1:
        return crop
    # kornia would leave pictures that it does not crop at the padded size.
    return lambda images: torch.where((torch.rand(len(images), 1, 1, 1) < p).to(images.device), crop(images), images)


def _flip(size: torch.Size, p: float) -> Change:
    return _kornia().RandomHorizontalFlip(p=p)


def _affine(size: torch.Size, p: float, degrees: float, shift: float, scale: float, shear: float) -> Change:
    return _kornia().RandomAffine(degrees, (shift, shift), (1 - scale, 1 + scale), shear, p=p)


def _elastic(size: torch.Size, p: float, pixels: float, smoothness: float) -> Change:
    # Noise of variance 1/3 under a Gaussian of this width has the deviation (1/√3) / (2√π s); a side is 2 units wide.
    deviation = 1 / (math.sqrt(3) * 2 * math.sqrt(math.pi) * smoothness)
    reach = 2 * math.ceil(3 * smoothness) + 1
    alpha = tuple(2 * pixels / side / deviation for side in (size[3], size[2]))
    return _kornia().RandomElasticTransform((reach, reach), (smoothness, smoothness), alpha, p=p)


def _color(size: torch.Size, p: float, strength: float) -> Change:
    of_colours = (strength, strength / 4) if size[1] == 3 else (0.0, 0.0)
    return _kornia().ColorJitter(strength, strength, *of_colours, p=p)


def _cutout(size: torch.Size, p: float, pixels: float) -> Change:
    if pixels > min(size[2:]):
        raise ValueError(f"cutout: a square of {pixels:g} pixels does not fit pictures of {size[2]}x{size[3]}")
    share = pixels**2 / (size[2] * size[3])
    return _kornia().RandomErasing((share, share), (1.0, 1.0), p=p)


def _mixup(alpha: float) -> Mix:
    mixer = _kornia().RandomMixUpV2(data_keys=["input", "class"])
    share = torch.distributions.Beta(alpha, alpha)

    def mix(images: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        # kornia draws λ evenly; the paper's Beta is drawn here, one for each picture, and handed over.
        pairs, shares = torch.randperm(len(images)), share.sample((len(images),))
        mixed = mixer.apply_transform(images, {"mixup_pairs": pairs, "mixup_lambdas": shares})
        return mixed, _soft(labels, labels[pairs.to(labels.device)], shares, num_classes)

    return mix


def _cutmix(alpha: float) -> Mix:
    mixer = _kornia().RandomCutMixV2(beta=alpha, data_keys=["input", "class"], use_correct_lambda=True)

    def mix(images: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        mixed, found = mixer(images, labels)  # (1, B, 3): the label, the other's, the area that is kept
        first, second, kept = found[0].unbind(-1)
        return mixed, _soft(first.long(), second.long(), 1 - kept, num_classes)

    return mix


def _soft(first: Tensor, second: Tensor, share: Tensor, num_classes: int) -> Tensor:
    """(1 - share) of the first label and share of the second, `(B, classes)`."""
    share = share.to(first.device)[:, None]
    return (1 - share) * F.one_hot(first, num_classes) + share * F.one_hot(second, num_classes)


@dataclass(frozen=True)
class Operation:
    """An operation's settings, and what makes it: of the batch's shape, or for one that mixes pictures of none."""

    settings: tuple[Setting, ...]
    change: Callable[..., Change] | None = None
    mix: Callable[..., Mix] | None = None
    probability: float = 1.0


_OPERATIONS = {
    "crop": Operation((Setting("pixels", 4, low=1, whole=True),), _crop),
    "flip": Operation((), _flip, probability=0.5),
    "affine": Operation(
        (
            Setting("degrees", 10, high=180),
            Setting("shift", 0.1, high=1),
            Setting("scale", 0.1, high=0.9),
            Setting("shear", 0, high=80),
        ),
        _affine,
    ),
    "elastic": Operation((Setting("pixels", 1), Setting("smoothness", 4, low=0.5, high=100)), _elastic),
    "color": Operation((Setting("strength", 0.2, high=1),), _color),
    "cutout": Operation((Setting("pixels", 8, low=1, whole=True),), _cutout),
    "mixup": Operation((Setting("alpha", 0.2, low=1e-3, high=1e3),), mix=_mixup),
    "cutmix": Operation((Setting("alpha", 1, low=1e-3, high=1e3),), mix=_cutmix),
}


def names() -> tuple[str, ...]:
    """The operations that settings know.

    >>> names()
    ('crop', 'flip', 'affine', 'elastic', 'color', 'cutout', 'mixup', 'cutmix')
    """
    return tuple(_OPERATIONS)


@dataclass(frozen=True)
class Step:
    """One operation with all its numbers, and how probable it is for a picture (a batch, where pictures are mixed)."""

    name: str
    values: tuple[float, ...]
    probability: float

    def __str__(self) -> str:
        usual = self.probability == _OPERATIONS[self.name].probability
        return ":".join((self.name, *(f"{value:g}" for value in self.values))) + f"@{self.probability:g}" * (not usual)


class Augmentation:
    """Random changes of a batch of pictures.

    Args:
        steps: what to do, in order; `Augmentation.parse` reads them from settings.

    >>> augment = Augmentation.parse("crop:2,flip,mixup:0.2")
    >>> augment
    Augmentation('crop:2,flip,mixup:0.2')
    >>> images, targets = augment(torch.rand(4, 1, 8, 8), torch.arange(4), num_classes=10)
    >>> images.shape, targets.shape
    (torch.Size([4, 1, 8, 8]), torch.Size([4, 10]))
    """

    def __init__(self, steps: tuple[Step, ...] = ()) -> None:
        self.steps = steps
        self._changes: dict[torch.Size, list[Change]] = {}
        self._mixes: list[tuple[Mix, float]] | None = None

    @classmethod
    def parse(cls, settings: str) -> Augmentation:
        """Read settings as in "crop:4,flip,cutout:8,mixup:0.2"; numbers that are left out have their defaults.

        Raises:
            ValueError: for an unknown operation (with near names), one given twice, too many numbers or wrong ones.
        """
        parts = [part.strip() for part in settings.split(",")] if settings.strip() else []
        steps = tuple(_step(part, settings) for part in parts)
        given = [step.name for step in steps]
        twice = next((name for name in given if given.count(name) > 1), None)
        if twice:
            raise ValueError(f"augmentation: {twice!r} is given twice in {settings!r}; leave one out")
        return cls(steps)

    def __call__(self, images: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """Change a batch.

        Args:
            images: `(B, C, H, W)` floating in [0, 1], on any device. labels: `(B,)`. num_classes: of the targets.

        Raises:
            ValueError: for a signal that is no batch of pictures, or a square that does not fit them.
        """
        if not self.steps:
            return images, labels
        if images.dim() != 4 or not images.is_floating_point():
            raise ValueError(
                f"augmentation takes floating pictures (B, C, H, W), got {tuple(images.shape)} {images.dtype}; "
                "augment before pictures become graph signals"
            )
        shape = images.shape[1:]
        if shape not in self._changes:
            self._changes[shape] = [
                make(images.shape, step.probability, *step.values)
                for step in self.steps
                if (make := _OPERATIONS[step.name].change) is not None
            ]
        for change in self._changes[shape]:
            images = change(images)
        if self._mixes is None:
            makers = ((_OPERATIONS[step.name].mix, step) for step in self.steps)
            self._mixes = [(make(*step.values), step.probability) for make, step in makers if make is not None]
        if not self._mixes:
            return images, labels
        mix, probability = self._mixes[int(torch.randint(len(self._mixes), ()))]
        if float(torch.rand(())) >= probability:
            return images, F.one_hot(labels, num_classes).to(images.dtype)
        return mix(images, labels, num_classes)

    def __bool__(self) -> bool:
        return bool(self.steps)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Augmentation) and self.steps == other.steps

    def __hash__(self) -> int:
        return hash(self.steps)

    def __str__(self) -> str:
        return ",".join(map(str, self.steps))

    def __repr__(self) -> str:
        return f"Augmentation({str(self)!r})"


def _step(part: str, settings: str) -> Step:
    words, at, chance = part.partition("@")
    name, *numbers = (word.strip() for word in words.split(":"))
    if name not in _OPERATIONS:
        hint = guess(name, _OPERATIONS) or f"there are {', '.join(names())}"
        raise ValueError(f"unknown augmentation {name!r} in {settings!r}: {hint}")
    operation = _OPERATIONS[name]
    known = operation.settings
    if len(numbers) > len(known):
        form = ":".join((name, *(setting.name.upper() for setting in known)))
        raise ValueError(f"augmentation {part!r} has {len(numbers)} numbers; at most {form}@PROBABILITY")
    values = [setting.parse(text, name) for setting, text in zip(known, numbers, strict=False)]
    values += [float(setting.default) for setting in known[len(values) :]]
    probability = _PROBABILITY.parse(chance, name) if at else operation.probability
    return Step(name, tuple(values), probability)


_PROBABILITY = Setting("probability", 1.0, high=1.0)

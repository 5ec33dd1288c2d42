"""LeCun's five networks of 1989 on real digits: what structure is worth when examples are few.

    gconv bench lecun1989 --data-dir DIR      # DIR/MNIST/raw

As in the paper, 12 digits of each class, each in four consecutive positions on 16×16 cells, make 480 pictures, of which
32 a class, drawn at random, are trained on and 16 a class are tested on; squared error with targets ±1 on outputs of
1.7159 tanh(2x/3), weights from U(±2.4 / fan-in), one picture a step, 30 times through. The digits are MNIST's (its
training part, drawn anew for each of ten seeds): the middle 24×20 pixels, reduced to 16×13.
What differs: MNIST's digits are of 250 writers, and grey, where the paper's 120 were drawn by one hand with a mouse;
biases begin as each layer draws them; the rate of learning is one for all nets, falls to zero, and is divided by √n for
a kernel that n units share, where the paper takes second derivatives.
Then the full set: all 60,000 and 10,000 digits, reduced to 16×16, in batches of 10.
Reference: LeCun, Generalization and network design strategies (1989).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from benchmarks.harness import Options, Table
from gconv import data
from gconv.data.images import ImageData, permutation, resize
from gconv.training.fit import accuracy, batches, fit
from gconv.training.report import accuracy_text
from grid_cnn import Conv2d, Grid, models
from grid_cnn.accounting import summary
from grid_cnn.models.network import Network
from grid_cnn.squash import ScaledTanh

TITLE = "LeCun 1989 on real digits"
REPEATED = "{courses[few][seeds]} seeds"
SIDE, CLASSES = 16, 10
DRAWN, POSITIONS, TRAINED = 12, 4, 32  # digits of a class, places for each, and how many of the 48 are trained on


@dataclass(frozen=True)
class Published:
    """A line of the paper's table: links, weights, and accuracy on the 160 test pictures."""

    links: int
    weights: int
    accuracy: float


NETS = {
    "lecun1989_net1": Published(2570, 2570, 0.80),
    "lecun1989_net2": Published(3240, 3240, 0.87),
    "lecun1989_net3": Published(1226, 1226, 0.885),
    "lecun1989_net4": Published(2266, 1132, 0.94),
    "lecun1989_net5": Published(5194, 1060, 0.984),
}


@dataclass(frozen=True)
class Course:
    """How a network trains: pictures a step, times through, and the first rate of learning, which falls to zero."""

    batch: int
    epochs: int
    rate: float
    seeds: int


@dataclass(frozen=True)
class Part:
    """Pictures `(M, 1, 16, 16)` from -1, paper, to 1, ink, and their labels."""

    images: Tensor
    labels: Tensor


def few(images: ImageData, seed: int) -> tuple[Part, Part]:
    """The paper's 320 training and 160 test pictures, from digits drawn with `seed`."""
    order = permutation(len(images.train_labels), seed)
    parts: tuple[list[Tensor], list[Tensor]] = [], []
    for label in range(CLASSES):
        chosen = order[images.train_labels[order] == label][:DRAWN]
        digits = resize(images.train_images[chosen][:, :, 2:26, 4:24], (SIDE, SIDE - POSITIONS + 1))
        places = torch.cat([nn.functional.pad(digits, (left, POSITIONS - 1 - left)) for left in range(POSITIONS)])
        mixed = places[permutation(len(places), seed + label)]
        for part, pictures in zip(parts, mixed.split([TRAINED, len(mixed) - TRAINED]), strict=True):
            part.append(pictures)
    train, test = (
        Part(2 * torch.cat(part) - 1, torch.arange(CLASSES).repeat_interleave(len(part[0]))) for part in parts
    )
    return train, test


def everything(images: ImageData) -> tuple[Part, Part]:
    """All digits."""
    reduced = (resize(part, (SIDE, SIDE)) for part in (images.train_images, images.test_images))
    train, test = (2 * part - 1 for part in reduced)
    return Part(train, images.train_labels), Part(test, images.test_labels)


_SQUASH = ScaledTanh()


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """½ Σ (f(a) - t)² over the outputs, its mean over the batch: t = 1 for the label, -1 for the others.

    >>> round(float(squared_error(torch.tensor([[1.0, -1.0]]), torch.tensor([0]))), 4)
    0.0
    """
    targets = 2 * nn.functional.one_hot(labels, logits.shape[1]).to(logits.dtype) - 1
    return (_SQUASH(logits) - targets).square().sum(1).mean() / 2


def optimizer(net: Network, rate: float) -> torch.optim.Optimizer:
    """Plain steps down the gradient, shorter by √n where n units share a kernel."""
    groups, grid, others = [], Grid((SIDE, SIDE)), {id(parameter): parameter for parameter in net.parameters()}
    for layer in net.modules():
        if isinstance(layer, Conv2d):
            grid = layer.codomain(grid)
            assert isinstance(grid, Grid)
            groups.append({"params": [others.pop(id(layer.weight))], "lr": rate / math.sqrt(grid.num_nodes)})
    return torch.optim.SGD([*groups, {"params": list(others.values()), "lr": rate}], rate)


def trained(name: str, train: Part, test: Part, course: Course, seed: int) -> tuple[float, float]:
    """Train a network, and give its accuracy on both parts."""
    torch.manual_seed(seed)
    net = models.create(name)
    assert isinstance(net, Network)
    stepper = optimizer(net, course.rate)
    first = [group["lr"] for group in stepper.param_groups]

    def slower(trainer: Engine) -> None:
        @trainer.on(Events.EPOCH_STARTED)
        def _set() -> None:
            left = 1 - (trainer.state.epoch - 1) / course.epochs
            for group, rate in zip(stepper.param_groups, first, strict=True):
                group["lr"] = rate * left

    loader = batches(train.images, train.labels, course.batch, seed)
    fit(net, loader, None, epochs=course.epochs, optimizer=stepper, loss=squared_error, attach=slower)
    found = [accuracy(net, batches(part.images, part.labels, 1000)) for part in (train, test)]
    return found[0], found[1]


def run(options: Options) -> dict[str, Any]:
    """All networks: on few examples, then on the full set.

    Raises:
        DataError: for missing or damaged digits.
    """
    images = data.load("mnist", data_dir=options.data)
    small, full = Course(1, 30, 0.02, 10), Course(10, 5, 0.1, 1)
    if options.quick:
        small, full = Course(16, 2, 0.1, 2), Course(10, 1, 0.1, 1)
        images = images.subset(train=2000, test=200)
    draws = [few(images, seed) for seed in range(small.seeds)]
    whole, nets = everything(images), []
    for name, published in filter(lambda item: options.wants(item[0]), NETS.items()):
        table = summary(models.create(name), Grid((SIDE, SIDE)))
        runs = {
            "few": [trained(name, *draw, small, seed) for seed, draw in enumerate(draws)],
            "full": [trained(name, *whole, full, seed) for seed in range(full.seeds)],
        }
        found = {
            part: {"train": [pair[0] for pair in pairs], "test": [pair[1] for pair in pairs]}
            for part, pairs in runs.items()
        }
        entry = {"links": table.links, "weights": table.parameters, "published": asdict(published), **found}
        nets.append({"name": name, **entry})
        options.say(f"{name}: {accuracy_text(tuple(found['few']['test']))}, full {found['full']['test'][0]:.2%}")
    return {"data": images.title, "nets": nets, "courses": {"few": asdict(small), "full": asdict(full)}}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """A line a network, beside the published one."""
    lines, courses = [], found["courses"]
    for net in found["nets"]:
        published = net["published"]
        lines.append(
            (
                net["name"],
                f"{net['links']:,} / {net['weights']:,}",
                f"{published['links']:,} / {published['weights']:,}",
                accuracy_text(tuple(net["few"]["train"])),
                accuracy_text(tuple(net["few"]["test"])),
                f"{100 * published['accuracy']:.1f} %",
                accuracy_text(tuple(net["full"]["test"])),
            )
        )
    headings = ("network", "links / weights", "published", "training", "test", "published test", "test, full set")
    few_text, full_text = (
        f"{course['epochs']} epochs, batches of {course['batch']}, rate {course['rate']:g}, {course['seeds']} "
        f"seed{'s' * (course['seeds'] > 1)}"
        for course in (courses["few"], courses["full"])
    )
    notes = (f"{found['data']}. 320 training and 160 test pictures: {few_text}. The full set: {full_text}.",)
    return [Table("Accuracy on 320 training and 160 test pictures, and on all digits", headings, tuple(lines), notes)]

"""LeCun's five networks of 1989 on real digits: what structure is worth when examples are few.

    gconv bench lecun1989 --data-dir DIR      # DIR/MNIST/raw

    w ← w - η / F · ∂J/∂w,    J = ½ Σ_o (f(a_o) - t_o)²,    f(a) = 1.7159 tanh(2a/3),    t = ±1

As in the paper, 12 digits of each class, each in four consecutive positions on 16×16 cells, make 480 pictures, of which
32 a class, drawn at random, are trained on and 16 a class are tested on; squared error, weights from U(±2.4 / F), one
picture a step, 30 times through. The digits are MNIST's (its training part, drawn anew for each of ten seeds): the
middle 24×20 pixels, reduced to 16×13.

Symbols: F = the fan-in of a unit, the signals that it sums over; η = `rate`, one for all five nets. The curvature of a
unit's error in its weights and bias is Σ x² over what it sums, about F for signals of about ±1: a step of more than
2/F overshoots, so that one rate for all weights is too large for a unit with 256 inputs, or too small for one with 9.
A kernel that n units share sums n such curvatures, each of a unit behind weights of about 1.4/F': together less than
that of one output unit here, and a rate divided by √n as well came to less, in training and after it.
η was chosen among 0.3, 0.5, 0.7 and 1 by the mean accuracy of all nets on 160 pictures of draws 100 to 107, of which
none is reported.

What differs: MNIST's digits are of 250 writers, and grey, where the paper's 120 were drawn by one hand with a mouse;
biases begin as each layer draws them; the paper scales each weight's step by an estimate of its second derivative; here
η falls in a straight line to zero.
Then the full set: all 60,000 and 10,000 digits, reduced to 16×16, in batches, at the same rate.
Cost: all seeds of a network train at once, as one network whose weights have an axis more (`torch.func.vmap`).
Reference: LeCun, Generalization and network design strategies (1989).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from benchmarks.harness import Options, Table
from gconv import data
from gconv.data.images import ImageData, permutation, resize
from gconv.training.report import accuracy_text
from grid_cnn import Grid, models
from grid_cnn.accounting import summary
from grid_cnn.models.lecun1989 import fan_in
from grid_cnn.models.network import Network
from grid_cnn.squash import ScaledTanh

TITLE = "LeCun 1989 on real digits"
REPEATED = "{courses[few][seeds]} seeds"
SIDE, CLASSES = 16, 10
RATE = 0.7
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
    """How a network trains: pictures a step, times through, and η at first; how many seeds."""

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
    right = labels[:, None] == torch.arange(logits.shape[1])  # as vmap likes it
    targets = torch.where(right, 1.0, -1.0)
    return (_SQUASH(logits) - targets).square().sum(1).mean() / 2


def rates(net: Network, rate: float) -> dict[str, float]:
    """The rate of each parameter: `rate` over the fan-in of its unit. A layer of biases goes with the weights before.

    >>> sorted(set(rates(models.create("lecun1989_net3"), 1.0).values()), reverse=True)
    [0.1111111111111111, 0.0625, 0.04]
    """
    found, fan = {}, 0
    for name, layer in net.named_modules():
        fan = fan_in(layer) or fan
        found |= {f"{name}.{part}": rate / fan for part, _ in layer.named_parameters(recurse=False)}
    return found


def trained(
    name: str, draws: Sequence[tuple[Part, Part]], course: Course, first_seed: int = 0
) -> list[tuple[float, float]]:
    """Train a network on each draw, from a seed of its own, and give its accuracies on both parts of the draw."""
    nets, seeds = [], range(first_seed, first_seed + len(draws))
    for seed in seeds:
        torch.manual_seed(seed)
        nets.append(models.create(name))
    net = nets[0]
    assert isinstance(net, Network)
    parameters = {key: values.detach() for key, values in stack_module_state(nets)[0].items()}
    train, test = (
        Part(torch.stack([part.images for part in parts]), torch.stack([part.labels for part in parts]))
        for parts in zip(*draws, strict=True)
    )

    def loss(parameters: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return squared_error(functional_call(net, parameters, (images,)), labels)

    gradients, each = vmap(grad(loss)), torch.arange(len(draws))[:, None]
    for epoch in range(course.epochs):
        steps = rates(net, course.rate * (1 - epoch / course.epochs))
        order = torch.stack([permutation(train.labels.shape[1], 1000 * (seed + 1) + epoch) for seed in seeds])
        for chosen in order.split(course.batch, 1):
            found = gradients(parameters, train.images[each, chosen], train.labels[each, chosen])
            for key, step in steps.items():
                parameters[key].sub_(found[key], alpha=step)
    accuracies = [_accuracies(net, parameters, part) for part in (train, test)]
    return list(zip(*accuracies, strict=True))


@torch.no_grad()
def _accuracies(net: Network, parameters: dict[str, Tensor], part: Part) -> list[float]:
    """The share of right answers of each network on its pictures."""
    answers = vmap(lambda parameters, images: functional_call(net, parameters, (images,)).argmax(1))
    found = torch.cat([answers(parameters, images) for images in part.images.split(1000, 1)], 1)
    return (found == part.labels).double().mean(1).tolist()


def run(options: Options) -> dict[str, Any]:
    """All networks: on few examples, then on the full set.

    Raises:
        DataError: for missing or damaged digits.
    """
    images = data.load("mnist", data_dir=options.data)
    small, full = Course(1, 30, RATE, 10), Course(20, 5, RATE, 3)
    if options.quick:
        small, full = Course(16, 2, RATE, 2), Course(20, 1, RATE, 1)
        images = images.subset(train=2000, test=200)
    draws = [few(images, seed) for seed in range(small.seeds)]
    whole, nets = everything(images), []
    for name, published in filter(lambda item: options.wants(item[0]), NETS.items()):
        table = summary(models.create(name), Grid((SIDE, SIDE)))
        runs = {
            "few": trained(name, draws, small),
            "full": trained(name, [whole] * full.seeds, full),
        }
        found = {
            part: {"train": [pair[0] for pair in pairs], "test": [pair[1] for pair in pairs]}
            for part, pairs in runs.items()
        }
        entry = {"links": table.links, "weights": table.parameters, "published": asdict(published), **found}
        nets.append({"name": name, **entry})
        few_text, full_text = (accuracy_text(tuple(part["test"])) for part in found.values())
        options.say(f"{name}: {few_text}, full {full_text}")
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

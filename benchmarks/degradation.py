"""The degradation of He et al.: a deeper plain network has the larger training error; a deeper residual one has not.

    gconv bench degradation --data-dir DIR      # DIR/cifar-10-batches-py; about an hour and a half on one thread

Plain and residual networks of 20 and 56 layers, on a subset of CIFAR-10: the same pictures in the same order, with the
same crops and flips, for all four. The paper's settings, scaled to the subset: pictures less their mean, padded by 4,
cropped and flipped at random; momentum 0.9, weight decay 1e-4; batches of 64 at a rate of 0.05 (128 at 0.1 there),
divided by 10 after half and after three quarters of the epochs; He's start, no dropout. The training error is of the
augmented pictures, as they are trained on.

After each epoch all that the next one needs is written beside the JSON, whole or not at all: the same command goes on
where it was stopped, and comes to the same numbers, bit for bit. `python -m benchmarks.tables` draws the curves.
Reference: He, Zhang, Ren and Sun, Deep residual learning for image recognition (2016), section 4.2 and figure 6.
"""

from __future__ import annotations

import io
import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchmarks.harness import Options, Table
from gconv import data
from gconv.data.images import ImageData, permutation
from gconv.training import files
from gconv.training.fit import batches, fit
from grid_cnn import models

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Degradation: plain against residual networks"
REPEATED = "one seed"
# Pairs, in the order in which they train; the nets of a pair take turns, epoch by epoch.
PAIRS = (("plain20_cifar", "resnet20_cifar"), ("plain56_cifar", "resnet56_cifar"))
NETS = tuple(name for pair in PAIRS for name in pair)
# He et al. (2016), figure 6 and table 6, all 50,000 pictures and 64,000 steps: test error in %.
PUBLISHED = {"resnet20_cifar": 8.75, "resnet56_cifar": 6.97}
_PADDING = 4


@dataclass(frozen=True)
class Settings:
    """What decides every bit of the result, beside the data.

    Args:
        train, test: how many pictures, drawn with `seed`. epochs, batch: how long, and how many at a time.
        rate: of learning, divided by 10 after each of the `drops`, given in parts of the epochs.
        momentum, decay: of stochastic gradient descent. seed: of weights, order and augmentation.
        threads, torch: with what it is worked out.

    >>> [Settings(epochs=4).rate_in(epoch) for epoch in (1, 2, 3, 4)]
    [0.05, 0.05, 0.005, 0.0005]
    """

    train: int = 4000
    test: int = 2000
    epochs: int = 40
    batch: int = 64
    rate: float = 0.05
    drops: tuple[float, ...] = (0.5, 0.75)
    momentum: float = 0.9
    decay: float = 1e-4
    seed: int = 0
    threads: int = 1
    torch: str = ""

    def rate_in(self, epoch: int) -> float:
        """The rate of learning in an epoch, counted from 1."""
        return self.rate / 10 ** sum(epoch > drop * self.epochs for drop in self.drops)


@dataclass(frozen=True)
class Pictures:
    """A subset as it is trained on: each pixel less its mean over the training pictures, channels last."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    num_classes: int


def pictures(images: ImageData, settings: Settings) -> Pictures:
    """The subset of a data set."""
    chosen = images.subset(settings.train, settings.test, seed=settings.seed)
    mean = chosen.train_images.mean(0)
    train, test = (
        (part - mean).contiguous(memory_format=torch.channels_last)
        for part in (chosen.train_images, chosen.test_images)
    )
    return Pictures(train, chosen.train_labels, test, chosen.test_labels, chosen.num_classes)


class Augmented:
    """The batches of one epoch: every picture once, shifted by up to 4 cells over zeros, every second one mirrored.

    Args:
        images, labels: `(M, C, H, W)` and `(M,)`. batch: how many at a time. seed: what the epoch draws.

    >>> [tuple(x.shape) for x, y in Augmented(torch.ones(5, 3, 8, 8), torch.arange(5), 2, seed=1)]
    [(2, 3, 8, 8), (2, 3, 8, 8), (1, 3, 8, 8)]
    """

    def __init__(self, images: Tensor, labels: Tensor, batch: int, seed: int) -> None:
        self.images, self.labels, self.batch, self.seed = images, labels, batch, seed

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed)
        height, width = self.images.shape[2:]
        for chosen in permutation(len(self.labels), self.seed).split(self.batch):
            count = len(chosen)
            down, right = torch.randint(0, 2 * _PADDING + 1, (2, count, 1), generator=generator)
            mirrored = torch.rand(count, 1, generator=generator) < 0.5
            columns = torch.arange(width).expand(count, width)
            columns = right + torch.where(mirrored, columns.flip(1), columns)
            rows = down + torch.arange(height)
            padded = nn.functional.pad(self.images[chosen], [_PADDING] * 4)
            number = torch.arange(count)
            # Indexed in one go: (count, height, width, C) cells, which is the layout of channels last.
            shifted = padded.permute(0, 2, 3, 1)[number[:, None, None], rows[:, :, None], columns[:, None, :]]
            yield shifted.permute(0, 3, 1, 2), self.labels[chosen]


class Training:
    """One network on its way, epoch by epoch; what it has come to is kept in a file.

    Args:
        name: of the model. images: less their mean. settings: how it trains. path: of its state.

    Raises:
        ValueError: if the file is of other settings.
    """

    def __init__(self, name: str, images: Pictures, settings: Settings, path: Path) -> None:
        self.name, self.images, self.settings, self.path = name, images, settings, path
        torch.manual_seed(settings.seed)
        self.net = models.create(name, num_classes=images.num_classes, in_channels=images.train_images.shape[1])
        self.net.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), settings.rate, momentum=settings.momentum, weight_decay=settings.decay
        )
        self.history: list[dict[str, Any]] = []
        if path.is_file():
            self._restore()

    def _restore(self) -> None:
        state = torch.load(self.path, weights_only=True)
        now = _plain(self.settings)
        if state["settings"] != now:
            then, here = (
                {key: side.get(key) for key in now if state["settings"].get(key) != now[key]}
                for side in (state["settings"], now)
            )
            raise ValueError(
                f"{self.path} is of a training with {then}, and this one has {here}; go on with the same settings, or "
                f"delete {self.path.parent} to begin anew"
            )
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = json.loads(state["history"])

    def epoch(self) -> dict[str, Any]:
        """Train one epoch more, take both errors, and keep the state: whole or not at all."""
        settings, number = self.settings, len(self.history) + 1
        rate = settings.rate_in(number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        images, drawn = self.images, 1000 * settings.seed + number
        train = Augmented(images.train_images, images.train_labels, settings.batch, drawn)
        test = batches(images.test_images, images.test_labels, 250)
        began = time.process_time()
        found = fit(self.net, train, test, epochs=1, optimizer=self.optimizer)[0]
        assert found.test_accuracy is not None
        assert found.train_accuracy is not None
        entry = {
            "epoch": number,
            "rate": rate,
            "train_loss": found.train_loss,
            "train_error": 1 - found.train_accuracy,
            "test_error": 1 - found.test_accuracy,
            "seconds": round(time.process_time() - began, 2),
        }
        self.history.append(entry)
        state = {
            "settings": _plain(settings),
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": json.dumps(self.history),
        }
        content = io.BytesIO()
        torch.save(state, content)
        files.write(self.path, content.getvalue())
        return entry


def _plain(settings: Settings) -> dict[str, Any]:
    """The settings as JSON has them, lists in place of tuples."""
    return json.loads(json.dumps(asdict(settings)))


def run(options: Options) -> dict[str, Any]:
    """All networks; goes on where it was stopped.

    Raises:
        ValueError: for states of other settings. DataError: for missing or damaged pictures.
    """
    small = {"train": 24, "test": 12, "epochs": 2, "batch": 8} if options.quick else {}
    settings = Settings(**small, threads=torch.get_num_threads(), torch=torch.__version__)
    images = data.load("cifar10", data_dir=options.data)
    subset, folder = pictures(images, settings), options.out / "degradation.state"
    folder.mkdir(parents=True, exist_ok=True)
    nets = []
    for pair in PAIRS:
        wanted = [name for name in pair if options.wants(name)]
        trainings = [Training(name, subset, settings, folder / f"{name}.pt") for name in wanted]
        for number in range(1, settings.epochs + 1):
            for training in trainings:
                if len(training.history) < number:
                    entry = training.epoch()
                    errors = f"training error {entry['train_error']:.1%}, test error {entry['test_error']:.1%}"
                    options.say(f"{training.name}, epoch {number}: {errors}, {entry['seconds']:.1f} s")
        for training in trainings:
            count = sum(parameter.numel() for parameter in training.net.parameters())
            nets.append({"name": training.name, "parameters": count, "epochs": training.history})
    shutil.rmtree(folder)  # the next command begins anew
    trained = round(sum(entry["seconds"] for net in nets for entry in net["epochs"]), 1)
    decided = {"data": images.title, "settings": _plain(settings), "published": PUBLISHED}
    return {**decided, "nets": nets, "training_seconds": trained}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """A line a network."""
    settings, published = found["settings"], found["published"]
    late = max(1, settings["epochs"] // 8)  # the last epochs, over which one is as good as another
    lines = []
    for net in found["nets"]:
        last = net["epochs"][-late:]
        train, test = (sum(entry[part] for entry in last) / late for part in ("train_error", "test_error"))
        theirs = f"{published[net['name']]:.2f}" if net["name"] in published else "–"
        best = min(entry["test_error"] for entry in net["epochs"])
        lines.append(
            (net["name"], f"{net['parameters']:,}", *(f"{100 * error:.1f}" for error in (train, test, best)), theirs)
        )
    steps = settings["epochs"] * math.ceil(settings["train"] / settings["batch"])
    title = f"{settings['train']:,} training and {settings['test']:,} test pictures, {settings['epochs']} epochs"
    notes = (
        f"{found['data']}. {steps:,} steps of {settings['batch']} pictures, in {found['training_seconds'] / 60:.0f} "
        f"minutes of one thread for all; errors are means over the last {late} epochs, one seed. Published: all 50,000 "
        "pictures, 64,000 steps of 128.",
    )
    headings = ("network", "parameters", "training error, %", "test error, %", "least test error, %", "published, %")
    return [Table(title, headings, tuple(lines), notes)]


def figure(found: Mapping[str, Any]) -> Figure:
    """Both errors after every epoch: plain networks on the left, residual ones on the right."""
    from matplotlib.figure import Figure

    from gconv.plotting import HAIRLINE, INK, MUTED, POSITIVE

    drawn = Figure(figsize=(9.2, 4.0), layout="constrained")
    sides = drawn.subplots(1, 2, sharey=True)
    colours = {"20": INK, "56": POSITIVE}
    for axes, kind in zip(sides, ("plain", "resnet"), strict=True):
        for net in found["nets"]:
            if not net["name"].startswith(kind):
                continue
            depth = net["name"].removeprefix(kind).removesuffix("_cifar")
            numbers = [entry["epoch"] for entry in net["epochs"]]
            for part, style, width in (("train_error", "--", 1.2), ("test_error", "-", 2.0)):
                errors = [100 * entry[part] for entry in net["epochs"]]
                label = f"{depth} layers, {part.partition('_')[0].replace('train', 'training')}"
                axes.plot(numbers, errors, style, color=colours[depth], linewidth=width, label=label)
        axes.set_title({"plain": "plain", "resnet": "residual"}[kind], fontsize=12, color=INK)
        axes.set_xlabel("epoch", color=INK)
        axes.grid(True, color="#e4e8ed", linewidth=0.9)
        axes.tick_params(colors=MUTED, length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(HAIRLINE)
        axes.legend(frameon=False, fontsize=10, labelcolor=INK)
    sides[0].set_ylabel("error, %", color=INK)
    sides[0].set_ylim(0, 100)
    return drawn

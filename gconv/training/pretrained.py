"""Small trained networks that come with the package: LeNet-5 on MNIST, on the grid and on its graph.

    lenet5-mnist            on the grid
    lenet5-cheb-mnist       the same recipe with ChebNet's convolution, on the grid's graph
    lenet5-monet-mnist      with MoNet's

Each is `weights/NAME.safetensors`, a plain state dict, beside `weights/NAME.json`: what it is made from (`Blueprint`),
how it was trained, and the accuracy on the 10,000 test digits that it had then. Both are written by

    python -m gconv.training.pretrained --data-dir DIR

which needs MNIST in DIR/MNIST/raw and takes some minutes a network. Training pictures are turned, moved, scaled and
bent a little, so that digits of other pens and cameras are read too.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gconv import data
from gconv.data.handwriting import read_handwriting
from gconv.training import checkpoints, files, measure
from gconv.training.augmentation import Augmentation
from gconv.training.blueprint import Blueprint, Classifier
from gconv.training.fit import accuracy, batches, fit
from gconv.training.variants import Variant
from grid_cnn.names import guess

FOLDER = Path(__file__).with_name("weights")
SIZE, CLASSES = (28, 28), tuple("0123456789")
MOMENTS = (0.1307, 0.3081)  # mean and standard deviation of MNIST's training pixels

# The networks of a comparison; a directional convolution has the grid's own weights.
VARIANTS = {
    "grid": "lenet5-mnist",
    "directional": "lenet5-mnist",
    "cheb": "lenet5-cheb-mnist",
    "monet": "lenet5-monet-mnist",
}
COMMAND = "python -m gconv.training.pretrained"
_TEST_BATCH = 500


@dataclass(frozen=True)
class Recipe:
    """How a network that is shipped is trained: AdamW, its rate falling to 0 along a cosine."""

    title: str
    domain: str
    conv: str
    epochs: int
    augment: str
    lr: float = 2e-3
    weight_decay: float = 0.01
    batch_size: int = 64
    seed: int = 0


_RECIPES = {
    "lenet5-mnist": Recipe("LeNet-5 on the grid", "grid", "directional", 15, "affine:10:0.08:0.12:8,elastic:0.7:4"),
    "lenet5-cheb-mnist": Recipe(
        "LeNet-5 with ChebConv on the grid's graph", "graph", "cheb", 15, "affine:10:0.08:0.12:8@0.5,elastic:0.7:4@0.25"
    ),
    "lenet5-monet-mnist": Recipe(
        "LeNet-5 with GMMConv on the grid's graph", "graph", "monet", 12, "affine:10:0.08:0.12:8,elastic:0.7:4"
    ),
}


@dataclass(frozen=True)
class Shipped:
    """A network that comes with the package. `notes` are what its JSON says beside the blueprint."""

    name: str
    classifier: Classifier
    notes: dict[str, Any]

    @property
    def accuracy(self) -> float:
        """The share of MNIST's test digits that it read correctly when it was made."""
        return self.notes["accuracy"]


def names() -> tuple[str, ...]:
    """The networks that come with the package.

    >>> names()
    ('lenet5-mnist', 'lenet5-cheb-mnist', 'lenet5-monet-mnist')
    """
    return tuple(_RECIPES)


def load(name: str, device: torch.device | str = "cpu", folder: Path = FOLDER) -> Shipped:
    """A network that comes with the package, in evaluation mode.

    Raises:
        ValueError: for an unknown name (with near names), and for files that are missing, damaged or foreign.

    >>> load("lenet5-mnist").classifier.logits(torch.zeros(1, 1, 28, 28)).shape
    torch.Size([1, 10])
    """
    if name not in _RECIPES:
        hint = guess(name, _RECIPES) or f"there are {', '.join(names())}"
        raise ValueError(f"no network {name!r} comes with the package: {hint}")
    described = folder / f"{name}.json"
    blueprint = Blueprint.read(described)
    classifier = Classifier.load(blueprint, folder / f"{name}.safetensors", device)
    known = {field.name for field in dataclasses.fields(Blueprint)}
    notes = {key: value for key, value in json.loads(described.read_text()).items() if key not in known}
    return Shipped(name, classifier, notes)


def check(model: str, variants: Sequence[str], neighbors: int, size: tuple[int, int] | None) -> None:
    """Refuse a comparison that these networks cannot make.

    Raises:
        ValueError: for other variants than `VARIANTS`, another model, graph or size.
    """
    strangers = [variant for variant in variants if variant not in VARIANTS]
    if strangers:
        raise ValueError(
            f"no trained network of variant {', '.join(strangers)} comes with gconv; --pretrained has "
            f"{','.join(VARIANTS)}"
        )
    if model != "lenet5" or neighbors != 8 or size not in (None, SIZE):
        raise ValueError("the networks of --pretrained are lenet5 on 28x28 pictures, with 8 neighbors; leave these out")


def as_mnist(images: data.ImageData) -> data.ImageData:
    """Other handwritten digits in the form that these networks know: scaled to 20 pixels, their mass in the middle.

    Raises:
        ValueError: for pictures that are no grey digits.
    """
    if images.classes != CLASSES or images.in_channels != 1:
        raise ValueError(f"the networks of --pretrained read grey digits; {images.title}: take mnist or digits")
    if images.name == "mnist":
        return images
    train, test = (
        torch.stack([read_handwriting(picture, SIZE).pixels for picture in part])
        for part in (images.train_images, images.test_images)
    )
    return dataclasses.replace(
        images, title=f"{images.title}, brought to MNIST's form", train_images=train, test_images=test
    )


def network(variant: str, device: torch.device | str = "cpu") -> Variant:
    """The trained network of one of `VARIANTS`.

    >>> network("directional").place
    'graph 28×28'
    """
    name = VARIANTS[variant]
    blueprint = Blueprint.read(FOLDER / f"{name}.json")
    if variant == "directional":
        blueprint = dataclasses.replace(blueprint, domain="graph")
    return Classifier.load(blueprint, FOLDER / f"{name}.safetensors", device).network


def make(name: str, images: data.ImageData, folder: Path = FOLDER, epochs: int | None = None) -> Shipped:
    """Train a network that is shipped, and write its two files.

    Args:
        name: one of `names()`. images: MNIST. folder: where to write. epochs: None for the recipe's own.
    """
    recipe = _RECIPES[name]
    epochs = epochs or recipe.epochs
    mean, deviation = MOMENTS
    blueprint = Blueprint("lenet5", CLASSES, SIZE, 1, (mean,), (deviation,), domain=recipe.domain, conv=recipe.conv)
    torch.manual_seed(recipe.seed)
    built = blueprint.build()
    read = blueprint.reader(built)
    train = batches(images.train_images, images.train_labels, recipe.batch_size, recipe.seed)
    augment = Augmentation.parse(recipe.augment)
    optimizer = torch.optim.AdamW(built.module.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    began = time.perf_counter()
    fit(
        built.module,
        train,
        epochs=epochs,
        optimizer=optimizer,
        schedule=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(train)),
        augment=lambda pictures, labels: augment(pictures, labels, images.num_classes),
        prepare=read,
        on_epoch=lambda history: print(f"{name}: epoch {len(history)}, loss {history[-1].train_loss:.4f}", flush=True),
    )
    test = batches(read(images.test_images), images.test_labels, _TEST_BATCH)
    notes = {
        "title": recipe.title,
        "accuracy": accuracy(built.module, test),
        "test_images": len(images.test_labels),
        "data": images.title,
        "made_by": f"{COMMAND} --data-dir DIR",
        "training": {**dataclasses.asdict(recipe), "epochs": epochs},
        "seconds": round(time.perf_counter() - began),
        "machine": measure.machine(),
        "versions": measure.versions(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints.save_weights(folder / f"{name}.safetensors", built.model.state_dict(), {"made_by": notes["made_by"]})
    described = {**json.loads(blueprint.as_json()), **notes}
    files.write(folder / f"{name}.json", json.dumps(described, indent=1) + "\n")
    return load(name, folder=folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the networks that are shipped; see the module."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Train the networks that come with the package.")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="where MNIST/raw lies")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where to write; the package's own folder")
    parser.add_argument("--epochs", type=int, help="instead of the recipes' own")
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(names())}; none for all")
    chosen = parser.parse_args(arguments)
    images = data.load("mnist", data_dir=chosen.data_dir)
    for name in chosen.names or names():
        if name not in _RECIPES:
            parser.error(f"no network {name!r}; there are {', '.join(names())}")
        made = make(name, images, chosen.out, chosen.epochs)
        print(f"{name}: {made.accuracy:.2%} of {made.notes['test_images']:,} test digits", flush=True)


if __name__ == "__main__":
    main()

"""A run folder: what `gconv train` leaves, and how to use it afterwards.

settings.yaml       all settings; `gconv train --config` repeats the run, `--resume` goes on with it
network.json        what the network is made from, and how it reads pictures (`Blueprint`)
last.safetensors    the newest checkpoint; before.safetensors: the one before it
best.safetensors    the weights of the best epoch, a plain weight file
history.csv         an epoch a line; curves.svg: the same as a picture
results.json        what came of it, once the run is done; confusion.svg: which classes were taken for which
tensorboard/        logs for TensorBoard, if asked for
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gconv.training import checkpoints, files, settings
from gconv.training.blueprint import Blueprint, Classifier
from gconv.training.session import Epoch
from gconv.training.settings import Settings

SETTINGS, NETWORK, HISTORY, RESULTS = "settings.yaml", "network.json", "history.csv", "results.json"
CURVES, CONFUSION, LOGS = "curves.svg", "confusion.svg", "tensorboard"


@dataclass(frozen=True)
class Run:
    """A run that was trained: its settings, and its network, ready for pictures. Made by `Run.open`."""

    folder: Path
    settings: Settings
    classifier: Classifier

    @classmethod
    def open(cls, folder: str | Path, weights: str = "best", device: torch.device | str = "cpu") -> Run:
        """Read a run folder.

        Args:
            folder: what `gconv train` wrote. weights: 'best', or 'last' for those of the newest checkpoint (the running
                average where the run keeps one). device: where the network is to be.

        Raises:
            ValueError: for a folder that is no run or has no weights yet, and for damaged or foreign files.
        """
        folder = Path(folder)
        found = read_settings(folder)
        blueprint = Blueprint.read(folder / NETWORK)
        if weights not in ("best", "last"):
            raise ValueError(f"weights takes 'best' or 'last', got {weights!r}")
        if weights == "last":
            return cls(folder, found, _last(folder, blueprint, device))
        path = folder / checkpoints.BEST
        if not path.is_file():
            newest = any((folder / name).is_file() for name in (checkpoints.LAST, checkpoints.BEFORE))
            way = f"train anew with gconv train --config {folder / SETTINGS}"
            if not (folder / RESULTS).is_file():
                way = f"go on with gconv train --resume {folder}"
            raise ValueError(
                f"the run {folder} has no {checkpoints.BEST}; {way}"
                + ", or take those of its newest checkpoint with --weights last" * newest
            )
        return cls(folder, found, Classifier.load(blueprint, path, device))

    @property
    def blueprint(self) -> Blueprint:
        """What the network is made from."""
        return self.classifier.blueprint

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in the order of the logits."""
        return self.blueprint.classes

    @property
    def results(self) -> dict[str, Any] | None:
        """What stands in `results.json`; None while the run is not done."""
        path = self.folder / RESULTS
        return json.loads(path.read_text()) if path.is_file() else None

    def logits(self, pictures: Tensor) -> Tensor:
        """Pictures (B, C, H, W) in [0, 1] to logits (B, classes)."""
        return self.classifier.logits(pictures)


def trained(folder: Path, device: torch.device | str = "cpu") -> tuple[Run, dict[str, Any]]:
    """A run whose epochs are all done, with its best weights, and the notes on them.

    Raises:
        ValueError: for best weights that are gone or damaged since, which no `--resume` brings back.
    """
    try:
        notes = checkpoints.notes(folder / checkpoints.BEST)
        return Run.open(folder, device=device), notes
    except ValueError as error:
        raise ValueError(
            f"the run {folder} is trained to its end, but its best weights are lost: {error}; use those of its newest "
            f"checkpoint, as in gconv evaluate {folder} --weights last, or train anew with gconv train --config "
            f"{folder / SETTINGS}"
        ) from error


def read_settings(folder: Path) -> Settings:
    """The settings of a run.

    Raises:
        ValueError: if the folder is no run.
    """
    path = folder / SETTINGS
    if not path.is_file():
        raise ValueError(f"{folder} is no run of gconv train: it has no {SETTINGS}")
    return settings.from_mapping(settings.read_yaml(path), str(path))


def begin(folder: Path, chosen: Settings, blueprint: Blueprint) -> None:
    """Make a run folder, with its settings and its network.

    Raises:
        ValueError: if there is a run in it already. OSError: if it cannot be written to.
    """
    if (folder / SETTINGS).exists():
        raise ValueError(
            f"there is a run in {folder} already: go on with it by gconv train --resume {folder}, "
            "or choose another folder with --out"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"cannot make the run folder {folder}: {error.strerror or error}; choose one with --out"
        ) from error
    files.write(folder / NETWORK, blueprint.as_json())
    files.write(folder / SETTINGS, chosen.as_yaml())  # last, since it is what makes the folder a run


def free_folder(model: str, data: str, place: str, parent: Path = Path("runs")) -> Path:
    """A folder of its own for a run that names none: runs/MODEL-DATA-PLACE, numbered where that is taken."""
    name = "-".join(part for part in (model, Path(data).name, place) if part)
    number = 1
    while (folder := parent / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return folder


def as_csv(history: Sequence[Epoch]) -> str:
    """The text of `history.csv`."""
    text = io.StringIO()
    rows = [row(epoch) for epoch in history]
    writer = csv.DictWriter(text, list(row(Epoch(0, 0.0, 0.0, None))), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def row(epoch: Epoch) -> dict[str, Any]:
    """An epoch as it is told: what `fit` tests on are the images to choose by."""
    return {name.replace("test_", "validation_"): value for name, value in asdict(epoch).items()}


def _last(folder: Path, blueprint: Blueprint, device: torch.device | str) -> Classifier:
    state = checkpoints.recover(folder)
    if state is None:
        raise ValueError(f"the run {folder} has no checkpoint yet; go on with gconv train --resume {folder}")
    network = blueprint.build()
    network.module.load_state_dict({**state["model"], **(state["ema"] or {}).get("weights", {})})
    network.module.to(device).eval()
    return Classifier(blueprint, network, torch.device(device))

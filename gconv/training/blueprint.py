"""What a trained network is made from, beside its weights: enough to build it again and to read pictures as it did.

A `Blueprint` is `network.json` in a run folder, and stands beside weights that are shipped. `Classifier` is a network
that was built from one and has its weights: pictures in, logits out.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gconv import bridge
from gconv.domains import grid_graph
from gconv.ops import GraphOps
from gconv.training.variants import Variant
from grid_cnn import Conv2d, Grid, GridOps, bind, models


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and bool(value) and all(map(fits, value))


def _text(value: Any) -> bool:
    return isinstance(value, str)


# What a file may say under each key: whether a value is of its kind, and the kind in words.
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "model": (_text, "a text"),
    "classes": (_list_of(_text), "a list of texts"),
    "size": (lambda value: _list_of(_whole)(value) and len(value) == 2, "a list of two whole numbers >= 1"),
    "in_channels": (_whole, "a whole number >= 1"),
    "mean": (_list_of(_number), "a list of numbers"),
    "deviation": (_list_of(lambda value: _number(value) and value > 0), "a list of numbers above 0"),
    "domain": (lambda value: value in ("grid", "graph"), '"grid" or "graph"'),
    "conv": (_text, "a text"),
    "K": (lambda value: value is None or _whole(value), "a whole number >= 1, or null"),
    "neighbors": (_whole, "a whole number >= 1"),
    "dropout": (lambda value: value is None or (_number(value) and 0 <= value < 1), "a share, 0 <= share < 1, or null"),
}


@dataclass(frozen=True)
class Blueprint:
    """A network and how it reads pictures.

    Args:
        model: one of `models.names()`. classes: their names, in the order of the logits.
        size: (height, width) of the pictures. in_channels: their channels.
        mean, deviation: of the training pictures, one a channel; pictures in [0, 1] are read as (x - mean) / deviation.
        domain: 'grid' or 'graph'. conv, K, neighbors: the convolution on a graph, its terms, and the graph.
        dropout: its probability; None for the network's own.

    Raises:
        ValueError: for names that do not exist, or a network that does not fit.

    >>> blueprint = Blueprint("lenet5", tuple("0123456789"), (28, 28), 1, (0.13,), (0.31,), "graph", "cheb", K=4)
    >>> blueprint.build().convolution
    'ChebConv, K = 4'
    """

    model: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    in_channels: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    domain: str = "grid"
    conv: str = "directional"
    K: int | None = None
    neighbors: int = 8
    dropout: float | None = None

    def build(self, weights: Path | None = None) -> Variant:
        """The network, with fresh weights, or with those of a file where they fit (`models.create`)."""
        options: dict[str, Any] = {"in_channels": self.in_channels, "num_classes": len(self.classes)}
        if self.dropout is not None:
            options["dropout"] = self.dropout
        grid = Grid(self.size)
        if self.domain == "grid":
            model = models.create(self.model, weights, ops=GridOps(2), domain=grid, **options)
            first = next((layer.kernel_size for layer in model.modules() if isinstance(layer, Conv2d)), None)
            title = f"Conv2d {'×'.join(map(str, first))}" if first else "none"
            return Variant("grid", model, bind(model, grid), grid, _as_is, title)
        graph = grid_graph(grid, self.neighbors)
        ops = GraphOps(self.conv, K=self.K)
        with torch.device("meta"):  # the kernel that titles speak of
            on_grid = models.create(self.model, ops=GridOps(2), domain=grid, **options)
        kernel = next((layer.kernel_size for layer in on_grid.modules() if isinstance(layer, Conv2d)), None)
        model = models.create(self.model, weights, ops=ops, domain=graph, **options)
        title = ops.title(kernel) if kernel else "none"
        return Variant(self.conv, model, bind(model, graph), graph, bridge.to_nodes, title)

    def normalize(self, pictures: Tensor) -> Tensor:
        """(x - mean) / deviation, channel by channel; (B, C, H, W) in [0, 1] to the same shape."""
        mean, deviation = _columns(self.mean, self.deviation, pictures.device)
        return (pictures - mean) / deviation

    def reader(self, network: Variant, *, channels_last: bool = False) -> Callable[[Tensor], Tensor]:
        """Pictures in [0, 1], (B, C, H, W), to what `network.module` takes: normalised, and on a graph a row a node."""

        def read(pictures: Tensor) -> Tensor:
            pictures = self.normalize(pictures)
            if channels_last:
                pictures = pictures.contiguous(memory_format=torch.channels_last)
            return network.encode(pictures)

        return read

    def as_json(self) -> str:
        """The text of `network.json`."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> Blueprint:
        """From such a file; keys beside a blueprint's own are left alone.

        Raises:
            ValueError: for a file that is not there, or no blueprint; for a value of another kind than its key's.
        """
        try:
            found = json.loads(path.read_text())
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"cannot read {path}: {error}") from error
        known = {field.name for field in dataclasses.fields(cls)}
        given = {key: value for key, value in found.items() if key in known} if isinstance(found, dict) else {}
        for key, value in given.items():
            fits, expected = _KINDS[key]
            if not fits(value):
                raise ValueError(f"{path}: {key} takes {expected}; got {json.dumps(value)}")
        try:
            blueprint = cls(**{key: _tuple(value) for key, value in given.items()})
        except TypeError as error:
            raise ValueError(f"{path} describes no network: {str(error).partition(' ')[2]}") from error
        for key, moments in (("mean", blueprint.mean), ("deviation", blueprint.deviation)):
            if len(moments) not in (1, blueprint.in_channels):
                channels = f"{blueprint.in_channels}, one a channel"
                raise ValueError(f"{path}: {key} has {len(moments)} numbers; expected {channels}")
        return blueprint


@dataclass(frozen=True)
class Classifier:
    """A trained network that takes pictures in [0, 1], in evaluation mode."""

    blueprint: Blueprint
    network: Variant
    device: torch.device

    @classmethod
    def load(cls, blueprint: Blueprint, weights: Path, device: torch.device | str = "cpu") -> Classifier:
        """Build the network and load its weights, all of them.

        Raises:
            ValueError: for weights that are damaged, hold code, or belong to another network.
        """
        network = blueprint.build()
        report = models.load(network.model, weights, title=blueprint.model)
        if report.new_head:
            raise ValueError(
                f"{weights} has another number of classes than the {len(blueprint.classes)} of its network"
            )
        network.module.to(device).eval()
        return cls(blueprint, network, torch.device(device))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names."""
        return self.blueprint.classes

    @torch.inference_mode()
    def logits(self, pictures: Tensor) -> Tensor:
        """Pictures (B, C, H, W) in [0, 1], of the blueprint's channels, to logits (B, classes) on this device.

        On a grid other sizes than the blueprint's are possible where the network has no dense layers that fix it.
        """
        read = self.blueprint.reader(self.network)
        return self.network.module(read(pictures.to(self.device)))


def _as_is(pictures: Tensor) -> Tensor:
    return pictures


@functools.lru_cache(maxsize=16)
def _columns(mean: tuple[float, ...], deviation: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    mean_column, deviation_column = (torch.tensor(part, device=device).view(-1, 1, 1) for part in (mean, deviation))
    return mean_column, deviation_column


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value

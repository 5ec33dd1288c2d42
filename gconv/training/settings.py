"""The settings of a training run: one table for the command line's help, the YAML file and the checks."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

from gconv.ops import FAMILIES
from gconv.training import checks
from grid_cnn.names import guess

Size = tuple[int, int]

_LOSSES = ("cross-entropy", "squared-error", "hinge")
_OPTIMIZERS = ("sgd", "adam", "adamw")
_SCHEDULES = ("constant", "step", "cosine", "exponential", "plateau")
_PRECISIONS = ("fp32", "bf16", "fp16")


def parse_size(text: str) -> Size:
    """`28x28` as (height, width).

    >>> parse_size("28x32")
    (28, 32)
    """
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) for part in parts):
        raise ValueError(f"--size takes HEIGHTxWIDTH, as in 28x28; got {text!r}")
    return int(parts[0]), int(parts[1])


def _option(default: Any, text: str, check: checks.Check | None = None, *, free: bool = False) -> Any:
    """A setting: default, help, check; `free` ones may change when a run goes on, since no figure hangs on them."""
    return dataclasses.field(default=default, metadata={"help": text, "check": check, "free": free})


@dataclass(frozen=True)
class Settings:
    """All that decides how a run comes out: the network, the data, the training. See `gconv train --help`.

    Raises:
        ValueError: for a setting of the wrong kind or out of range, by name, with what is expected.

    >>> Settings(model="lenet5", data="mnist", optimizer="sgd").learning_rate
    0.05
    >>> Settings(schedule="cosin")
    Traceback (most recent call last):
        ...
    ValueError: schedule takes one of constant, step, cosine, exponential, plateau (did you mean cosine?); got 'cosin'
    """

    model: str = _option("lenet5", "The network; 'gconv models' lists them.", checks.model)
    data: str = _option("digits", "The images: digits, mnist ..., or a folder with a folder of images for each class.")
    data_dir: Path = _option(Path("data"), "Where data sets lie: DIR/MNIST/raw, DIR/cifar-10-batches-py.", free=True)
    download: bool = _option(False, "Fetch a data set that is not there.", free=True)
    size: Size | None = _option(None, "Resize pictures, as in 28x28; none: as the data set says.")
    validation: float = _option(
        0.1, "The share of training images held out, class by class, to choose by.", checks.share
    )
    strict: bool = _option(False, "Refuse a folder with unreadable images, instead of skipping these.")
    workers: int = _option(0, "Processes that decode images of a folder.", checks.least(0), free=True)
    domain: str = _option(
        "grid", "Where the network lives: grid, or graph, the grid's own.", checks.one_of("grid", "graph")
    )
    conv: str = _option("directional", "The convolution on a graph.", checks.one_of("directional", *FAMILIES))
    K: int | None = _option(
        None, "Terms of a graph convolution; none: as many as the kernel has weights.", checks.least(1)
    )
    neighbors: int = _option(8, "Neighbours of a pixel in the graph: 4 or 8.", checks.one_of(4, 8))
    weights: Path | None = _option(None, "A .pth or .safetensors file to begin from, instead of new weights.")
    dropout: float | None = _option(None, "Probability of dropping a value; none: the network's own.", checks.share)
    epochs: int = _option(20, "How often to go through the training images.", checks.least(1))
    batch_size: int = _option(64, "Images a step.", checks.least(1))
    accumulate: int = _option(1, "Batches whose gradients are averaged for one step.", checks.least(1))
    seed: int = _option(0, "Decides weights, data order, dropout and augmentation.", checks.least(0))
    optimizer: str = _option(
        "adam", "sgd, adam or adamw (weight decay apart from the gradient).", checks.one_of(*_OPTIMIZERS)
    )
    lr: float | None = _option(
        None, "The learning rate; none: 0.05 for sgd, 0.002 for adam and adamw.", checks.above(0)
    )
    momentum: float = _option(0.9, "Momentum of sgd; the first beta of adam and adamw.", checks.share)
    nesterov: bool = _option(False, "Nesterov's momentum, for sgd.")
    weight_decay: float = _option(0.0, "L2: this times every parameter is added to its gradient.", checks.least(0))
    l1: float = _option(0.0, "L1: this times the sum of all parameters' sizes is added to the loss.", checks.least(0))
    schedule: str = _option("cosine", "constant, step, cosine, exponential or plateau.", checks.one_of(*_SCHEDULES))
    warmup: float = _option(0.0, "Epochs in which the rate rises linearly to its full value.", checks.least(0))
    step_epochs: int = _option(10, "The step schedule multiplies the rate every so many epochs.", checks.least(1))
    gamma: float | None = _option(
        None, "What step (none: 0.1), plateau (0.1) and exponential (0.95, an epoch) multiply by.", checks.above(0)
    )
    patience: int = _option(3, "Epochs without a lower loss after which plateau lowers the rate.", checks.least(0))
    loss: str = _option("cross-entropy", "cross-entropy, squared-error or hinge.", checks.one_of(*_LOSSES))
    label_smoothing: float = _option(0.0, "The share of a label that is spread over all classes.", checks.share)
    auxiliary_weight: float = _option(0.3, "What the loss of an auxiliary head counts.", checks.least(0))
    clip_norm: float | None = _option(None, "Scale gradients whose norm, all together, is larger.", checks.above(0))
    clip_value: float | None = _option(None, "Cut every entry of a gradient to this size.", checks.above(0))
    precision: str = _option("fp32", "fp32, or mixed with bf16 or fp16.", checks.one_of(*_PRECISIONS))
    ema: float = _option(0.0, "Decay of a running average of weights, used for evaluation; 0: none.", checks.share)
    early_stopping: int = _option(
        0, "Stop after so many epochs without a better validation; 0: never.", checks.least(0)
    )
    augment: str = _option("", "Changes to training pictures, as in crop:4,flip,cutout:8,mixup:0.2.", checks.augment)
    channels_last: bool = _option(False, "Keep grid signals with channels last in memory.")
    compile: bool = _option(False, "Compile the network with torch.compile.")
    device: str = _option("cpu", "Where to train: cpu or cuda.", checks.device, free=True)
    checkpoint_every: int = _option(
        0, "Steps between checkpoints, beside one an epoch; 0: none.", checks.least(0), free=True
    )
    tensorboard: bool = _option(False, "Write logs for TensorBoard too.", free=True)
    gradient_check: bool = _option(False, "First hold gradients against difference quotients in float64.", free=True)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = _read(field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
            check: checks.Check | None = field.metadata["check"]
            expected = check(value) if check and value is not None else None
            if expected:
                raise ValueError(f"{flag(field.name)[2:]} takes {expected}; got {value!r}")
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise ValueError("nesterov is a form of sgd's momentum; take optimizer sgd with a momentum above 0")
        if self.domain == "grid" and (self.conv != "directional" or self.K):
            raise ValueError(f"conv {self.conv!r} and K are of graphs; add domain graph, or leave them out")
        if self.conv == "directional" and self.K:
            raise ValueError("a directional convolution takes its terms from the kernel; leave out K")
        if self.warmup > self.epochs:
            raise ValueError(f"warmup takes at most all epochs, {self.epochs}; got {self.warmup:g}")
        if self.early_stopping and not self.validation:
            raise ValueError("early-stopping needs images to choose by; give validation a share above 0")

    @property
    def learning_rate(self) -> float:
        """The learning rate that is meant."""
        return self.lr or {"sgd": 0.05, "adam": 2e-3, "adamw": 2e-3}[self.optimizer]

    @property
    def decay(self) -> float:
        """The factor that is meant by `gamma`."""
        return self.gamma or (0.95 if self.schedule == "exponential" else 0.1)

    def as_yaml(self) -> str:
        """The settings as a file that `--config` takes, with the meaning of each beside it."""
        yaml = _yaml()
        lines = ["# Settings of a run: gconv train --config THIS-FILE repeats it."]
        for field in dataclasses.fields(self):
            value = _plain(getattr(self, field.name))
            text = yaml.safe_dump({field.name: value}, width=1000).strip()
            lines.append(f"{text}  # {field.metadata['help']}")
        return "\n".join(lines) + "\n"

    def differences(self, other: Settings) -> dict[str, tuple[Any, Any]]:
        """The settings in which another one differs: name → (mine, its), plain values."""
        mine, its = self.as_json(), other.as_json()
        return {name: (mine[name], its[name]) for name in mine if mine[name] != its[name]}

    def as_json(self) -> dict[str, Any]:
        """Plain values, by name."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}


def names() -> dict[str, dataclasses.Field[Any]]:
    """All settings, by name."""
    return {field.name: field for field in dataclasses.fields(Settings)}


def kind(name: str) -> type:
    """What a setting is where it is not None: str, int, float, bool, Path, or tuple for a size.

    >>> kind("lr"), kind("size")
    (<class 'float'>, <class 'tuple'>)
    """
    hint = get_type_hints(Settings)[name]
    if isinstance(hint, UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    return hint if isinstance(hint, type) else tuple


def flag(name: str) -> str:
    """The option of the command line for a setting.

    >>> flag("batch_size")
    '--batch-size'
    """
    return f"--{name.replace('_', '-')}"


def shown(value: Any) -> str:
    """A value as the command line's help shows it.

    >>> shown(None), shown(0.1), shown((28, 28)), shown(False)
    ('', '0.1', '28x28', '')
    """
    return "" if value is None or value is False else str(_plain(value))


def from_mapping(given: Mapping[str, Any], source: str) -> Settings:
    """Settings from names and plain values; what is not named has its default.

    Raises:
        ValueError: for unknown names, each with the nearest ones, and for values that are refused.
    """
    unknown = [key for key in given if key not in names()]
    if unknown:
        told = []
        for key in unknown:
            meant = guess(str(key).replace("-", "_"), names())
            told.append(f"{key!r} ({meant})" if meant else f"{key!r}")
        raise ValueError(f"{source}: unknown settings {', '.join(told)}; 'gconv train --help' lists them")
    try:
        return Settings(**given)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Names and values in a settings file, unchecked.

    Raises:
        ValueError: for a file that is not there, or is no YAML mapping.
    """
    yaml = _yaml()
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the settings file {path}: {error}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no settings; expected lines such as 'epochs: 20'")
    return {str(key): value for key, value in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return str(value) if isinstance(value, Path) else value


def _read(name: str, value: Any) -> Any:
    """A value from Python, YAML or JSON as the setting's own kind."""
    wanted, default = kind(name), names()[name].default
    if value is None and (default is None):
        return None
    if wanted is tuple and isinstance(value, str):
        return parse_size(value)
    if wanted is tuple and isinstance(value, list | tuple) and len(value) == 2:
        return parse_size("x".join(map(str, value)))
    if wanted is Path and isinstance(value, str | Path):
        return Path(value)
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if wanted is float and isinstance(value, str):  # YAML reads 1e-3, without a point, as text
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(value, wanted) and (wanted is not int or not isinstance(value, bool)):
        return value
    expected = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
    raise ValueError(f"{flag(name)[2:]} takes {expected.get(wanted, 'HEIGHTxWIDTH, as in 28x28')}; got {value!r}")


def _yaml() -> Any:
    try:
        return importlib.import_module("yaml")
    except ModuleNotFoundError as error:
        raise ImportError('settings files need PyYAML: pip install "gconv[train]"', name=error.name) from error

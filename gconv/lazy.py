"""Widths left open until the first call: PyG's `in_channels=-1`, or `(-1, -1)`, in torch's own lazy parameters.

A layer makes what depends on an open width by `linear` and `parameter`, and ends its constructor with `await_widths`.
The first call, or a state dict that is loaded before it, gives every open parameter its shape. A call draws those that
it has opened, by the layer's own `reset_parameters`; all others stay as they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter, is_lazy

from grid_cnn import Layer
from grid_cnn.conv import check_channels

# Channels of a node: a number for sources and targets alike, or of each; -1 for what the first call tells.
Channels = int | tuple[int, int]
OPEN = -1


class OpenLayer(Layer):
    """A layer whose widths may be left to the first call: what it tells of them.

    Attributes:
        in_channels: a number, or (that of the sources, that of the targets); -1 where the first call tells.
        of_target: the linear layers that read the targets' signal.
        open_shapes: of the parameters of open width. open_hooks: that wait for it. Neither is changed in place.
    """

    in_channels: Any = None
    of_target: ClassVar[frozenset[str]] = frozenset()
    open_shapes: dict[str, tuple[int, ...]] = {}  # noqa: RUF012
    open_hooks: list[Any] = []  # noqa: RUF012

    def reset_parameters(self) -> None:
        """Draw the parameters anew; a layer without any has nothing to do."""

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """As of any module, with open parameters as they are: they cannot be detached."""
        waiting = {name: p for name, p in self._parameters.items() if isinstance(p, UninitializedParameter)}
        for name in waiting:
            self._parameters[name] = None
        try:
            super()._save_to_state_dict(destination, prefix, keep_vars)
        finally:
            self._parameters.update(waiting)
        destination.update({prefix + name: p for name, p in waiting.items()})


class OpenLinear(nn.LazyLinear):
    """A linear layer of a graph layer, of open width; a `torch.nn.Linear` once that is known.

    Args:
        times: how many signals of that width come side by side.
    """

    def __init__(self, out_features: int, bias: bool = True, times: int = 1) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Lazy modules are a new feature", UserWarning)
            super().__init__(out_features, bias)
        self.times = times

    def open(self, width: int) -> None:
        """Take a width, and turn into a `torch.nn.Linear`."""
        self(torch.empty(0, self.times * width, dtype=self.weight.dtype, device=self.weight.device))


def check_widths(in_channels: Channels, out_channels: int) -> tuple[int, int]:
    """The widths of sources and of targets, -1 where open.

    Raises:
        ValueError: for what is no number >= 1, nor -1, nor a pair of such.

    >>> check_widths(16, 32), check_widths((-1, 8), 32)
    ((16, 16), (-1, 8))
    """
    widths = tuple(in_channels) if isinstance(in_channels, tuple | list) else (in_channels, in_channels)
    if len(widths) != 2:
        raise ValueError(f"in_channels is a number, or that of the sources and of the targets; got {in_channels!r}")
    for width in widths:
        check_channels(1 if type(width) is int and width == OPEN else width, out_channels)
    return widths


def check_width(layer: str, in_channels: Any, out_channels: int) -> int:
    """The width of a layer whose sources and targets have the same; -1 where open.

    Raises:
        ValueError: for a pair, or what is no number >= 1, nor -1.
    """
    if isinstance(in_channels, tuple | list):
        raise ValueError(f"{layer}: sources and targets have the same in_channels, a number; got {in_channels!r}")
    return check_widths(in_channels, out_channels)[0]


def linear(width: int, out_channels: int, bias: bool = True, times: int = 1) -> nn.Linear:
    """A linear layer on `times` signals side by side, of open width for -1."""
    return OpenLinear(out_channels, bias, times) if width == OPEN else nn.Linear(times * width, out_channels, bias)


def parameter(layer: OpenLayer, name: str, *shape: int) -> nn.Parameter:
    """A parameter that is to be `layer.name`; -1 in its shape stands for the width of the sources."""
    if OPEN not in shape:
        return nn.Parameter(torch.empty(shape))
    layer.open_shapes = {**layer.open_shapes, name: shape}
    return UninitializedParameter()  # pyright: ignore[reportReturnType]


def draw(rule: Callable[[Tensor], Any], *of: nn.Linear | Tensor | None) -> None:
    """Draw parameters, and the weights of linear layers, by a rule of `torch.nn.init`; not what is None, or open."""
    for given in of:
        tensor = given.weight if isinstance(given, nn.Linear) else given
        if tensor is not None and not is_lazy(tensor):
            rule(tensor)


def glorot(parameter: Tensor) -> None:
    """Draw a stack of matrices by Glorot's rule over its last two axes, as PyG does."""
    bound = (6.0 / (parameter.shape[-2] + parameter.shape[-1])) ** 0.5
    nn.init.uniform_(parameter, -bound, bound)


def await_widths(layer: OpenLayer) -> None:
    """Let the first call, or a state dict, tell the widths that are open, if any are."""
    if _is_open(layer):
        layer.open_hooks = [
            layer.register_forward_pre_hook(_before_call, with_kwargs=True),
            layer.register_load_state_dict_pre_hook(_before_load),
            layer.register_load_state_dict_post_hook(_after_load),
        ]


def _linears(layer: OpenLayer) -> list[tuple[bool, OpenLinear]]:
    """The linear layers of open width, and whether it is that of the targets."""
    named = ((name.split(".")[0], module) for name, module in layer.named_modules())
    return [(name in layer.of_target, module) for name, module in named if isinstance(module, OpenLinear)]


def _is_open(layer: OpenLayer) -> bool:
    return bool(_linears(layer)) or any(isinstance(p, UninitializedParameter) for p in layer._parameters.values())


def _before_call(layer: OpenLayer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Read the widths off the signals, open what waits for them, and draw that alone."""
    x = args[0] if args else kwargs.get("x")
    ends = tuple(x) if isinstance(x, tuple | list) else (x, x)
    if len(ends) != 2 or not all(isinstance(end, Tensor | None) for end in ends):
        return  # `forward` says what is wrong with it
    source, target = (None if end is None or end.dim() < 2 else end.shape[-1] for end in ends)
    stands = {name: t for name, t in (*layer.named_parameters(), *layer.named_buffers()) if not is_lazy(t)}
    for of_target, child in _linears(layer):
        width = target if of_target else source
        if width is not None:
            child.open(width)
    if source is not None:
        for name, shape in layer.open_shapes.items():
            found = getattr(layer, name)
            if isinstance(found, UninitializedParameter):
                found.materialize(tuple(source if n == OPEN else n for n in shape))
    kept = {name: tensor.detach().clone() for name, tensor in stands.items()}
    layer.reset_parameters()
    with torch.no_grad():
        for name, tensor in stands.items():
            tensor.copy_(kept[name])
    _close(layer, source, target)


def _before_load(layer: OpenLayer, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Give the layer's own open parameters the shapes of a state dict; linear layers do so themselves."""
    for name in layer.open_shapes:
        found, given = getattr(layer, name), state.get(prefix + name)
        if isinstance(found, UninitializedParameter) and given is not None and not is_lazy(given):
            found.materialize(tuple(given.shape))


def _after_load(layer: OpenLayer, _: object) -> None:
    """Close what a state dict has given its width."""
    widths: list[int | None] = [None, None]
    for of_target, child in _linears(layer):
        if not is_lazy(child.weight):
            width = widths[of_target] = child.weight.shape[1] // child.times
            child.open(width)
    for name, shape in layer.open_shapes.items():
        found = getattr(layer, name)
        widths[0] = widths[0] if is_lazy(found) else found.shape[shape.index(OPEN)]
    source, target = widths
    if not isinstance(layer.in_channels, tuple):
        source, target = source or target, target or source
    _close(layer, source, target)


def _close(layer: OpenLayer, source: int | None, target: int | None) -> None:
    """Note the widths; once nothing is open any more, wait no longer."""
    if isinstance(layer.in_channels, tuple):
        found = zip(layer.in_channels, (source, target), strict=True)
        layer.in_channels = tuple(width if old == OPEN and width else old for old, width in found)
    elif layer.in_channels == OPEN and source:
        apart = bool(layer.of_target) and target is not None and target != source
        layer.in_channels = (source, target) if apart else source
    if not _is_open(layer):
        for hook in layer.open_hooks:
            hook.remove()
        layer.open_hooks = []

"""Layers wired in parallel: residual sums and concatenated branches, whose parts lie flat under their own names.

    add:     y = Σ_w way_w(x)            concat:  y = [way_1(x), way_2(x), ...] along the channels

A way is a tuple of names of children and of forks into further ways; the empty way is the identity. Shapes: those of
the parts; all ways of a fork end on one domain. Cost: that of the parts, and one read and write of what is joined.
Reference: He, Zhang, Ren and Sun (2016) for sums; Szegedy et al. (2015) for concatenation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from grid_cnn.domain import Domain, Grid
from grid_cnn.layer import GridLayer, Layer, Stage, asked_channels, is_elementwise

State = TypeVar("State")
Way = tuple["str | Fork", ...]
Signal = tuple[Tensor, Domain | None]


@dataclass(frozen=True)
class Fork:
    """Ways that start from one signal, and whether their results are added or laid side by side."""

    ways: tuple[Way, ...]
    concat: bool


def add(*ways: Way) -> Fork:
    """The sum of the results of several ways; the empty way is the identity.

    >>> add(("conv1", "relu", "conv2"), ()).concat
    False
    """
    return Fork(ways, concat=False)


def concat(*ways: Way) -> Fork:
    """The results of several ways side by side, along the channels.

    >>> len(concat((), ("conv",)).ways)
    2
    """
    return Fork(ways, concat=True)


class Wired(Layer):
    """Parts that lie flat under their own names, and the way that a signal takes through them.

    Args:
        parts: layers, and torch modules that act element by element, by name. A part may stand in several places.
        way: names of parts, and forks made by `add` and `concat`, in the order in which the signal meets them.

    Raises:
        TypeError: for a torch module that mixes the nodes of a domain.
        ValueError: for a name without a part, and, when called, for ways that end on different domains.

    >>> from grid_cnn import Conv2d
    >>> block = Wired({"conv": Conv2d(4, 4, 3, padding="same"), "relu": nn.ReLU()}, (add(("conv",), ()), "relu"))
    >>> block(torch.zeros(2, 4, 8, 8)).shape
    torch.Size([2, 4, 8, 8])
    """

    def __init__(self, parts: Mapping[str, nn.Module], way: Way) -> None:
        super().__init__()
        for name, part in parts.items():
            if not isinstance(part, Layer) and not is_elementwise(part):
                raise TypeError(
                    f"part {name!r}, {type(part).__name__}, does not act element by element, so it has no meaning on a "
                    "domain; take the layer that the ops offer (ops.conv, ops.norm, ...)"
                )
            self.add_module(name, part)
        self.way = way
        unknown = [name for name in _names(way) if name not in parts]
        if unknown:
            raise ValueError(f"the way names {', '.join(unknown)}, and the parts are {', '.join(parts)}")

    @property
    def in_channels(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The channels that the first part asks for, if any does."""
        return asked_channels(self.children())

    def _start(self, x: Tensor, domain: Domain | None) -> Domain | None:
        if domain is None:  # on a grid the signal's shape says it, even to a way that has no layer of its own
            part = next((part for part in self.modules() if isinstance(part, GridLayer)), None)
            return None if part is None else Grid(tuple(x.shape[-part.ndim :]))
        return domain

    def fold(
        self, state: State, visit: Callable[[str, State], State], join: Callable[[Fork, list[State]], State]
    ) -> State:
        """Carry `state` along the way: `visit` at every part, `join` where ways meet."""
        return _fold(self.way, state, visit, join)

    def codomain(self, domain: Domain | None) -> Domain | None:
        """The domain on which all ways end.

        Raises:
            ValueError: if they end on different ones.
        """
        return self.fold(domain, self._codomain_of, lambda _, ends: self.meet(ends))

    def _codomain_of(self, name: str, domain: Domain | None) -> Domain | None:
        part = self._modules[name]
        return part.codomain(domain) if isinstance(part, Layer) else domain

    def meet(self, ends: list[Domain | None]) -> Domain | None:
        """The one domain on which ways end."""
        if any(end != ends[0] for end in ends[1:]):
            raise ValueError(f"the ways through a block end on different domains: {', '.join(map(repr, ends))}")
        return ends[0]

    def join(self, fork: Fork, signals: list[Signal]) -> Signal:
        """The sum of the signals, or all of them side by side, on their one domain."""
        domain = self.meet([domain for _, domain in signals])
        tensors = [x for x, _ in signals]
        if fork.concat:
            return torch.cat(tensors, channel_axis(domain)), domain
        total = tensors[0]
        for x in tensors[1:]:
            total = total + x
        return total, domain

    def visit(self, name: str, signal: Signal) -> Signal:
        """The signal behind one part."""
        part, (x, domain) = self._modules[name], signal
        if isinstance(part, Layer):
            return part.step(x, domain)
        assert part is not None
        return part(x), domain

    def step(self, x: Tensor, domain: Domain | None = None) -> Signal:
        """The result together with its domain."""
        reached: list[Domain | None] = []
        x = self(x, domain, reached)  # a call, so that hooks see it
        return x, reached[0]

    def forward(
        self, input: Tensor, domain: Domain | None = None, reached: list[Domain | None] | None = None
    ) -> Tensor:
        """The result at the end of the way; `reached`, if given, is told the domain it lives on."""
        start: Signal = (input, self._start(input, domain))
        output, domain = self.fold(start, self.visit, self.join)
        if reached is not None:
            reached.append(domain)
        return output

    def trace(self, x: Tensor, domain: Domain | None = None, name: str = "") -> Iterator[Stage]:
        """The result of every layer on the way, in order, and at last that of the whole."""
        stages: list[Stage] = []

        def visit(part: str, signal: Signal) -> Signal:
            module, path = self._modules[part], f"{name}.{part}" if name else part
            if isinstance(module, Layer):
                stages.extend(module.trace(*signal, path))
            else:
                assert module is not None
                stages.append(Stage(path, module, module(signal[0].clone()), signal[1]))
            return stages[-1].x, stages[-1].domain

        start: Signal = (x, self._start(x, domain))
        x, domain = self.fold(start, visit, self.join)
        yield from stages
        yield Stage(name, self, x, domain)


def channel_axis(domain: Domain | None) -> int:
    """The axis along which channels lie, counted from the end: before a grid's axes, and last on a graph.

    >>> channel_axis(Grid((8, 8)))
    -3
    """
    return -1 - domain.ndim if isinstance(domain, Grid) else -1


def _fold(
    way: Way, state: State, visit: Callable[[str, State], State], join: Callable[[Fork, list[State]], State]
) -> State:
    for part in way:
        if isinstance(part, str):
            state = visit(part, state)
        else:
            state = join(part, [_fold(branch, state, visit, join) for branch in part.ways])
    return state


def _names(way: Way) -> Iterator[str]:
    for part in way:
        if isinstance(part, str):
            yield part
        else:
            for branch in part.ways:
                yield from _names(branch)

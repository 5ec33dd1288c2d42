"""Which arguments the hooks of a `MessagePassing` ask for, and where they come from."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gconv.domains.graph import Graph
from gconv.domains.structure import Structure
from gconv.functional.propagate import propagate
from gconv.layer import GraphLike
from gconv.pairs import Size
from gconv.resolve import as_graph, as_pair

if TYPE_CHECKING:
    from gconv.spatial.message_passing import MessagePassing

# Of each argument that a hook names, whether it must be passed.
Arguments = dict[str, bool]
# What the graph has itself, so that hooks may ask for it without its being passed.
_OF_GRAPH = ("edge_weight", "edge_attr")
_ENDS = ("_j", "_i")


@dataclass(frozen=True, eq=False)
class Call:
    """One call of `propagate`.

    Attributes:
        structure: the edges, from those that send to those that receive.
        graph: the store of their plan and features.
        edge_index: as the flow has it: sources, then targets of the edges themselves.
        weight: the weights that came with the graph.
        given: the arguments of the call. ends: of those that are of nodes, the values at the senders and receivers.
    """

    structure: Structure
    graph: Graph
    edge_index: Tensor
    weight: Tensor | None
    given: Mapping[str, Any]
    ends: Mapping[str, tuple[Tensor | None, Tensor | None]]

    def own(self, name: str) -> Tensor | None:
        """A feature of the graph's edges."""
        held = self.graph.edge_attr if name == "edge_attr" else self.weight
        return self.graph.edge_weight if held is None and name == "edge_weight" else held


def arguments_of(hook: Callable[..., Any], skipped: int) -> Arguments:
    """The arguments that a method names after its first `skipped`, and which of them have no default."""
    parameters = [*inspect.signature(hook).parameters.values()][skipped:]
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return {p.name: p.default is p.empty for p in named}


def begin(
    layer: MessagePassing,
    edge_index: GraphLike,
    size: Size,
    given: Mapping[str, Any],
    hooks: tuple[str, ...],
    named: Mapping[str, Arguments],
) -> Call:
    """The edges of a call, and the tensors at both of their ends.

    Raises:
        TypeError: if there is no graph. ValueError: for sizes or devices that do not fit.
    """
    name, back = type(layer).__name__, layer.flow == "target_to_source"
    sparse = isinstance(edge_index, Tensor) and edge_index.layout is not torch.strided
    if sparse and back:
        raise ValueError(
            f"{name}: flow 'target_to_source' takes no sparse adjacency; pass its transpose, or edge_index"
        )
    asked = {argument for hook in hooks for argument in named[hook]}
    counts: list[int | None] = [None, None] if size is None else list(size)  # of the sources, of the targets
    ends: dict[str, tuple[Tensor | None, Tensor | None]] = {}
    for argument in sorted({a[:-2] for a in asked if a.endswith(_ENDS) and a[:-2] in given}):
        value = given[argument]
        pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
        if len(pair) != 2 or not all(isinstance(part, Tensor | None) for part in pair):
            raise TypeError(f"{name}: {argument} is a tensor of nodes or a pair of them, got {type(value).__name__}")
        # Of a pair both count; of one tensor those ends, (source, target), that a hook reads.
        read = {end ^ back for end, suffix in enumerate(_ENDS) if argument + suffix in asked}
        for end in (0, 1) if pair[0] is not pair[1] else read:
            part = pair[end]
            if isinstance(part, Tensor):
                _count(name, argument, part, layer.node_dim, counts, end)
        ends[argument] = pair[::-1] if back else pair
    graph, structure, weight = _edges(name, edge_index, counts)
    for part in (part for pair in ends.values() for part in pair if part is not None):
        if part.device != graph.device:
            raise ValueError(
                f"{name}: the signal is on {part.device}, the graph on {graph.device}; move one with .to()"
            )
    index = torch.stack([structure.source, structure.target])
    return Call(structure.flipped if back else structure, graph, index, weight, given, ends)


def _count(name: str, argument: str, part: Tensor, axis: int, counts: list[int | None], end: int) -> None:
    if not -part.dim() <= axis < part.dim():
        raise ValueError(f"{name}: {argument} {tuple(part.shape)} has no axis {axis} of nodes (node_dim)")
    count = part.shape[axis]
    if counts[end] not in (None, count):
        raise ValueError(
            f"{name}: {argument} has {count} {('sources', 'targets')[end]}, {tuple(part.shape)}; expected {counts[end]}"
        )
    counts[end] = count


def _edges(name: str, given: GraphLike, counts: list[int | None]) -> tuple[Graph, Structure, Tensor | None]:
    """The graph, its edges from sources to targets, and the weights that came with it."""
    if isinstance(given, Tensor) and given.layout is not torch.strided:
        counts = [shape if count is None else count for count, shape in zip(counts, given.shape[::-1], strict=True)]
    sources, targets = (counts[end] if counts[end] is not None else counts[1 - end] for end in (0, 1))
    if sources is None or targets is None or sources == targets:
        graph, weight = as_graph(given, name, sources, None)
        if sources not in (None, graph.num_nodes):
            raise ValueError(
                f"{name}: a signal of {sources} nodes does not fit {graph!r}: it has a row a node; pass the "
                "graph that the signal lives on"
            )
        return graph, graph.structure, weight
    between, weight = as_pair(given, name, (sources, targets), None)
    return between.graph, between.structure, weight


def collect(layer: MessagePassing, call: Call, hook: str, arguments: Arguments) -> dict[str, Any]:
    """The arguments of one hook.

    Raises:
        TypeError: for one that was not passed and has no default.
    """
    found: dict[str, Any] = {}
    special = _special(call)
    for argument, needed in arguments.items():
        if argument[:-2] in call.ends and argument.endswith(_ENDS):
            value = call.ends[argument[:-2]][_ENDS.index(argument[-2:])]
            found[argument] = None if value is None else _lift(value, layer.node_dim, call.structure, argument[-2:])
        elif argument in special:
            found[argument] = special[argument]()
        elif argument in call.given and not (argument in _OF_GRAPH and call.given[argument] is None):
            found[argument] = call.given[argument]
        elif argument in _OF_GRAPH and (needed or argument in call.given):
            found[argument] = _as_signals(call, call.own(argument))
        elif needed:
            base = argument[:-2] if argument.endswith(_ENDS) else argument
            raise TypeError(
                f"{type(layer).__name__}.{hook} asks for {argument}: pass {base}=... to propagate; it was given "
                f"{', '.join(call.given) or 'nothing'}"
            )
    return found


def _special(call: Call) -> dict[str, Callable[[], Any]]:
    structure = call.structure
    return {
        "index": lambda: structure.target,
        "ptr": lambda: None,
        "dim_size": lambda: structure.num_targets,
        "size": lambda: [structure.num_sources, structure.num_targets],
        "size_j": lambda: structure.num_sources,
        "size_i": lambda: structure.num_targets,
        "edge_index": lambda: call.edge_index,
        "edge_index_j": lambda: structure.source,
        "edge_index_i": lambda: structure.target,
        "adj_t": lambda: None,
    }


def _as_signals(call: Call, feature: Tensor | None) -> Tensor | None:
    """A feature of the graph, in the dtype of the signals."""
    parts = [part for pair in call.ends.values() for part in pair if part is not None and part.is_floating_point()]
    return feature.to(parts[0].dtype) if feature is not None and feature.is_floating_point() and parts else feature


def _lift(value: Tensor, axis: int, structure: Structure, suffix: str) -> Tensor:
    """The rows of nodes at the ends of the edges."""
    if not value.is_floating_point():
        return value.index_select(axis, structure.source if suffix == "_j" else structure.target)
    signals, shape = joined_signals(value, axis)
    ends = structure.departures if suffix == "_j" else structure.flipped.departures
    return parted_signals(propagate(signals, ends), shape, axis)


def joined_signals(x: Tensor, axis: int) -> tuple[Tensor, torch.Size]:
    """A tensor as signals `(S, N, C)`, its nodes along `axis`; and its shape without that axis."""
    moved = x.movedim(axis, 0)
    rest = moved.shape[1:]
    if axis in (-2, x.dim() - 2):
        return x.reshape(math.prod(rest[:-1]), *x.shape[-2:]), rest
    return moved.reshape(1, len(moved), math.prod(rest)), rest


def parted_signals(signals: Tensor, rest: torch.Size, axis: int) -> Tensor:
    """Signals `(S, n, C)` in the shape that `joined_signals` told."""
    if axis in (-2, len(rest) - 1):
        return signals.reshape(*rest[:-1], signals.shape[1], rest[-1])
    return signals.reshape(signals.shape[1], *rest).movedim(0, axis)

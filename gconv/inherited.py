"""What PyG's layers hand on to their base class by `**kwargs`: how messages flow, and how they are put together."""

from __future__ import annotations

from typing import Any, TypedDict

import torch
from torch import Tensor, nn

SOURCE_TO_TARGET, TARGET_TO_SOURCE = "source_to_target", "target_to_source"


class Inherited(TypedDict, total=False):
    """The further arguments of a layer that PyG has.

    Attributes:
        flow: 'source_to_target', or 'target_to_source' for messages against the edges.
        node_dim: the axis of the nodes: -2, or 0 for a single signal.
        decomposed_layers, aggr_kwargs: taken for PyG's sake: they do not change what is computed here.
    """

    flow: str
    node_dim: int
    decomposed_layers: int
    aggr_kwargs: dict[str, Any] | None


class Aggregated(Inherited, total=False):
    """Those of a layer without an `aggr` of its own.

    Attributes:
        aggr: how messages are put together: one of the layer's `aggregations`.
    """

    aggr: str


class Median(nn.Module):
    """Which quantile the median is, as PyG's state dicts have it."""

    q: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("q", torch.tensor([[0.5]]))


def inherited_names(aggregations: tuple[str, ...]) -> tuple[str, ...]:
    """The further arguments of a layer with, or without, `aggregations` to choose from.

    >>> inherited_names(())
    ('flow', 'node_dim', 'decomposed_layers', 'aggr_kwargs')
    """
    return tuple((Aggregated if aggregations else Inherited).__annotations__)


def check_inherited(
    layer: str, given: Aggregated, aggregations: tuple[str, ...], flows: tuple[str, ...]
) -> dict[str, Any]:
    """What is given, checked, as the attributes of a layer.

    Raises:
        TypeError: for what no layer of PyG takes. ValueError: for what this one has no meaning for.

    >>> check_inherited("GCNConv", {"flow": "target_to_source"}, ("add",), ("source_to_target", "target_to_source"))
    {'flow': 'target_to_source'}
    """
    known = inherited_names(aggregations)
    unknown = [name for name in given if name not in known]
    if unknown:
        raise TypeError(
            f"{layer} got an unexpected keyword argument {unknown[0]!r}; beside its own it takes PyG's "
            f"{', '.join(known)}"
        )
    aggr, flow, more = given.get("aggr"), given.get("flow", SOURCE_TO_TARGET), given.get("aggr_kwargs")
    if "aggr" in given and aggr not in aggregations:
        raise ValueError(
            f"{layer}: aggr is one of {', '.join(map(repr, aggregations))}; got {aggr!r}; for others write a layer of "
            "your own on gconv.MessagePassing"
        )
    if flow not in flows:
        wanted = " or ".join(map(repr, flows))
        raise ValueError(f"{layer}: flow is {wanted} here, got {flow!r}")
    if given.get("node_dim", -2) not in (-2, 0):
        raise ValueError(f"{layer}: node_dim is -2, or 0 for a single signal (N, C); got {given.get('node_dim')!r}")
    parts = given.get("decomposed_layers", 1)
    if isinstance(parts, bool) or not isinstance(parts, int) or parts < 1:
        raise ValueError(f"{layer}: decomposed_layers takes a whole number >= 1, got {parts!r}")
    if more:
        raise ValueError(f"{layer}: its aggregations have no further arguments; got aggr_kwargs={more!r}")
    return {name: value for name, value in given.items() if name != "aggr_kwargs"}

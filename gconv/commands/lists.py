"""`gconv models` and `gconv layers`: what there is."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import gconv
from grid_cnn import models


def list_models() -> None:
    """List the recipes."""
    table = Table("model", "what it is")
    for name in models.names():
        table.add_row(name, (models.function(name).__doc__ or "").splitlines()[0])
    Console().print(table)


def list_layers(
    kind: Annotated[str, typer.Option(help="Only these: spatial, spectral, pooling or normalisation.")] = "",
) -> None:
    """List the graph layers: equation, cost, whether a trained one transfers to another graph, reference."""
    kinds = sorted({layer.kind for layer in gconv.layers()})
    if kind and kind not in kinds:
        raise ValueError(f"--kind is one of {', '.join(kinds)}; got {kind!r}")
    table = Table(
        "layer", "kind", "equation", "cost: multiply-adds a signal", "transfers", "reference", show_lines=True
    )
    for column in table.columns:
        column.overflow = "fold"
    for layer in gconv.layers():
        if not kind or layer.kind == kind:
            cells = (layer.kind, layer.equation, layer.cost, layer.transfers, layer.reference)
            table.add_row(layer.__name__, *map(escape, cells))
    console = Console()
    (console if console.is_terminal else Console(width=240)).print(table)

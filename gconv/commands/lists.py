"""`gconv models` and `gconv layers`: what there is."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

import gconv
from grid_cnn import models


def list_models() -> None:
    """List the recipes."""
    table = Table("model", "what it is")
    for name in models.names():
        table.add_row(name, (models.function(name).__doc__ or "").splitlines()[0])
    Console().print(table)


def list_layers() -> None:
    """List the graph layers with kind and reference."""
    table = Table("layer", "kind", "reference")
    for layer in gconv.layers():
        table.add_row(layer.__name__, layer.kind, layer.reference)
    Console().print(table)

"""`gconv summary NAME`: the table of a network's layers in the terminal, or as Markdown, CSV or JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as TerminalTable

from gconv.accounting import summary as account
from gconv.domains.build import grid_graph
from gconv.domains.graph import Graph
from gconv.families import FAMILIES
from gconv.ops import GraphOps
from gconv.training.variants import own_layer
from grid_cnn import Grid, models
from grid_cnn.tables import Table

# The sides that networks were made for, where it is not 224.
_SIDES = {
    "alexnet2012": 227, "alexnet2012_ungrouped": 227, "inception_v2": 299, "inception_v3": 299,
    "inception_resnet_v2": 299, "alphago_policy": 19, "lenet5_1998": 32, "lenet1": 28, "lenet5": 28, "linear": 28,
    "mlp": 28,
}  # fmt: skip


def summary(
    model: Annotated[str, typer.Argument(help="The network; 'gconv models' lists them.")],
    size: Annotated[str, typer.Option(help="The picture, as in 224x224; empty: what the network was made for.")] = "",
    channels: Annotated[int, typer.Option(help="Channels of the picture; 0: the network's own.")] = 0,
    classes: Annotated[int, typer.Option(help="Outputs; 0: the network's own.")] = 0,
    batch: Annotated[int, typer.Option(help="Pictures in a batch, for the memory it takes.")] = 1,
    domain: Annotated[
        str, typer.Option(help="Where to build it: grid or graph; empty: the graph where there is a --conv.")
    ] = "",
    conv: Annotated[
        str,
        typer.Option(
            help=f"On the graph, the convolution: {', '.join(('directional', *FAMILIES))}; or a layer of your own as "
            "module:Class."
        ),
    ] = "",
    neighbors: Annotated[int, typer.Option(help="Neighbours of a pixel in the graph: 4 or 8.")] = 8,
    format: Annotated[str, typer.Option(help="table, markdown, csv or json.")] = "table",
) -> None:
    """Say what a network costs, layer by layer.

    Output shapes, units, weights, biases, links, multiply-adds, memory forward and backward, receptive field and
    stride; on a graph the edges touched too, and a field of h hops as 2 h + 1. Figures are of one picture; the last
    lines give memory for a batch, and name layers that do not tell what they do, which show – there.
    """
    if format not in _WRITERS:
        raise ValueError(f"--format is one of {', '.join(_WRITERS)}; got {format!r}")
    if batch < 1:
        raise ValueError(f"--batch takes a whole number >= 1, got {batch}")
    if domain not in ("", "grid", "graph"):
        raise ValueError(f"--domain is grid or graph; got {domain!r}")
    if domain == "grid" and conv:
        raise ValueError(f"--conv {conv} is of graphs; take --domain graph, or leave --conv out")
    grid = Grid(_sides(model, size))
    counts = (("in_channels", channels), ("num_classes", classes))
    options: dict[str, Any] = {name: value for name, value in counts if value}
    place: Grid | Graph = grid
    if conv or domain == "graph":
        place = grid_graph(grid, neighbors)
        options["ops"] = GraphOps(own_layer(conv) if ":" in conv else conv or "directional")
    net = models.create(model, domain=place, **options)
    _WRITERS[format](account(net, place), model, repr(place), batch)


def _sides(model: str, size: str) -> tuple[int, int]:
    if not size:
        models.function(model)  # says so if there is no such network
        small = 16 if model.startswith("lecun1989") else 32 if model.endswith("_cifar") else 224
        side = _SIDES.get(model, small)
        return side, side
    parts = size.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) for part in parts):
        raise ValueError(f"--size takes HEIGHTxWIDTH, as in 28x28; got {size!r}")
    return int(parts[0]), int(parts[1])


def closing_lines(table: Table, batch: int) -> list[str]:
    """What a batch takes, in words; and which layers the totals leave out.

    >>> from grid_cnn.tables import Row
    >>> closing_lines(Table((Row("fc", "Linear", (2,), 2, weights=6, makes=True),), (3,), 3), 10)[0]
    'memory for a batch of 10: 0.00 MB forward (parameters and activations)'
    """
    lines = [
        f"memory for a batch of {batch}: {table.memory(batch) / 1e6:,.2f} MB forward (parameters and activations)",
        f"and {table.memory(batch, training=True) / 1e6:,.2f} MB in training (their gradients too, no optimiser)",
    ]
    if table.untold:
        lines.append(
            f"links, multiply-adds and edges without {', '.join(table.untold)}: give such a layer a method "
            "work(graph, channels) that returns a gconv.work.Work"
        )
    return lines


def _terminal(table: Table, model: str, domain: str, batch: int) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=220)  # a file has no edge to wrap at
    header, *body = table.shown()
    shown = TerminalTable(title=f"{model} on {domain}", title_justify="left")
    for index, column in enumerate(header):
        shown.add_column(column, justify="left" if index < 3 else "right")
    for line in body[:-1]:
        shown.add_row(*line)
    shown.add_section()
    shown.add_row(*body[-1])
    console.print(shown)
    for line in closing_lines(table, batch):
        console.print(line, highlight=False)


def _markdown(table: Table, model: str, domain: str, batch: int) -> None:
    print(f"## {model} on {domain}\n\n{table.markdown()}")
    print("\n".join(closing_lines(table, batch)))


_WRITERS: dict[str, Callable[[Table, str, str, int], None]] = {
    "table": _terminal,
    "markdown": _markdown,
    "csv": lambda table, model, domain, batch: print(table.csv(), end=""),
    "json": lambda table, model, domain, batch: print(table.json(batch), end=""),
}

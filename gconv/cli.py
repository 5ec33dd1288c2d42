"""The command line: `gconv compare`, `gconv summary`, `gconv models`, `gconv layers`, `gconv bench`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

try:
    import typer
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.table import Table
except ImportError as error:  # the library itself needs none of them
    print(f'error: the gconv command needs {error.name}: pip install "gconv[train]"', file=sys.stderr)
    sys.exit(2)

import gconv
from gconv.bench import bench
from gconv.summary import summary
from grid_cnn import models

if TYPE_CHECKING:
    from gconv.training.compare import Comparison, Settings

_INTERRUPTED = 130  # what a shell reports for Ctrl-C, and typer returns for it

# What the parser raises for a wrong option or command; typer exports only this class's child.
_UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    help="Convolutional networks on grids and on graphs, under one layer API.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        print(gconv.__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def compare(
    model: Annotated[str, typer.Option(help="The recipe; 'gconv models' lists them.")] = "lenet5",
    data: Annotated[
        str, typer.Option(help="The images: digits (comes with scikit-learn), mnist, cifar10 or cifar100.")
    ] = "digits",
    data_dir: Annotated[Path, typer.Option(help="Where data sets lie: DIR/MNIST/raw, DIR/cifar-10-batches-py.")] = Path(
        "data"
    ),
    download: Annotated[bool, typer.Option("--download", help="Fetch a data set that is not there.")] = False,
    size: Annotated[str, typer.Option(help="Resize pictures, as in 28x28; empty: as the data set says.")] = "",
    variants: Annotated[
        str,
        typer.Option(
            help="Some of grid,directional,cheb,monet,gcn,spectral,linear,mlp; empty: these. Also: sage,gin,tag,arma,"
            "spline, or a layer of your own as module:Class."
        ),
    ] = "",
    neighbors: Annotated[int, typer.Option(help="Neighbours of a pixel in the graph: 4 or 8.")] = 8,
    epochs: Annotated[int, typer.Option(help="How often to go through the training images.")] = 20,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 64,
    lr: Annotated[float, typer.Option(help="Adam's first learning rate; it falls to 0 along a cosine.")] = 2e-3,
    seeds: Annotated[int, typer.Option(help="How many runs of each variant.")] = 4,
    device: Annotated[str, typer.Option(help="Where to train: cpu or cuda.")] = "cpu",
    out: Annotated[Path, typer.Option(help="The run folder: results.json and report.html.")] = Path("runs/compare"),
) -> None:
    """Train one recipe on the grid and on its graph, side by side, and write a report.

    All variants have the same seeds, data order, optimiser, schedule and budget. The defaults take about three minutes
    on two cores.
    """
    from gconv.training import pages, report, results
    from gconv.training.compare import Settings
    from gconv.training.variants import usual

    settings = Settings(
        model=models.function(model) and model,
        data=data,
        data_dir=data_dir,
        download=download,
        size=_size(size),
        variants=tuple(name.strip() for name in variants.split(",")) if variants else usual(),
        neighbors=neighbors,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seeds=seeds,
        device=device,
        out=out,
    )
    folder = results.writable(settings.out)
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)  # a file has no edge to wrap at; the table needs this much
    comparison = _with_progress(settings, console)
    console.print(_table(comparison))
    if comparison.rows[0].timing.noisy:
        console.print(pages.NOISY.format(*comparison.rows[0].timing.quartiles))
    page = pages.page(comparison)
    results.write_results(comparison, folder)
    report.write(page, folder / "report.html")
    console.print(f"{comparison.seconds:.0f} s. Wrote {folder / 'results.json'} and {folder / 'report.html'}")


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) for part in parts):
        raise ValueError(f"--size takes HEIGHTxWIDTH, as in 28x28; got {text!r}")
    return int(parts[0]), int(parts[1])


def _with_progress(settings: Settings, console: Console) -> Comparison:
    from gconv.training.compare import compare as run

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
    )
    bars = Progress(*columns, console=console)
    tasks = {name: bars.add_task(name, total=None, note="") for name in settings.variants}
    began = time.perf_counter()
    done = 0

    def advance(variant: str, loss: float, total: int) -> None:
        nonlocal done
        if not done:
            bars.start()
        done += 1
        left = (time.perf_counter() - began) * (total * len(tasks) / done - 1)
        finished = bars.tasks[tasks[variant]].completed + 1 >= total
        note = f"loss {loss:.3f}" if finished else f"loss {loss:.3f}, {left:.0f} s left for all"
        bars.update(tasks[variant], advance=1, total=total, note=note)

    try:
        return run(settings, advance)
    finally:
        if done:
            bars.stop()


def _table(comparison: Comparison) -> Table:
    from gconv.training.report import accuracy_text, number_text

    first = comparison.rows[0].variant
    table = Table(title=f"{comparison.settings.model} on {comparison.images.title}", title_justify="left")
    table.add_column("variant")
    table.add_column("domain")
    table.add_column("convolution")
    for name in ("parameters", "test accuracy", "ms a step (quartiles)", f"× {first}", "MiB a step"):
        table.add_column(name, justify="right")
    for row in comparison.rows:
        table.add_row(
            row.variant,
            row.domain,
            row.convolution,
            f"{row.parameters:,}",
            accuracy_text(row.accuracies),
            f"{number_text(row.timing.median)} ({' – '.join(map(number_text, row.timing.quartiles))})",
            number_text(row.timing.ratio),
            number_text(row.step_bytes / 2**20),
        )
    return table


app.command()(summary)


@app.command("models")
def list_models() -> None:
    """List the recipes."""
    table = Table("model", "what it is")
    for name in models.names():
        table.add_row(name, (models.function(name).__doc__ or "").splitlines()[0])
    Console().print(table)


@app.command("layers")
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


app.command()(bench)


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2."""
    try:
        code = app(standalone_mode=False)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
    except _UsageError as error:
        _refuse(error.format_message())
    except (ValueError, ImportError, OSError, models.OptionError) as error:
        _refuse(str(error))
    except (typer.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        sys.exit(_INTERRUPTED)


def _refuse(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()

"""`gconv compare`: the options, the progress bars and the table of a comparison."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from grid_cnn import models

if TYPE_CHECKING:
    from gconv.training.compare import Comparison, VariantRun
    from gconv.training.compare_settings import CompareSettings


def compare(
    model: Annotated[str, typer.Option(help="The recipe; 'gconv models' lists them.")] = "lenet5",
    data: Annotated[
        str,
        typer.Option(
            help="The images: digits (comes with scikit-learn), mnist, fashion-mnist, cifar10, cifar100, or a folder "
            "with a folder for each class; empty: digits, or with --pretrained mnist where it is."
        ),
    ] = "",
    data_dir: Annotated[Path, typer.Option(help="Where data sets lie: DIR/MNIST/raw, DIR/cifar-10-batches-py.")] = Path(
        "data"
    ),
    download: Annotated[bool, typer.Option("--download", help="Fetch a data set that is not there.")] = False,
    size: Annotated[str, typer.Option(help="Resize pictures, as in 28x28; empty: as the data set says.")] = "",
    variants: Annotated[
        str,
        typer.Option(
            help="Some of grid,directional,cheb,monet,gcn,spectral,linear,mlp; empty: these. Also: sage,gin,tag,arma,"
            "graph,gine,transformer,resgated,spline, or a layer of your own as module:Class."
        ),
    ] = "",
    neighbors: Annotated[int, typer.Option(help="Neighbours of a pixel in the graph: 4 or 8.")] = 8,
    epochs: Annotated[int, typer.Option(help="How often to go through the training images.")] = 20,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 64,
    lr: Annotated[float, typer.Option(help="Adam's first learning rate; it falls to 0 along a cosine.")] = 2e-3,
    seeds: Annotated[int, typer.Option(help="How many runs of each variant.")] = 4,
    device: Annotated[str, typer.Option(help="Where to train: cpu or cuda.")] = "cpu",
    out: Annotated[Path, typer.Option(help="The run folder: results.json and report.html.")] = Path("runs/compare"),
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Train nothing: the LeNet-5s that come with gconv, trained on MNIST.")
    ] = False,
) -> None:
    """Train one recipe on the grid and on its graph, side by side, and write a report.

    All variants have the same seeds, data order, optimiser, schedule and budget. The defaults take about three minutes
    on two cores.
    """
    from gconv.training import pages, report, results
    from gconv.training.compare_settings import CompareSettings
    from gconv.training.pretrained import VARIANTS
    from gconv.training.settings import parse_size
    from gconv.training.variants import usual

    everything = tuple(VARIANTS) if pretrained else usual()
    settings = CompareSettings(
        model=models.function(model) and model,
        data=data or _usual_data(pretrained, data_dir, download),
        data_dir=data_dir,
        download=download,
        size=parse_size(size) if size else None,
        variants=tuple(name.strip() for name in variants.split(",")) if variants else everything,
        neighbors=neighbors,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seeds=seeds,
        device=device,
        out=out,
        pretrained=pretrained,
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


def _usual_data(pretrained: bool, data_dir: Path, download: bool) -> str:
    there = (data_dir / "MNIST/raw").is_dir()
    return "mnist" if pretrained and (there or download) else "digits"


def _with_progress(settings: CompareSettings, console: Console) -> Comparison:
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

    told = 0

    def tell(trained: VariantRun) -> None:
        nonlocal told
        told += 1
        if console.is_terminal:
            return  # where the bars say it
        last = trained.history[-1]
        print(
            f"run {told} of {len(settings.variants) * settings.seeds}: {trained.variant}, seed {trained.seed}: "
            f"loss {last.train_loss:.4f}, accuracy {trained.accuracy:.2%}, {last.seconds:.0f} s",
            file=sys.stderr,
            flush=True,
        )

    try:
        return run(settings, advance, tell)
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

"""`gconv evaluate RUN...`: the worth of trained networks on held-out pictures, as tables or JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from gconv.commands import console

if TYPE_CHECKING:
    from gconv.training.evaluate import Evaluation

_MOST_COLUMNS = 20  # of a confusion matrix that a terminal can show
_MOST_PAIRS = 20


def evaluate(
    networks: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Run folders, or names such as lenet5-mnist; several answer together, by their mean probabilities.",
        ),
    ],
    data: Annotated[str, typer.Option(help="A data set or a folder of pictures; empty: what it was trained on.")] = "",
    data_dir: Annotated[
        Path | None, typer.Option(help="Where data sets lie; none: where they lay in training, or ./data.")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch a data set that is not there.")] = False,
    split: Annotated[str, typer.Option(help="The part: test, train or all.")] = "test",
    scales: Annotated[
        str, typer.Option(help="Scales of the picture whose answers are averaged, as in 0.9,1,1.1.")
    ] = "1",
    ten_crop: Annotated[
        bool, typer.Option("--ten-crop", help="Average corners, middle and their mirror images, at 8/7 of each scale.")
    ] = False,
    weights: Annotated[str, typer.Option(help="Of a run: best or last.")] = "best",
    batch_size: Annotated[int, typer.Option(help="Pictures at a time.")] = 256,
    workers: Annotated[int, typer.Option(help="Processes that decode a folder's pictures.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a folder with unreadable pictures.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Evaluate trained networks: loss, top-1 and top-5 accuracy, the confusion matrix and a report for each class."""
    from gconv.training.evaluate import Views
    from gconv.training.evaluate import evaluate as run
    from gconv.training.sources import open_sources

    views = Views.parse(scales, ten_crop)
    sources = open_sources(networks, weights, device)
    found = run(
        sources,
        data or None,
        data_dir=data_dir,
        download=download,
        split=split,
        views=views,
        batch_size=batch_size,
        workers=workers,
        strict=strict or None,
    )
    if as_json:
        print(json.dumps(_plain(found), indent=1))
    else:
        _print(found)


def _plain(found: Evaluation) -> dict[str, Any]:
    return {
        "networks": [source.name for source in found.sources],
        "data": found.data,
        "split": found.split,
        "scales": list(found.views.scales),
        "ten_crop": found.views.ten_crop,
        **found.scores.as_json(found.classes),
        "classes": list(found.classes),
        "skipped": [{"image": str(skipped.path), "why": skipped.why} for skipped in found.skipped],
    }


def _print(found: Evaluation) -> None:
    from gconv.data.skipped import report

    out = console.make()
    scores = found.scores
    several = len(found.sources) > 1
    out.print(f"{' + '.join(source.name for source in found.sources)}{', mean of probabilities' * several}")
    out.print(f"{found.data}, the {found.split} part: {scores.images:,} pictures")
    if len(found.views.scales) > 1 or found.views.ten_crop or found.views.scales != (1.0,):
        shown = ", ".join(f"{scale:g}" for scale in found.views.scales)
        out.print(f"scales {shown}{', ten crops at each' * found.views.ten_crop}")
    top5 = "" if scores.top5 is None else f", top-5 {scores.top5:.2%}"
    out.print(f"accuracy {scores.top1:.2%}{top5}, loss {scores.loss:.4f}")
    for line in report(found.skipped, "--json"):
        out.print(line)
    report = Table("class", title="by class", title_justify="left")
    for heading in ("pictures", "precision", "recall", "F1"):
        report.add_column(heading, justify="right")
    for name, row in zip(found.classes, scores.per_class, strict=True):
        shares = (f"{row[key]:.2%}" for key in ("precision", "recall", "f1"))
        report.add_row(name, f"{int(row['images']):,}", *shares)
    out.print(report)
    out.print(_confusion(found) if len(found.classes) <= _MOST_COLUMNS else _confused(found))


def _confusion(found: Evaluation) -> Table:
    table = Table("class", title="taken for", title_justify="left")
    for name in found.classes:
        table.add_column(name, justify="right")
    for name, row in zip(found.classes, found.scores.confusion.tolist(), strict=True):
        table.add_row(name, *(f"{count:,}" if count else "·" for count in row))
    return table


def _confused(found: Evaluation) -> Table:
    """The most frequent errors, where the whole matrix would not fit."""
    wrong = found.scores.confusion.clone().fill_diagonal_(0)
    counts, places = wrong.flatten().topk(min(_MOST_PAIRS, wrong.numel()))
    table = Table("class", "taken for", title="most frequent errors", title_justify="left")
    table.add_column("times", justify="right")
    for count, place in zip(counts.tolist(), places.tolist(), strict=True):
        if count:
            table.add_row(found.classes[place // len(wrong)], found.classes[place % len(wrong)], f"{count:,}")
    return table

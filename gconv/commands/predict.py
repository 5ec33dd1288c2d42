"""`gconv predict RUN IMAGE...`: what a trained network takes pictures for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from gconv.commands import console

if TYPE_CHECKING:
    from gconv.training.predict import Predictions


def predict(
    network: Annotated[
        str, typer.Argument(metavar="RUN", help="A run folder, or a name: lenet5-mnist, lenet5-cheb-mnist ...")
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures (PNG, JPEG ...), or folders.")],
    top: Annotated[int, typer.Option(help="How many classes to name.")] = 3,
    read: Annotated[
        str,
        typer.Option(
            help="digit: look for a handwritten digit; picture: scale and cut out the middle; auto: as it was trained."
        ),
    ] = "auto",
    weights: Annotated[str, typer.Option(help="Of a run: best or last.")] = "best",
    strict: Annotated[bool, typer.Option("--strict", help="Fail if a picture cannot be read.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what pictures show, with probabilities, and how each was read.

    Pictures that cannot be read are named on the error output and left out; with --strict the command then fails, as it
    does where none is left.
    """
    from gconv.training.predict import find_pictures
    from gconv.training.predict import predict as run
    from gconv.training.sources import open_source

    found = run([open_source(network, weights, device)], find_pictures(images), top=top, reading=read)
    if as_json:
        print(json.dumps(found.as_json(), indent=1))
    elif found.answers:
        _print(found)
    for skipped in found.unreadable:
        print(skipped.why, file=sys.stderr)
    if found.unreadable and (strict or not found.answers):
        raise ValueError(
            f"{len(found.unreadable)} of {len(found.unreadable) + len(found.answers)} pictures cannot be read"
        )


def _print(found: Predictions) -> None:
    table = Table("picture")
    for number in range(1, len(found.answers[0].top) + 1):
        table.add_column(f"{number}.")
    table.add_column("how it was read")
    for answer in found.answers:
        table.add_row(str(answer.path), *(f"{name} {share:.1%}" for name, _, share in answer.top), answer.how)
    console.make().print(table)

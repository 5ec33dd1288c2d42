"""The command `gconv bench`: run the benchmarks of a checkout, print their tables, and keep their JSON."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import gconv


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help="Which benchmarks; none: all but those that train (--list names all).")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds, smaller sizes: does it work?")] = False,
    row: Annotated[list[str] | None, typer.Option(help="Only this row of the tables, as in --row GAT.")] = None,
    compiled: Annotated[bool, typer.Option("--compiled", help="Time GAT under torch.compile too.")] = False,
    data_dir: Annotated[Path, typer.Option(help="Where data sets lie: DIR/Cora/raw/ind.cora.*.")] = Path("data"),
    out: Annotated[
        Path, typer.Option(help="Where JSON goes; benchmarks/results is what the pages' tables are made of.")
    ] = Path("runs/bench"),
    list_names: Annotated[bool, typer.Option("--list", help="Name the benchmarks, and run none.")] = False,
) -> None:
    """Run the benchmarks that lie beside this checkout's sources, and print their tables."""
    harness = checkout()
    if list_names:
        for name in harness.NAMES:
            print(f"{name}: {harness.module(name).TITLE}")
        return
    chosen = names or list(harness.CLAIMS)
    claims = {name: harness.module(name) for name in chosen}  # a misspelt one stops all before the first begins
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a file has no edge to wrap at
    failed = []
    for name, claim in claims.items():
        say = _teller(name)
        options = harness.Options(quick, out, tuple(row or ()), data_dir, compiled, say)
        found = harness.measure(name, options)
        for table in claim.tables(found):
            console.print(shown(table))
            for note in table.notes:
                print(note.replace("\\", ""))
        if not harness.quiet(found):
            spread = found["calibration"]["spread"]
            print(f"The machine was not quiet ({spread:.0%} between quartiles of the same product): quote nothing.")
        print(f"{found['seconds']:.0f} s. Wrote {options.out / name}.json")
        failed += [f"{name}: {text}" for text in harness.failures(found)]
    if failed:
        print("\n".join(f"failed: {text}" for text in failed), file=sys.stderr)
        raise typer.Exit(1)


def checkout() -> Any:
    """The benchmarks' harness, from the checkout that this package runs from.

    Raises:
        ValueError: if there is none: benchmarks are no part of the installed package.
    """
    root = Path(gconv.__file__).resolve().parent.parent
    if not (root / "benchmarks" / "harness.py").is_file():
        raise ValueError(
            f"no benchmarks beside {root / 'gconv'}: they are in the sources, not in the installed package; run "
            "gconv bench from a clone that is installed with pip install -e ."
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return importlib.import_module("benchmarks.harness")


def shown(table: Any) -> Table:
    """A benchmark's table for the terminal."""
    found = Table(title=table.title, title_justify="left")
    for number, heading in enumerate(table.headings):
        found.add_column(heading, justify="left" if number < table.words else "right", overflow="fold")
    for cells in table.rows:
        found.add_row(*(cell.replace("**", "").replace("\\", "") for cell in cells))  # no Markdown here
    return found


def _teller(name: str) -> Callable[[str], None]:
    return lambda text: print(f"{name}: {text}", file=sys.stderr, flush=True)

"""The commands by name, and how a command line is run."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

import gconv
from gconv.commands import INTERRUPTED, lists
from gconv.commands.bench import bench
from gconv.commands.compare import compare
from gconv.commands.evaluate import evaluate
from gconv.commands.predict import predict
from gconv.commands.summary import summary
from gconv.commands.train import train

# What the parser raises for a wrong option or command; typer exports only this class's child.
_UsageError: Any = typer.BadParameter.__base__

COMMANDS = {
    "compare": compare,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "summary": summary,
    "models": lists.list_models,
    "layers": lists.list_layers,
    "bench": bench,
}

app = typer.Typer(
    help="Convolutional networks on grids and on graphs, under one layer API.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        print(gconv.__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def run() -> None:
    """Run the command line of this process.

    Raises:
        ValueError: for a wrong option or command, and whatever a command refuses.
        KeyboardInterrupt: after Ctrl-C. SystemExit: with a command's own exit code.
    """
    try:
        code = app(standalone_mode=False)
    except _UsageError as error:
        raise ValueError(error.format_message()) from error
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if isinstance(code, int) and code:
        sys.exit(code)

"""`gconv train`: options made from the table of settings, a progress bar, and a line an epoch."""

from __future__ import annotations

import inspect
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from gconv.commands import console

if TYPE_CHECKING:
    from ignite.engine import Engine

    from gconv.training.session import Epoch
    from gconv.training.train import Outcome

_MOST_CLASSES = 20


class Bar:
    """The progress of a training: a bar on a terminal, and a line an epoch everywhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None
        self._task = TaskID(0)
        self._epochs = 0
        self._seconds = 0.0

    def attach(self, trainer: Engine) -> None:
        """Follow Ignite's trainer."""
        from ignite.engine import Events

        images, began, shown = 0, time.perf_counter(), 0.0

        @trainer.on(Events.STARTED)
        def _(engine: Engine) -> None:
            nonlocal began
            began = time.perf_counter()
            self._epochs = engine.state.max_epochs or 0
            if self._console.is_terminal:
                total = self._epochs * (engine.state.epoch_length or 0)
                self._bars = Progress(
                    TextColumn("{task.description}"),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TextColumn("{task.fields[note]}"),
                    TimeRemainingColumn(),
                    console=self._console,
                )
                self._task = self._bars.add_task("epoch", total=total or None, note="")
                self._bars.update(self._task, completed=engine.state.iteration)
                self._bars.start()

        @trainer.on(Events.ITERATION_COMPLETED)
        def _(engine: Engine) -> None:
            nonlocal images, shown
            images += len(engine.state.batch[1])  # pyright: ignore[reportArgumentType, reportOptionalSubscript, reportIndexIssue]
            now = time.perf_counter()
            last = engine.state.iteration % (engine.state.epoch_length or 1) == 0
            if self._bars is None or (now - shown < 0.1 and not last):
                return
            shown = now
            note = f"loss {engine.state.output:.4f}, {images / (now - began):,.0f} images/s"
            description = f"epoch {engine.state.epoch}/{self._epochs}"
            self._bars.update(self._task, description=description, completed=engine.state.iteration, note=note)

        @trainer.on(Events.COMPLETED)
        def _() -> None:
            self.stop()  # what follows is the test, which may take a while

    def epoch(self, history: list[Epoch]) -> None:
        """Tell an epoch."""
        last = history[-1]
        words = [f"epoch {last.epoch}/{self._epochs}: loss {last.train_loss:.4f}, accuracy {last.train_accuracy:.2%}"]
        if last.test_loss is not None:
            words.append(f"validation loss {last.test_loss:.4f}, accuracy {last.test_accuracy:.2%}")
        words.append(f"lr {last.lr:.2g}, {last.seconds:.0f} s")
        self._console.print("; ".join(words), soft_wrap=True)

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._bars is not None:
            self._bars.stop()


def _train(config: Path | None, resume: Path | None, checkpoint: str, out: Path | None, given: dict[str, Any]) -> None:
    from gconv.training import train as training

    if resume is not None and (config is not None or out is not None):
        raise ValueError("--resume goes on in its own folder with its own settings; leave out --config and --out")
    if resume is None and checkpoint != "last":
        raise ValueError("--checkpoint says what --resume goes on from; give --resume RUN too")
    out_to = console.make()
    bar = Bar(out_to)
    watch = training.Watch(lambda text: out_to.print(text, soft_wrap=True), bar.attach, bar.epoch)
    try:
        if resume is not None:
            outcome = training.resume(resume, given, checkpoint, watch)
        else:
            outcome = training.train(training.configured(config, given), out, watch)
    finally:
        bar.stop()
    _tell(outcome, out_to)


def _tell(outcome: Outcome, out: Console) -> None:
    from gconv.data.skipped import report

    table = Table(title="test images, class by class", title_justify="left")
    for name in ("class", "images", "precision", "recall", "F1"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for name, row in list(zip(outcome.classes, outcome.test.per_class, strict=True))[:_MOST_CLASSES]:
        shares = (f"{row[key]:.2%}" for key in ("precision", "recall", "f1"))
        table.add_row(name, f"{row['images']:,}", *shares)
    out.print(table)
    if len(outcome.classes) > _MOST_CLASSES:
        out.print(f"and {len(outcome.classes) - _MOST_CLASSES} more classes in results.json")
    for line in report(outcome.left_out, f"{outcome.folder}/results.json"):
        out.print(line, soft_wrap=True)
    top5 = "" if outcome.test.top5 is None else f", top-5 {outcome.test.top5:.2%}"
    out.print(
        f"test accuracy {outcome.test.top1:.2%}{top5}, loss {outcome.test.loss:.4f}, with the weights of epoch "
        f"{outcome.best_epoch}; {outcome.seconds:.0f} s. Wrote {outcome.folder}",
        soft_wrap=True,
    )


def _with_options() -> Any:
    """The command, with an option for each setting: left out, it is the settings file's, the run's or the default."""
    from gconv.training import settings

    def train(**values: Any) -> None:
        """Train a network, and write a run folder: settings, checkpoints, history, results.

        A run is repeated by --config RUN/settings.yaml, and goes on after an interruption by --resume RUN, to the same
        bits on a CPU. Options given beside a settings file go before it.
        """
        config, run, checkpoint, out = (values.pop(name) for name in own)
        _train(config, run, checkpoint, out, {name: value for name, value in values.items() if value is not None})

    own: dict[str, tuple[Any, Any, Any]] = {
        "config": (Path | None, typer.Option(help="A settings file, as every run has one."), None),
        "resume": (Path | None, typer.Option(help="A run folder to go on with."), None),
        "checkpoint": (str, typer.Option(help="What --resume goes on from: last, or before it: before."), "last"),
        "out": (Path | None, typer.Option(help="The run folder; none: a new one under runs/."), None),
    }  # fmt: skip
    parameters = []
    for name, field in settings.names().items():
        kind = settings.kind(name)
        default = settings.shown(field.default)
        option: Any
        if name == "model":
            option = typer.Argument(help=f"{field.metadata['help']} [default: {default}]", show_default=False)
        else:
            flag = settings.flag(name)
            flags = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
            option = typer.Option(flags, help=field.metadata["help"], show_default=default or False)
        hint = (str if kind is tuple else kind) | None
        parameters.append((name, Annotated[hint, option], None))
    for name, (hint, option, default) in own.items():
        parameters.append((name, Annotated[hint, option], default))
    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = [inspect.Parameter(name, keyword, default=value, annotation=hint) for name, hint, value in parameters]
    train.__signature__ = inspect.Signature(signature)  # pyright: ignore[reportFunctionMemberAccess]
    train.__annotations__ = {name: hint for name, hint, _ in parameters}
    return train


train = _with_options()

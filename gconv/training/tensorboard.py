"""Logs of a training for TensorBoard: loss and learning rate a step, loss and accuracy an epoch."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch.optim import Optimizer

from gconv.training.session import Epoch


class Log:
    """Writes to TensorBoard, or nowhere.

    Args:
        folder: where to, None for nowhere. optimizer: whose rate is told.
    """

    def __init__(self, folder: Path | None, optimizer: Optimizer) -> None:
        self._folder, self._optimizer = folder, optimizer
        self._writer: Any = None
        self._step = 0

    def attach(self, trainer: Engine) -> None:
        """Follow a trainer."""
        if self._folder is None:
            return
        folder, make = self._folder, _summary_writer()

        @trainer.on(Events.STARTED)
        def _(engine: Engine) -> None:
            # What an interrupted run logged after its last checkpoint is told again, and hidden there.
            first = engine.state.iteration
            self._writer = make(str(folder), purge_step=first + 1 if first else None)

        @trainer.on(Events.ITERATION_COMPLETED)
        def _(engine: Engine) -> None:
            step = self._step = engine.state.iteration
            self._writer.add_scalar("step/loss", engine.state.output, step)
            self._writer.add_scalar("step/lr", self._optimizer.param_groups[0]["lr"], step)

    def epoch(self, history: list[Epoch]) -> None:
        """Take in an epoch."""
        if self._writer is None:
            return
        last = history[-1]
        for name, value in (
            ("loss/train", last.train_loss),
            ("loss/validation", last.test_loss),
            ("accuracy/train", last.train_accuracy),
            ("accuracy/validation", last.test_accuracy),
        ):
            if value is not None:
                self._writer.add_scalar(name, value, self._step)
        self._writer.flush()

    def close(self) -> None:
        """Write what is still in memory."""
        if self._writer is not None:
            self._writer.close()


@contextlib.contextmanager
def logged(folder: Path, optimizer: Optimizer, wanted: bool) -> Iterator[Log]:
    """A log that is closed in the end; it writes nothing unless it is wanted.

    Raises:
        ImportError: without tensorboard.
    """
    if wanted:
        _summary_writer()
    log = Log(folder if wanted else None, optimizer)
    try:
        yield log
    finally:
        log.close()


def _summary_writer() -> Any:
    try:
        return importlib.import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError as error:
        raise ImportError('--tensorboard needs tensorboard: pip install "gconv[train]"', name=error.name) from error

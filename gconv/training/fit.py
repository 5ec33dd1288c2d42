"""`fit`: train a classifier on PyTorch-Ignite's engine, keep its history, and go on from checkpoints."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from gconv.training import metrics
from gconv.training.ema import Average
from gconv.training.interrupts import Caught, caught
from gconv.training.loading import batches
from gconv.training.losses import Loss
from gconv.training.schedules import Schedule
from gconv.training.session import Checkpoints, Epoch, Session
from gconv.training.step import Augment, DivergedError, Prepare, Step, total_loss

# Ignite logs an error that it also raises; here it is told once, by who catches it.
_SILENT = logging.Logger("gconv.training.fit")
_SILENT.addHandler(logging.NullHandler())

__all__ = ["Checkpoints", "DivergedError", "Epoch", "accuracy", "batches", "fit", "total_loss"]


def fit(
    model: nn.Module,
    train: Iterable,
    test: Iterable | None = None,
    *,
    epochs: int,
    optimizer: torch.optim.Optimizer | None = None,
    schedule: LRScheduler | None = None,
    loss: Loss = nn.functional.cross_entropy,
    auxiliary_weight: float = 0.3,
    l1: float = 0.0,
    accumulate: int = 1,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    precision: str = "fp32",
    ema: float = 0.0,
    early_stopping: int = 0,
    augment: Augment | None = None,
    prepare: Prepare | None = None,
    checkpoints: Checkpoints | str | Path | None = None,
    device: torch.device | str = "cpu",
    attach: Callable[[Engine], None] | None = None,
    on_epoch: Callable[[list[Epoch]], None] | None = None,
) -> list[Epoch]:
    """Train `model` in place.

    Args:
        model: takes a batch of inputs, gives logits `(B, classes)`; a graph network goes through `bind` first.
        train, test: loaders of `(inputs, labels)` batches; test accuracy and loss are taken after every epoch.
        epochs: how often to go through `train`.
        optimizer: over the model's parameters; Adam with its default rate if None.
        schedule: one of torch's, or `schedules.Schedule`, on the optimiser: stepped after each of its steps; torch's
            ReduceLROnPlateau once an epoch, with the loss.
        loss: of logits and labels. device: where to train; the model is moved there.
        auxiliary_weight: what the loss of each auxiliary head counts, in a network that has such heads, beside that of
            the logits: 0.3 in GoogLeNet's paper, 0.4 for Inception v3.
        l1, accumulate, clip_norm, clip_value, precision: as in `step`.
        ema: the decay of a running average of the weights, which is what is tested; 0 for none.
        early_stopping: epochs without a better test (training loss, without `test`) after which to stop; 0: never.
        augment: `(inputs, labels)` of a training batch, on the device, to others; labels may become probabilities.
        prepare: what all inputs go through on the device before the model.
        checkpoints: the folder where to save, and whether to go on from there; None for no checkpoints. A folder alone
            begins anew.
        attach: called with Ignite's trainer before it runs, to add handlers (progress bars, schedules, checkpoints);
            its output is the loss of a step.
        on_epoch: called with the history after every epoch, before it is saved.

    Returns the history, an entry an epoch, those before an interruption too.

    Raises:
        ValueError: for settings that are out of range, a checkpoint that is damaged or of other settings.
        DivergedError: for a loss that is not finite, saying where; checkpoints stay as they were.
        KeyboardInterrupt: after Ctrl-C, once the state is saved, where there are checkpoints.

    >>> from grid_cnn import models
    >>> images, labels = torch.rand(8, 1, 4, 4), torch.arange(8) % 2
    >>> net = models.linear(num_classes=2, domain=__import__("grid_cnn").Grid((4, 4)))
    >>> [h.epoch for h in fit(net, batches(images, labels, 4, seed=0), epochs=2)]
    [1, 2]
    """
    for name, value, least in (("epochs", epochs, 1), ("early_stopping", early_stopping, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} takes a whole number >= {least}, got {value!r}")
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters()) if optimizer is None else optimizer
    step = Step(
        model,
        optimizer,
        loss,
        schedule=schedule,
        average=Average(model, ema) if ema else None,
        auxiliary_weight=auxiliary_weight,
        l1=l1,
        accumulate=accumulate,
        clip_norm=clip_norm,
        clip_value=clip_value,
        precision=precision,
        device=device,
        augment=augment,
        prepare=prepare,
    )
    places = Checkpoints(checkpoints) if isinstance(checkpoints, str | Path) else checkpoints
    session = Session(step, train, epochs, places)
    trainer = Engine(lambda engine, batch: _step(engine, batch, session, device))
    trainer.logger = _SILENT

    @trainer.on(Events.EPOCH_STARTED)
    def _start() -> None:
        model.train()
        session.start_epoch()

    @trainer.on(Events.EPOCH_COMPLETED)
    def _record(engine: Engine) -> None:
        found = (None, None) if test is None else _tested(step, test, device)
        session.end_epoch(engine.state.epoch, *found)
        value = session.history[-1].train_loss if found[0] is None else found[0]
        if isinstance(schedule, Schedule):
            schedule.observe(value)
        elif isinstance(schedule, ReduceLROnPlateau):
            schedule.step(value)
        if on_epoch is not None:
            on_epoch(session.history)

    if attach is not None:
        attach(trainer)
    data = session.resume(trainer)
    if early_stopping:
        _stop_early(trainer, session, early_stopping)
    if places is None:
        trainer.run(data, max_epochs=epochs)
    elif not session.done and not (early_stopping and session.stale >= early_stopping):
        with caught() as note:
            _save(trainer, session, note)
            trainer.run(data, max_epochs=epochs)
    return session.history


def _step(engine: Engine, batch: tuple[Tensor, Tensor], session: Session, device: torch.device | str) -> float:
    inputs, labels = (part.to(device, non_blocking=True) for part in batch)
    length = engine.state.epoch_length
    number, right = session.step(inputs, labels, (engine.state.iteration - 1) % length + 1 if length else 1, length)
    if not math.isfinite(number):
        where = f"epoch {engine.state.epoch}, step {engine.state.iteration}"
        raise DivergedError(
            f"the training loss is {number} at {where}; lower the learning rate, or check the inputs{session.good}"
        )
    session.count(number, right, len(labels), engine.state.iteration)
    return number


def _tested(step: Step, test: Iterable, device: torch.device | str) -> tuple[float, float]:
    def logits(inputs: Tensor) -> Tensor:
        return step.model(inputs if step.prepare is None else step.prepare(inputs))

    step.model.eval()
    if step.average is None:
        return metrics.loss_and_accuracy(logits, test, step.loss, device)
    with step.average.applied():
        return metrics.loss_and_accuracy(logits, test, step.loss, device)


def _stop_early(trainer: Engine, session: Session, patience: int) -> None:
    @trainer.on(Events.EPOCH_COMPLETED)
    def _(engine: Engine) -> None:
        if session.stale >= patience:
            engine.terminate()


def _save(trainer: Engine, session: Session, note: Caught) -> None:
    """Save at the end of each epoch, every so many steps, and before a signal ends the program."""

    @trainer.on(Events.ITERATION_COMPLETED)
    def _(engine: Engine) -> None:
        last = session.epoch_is_over
        if not last and (session.due or note.signal is not None):
            session.save()
        if not last:  # after the last step of an epoch, once it is recorded
            note.stop()

    @trainer.on(Events.EPOCH_COMPLETED)
    def _() -> None:
        session.save()
        note.stop()


def accuracy(model: nn.Module, loader: Iterable, device: torch.device | str = "cpu") -> float:
    """The share of inputs whose largest logit is the label's, 0..1; the model is left in evaluation mode."""
    model.eval()
    return metrics.accuracy(model, loader, device)

"""`fit`: train a classifier on PyTorch-Ignite's engine, and keep its history."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from ignite.engine import Engine, Events
from ignite.metrics import Accuracy, Average
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

from grid_cnn.models.auxiliary import Outputs


@dataclass(frozen=True)
class Epoch:
    """What one epoch left: its number (from 1), training seconds so far, mean training loss, test accuracy (0..1)."""

    epoch: int
    seconds: float
    train_loss: float
    test_accuracy: float | None


def batches(inputs: Tensor, labels: Tensor, batch_size: int, seed: int | None = None) -> DataLoader:
    """A loader over tensors in memory; with a seed the order is drawn anew each epoch, the same for the same seed.

    >>> [len(y) for x, y in batches(torch.zeros(5, 1), torch.zeros(5), 2)]
    [2, 2, 1]
    """
    dataset = TensorDataset(inputs, labels)
    if seed is None:
        order: SequentialSampler | RandomSampler = SequentialSampler(dataset)
    else:
        order = RandomSampler(dataset, generator=torch.Generator().manual_seed(seed))
    # A sampler of batches, so that a batch is one indexing of the tensors and not a stack of examples.
    return DataLoader(dataset, sampler=BatchSampler(order, batch_size, drop_last=False), batch_size=None)


def fit(
    model: nn.Module,
    train: Iterable,
    test: Iterable | None = None,
    *,
    epochs: int,
    optimizer: torch.optim.Optimizer | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
    auxiliary_weight: float = 0.3,
    device: torch.device | str = "cpu",
    attach: Callable[[Engine], None] | None = None,
) -> list[Epoch]:
    """Train `model` in place.

    Args:
        model: takes a batch of inputs, gives logits `(B, classes)`; a graph network goes through `bind` first.
        train, test: loaders of `(inputs, labels)` batches; test accuracy is taken after every epoch.
        epochs: how often to go through `train`.
        optimizer: over the model's parameters; Adam with its default rate if None.
        loss: of logits and labels. device: where to train; the model is moved there.
        auxiliary_weight: what the loss of each auxiliary head counts, in a network that has such heads, beside that of
            the logits: 0.3 in GoogLeNet's paper, 0.4 for Inception v3.
        attach: called with Ignite's trainer before it runs, to add handlers (progress bars, schedules, checkpoints);
            its output is the loss of a step.

    Raises:
        ValueError: for epochs < 1, a negative weight, or a loss that is not finite, saying where.

    >>> from grid_cnn import models
    >>> images, labels = torch.rand(8, 1, 4, 4), torch.arange(8) % 2
    >>> net = models.linear(num_classes=2, domain=__import__("grid_cnn").Grid((4, 4)))
    >>> [h.epoch for h in fit(net, batches(images, labels, 4, seed=0), epochs=2)]
    [1, 2]
    """
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs takes a whole number >= 1, got {epochs!r}")
    if not 0 <= auxiliary_weight < math.inf:
        raise ValueError(f"auxiliary_weight takes a number >= 0, got {auxiliary_weight!r}")
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters()) if optimizer is None else optimizer
    history: list[Epoch] = []
    seconds = 0.0
    started = 0.0

    def step(engine: Engine, batch: tuple[Tensor, Tensor]) -> float:
        inputs, labels = (part.to(device, non_blocking=True) for part in batch)
        optimizer.zero_grad()
        value = total_loss(model(inputs), labels, loss, auxiliary_weight)
        value.backward()
        optimizer.step()
        number = value.item()
        if not math.isfinite(number):
            where = f"epoch {engine.state.epoch}, step {engine.state.iteration}"
            raise ValueError(f"the training loss is {number} at {where}; lower the learning rate, or check the inputs")
        return number

    trainer = Engine(step)
    Average().attach(trainer, "loss")

    @trainer.on(Events.EPOCH_STARTED)
    def _start() -> None:
        nonlocal started
        model.train()
        started = time.perf_counter()

    @trainer.on(Events.EPOCH_COMPLETED)
    def _record() -> None:
        nonlocal seconds
        seconds += time.perf_counter() - started
        found = None if test is None else accuracy(model, test, device)
        history.append(Epoch(trainer.state.epoch, seconds, float(trainer.state.metrics["loss"]), found))

    if attach is not None:
        attach(trainer)
    trainer.run(train, max_epochs=epochs)
    return history


def total_loss(
    output: Tensor | Outputs,
    labels: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
    auxiliary_weight: float = 0.3,
) -> Tensor:
    """The loss of the logits, and of auxiliary heads where there are any: L(logits) + w Σ_a L(head_a).

    >>> logits, labels = torch.zeros(1, 2), torch.tensor([0])
    >>> round(float(total_loss(Outputs(logits, (logits, logits)), labels) / total_loss(logits, labels)), 4)
    1.6
    """
    if not isinstance(output, Outputs):
        return loss(output, labels)
    value = loss(output.logits, labels)
    for logits in output.auxiliary:
        value = value + auxiliary_weight * loss(logits, labels)
    return value


def accuracy(model: nn.Module, loader: Iterable, device: torch.device | str = "cpu") -> float:
    """The share of inputs whose largest logit is the label's, 0..1; the model is left in evaluation mode."""
    model.eval()

    @torch.inference_mode()
    def step(_: Engine, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        inputs, labels = (part.to(device, non_blocking=True) for part in batch)
        return model(inputs), labels

    evaluator = Engine(step)
    Accuracy().attach(evaluator, "accuracy")
    return float(evaluator.run(loader).metrics["accuracy"])

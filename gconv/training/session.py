"""What a training has in hand while it runs: its history, where it stands, its best weights; saved and taken up again.

A checkpoint is the state of the step (model, optimiser, schedule, scaler, running average), the position (epoch, step),
the sums of the epoch so far, the history, and every random state, both now and as it was when the epoch began: the
order of the epoch is drawn again from there, and the batches that were done are skipped.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from gconv.training import checkpoints, random_state
from gconv.training.loading import Passes
from gconv.training.step import DivergedError, Step


@dataclass(frozen=True)
class Epoch:
    """What one epoch left.

    Args:
        epoch: its number (from 1). seconds: training seconds so far. train_loss: the mean over the batches.
        test_accuracy, test_loss: on the held-out images, None without them; shares are 0..1.
        train_accuracy: of the batches as they were trained on. lr: of the first group, at the epoch's end.
    """

    epoch: int
    seconds: float
    train_loss: float
    test_accuracy: float | None
    test_loss: float | None = None
    train_accuracy: float | None = None
    lr: float | None = None


@dataclass(frozen=True)
class Checkpoints:
    """Where and when to save.

    Args:
        folder: of `last.safetensors`, `before.safetensors` and `best.safetensors`; made if it is not there.
        every: steps between checkpoints, beside one at each epoch's end; 0 for none.
        resume: go on from the newest one; where nothing was saved yet, the training begins.
        name: which one to go on from: 'last', or 'before' for the one before it.
        notes: plain values that are kept in weight files.

    Raises:
        ValueError: for a negative number or an unknown name.

    >>> Checkpoints("runs/mine", every=500, resume=True).path.name
    'last.safetensors'
    """

    folder: str | Path
    every: int = 0
    resume: bool = False
    name: str = "last"
    notes: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 0:
            raise ValueError(f"every takes a whole number >= 0, got {self.every!r}")
        if self.name not in ("last", "before"):
            raise ValueError(f"checkpoint takes 'last' or 'before', got {self.name!r}")

    @property
    def path(self) -> Path:
        """The checkpoint to go on from."""
        return Path(self.folder) / f"{self.name}.safetensors"


class Session:
    """A training under way.

    Args:
        step: what is done with a batch. train: the loader. epochs: how many in all. places: for checkpoints, or None.

    Raises:
        ValueError: for a loader without a length, where one is needed. OSError: for a folder that cannot be made.
    """

    def __init__(self, step: Step, train: Iterable, epochs: int, places: Checkpoints | None) -> None:
        self.step, self._train, self._epochs, self._places = step, train, epochs, places
        self.history: list[Epoch] = []
        self.iteration = self.stale = 0
        self._sums = _Sums()
        self._best: tuple[float, float] | None = None
        self._seconds = self._began = 0.0
        self._epoch_start: dict[str, Any] = {}
        self._saved_at = ""
        self._length = 0
        if places is not None or step.accumulate > 1:
            if not isinstance(train, Sized):
                raise ValueError("checkpoints and accumulated gradients need a loader with a length; give it __len__")
            self._length = len(train)
        if places is not None:
            Path(places.folder).mkdir(parents=True, exist_ok=True)

    @property
    def done(self) -> bool:
        """Whether all epochs are behind."""
        return self.iteration >= self._epochs * self._length

    @property
    def epoch_is_over(self) -> bool:
        """Whether the last batch was the last of its epoch."""
        return self.iteration % self._length == 0

    @property
    def good(self) -> str:
        """What is kept in spite of a failure, for messages."""
        if self._places is None:
            return ""
        return f"; the checkpoint of {self._saved_at} is kept" if self._saved_at else "; nothing was saved before it"

    def start_epoch(self) -> None:
        """Take note of how the epoch begins."""
        if self._places is not None and self.iteration % self._length == 0:
            self._epoch_start = random_state.capture(self._train)
        self._began = time.perf_counter()

    def count(self, loss: float, right: Tensor, examples: int, iteration: int) -> None:
        """Take in a step."""
        self.iteration = iteration
        self._sums.add(loss, right, examples)

    def end_epoch(self, epoch: int, loss: float | None, accuracy: float | None) -> None:
        """Take in what was found after an epoch; keep the weights if they are the best so far."""
        self._seconds += time.perf_counter() - self._began
        sums, self._sums = self._sums, _Sums()
        rate = float(self.step.optimizer.param_groups[0]["lr"])
        self.history.append(Epoch(epoch, self._seconds, sums.loss / sums.batches, accuracy, loss, sums.accuracy, rate))
        worth = (accuracy, -loss) if accuracy is not None and loss is not None else (-sums.loss / sums.batches, 0.0)
        if self._best is not None and not worth > self._best:
            self.stale += 1
            return
        self._best, self.stale = worth, 0
        if self._places is not None:
            weights = self.step.model.state_dict() if self.step.average is None else self.step.average.weights
            self._check(weights)
            notes = {"epoch": epoch, "test_accuracy": accuracy, "test_loss": loss, **dict(self._places.notes)}
            with self._told_what_is_kept():
                checkpoints.save_weights(Path(self._places.folder) / checkpoints.BEST, weights, notes)

    @property
    def due(self) -> bool:
        """Whether a checkpoint is to be written within the epoch."""
        return self._places is not None and bool(self._places.every) and self.iteration % self._places.every == 0

    def save(self) -> None:
        """Write a checkpoint.

        Raises:
            DivergedError: for weights that are not finite; the checkpoints stay as they were.
            OSError: if it cannot be written; the same.
        """
        assert self._places is not None
        self._check(self.step.model.state_dict())
        now = time.perf_counter()
        within = self.iteration % self._length != 0
        state = {
            **self.step.state_dict(),
            "position": {
                "iteration": self.iteration, "epoch": -(-self.iteration // self._length), "length": self._length,
                "epochs": self._epochs,
            },
            "sums": self._sums.state_dict(),
            "seconds": self._seconds + (now - self._began if within else 0.0),
            "history": [asdict(epoch) for epoch in self.history],
            "best": self._best,
            "stale": self.stale,
            "random": {"now": random_state.capture(self._train), "epoch_start": self._epoch_start if within else None},
            "threads": torch.get_num_threads(),
        }  # fmt: skip
        with self._told_what_is_kept():
            checkpoints.save(Path(self._places.folder), state)
        self._saved_at = f"step {self.iteration}"

    def resume(self, trainer: Engine) -> Iterable:
        """Go on from the checkpoint, if one is asked for and there is one; gives what the trainer is to run over.

        Raises:
            ValueError: for a checkpoint that is damaged, foreign, or of other settings.
        """
        places = self._places
        if places is None:
            return self._train
        state = checkpoints.recover(Path(places.folder), places.path.name) if places.resume else None
        if state is None:
            return Passes(self._train)
        position = state["position"]
        if position["length"] != self._length:
            raise ValueError(
                f"an epoch has {self._length} batches, and had {position['length']} in the run that is to go on: the "
                "data or the batch size have changed"
            )
        self.step.load_state_dict(state)
        self.iteration = position["iteration"]
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        self._seconds, self._best, self.stale = state["seconds"], state["best"], state["stale"]
        self._sums = _Sums(**state["sums"])
        self._saved_at = f"step {self.iteration}"
        if self.done:
            return self._train
        skip = self.iteration % self._length
        found = state["random"]
        self._epoch_start = found["epoch_start"] or {}
        before, after = (found["epoch_start"], found["now"]) if skip else (found["now"], None)
        waiting = [after] if after else []

        # Within an epoch its order is drawn again first, and then everything is put back to where it stopped.
        @trainer.on(Events.STARTED)
        def _() -> None:
            random_state.restore(before, self._train)

        @trainer.on(Events.GET_BATCH_STARTED)
        def _() -> None:
            while waiting:
                random_state.restore(waiting.pop(), self._train)

        trainer.load_state_dict({"iteration": self.iteration, "max_epochs": self._epochs, "epoch_length": self._length})
        return Passes(self._train, skip)

    @contextlib.contextmanager
    def _told_what_is_kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror or error}{self.good}") from error

    def _check(self, weights: Mapping[str, Tensor]) -> None:
        for name, value in weights.items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise DivergedError(
                    f"{name} is no longer finite at step {self.iteration}, though the loss of its batch was: the step "
                    f"was too large; lower the learning rate, or clip gradients{self.good}"
                )


class _Sums:
    """What an epoch has added up so far."""

    def __init__(self, loss: float = 0.0, batches: int = 0, examples: int = 0, right: int = 0) -> None:
        self.loss, self.batches, self.examples = loss, batches, examples
        self.right: int | Tensor = right  # a tensor on the device, so that no step waits for it

    def add(self, loss: float, right: Tensor, examples: int) -> None:
        self.loss += loss
        self.batches += 1
        self.examples += examples
        self.right = right + self.right

    @property
    def accuracy(self) -> float:
        return int(self.right) / self.examples

    def state_dict(self) -> dict[str, float]:
        return {"loss": self.loss, "batches": self.batches, "examples": self.examples, "right": int(self.right)}

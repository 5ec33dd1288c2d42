"""Loaders of batches whose order a seed decides, and which can begin in the middle of an epoch."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler, TensorDataset


class Order(Sampler[list[int]]):
    """The batches of an epoch as lists of indices, drawn anew each epoch, the same for the same seed.

    Args:
        count: of examples. batch_size: of all batches but the last, which may be smaller; a single example that is left
            joins the batch before it, since batch norm has no statistics of one. seed: decides the order.

    The orders are those of torch's `RandomSampler` with a generator of this seed, drawn when the first batch is asked
    for: a loader with workers begins an epoch twice, and takes batches of the second alone.

    >>> order = Order(5, 2, seed=0)
    >>> [len(batch) for batch in order], len(order)
    ([2, 3], 2)
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.count, self.batch_size = count, batch_size
        self.generator = torch.Generator().manual_seed(seed)
        self._next: list[int] | None = None

    def draw(self, skip: int = 0) -> None:
        """Draw the next epoch's order now; `skip` batches are left out of it, and of that epoch only."""
        indices = torch.randperm(self.count, generator=self.generator).tolist()
        torch.randperm(self.count, generator=self.generator)  # RandomSampler draws twice an epoch
        self._next = indices[skip * self.batch_size :]

    def __iter__(self) -> Iterator[list[int]]:
        if self._next is None:
            self.draw()
        indices, self._next = self._next or [], None
        done = 0
        while done < len(indices):
            one_left_over = len(indices) - done == self.batch_size + 1 > 2
            size = self.batch_size + one_left_over
            yield indices[done : done + size]
            done += size

    def __len__(self) -> int:
        one_left_over = self.count > self.batch_size > 1 and self.count % self.batch_size == 1
        return -(-self.count // self.batch_size) - one_left_over


def loader(dataset: Dataset, count: int, batch_size: int, seed: int | None = None, workers: int = 0) -> DataLoader:
    """A loader over a data set that gives a whole batch for a list of indices.

    Args:
        dataset: `dataset[[3, 1]]` gives (inputs, labels). count: its examples. seed: draws their order anew each epoch;
            None for the order of the data. workers: processes that read ahead.
    """
    order: Sampler[list[int]]
    if seed is None:
        order = BatchSampler(SequentialSampler(range(count)), batch_size, drop_last=False)
    else:
        order = Order(count, batch_size, seed)
    options: dict[str, Any] = {"num_workers": workers, "worker_init_fn": _ignore_interrupts} if workers else {}
    # A sampler of batches, so that a batch is one indexing and not a stack of examples.
    return DataLoader(dataset, sampler=order, batch_size=None, **options)


def batches(inputs: Tensor, labels: Tensor, batch_size: int, seed: int | None = None) -> DataLoader:
    """A loader over tensors in memory; with a seed the order is drawn anew each epoch, the same for the same seed.

    >>> [len(y) for x, y in batches(torch.zeros(5, 1), torch.zeros(5), 2)]
    [2, 2, 1]
    """
    return loader(TensorDataset(inputs, labels), len(labels), batch_size, seed)


def _ignore_interrupts(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the training decides when to stop


def order_of(source: Iterable) -> Order | None:
    """The `Order` of a loader that has one."""
    if isinstance(source, DataLoader):
        return source.sampler if isinstance(source.sampler, Order) else None
    return None


class Passes:
    """The same loader, made fit to go on in the middle of an epoch.

    Its first pass begins after `skip` batches (an `Order` leaves them out without loading them). All that a pass draws
    from generators at its beginning is drawn when it is asked for, and what a sampler draws at its end (torch's
    `RandomSampler` does) before the last batch is given: so between two epochs nothing is left to draw.

    >>> list(Passes([1, 2, 3], skip=2)), len(Passes([1, 2, 3]))
    ([3], 3)
    """

    def __init__(self, loader: Iterable, skip: int = 0) -> None:
        self._loader, self._skip = loader, skip

    def __iter__(self) -> Iterator[Any]:
        skip, self._skip = self._skip, 0
        order = order_of(self._loader)
        if order is not None:
            order.draw(skip)
        iterator = iter(self._loader)
        if order is None:
            for _ in range(skip):
                next(iterator)
        return self._rest(iterator, len(self) - skip)

    @staticmethod
    def _rest(iterator: Iterator[Any], left: int) -> Iterator[Any]:
        for batch in iterator:
            left -= 1
            if left == 0:
                next(iterator, None)
            yield batch

    def __len__(self) -> int:
        return len(self._loader)  # pyright: ignore[reportArgumentType]

"""Everything that random numbers come from: torch on every device, numpy, Python, and the generators of a loader."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler


def seed(number: int) -> None:
    """Begin all of them anew."""
    torch.manual_seed(number)
    np.random.seed(number % 2**32)
    random.seed(number)


def capture(loader: Iterable | None = None) -> dict[str, Any]:
    """All random states, for a checkpoint.

    >>> state = capture()
    >>> first = torch.rand(1)
    >>> restore(state)
    >>> bool(torch.rand(1) == first)
    True
    """
    version, numbers, spare = random.getstate()
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state(index) for index in range(torch.cuda.device_count())],
        "python": (version, torch.tensor(numbers), spare),
        "numpy": (
            kind,
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            int(position),
            int(has_gauss),
            float(gauss),
        ),
        "generators": [generator.get_state() for generator in generators(loader)],
    }


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """What is drawn within it does not count afterwards."""
    state = capture()
    try:
        yield
    finally:
        restore(state)


def restore(state: dict[str, Any], loader: Iterable | None = None) -> None:
    """Put all random states back.

    Raises:
        ValueError: if the loader has other generators than the one that was captured.
    """
    found = list(generators(loader))
    if len(found) != len(state["generators"]):
        raise ValueError(
            f"the loader has {len(found)} generators and the checkpoint {len(state['generators'])}; "
            "build the loader as it was built for the run that is to go on"
        )
    torch.set_rng_state(state["torch"])
    for index, value in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(value, index)
    version, numbers, spare = state["python"]
    random.setstate((version, tuple(numbers.tolist()), spare))
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    for generator, value in zip(found, state["generators"], strict=True):
        generator.set_state(value)


def generators(loader: Any) -> Iterator[torch.Generator]:
    """The generators that a loader and its samplers own, each once, in a fixed order."""
    seen: set[int] = set()
    waiting = [loader]
    while waiting:
        part = waiting.pop(0)
        if not isinstance(part, DataLoader | Sampler) or id(part) in seen:
            continue
        seen.add(id(part))
        for _, value in sorted(vars(part).items()):
            if isinstance(value, torch.Generator) and id(value) not in seen:
                seen.add(id(value))
                yield value
            waiting.append(value)

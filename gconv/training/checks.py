"""Checks of settings: each gives what is expected, or None where a value is right."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from gconv.training.augmentation import Augmentation
from grid_cnn import models
from grid_cnn.names import guess

Check = Callable[[Any], str | None]


def least(bound: float) -> Check:
    """Numbers from a bound on."""
    return lambda value: None if bound <= value < math.inf else f"a number >= {bound}"


def above(bound: float) -> Check:
    """Numbers above a bound."""
    return lambda value: None if bound < value < math.inf else f"a number above {bound}"


def share(value: float) -> str | None:
    """Shares of a whole."""
    return None if 0 <= value < 1 else "a share, 0 <= share < 1"


def one_of(*known: Any) -> Check:
    """A few values; texts are told the nearest."""

    def check(value: Any) -> str | None:
        if value in known:
            return None
        meant = guess(str(value), map(str, known), 1)
        return f"one of {', '.join(map(str, known))}" + (f" ({meant})" if meant else "")

    return check


def model(value: str) -> str | None:
    """Names of networks."""
    models.function(value)  # says itself which names are near
    return None


def augment(value: str) -> str | None:
    """Augmentations."""
    Augmentation.parse(value)
    return None


def device(value: str) -> str | None:
    """Devices that this machine has."""
    try:
        found = torch.empty(0, device=value).device.type
    except (RuntimeError, AssertionError) as error:
        return f"a device of this machine ({str(error).splitlines()[0]}); take 'cpu'"
    return None if found in ("cpu", "cuda") else "cpu or cuda; take 'cpu'"

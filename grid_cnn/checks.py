"""Arguments that are whole numbers or probabilities, checked in one place and refused in one wording."""

from __future__ import annotations


def whole(name: str, value: int, least: int = 1) -> int:
    """`value`, if it is a whole number of at least `least`.

    Raises:
        ValueError: if it is not.

    >>> whole("depth", 0)
    Traceback (most recent call last):
    ...
    ValueError: depth takes a whole number >= 1, got 0
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} takes a whole number >= {least}, got {value!r}")
    return value


def probability(name: str, value: float) -> float:
    """`value`, if it is a probability.

    Raises:
        ValueError: if it is not.

    >>> probability("dropout", 0.5)
    0.5
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{name} takes a probability, got {value!r}")
    return value

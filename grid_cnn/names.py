"""What may have been meant by a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable


def guess(name: str, known: Iterable[str], most: int = 3, *, shown: Callable[[str], str] = str) -> str:
    """A question after the nearest names, for an error message; empty where none is near.

    Args:
        name: as it was given. known: the names that there are. most: how many to ask after. shown: how one is written.

    >>> guess("lenet", ["lenet5", "vgg16", "lenet1"]), guess("x", ["lenet5"])
    ('did you mean lenet5 or lenet1?', '')
    """
    near = difflib.get_close_matches(name, list(known), most)
    return f"did you mean {' or '.join(map(shown, near))}?" if near else ""

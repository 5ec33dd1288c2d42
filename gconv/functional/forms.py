"""Which of several forms of the same sum runs: chosen per plan, device and shape, or forced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

FORMS = ("gather", "stencil", "dense", "portable", "convolution", "recurrence", "eigenbasis")
_forced: str | None = None


@contextmanager
def force_form(name: str) -> Iterator[None]:
    """Run everything inside in the named form, wherever an operation knows it and its plan allows it.

    Weighted sums know 'gather', 'stencil' (regular grids), 'dense' and 'portable' (plain `index_add`), directional
    convolutions 'convolution' (grids) and 'gather', Chebyshev polynomials 'recurrence' and 'eigenbasis' (undirected
    graphs). All agree to rounding.

    Raises:
        ValueError: for an unknown name.

    >>> with force_form("gather"):
    ...     pass
    """
    global _forced
    check_form(name)
    before, _forced = _forced, name
    try:
        yield
    finally:
        _forced = before


def forced_form() -> str | None:
    """The form that `force_form` asks for, if any."""
    return _forced


def check_form(name: str) -> None:
    """Refuse a name that no operation knows.

    Raises:
        ValueError: naming all forms.
    """
    if name not in FORMS:
        raise ValueError(f"unknown form {name!r}: there are {', '.join(FORMS)}")


def pick(form: str | None, able: tuple[str, ...], choice: str) -> str:
    """The form to run: `form` if given (it must be able to), else the forced one if able, else `choice`.

    Raises:
        ValueError: if `form` is given and cannot run here.
    """
    if form is not None:
        check_form(form)
        if form not in able:
            raise ValueError(f"the form {form!r} cannot run this sum: {', '.join(able)} can")
        return form
    if _forced in able:
        return _forced
    # What is exported may go where custom operators are unknown.
    return "portable" if choice == "gather" and "portable" in able and torch.compiler.is_exporting() else choice

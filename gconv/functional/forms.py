"""Which of several forms of the same sum runs: chosen per plan, device and shape, or forced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

FORMS = ("gather", "stencil", "dense", "portable", "convolution", "fused", "eigenbasis", "collapsed")
_forced: str | None = None


@contextmanager
def force_form(name: str) -> Iterator[None]:
    """Run everything inside in the named form, wherever an operation knows it and its plan allows it.

    Weighted sums know 'gather', 'stencil' (regular grids), 'dense' and 'portable' (plain `index_add`); filters, kernels
    and attention 'fused' and their steps in each of those; Chebyshev filters also 'eigenbasis' (undirected graphs);
    directional convolutions 'convolution' (grids) and 'gather'; kernels on edges
    with few different attributes 'collapsed'. All agree to rounding.

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


def pick(
    form: str | None,
    able: tuple[str, ...],
    choice: str,
    why: str,
    choices: dict[str, str] | None = None,
    what: str = "",
) -> str:
    """The form to run: `form` if given (it must be able to), else the forced one if able, else `choice`.

    Args:
        why: the reason for `choice`. choices, what: where to note what ran, and under which name, for `explain`.

    Raises:
        ValueError: if `form` is given and cannot run here.
    """
    if form is not None:
        check_form(form)
        if form not in able:
            raise ValueError(f"the form {form!r} cannot run this sum: {', '.join(able)} can")
        chosen, why = form, "asked for"
    elif _forced in able:
        chosen, why = str(_forced), "forced"
    elif torch.compiler.is_exporting() and "portable" in able and choice in ("gather", "fused"):
        chosen, why = "portable", "what is exported may go where custom operators are unknown"
    else:
        chosen = choice
    if choices is not None and not torch.compiler.is_compiling():
        choices[what] = f"{chosen} (of {', '.join(able)}), {why}"
    return chosen

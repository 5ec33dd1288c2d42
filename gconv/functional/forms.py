"""Which of several forms of the same sum runs: chosen per plan, device and shape, or forced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gconv.domains.structure import is_transformed

FORMS = (
    "gather",
    "stencil",
    "dense",
    "portable",
    "sparse",
    "triton",
    "convolution",
    "fused",
    "eigenbasis",
    "collapsed",
)
# What a kind of work runs as on a device, where its plan asks for nothing else. On the CPU the choice is measured
# (benchmarks/forms.py). On a GPU it is the same plain torch form until `python -m benchmarks.gpu` has run on one: its
# JSON names the fastest form of each kind of work under "defaults", and that is what belongs here.
DEFAULTS = {
    "cpu": {"sum": "gather", "filter": "fused", "attention": "fused"},
    "cuda": {"sum": "gather", "filter": "fused", "attention": "fused"},
}
# Forms whose operators other programs, and the transforms of `torch.func`, do not know.
_OWN = ("gather", "fused", "sparse", "triton")
# What a form needs that may be mended.
_MISSING = {"triton": "; 'triton' needs Triton, and signals on a GPU or TRITON_INTERPRET=1 before gconv is imported"}
_forced: str | None = None


@contextmanager
def force_form(name: str) -> Iterator[None]:
    """Run everything inside in the named form, wherever an operation knows it and its plan allows it.

    Weighted sums know 'gather', 'stencil' (regular grids), 'dense', 'portable' (plain `index_add`), 'sparse' (torch's
    sparse product) and 'triton' (its kernels, on a GPU); filters, kernels and attention 'fused' and their steps in
    each of those, attention 'triton' as a whole; Chebyshev filters also 'eigenbasis' (undirected graphs); directional
    convolutions 'convolution' (grids) and 'gather'; kernels on edges with few different attributes 'collapsed'. All
    agree to rounding.

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


def default_form(work: str, device: torch.device) -> str:
    """What this kind of work ('sum', 'filter' or 'attention') runs as on a device.

    >>> default_form("sum", torch.device("cpu"))
    'gather'
    """
    return DEFAULTS.get(device.type, DEFAULTS["cpu"])[work]


def check_form(name: str) -> None:
    """Refuse a name that no operation knows.

    Raises:
        ValueError: naming all forms.
    """
    if name not in FORMS:
        raise ValueError(f"unknown form {name!r}: there are {', '.join(FORMS)}")


def plain_operations() -> str:
    """Why all must run in plain torch operations, if it must; else nothing.

    >>> torch.func.vmap(lambda x: x + len(plain_operations()))(torch.zeros(1)) > 0
    tensor([True])
    """
    if torch.compiler.is_exporting():
        return "what is exported may go where custom operators are unknown"
    return "the transforms of torch.func do not know custom operators" if is_transformed() else ""


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
            raise ValueError(f"the form {form!r} cannot run this sum: {', '.join(able)} can{_MISSING.get(form, '')}")
        chosen, why = form, "asked for"
    elif _forced in able:
        chosen, why = str(_forced), "forced"
    elif choice in _OWN and "portable" in able and (asked := plain_operations()):
        chosen, why = "portable", asked
    else:
        chosen = choice
    if choices is not None and not torch.compiler.is_compiling():
        choices[what] = f"{chosen} (of {', '.join(able)}), {why}"
    return chosen

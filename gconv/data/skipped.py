"""What was left out of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_MOST = 5


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why, in one line that names it."""

    path: Path
    why: str


def report(found: Sequence[Skipped], where: str) -> list[str]:
    """Lines for people: how many were left out, and which; `where` says what names those that are too many to tell.

    >>> report([Skipped(Path("a.png"), "a.png: the file is empty")], "--json")
    ['1 picture that cannot be read was left out:', '  a.png: the file is empty']
    >>> report([], "--json")
    []
    """
    if not found:
        return []
    one = len(found) == 1
    count = "1 picture that cannot be read was" if one else f"{len(found):,} pictures that cannot be read were"
    lines = [f"{count} left out:", *(f"  {skipped.why}" for skipped in found[:_MOST])]
    return lines + [f"  and {len(found) - _MOST:,} more, all named in {where}"] * (len(found) > _MOST)

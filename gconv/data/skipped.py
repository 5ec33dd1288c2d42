"""What was left out of a data set."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why, in one line that names it."""

    path: Path
    why: str

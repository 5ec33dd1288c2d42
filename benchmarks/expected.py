"""What was asked of a figure before it was measured, and whether it is reached: the same in tables and in the list.

A claim's tables carry what they judge; `benchmarks.tables` writes the list "reached, not reached" from that, so that
prose has no verdicts of its own that could differ from the tables'.
"""

from __future__ import annotations

from dataclasses import dataclass

from gconv.training.report import number_text

NOTHING = "–"


def optional(number: float | None) -> str:
    """A figure, or a dash.

    >>> optional(1.234), optional(None)
    ('1.23', '–')
    """
    return NOTHING if number is None else number_text(number)


@dataclass(frozen=True)
class Judged:
    """A figure, and what was asked of it.

    Args:
        figure: what it measures, as at the head of its column. name: of what, as at the head of its line.
        came: the figure; None where it could not be measured. asked: its bound: from above, or with `least` from below;
            None where nothing is asked.

    >>> judged = Judged("PyG's best / ours", "GCN", 3.1, 1.2, least=True)
    >>> judged.asking, judged.met
    ('≥ 1.20', 'yes')
    """

    figure: str
    name: str
    came: float | None
    asked: float | None
    least: bool = False

    @property
    def reached(self) -> bool | None:
        """Whether the figure is within its bound, as it was measured and not as it is rounded; None without either."""
        if self.came is None or self.asked is None:
            return None
        return self.came >= self.asked if self.least else self.came <= self.asked

    @property
    def met(self) -> str:
        """The same as a cell of a table."""
        return {True: "yes", False: "no", None: NOTHING}[self.reached]

    @property
    def asking(self) -> str:
        """The bound in words."""
        return f"{'≥' if self.least else '≤'} {optional(self.asked)}"

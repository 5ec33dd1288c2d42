"""Where commands print: paths and class names as they are, on a terminal's width or, in a file, without an edge."""

from rich.console import Console

_WIDTH = 2000


def make() -> Console:
    """A console that takes no part of a text for markup, and wraps nothing in a file.

    >>> make().render_str("[a/b] :x:").plain
    '[a/b] :x:'
    """
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    return console

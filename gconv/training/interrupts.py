"""Ctrl-C and the end that a cluster announces (SIGTERM): taken note of, so that a training can save itself first."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Caught:
    """Which signal came, if one did."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def stop(self) -> None:
        """End the program as the signal would have, if one came.

        Raises:
            KeyboardInterrupt: after Ctrl-C. SystemExit: after SIGTERM, with the code that a shell reports for it.
        """
        if self.signal == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        if self.signal is not None:
            raise KeyboardInterrupt


@contextlib.contextmanager
def caught() -> Iterator[Caught]:
    """Within it the first Ctrl-C or SIGTERM is only noted; a second one acts at once.

    Outside the main thread, where Python allows no handlers, signals act as they do.
    """
    note = Caught()
    if threading.current_thread() is not threading.main_thread():
        yield note
        return

    def handler(number: int, frame: FrameType | None) -> None:
        if note.signal is not None:
            raise KeyboardInterrupt
        note.signal = number

    old = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield note
    finally:
        for number, before in old.items():
            signal.signal(number, before)

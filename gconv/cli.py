"""The command `gconv`: runs one of `gconv.commands`, and ends in one line and an exit code where that fails."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from gconv.commands import INTERRUPTED


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2, Ctrl-C in exit code 130."""
    try:
        from gconv.commands.app import run

        run()
    except KeyboardInterrupt:
        _leave_interrupted()
    except ModuleNotFoundError as error:
        needed = f'the gconv command needs {error.name}: pip install "gconv[train]"'
        _refuse(needed if error.name in ("typer", "rich") else str(error))
    except OSError as error:
        named = error.filename is not None  # where not, it is told in full, and the number in front says no more
        _refuse(str(error) if named else error.strerror or str(error))
    except (ValueError, ImportError) as error:
        _refuse(str(error))
    except TypeError as error:
        from grid_cnn.models import OptionError

        if not isinstance(error, OptionError):
            raise
        _refuse(str(error))


def _refuse(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def _leave_interrupted() -> NoReturn:
    """End with the exit code of Ctrl-C, whatever it interrupted.

    Python remembers an interrupt that crossed the `exec` of a text, which dataclasses do while modules are imported,
    and then ends by the signal, with another code, although the interrupt was caught. So it is not asked again.
    """
    print("interrupted", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()

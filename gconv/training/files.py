"""Files that are there whole or not at all: written beside, forced to the disk, renamed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader, and whoever starts again after a crash, finds the old or the new one.

    Raises:
        OSError: if it cannot be written (full disk, read-only folder), naming it; the old file stays, and nothing
            half-written is left.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.txt"
    >>> write(path, "one")
    >>> write(path, "two")
    >>> path.read_text(), [found.name for found in path.parent.iterdir()]
    ('two', ['a.txt'])
    """
    temporary = staged(path, content)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    settle(path.parent)


def staged(path: Path, content: bytes | str) -> Path:
    """The first half of `write`: the content on the disk, under the name that a later rename replaces."""
    temporary = path.with_name(f"{path.name}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"cannot write {path} ({len(data):,} bytes): {reason}") from error
    return temporary


def settle(folder: Path) -> None:
    """Force a folder's names to the disk, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems know no such thing
            os.fsync(handle)
    finally:
        os.close(handle)

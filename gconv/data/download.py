"""Fetch a file once, go on where a connection broke off, and keep it only if it is the right one.

What has come so far lies beside the file with the ending `.part`; the next try asks the server for the rest alone
(HTTP Range). A server that knows no ranges sends all of it again.
"""

from __future__ import annotations

import hashlib
import http.client
import sys
import urllib.error
import urllib.request
from pathlib import Path

from gconv.data.errors import DataError

_TRIES = 4  # each after a break that brought something; one that brings nothing is the last
_TIMEOUT = 30.0
_CHUNK = 1 << 16
_RANGE_NOT_SATISFIABLE = 416


class _Broken(Exception):
    """A connection that ended before the file did."""


class _Wrong(Exception):
    """A whole file with another checksum."""


def fetch(file_name: str, *, folder: Path, base_url: str, sha256: str) -> Path:
    """Download `base_url/file_name` into `folder`, and return where it lies.

    A file that is there with the right checksum is not fetched again. Breaks are tried again, and what has come is kept
    as `file_name.part` for the next call; a whole file whose checksum is wrong is deleted.

    Raises:
        DataError: where the server, the disk or the checksum fails, saying where to put the file by hand.
    """
    url, target = f"{base_url.rstrip('/')}/{file_name}", folder / file_name
    part = target.with_name(f"{file_name}.part")
    try:
        if target.is_file() and _digest(target) == sha256:
            return target
        folder.mkdir(parents=True, exist_ok=True)
        began_with = _size(part)
        print(f"fetching {url}{f' from byte {began_with:,} on' if began_with else ''}", file=sys.stderr)
        _complete(url, part)
        if _digest(part) != sha256 and began_with:  # the beginning was of another file
            part.unlink()
            _complete(url, part)
        if (found := _digest(part)) != sha256:
            part.unlink()
            raise _Wrong(f"the checksum is wrong: expected {sha256}, got {found}")
        return part.replace(target)
    except (OSError, http.client.HTTPException, _Broken, _Wrong, ValueError) as error:
        reason = " ".join(f"{type(error).__name__.lstrip('_')}: {error}".split())
        if part.is_file() and not _size(part):
            part.unlink()
        kept = f"; {_size(part):,} bytes are kept in {part.name}, the next try goes on from there" * bool(_size(part))
        raise DataError(
            f"{url} could not be fetched ({reason}){kept}; try again, or put it by hand as {target.absolute()}"
        ) from error


def _complete(url: str, part: Path) -> None:
    """Fetch what is missing of a file, in a few tries."""
    for _ in range(_TRIES):
        before = _size(part)
        try:
            return _append(url, part)
        except (_Broken, http.client.HTTPException, ConnectionError, TimeoutError):
            if _size(part) <= before:
                raise
    raise _Broken(f"the connection broke off {_TRIES} times")


def _append(url: str, part: Path) -> None:
    """One request for the rest of a file."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if have and error.code == _RANGE_NOT_SATISFIABLE:
            return  # nothing is missing; the checksum tells whether it is right
        raise
    with answer:
        goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        if goes_on and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise ValueError(f"asked for byte {have} on, the server sent {answer.headers.get('Content-Range')!r}")
        promised = answer.headers.get("Content-Length")
        came = 0
        with part.open("ab" if goes_on else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                came += len(chunk)
    if promised is not None and came < int(promised):
        raise _Broken(f"the connection broke off after {came:,} of {int(promised):,} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Fetch a file once, and keep it only if it is the right one."""

from pathlib import Path

from gconv.data.errors import DataError
from gconv.data.optional import import_optional


def fetch(file_name: str, *, folder: Path, base_url: str, sha256: str) -> Path:
    """Download `base_url/file_name` into `folder`, and return where it lies.

    pooch writes to a temporary name and renames when the checksum is right, so an interrupted or wrong download leaves
    no file behind.  Raises `DataError` where the server, the disk or the checksum fails, and `ImportError` where pooch
    is not installed.
    """
    pooch = import_optional("pooch", package="pooch", purpose="downloading a data set")
    url = f"{base_url.rstrip('/')}/{file_name}"
    by_hand = f"put it by hand as {folder.absolute() / file_name}"
    try:
        return Path(pooch.retrieve(url, known_hash=sha256, fname=file_name, path=folder))
    # The exceptions of requests are OSErrors, as those of the disk are; pooch raises ValueError for a wrong checksum.
    except (OSError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{url} could not be fetched ({reason}); try again, or {by_hand}") from error

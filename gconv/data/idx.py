"""Read the IDX format, in which MNIST and its relatives are published.

A file is: two zero bytes, one byte for the element type, one for the rank, the rank's many big-endian 32-bit
dimensions, then the elements in row-major order.  A name ending in `.gz` means that all of it is gzip-compressed.

Reference: http://yann.lecun.com/exdb/mnist/ (*the IDX file format*).
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from gconv.data.errors import DataError

_UINT8 = 0x08
_ELEMENT_TYPES = {0x08: "uint8", 0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
_GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: str | Path, *, rank: int | None = None) -> Tensor:
    """Read one IDX file of unsigned bytes, compressed or not, into a uint8 tensor of the shape it states.

    Nothing is guessed: `DataError` unless the file has the magic number, the element type uint8, `rank` dimensions
    (any number where `rank` is `None`) of at least 1, and exactly the bytes that its dimensions promise.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
    >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
    >>> read_idx(path)
    tensor([7, 8, 9], dtype=torch.uint8)
    """
    path = Path(path)
    content = _read(path)
    shape = _read_shape(path, content, rank)
    start = 4 + 4 * len(shape)
    expected, found = math.prod(shape), len(content) - start
    if found != expected:
        fault = "truncated" if found < expected else "trailing bytes"
        raise damaged(path, f"{found:,} bytes of data ({fault})", f"{expected:,} for shape {shape}")
    # A bytearray, since torch warns of tensors over memory that must not be written.
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(shape)


def damaged(path: Path, found: str, expected: str) -> DataError:
    """The error for a file that is not what it should be: what was found, what was expected, how to mend it."""
    return DataError(f"{path}: found {found}, expected {expected}; delete the file and fetch or copy it again")


def _read(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise damaged(path, f"corrupt gzip ({error})", "a complete gzip file") from error


def _read_shape(path: Path, content: bytes, rank: int | None) -> tuple[int, ...]:
    if len(content) < 4:
        raise damaged(path, f"{len(content)} bytes in all", "at least the 4 bytes of the IDX magic number")
    if content[:2] != b"\0\0":
        hint = " (gzip: does the name lack .gz?)" if content.startswith(_GZIP_MAGIC) else ""
        raise damaged(path, f"magic number 0x{content[:4].hex()}{hint}", "an IDX one, which begins with 0x0000")
    element_type, found_rank = content[2], content[3]
    if element_type != _UINT8:
        name = _ELEMENT_TYPES.get(element_type, "unknown to IDX")
        raise damaged(path, f"element type 0x{element_type:02x} ({name})", "0x08 (uint8)")
    if found_rank == 0 or rank not in (None, found_rank):
        raise damaged(path, f"{found_rank} dimensions", "at least 1" if rank is None else str(rank))
    if len(content) < 4 + 4 * found_rank:
        raise damaged(path, f"{len(content)} bytes in all (truncated)", f"a header of {4 + 4 * found_rank} bytes")
    shape = struct.unpack(f">{found_rank}I", content[4 : 4 + 4 * found_rank])
    if 0 in shape:
        raise damaged(path, f"shape {shape}", "dimensions of at least 1")
    return shape

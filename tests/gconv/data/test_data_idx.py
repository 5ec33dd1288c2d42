"""The IDX reader gives back what was written, and refuses everything else by name."""

import gzip
import struct
from pathlib import Path

import pytest
import torch

from gconv.data import DataError, read_idx

VALUES = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("shape", [(24,), (4, 6), (2, 3, 4), (1, 2, 3, 4)])
@pytest.mark.parametrize("compressed", [False, True])
def test_reads_back_what_was_written(tmp_path: Path, idx_bytes, shape: tuple[int, ...], compressed: bool):
    values = VALUES.reshape(shape)
    path = tmp_path / ("values.gz" if compressed else "values")
    path.write_bytes(gzip.compress(idx_bytes(values)) if compressed else idx_bytes(values))
    read = read_idx(path)
    assert read.dtype == torch.uint8
    assert torch.equal(read, values)
    assert torch.equal(read_idx(str(path), rank=len(shape)), values)


@pytest.fixture
def warn_always():
    """Torch gives some warnings once a process, which would hide them from all tests but the first."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


@pytest.mark.filterwarnings("error")
def test_all_byte_values_survive_and_the_result_can_be_written(tmp_path: Path, idx_bytes, warn_always):
    path = tmp_path / "values"
    path.write_bytes(idx_bytes(torch.arange(256, dtype=torch.uint8)))
    read = read_idx(path)
    assert read.tolist() == list(range(256))
    read += 1
    assert read[255] == 0
    assert read_idx(path)[255] == 255


def header(*dimensions: int, element_type: int = 0x08, magic: int = 0, rank: int | None = None) -> bytes:
    rank = len(dimensions) if rank is None else rank
    return struct.pack(f">HBB{len(dimensions)}I", magic, element_type, rank, *dimensions)


DAMAGED = {
    "empty": (b"", "0 bytes in all"),
    "shorter than the magic number": (b"\0\0\x08", "3 bytes in all"),
    "wrong magic number": (header(3, magic=0x3C21) + bytes(3), "magic number 0x3c210801"),
    "second magic byte": (header(3, magic=0x0001) + bytes(3), "magic number 0x00010801"),
    "gzip under a plain name": (gzip.compress(header(3) + bytes(3)), "does the name lack .gz?"),
    "float32 elements": (header(1, element_type=0x0D) + bytes(4), r"0x0d \(float32\), expected 0x08 \(uint8\)"),
    "no known element type": (header(1, element_type=0x07) + bytes(1), r"0x07 \(unknown to IDX\)"),
    "rank 0": (header() + bytes(1), "0 dimensions, expected at least 1"),
    "header cut": (header(2, 3, rank=3), r"12 bytes in all \(truncated\), expected a header of 16 bytes"),
    "a dimension of 0": (header(2, 0), r"shape \(2, 0\)"),
    "one byte short": (header(2, 3) + bytes(5), r"5 bytes of data \(truncated\), expected 6 for shape \(2, 3\)"),
    "no data": (header(2, 3), r"0 bytes of data \(truncated\), expected 6"),
    "one byte long": (header(2, 3) + bytes(7), r"7 bytes of data \(trailing bytes\), expected 6"),
    "dimensions past 64 bits": (header(2**32 - 1, 2**32 - 1, 2**32 - 1), "truncated"),
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("fault", DAMAGED)
def test_a_damaged_file_is_refused(tmp_path: Path, fault: str, compressed: bool):
    content, message = DAMAGED[fault]
    path = tmp_path / ("damaged.gz" if compressed else "damaged")
    path.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert_tells_all(caught.value, path)


def test_an_unexpected_rank_is_refused(tmp_path: Path, idx_bytes):
    path = tmp_path / "labels"
    path.write_bytes(idx_bytes(VALUES))
    with pytest.raises(DataError, match="found 3 dimensions, expected 1;") as caught:
        read_idx(path, rank=1)
    assert_tells_all(caught.value, path)


BROKEN_GZIP = {
    "not gzip at all": lambda whole: gzip.decompress(whole),
    "cut in the middle": lambda whole: whole[: len(whole) // 2],
    "cut in the checksum": lambda whole: whole[:-3],
    "wrong checksum": lambda whole: whole[:-8] + bytes(4) + whole[-4:],
    "damaged stream": lambda whole: whole[:10] + b"\xff" * 12 + whole[22:],
    "trailing garbage": lambda whole: whole + b"garbage",
}


@pytest.mark.parametrize("fault", BROKEN_GZIP)
def test_corrupt_gzip_is_refused(tmp_path: Path, idx_bytes, fault: str):
    path = tmp_path / "values.gz"
    whole = gzip.compress(idx_bytes(VALUES))
    path.write_bytes(BROKEN_GZIP[fault](whole))
    with pytest.raises(DataError, match="corrupt gzip") as caught:
        read_idx(path)
    assert_tells_all(caught.value, path)


def assert_tells_all(error: DataError, path: Path) -> None:
    message = str(error)
    assert "\n" not in message
    assert message.startswith(f"{path}: found ")
    assert "expected" in message
    assert message.endswith("delete the file and fetch or copy it again")


def test_a_missing_file_is_told_as_such(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.gz"):
        read_idx(tmp_path / "nothing.gz")

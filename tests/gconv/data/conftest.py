"""IDX files as small as the tests need them, written by code that shares nothing with the reader."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

WriteMnist = Callable[..., Path]


def encode_idx(values: Tensor) -> bytes:
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 0x08, values.ndim, *values.shape)
    return header + bytes(values.flatten().tolist())


@pytest.fixture
def idx_bytes() -> Callable[[Tensor], bytes]:
    return encode_idx


@pytest.fixture
def mnist_tensors() -> dict[str, Tensor]:
    """Twelve training images and ten test images in MNIST's shape, under MNIST's names."""
    generator = torch.Generator().manual_seed(0)
    return {
        "train-images-idx3-ubyte": torch.randint(0, 256, (12, 28, 28), dtype=torch.uint8, generator=generator),
        "train-labels-idx1-ubyte": torch.arange(12, dtype=torch.uint8) % 10,
        "t10k-images-idx3-ubyte": torch.randint(0, 256, (10, 28, 28), dtype=torch.uint8, generator=generator),
        "t10k-labels-idx1-ubyte": torch.arange(10, dtype=torch.uint8).flip(0),
    }


@pytest.fixture
def write_mnist(tmp_path: Path, mnist_tensors: dict[str, Tensor]) -> WriteMnist:
    """Write the four files, some replaced, into `tmp_path/MNIST/raw`, and return `tmp_path`."""

    def write(*, compressed: bool = True, **replaced: Tensor) -> Path:
        folder = tmp_path / "MNIST" / "raw"
        folder.mkdir(parents=True)
        for name, values in mnist_tensors.items():
            values = replaced.get("_".join(name.split("-")[:2]), values)
            if compressed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(encode_idx(values)))
            else:
                (folder / name).write_bytes(encode_idx(values))
        return tmp_path

    return write

"""MNIST from IDX files: small ones written here, and the real ones where they are at hand."""

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gconv import data
from gconv.data import DataError, MissingDataError


@pytest.mark.parametrize("compressed", [False, True])
def test_reads_the_four_files(write_mnist, mnist_tensors: dict[str, Tensor], compressed: bool):
    mnist = data.load("mnist", data_dir=write_mnist(compressed=compressed))
    assert mnist.train_images.shape == (12, 1, 28, 28)
    assert mnist.test_images.shape == (10, 1, 28, 28)
    assert mnist.train_images.dtype == torch.float32
    assert mnist.train_labels.dtype == torch.int64
    torch.testing.assert_close(mnist.train_images[:, 0], mnist_tensors["train-images-idx3-ubyte"] / 255)
    torch.testing.assert_close(mnist.test_images[:, 0], mnist_tensors["t10k-images-idx3-ubyte"] / 255)
    assert mnist.train_labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert mnist.test_labels.tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert mnist.classes == tuple("0123456789")


def test_a_mixture_of_plain_and_compressed_files_is_read(write_mnist, idx_bytes):
    data_dir = write_mnist(compressed=True)
    compressed = data_dir / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    compressed.with_suffix("").write_bytes(idx_bytes(torch.full((10,), 4, dtype=torch.uint8)))
    compressed.unlink()
    assert data.load("mnist", data_dir=str(data_dir)).test_labels.tolist() == [4] * 10


def test_resizes(write_mnist):
    mnist = data.load("mnist", data_dir=write_mnist(), size=(14, 10))
    assert mnist.size == (14, 10)
    assert mnist.title == "MNIST: 22 handwritten digits of 28x28 pixels, resized to 14x10"


def refused(data_dir: Path, file_name: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        data.load("mnist", data_dir=data_dir)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(data_dir / "MNIST" / "raw" / file_name))
    assert text.endswith("delete the file and fetch or copy it again")


def test_images_with_the_rank_of_labels_are_refused(write_mnist):
    data_dir = write_mnist(train_images=torch.zeros(12, dtype=torch.uint8))
    refused(data_dir, "train-images-idx3-ubyte.gz", "found 1 dimensions, expected 3")


def test_labels_with_the_rank_of_images_are_refused(write_mnist):
    data_dir = write_mnist(t10k_labels=torch.zeros(10, 1, 1, dtype=torch.uint8))
    refused(data_dir, "t10k-labels-idx1-ubyte.gz", "found 3 dimensions, expected 1")


def test_images_of_another_size_are_refused(write_mnist):
    data_dir = write_mnist(t10k_images=torch.zeros(10, 28, 27, dtype=torch.uint8))
    refused(data_dir, "t10k-images-idx3-ubyte.gz", "found images of 28x27 pixels, expected 28x28")


@pytest.mark.parametrize("count", [11, 13])
def test_counts_that_differ_are_refused(write_mnist, count: int):
    data_dir = write_mnist(train_labels=torch.zeros(count, dtype=torch.uint8))
    message = f"found {count} labels, expected 12, as many as the images in train-images-idx3-ubyte.gz"
    refused(data_dir, "train-labels-idx1-ubyte.gz", message)


@pytest.mark.parametrize("label", [10, 255])
def test_labels_out_of_range_are_refused(write_mnist, label: int):
    labels = torch.tensor([0, 9, 3, label, 1, 2, 3, 4, 5, 6], dtype=torch.uint8)
    refused(
        write_mnist(t10k_labels=labels),
        "t10k-labels-idx1-ubyte.gz",
        f"found label {label} at position 3, expected 0 to 9",
    )


def test_a_damaged_file_is_named(write_mnist):
    data_dir = write_mnist()
    path = data_dir / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    refused(data_dir, "train-images-idx3-ubyte.gz", "found corrupt gzip")


def test_missing_files_are_listed_with_where_and_how(write_mnist):
    data_dir = write_mnist()
    folder = data_dir / "MNIST" / "raw"
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(MissingDataError) as caught:
        data.load("mnist", data_dir=data_dir)
    message = str(caught.value)
    assert isinstance(caught.value, DataError)
    assert isinstance(caught.value, FileNotFoundError)
    assert "\n" not in message
    assert str(folder) in message
    assert "train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz" in message
    assert "train-images" not in message
    assert "--download" in message
    assert "by hand" in message
    assert "https://ossci-datasets.s3.amazonaws.com/mnist/" in message


def test_the_default_folder_is_data_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingDataError) as caught:
        data.load("mnist")
    assert str(tmp_path / "data" / "MNIST" / "raw") in str(caught.value)
    assert list(tmp_path.iterdir()) == []  # looking does not create folders


def test_a_tilde_means_the_home_folder(write_mnist, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(write_mnist()))
    monkeypatch.setenv("USERPROFILE", os.environ["HOME"])
    assert len(data.load("mnist", data_dir="~").train_labels) == 12


def real_data_dir() -> Path:
    default = Path(__file__).resolve().parents[3].parent / "shared" / "data"
    folder = Path(os.environ.get("GCONV_TEST_DATA", default))
    if not (folder / "MNIST" / "raw").is_dir():
        pytest.skip(f"the real MNIST is not in {folder} (set GCONV_TEST_DATA to a folder that contains MNIST/raw)")
    return folder


def test_the_real_files():
    mnist = data.load("mnist", data_dir=real_data_dir())
    assert mnist.train_images.shape == (60_000, 1, 28, 28)
    assert mnist.test_images.shape == (10_000, 1, 28, 28)
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert mnist.train_labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert mnist.train_images.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert mnist.train_images.std().item() == pytest.approx(0.3081, abs=5e-5)
    assert mnist.train_images.aminmax() == (0.0, 1.0)
    assert mnist.title == "MNIST: 70,000 handwritten digits of 28x28 pixels"


def test_fashion_lies_in_a_folder_of_its_own(write_mnist, tmp_path: Path):
    write_mnist()
    (tmp_path / "MNIST").rename(tmp_path / "FashionMNIST")
    fashion = data.load("fashion-mnist", data_dir=tmp_path)
    assert fashion.name == "fashion-mnist"
    assert fashion.title == "Fashion-MNIST: 22 articles of clothing, 28x28 pixels"
    assert (fashion.classes[0], fashion.classes[7], fashion.classes[9]) == ("T-shirt/top", "Sneaker", "Ankle boot")
    assert len(set(fashion.classes)) == fashion.num_classes == 10
    with pytest.raises(MissingDataError, match="MNIST/raw"):
        data.load("mnist", data_dir=tmp_path)
    with pytest.raises(MissingDataError, match=r"FashionMNIST/raw: .*by hand from http://fashion-mnist\.s3"):
        data.load("fashion-mnist", data_dir=tmp_path / "elsewhere")

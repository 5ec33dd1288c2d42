"""CIFAR in its own layouts: what is read, what is refused, and that no pickle code runs."""

import hashlib
import http.server
import io
import pickle
import pickletools
import tarfile
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from gconv import data
from gconv.data import DataError, MissingDataError
from gconv.data.cifar import CIFAR10, CIFAR100, load_cifar
from gconv.data.pickles import read_pickle


def batch(count: int, seed: int, key: bytes = b"labels", classes: int = 10) -> dict:
    random = np.random.RandomState(seed)
    return {
        b"batch_label": b"training batch",
        key: random.randint(0, classes, count).tolist(),
        b"data": random.randint(0, 256, (count, 3072)).astype(np.uint8),
        b"filenames": [f"picture_{i}.png".encode() for i in range(count)],
    }


BATCHES = {name: batch(4, seed) for seed, name in enumerate((*CIFAR10.train, *CIFAR10.test))}


def python2(value) -> bytes:
    """A pickle as Python 2 wrote it, protocol 2, opcode by opcode: byte strings, arrays by numpy.core."""
    out = io.BytesIO()

    def write(value):
        if isinstance(value, dict):
            out.write(b"}q\x01(")
            for key, item in value.items():
                write(key)
                write(item)
            out.write(b"u")
        elif isinstance(value, list):
            out.write(b"]q\x02(")
            for item in value:
                write(item)
            out.write(b"e")
        elif isinstance(value, bytes):
            if len(value) < 256:
                out.write(b"U" + bytes([len(value)]) + value)
            else:
                out.write(b"T" + len(value).to_bytes(4, "little") + value)
        elif isinstance(value, int):
            out.write(b"K" + bytes([value]) if value < 256 else b"M" + value.to_bytes(2, "little"))
        else:
            out.write(
                b"cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05(K\x01"
            )
            for side in value.shape:
                write(side)
            out.write(
                b"\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
            )
            write(value.tobytes())
            out.write(b"tb")

    out.write(b"\x80\x02")
    write(value)
    out.write(b".")
    return out.getvalue()


def protocol(number):
    return lambda value: pickle.dumps(value, protocol=number)


WRITERS = {"python 2": python2, "protocol 2": protocol(2), "protocol 3": protocol(3), "protocol 4": protocol(4)}


def lay_out(folder: Path, write=python2) -> Path:
    target = folder / "cifar-10-batches-py"
    target.mkdir(parents=True)
    for name, content in BATCHES.items():
        (target / name).write_bytes(write(content))
    return folder


def check(images):
    pixels = np.concatenate([BATCHES[name][b"data"] for name in CIFAR10.train]).reshape(-1, 3, 32, 32)
    labels = [label for name in CIFAR10.train for label in BATCHES[name][b"labels"]]
    assert torch.equal(images.train_images, torch.from_numpy(pixels).float() / 255)
    assert images.train_labels.tolist() == labels
    assert images.test_labels.tolist() == BATCHES["test_batch"][b"labels"]
    assert images.test_images.shape == (4, 3, 32, 32)
    assert images.classes[3] == "cat"


@pytest.mark.parametrize("writer", WRITERS)
def test_batches_of_every_python(tmp_path, writer):
    images = data.load("cifar10", data_dir=lay_out(tmp_path, WRITERS[writer]))
    check(images)
    assert images.title.startswith("CIFAR-10, from files that are not the published ones: 24 pictures")


def test_the_pickles_of_python_2_are_pickles(tmp_path):
    """Our own writer is held to Python's reader."""
    found = pickle.loads(python2(BATCHES["test_batch"]), encoding="bytes")
    assert np.array_equal(found[b"data"], BATCHES["test_batch"][b"data"])
    assert found[b"filenames"] == BATCHES["test_batch"][b"filenames"]


def test_the_binary_layout(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name, content in BATCHES.items():
        rows = np.concatenate([np.array(content[b"labels"], np.uint8)[:, None], content[b"data"]], 1)
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    check(data.load("cifar10", data_dir=tmp_path))
    (folder / "test_batch.bin").write_bytes(bytes(3000))
    with pytest.raises(DataError, match=r"test_batch\.bin: found 3,000 bytes, expected a multiple of 3,073"):
        data.load("cifar10", data_dir=tmp_path)
    (folder / "test_batch.bin").write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(DataError, match="label 10 at position 0, expected 0 to 9"):
        data.load("cifar10", data_dir=tmp_path)


def test_cifar100_in_both_layouts(tmp_path):
    folder, binary = tmp_path / "py" / "cifar-100-python", tmp_path / "bin" / "cifar-100-binary"
    folder.mkdir(parents=True)
    binary.mkdir(parents=True)
    for seed, name in enumerate(("train", "test")):
        content = batch(5, seed, b"fine_labels", 100)
        (folder / name).write_bytes(python2({**content, b"coarse_labels": [1] * 5}))
        fine = np.array(content[b"fine_labels"], np.uint8)[:, None]
        rows = np.concatenate([np.ones_like(fine), fine, content[b"data"]], 1)
        (binary / f"{name}.bin").write_bytes(rows.tobytes())
    one, other = (data.load("cifar100", data_dir=tmp_path / part) for part in ("py", "bin"))
    assert torch.equal(one.train_images, other.train_images)
    assert one.train_labels.tolist() == other.train_labels.tolist() == batch(5, 0, b"fine_labels", 100)[b"fine_labels"]
    assert one.num_classes == 100
    assert len(set(CIFAR100.classes)) == 100


def test_resizing(tmp_path):
    images = data.load("cifar10", data_dir=lay_out(tmp_path), size=(16, 20))
    assert images.size == (16, 20)
    assert "resized to 16x20" in images.title


def test_missing_files_are_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"cifar-10-batches-py/ with data_batch_1.*download=True"):
        data.load("cifar10", data_dir=tmp_path)
    lay_out(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(MissingDataError):
        data.load("cifar10", data_dir=tmp_path)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5])
def test_pickle_code_is_refused_and_not_run(tmp_path, number):
    trap, path = tmp_path / "ran", tmp_path / "data_batch_1"
    for content in ({b"data": Bomb(trap)}, Bomb(trap), {**BATCHES["test_batch"], b"extra": Bomb(trap)}):
        path.write_bytes(pickle.dumps(content, protocol=number))
        with pytest.raises(DataError, match=r"refused at byte .*nothing in it was run"):
            read_pickle(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("program", "match"),
    [
        (b"cos\nsystem\n(U\x04trueetR.", "calls os.system"),
        (b"(S'x'\nios\nsystem\n.", "instruction"),
        (b"\x80\x02cnumpy\ndtype\n.", "found a _Name, expected the dictionary"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "with arguments of its own"),
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nK\x01K\x02K\x03\x87R.", "with arguments of its own"),
        (b"\x80\x02}U\x01aK\x01sU\x01bb.", "what is no array"),
        (b"\x80\x02}]K\x01s.", "under keys that are no text"),
        (b"\x80\x02]K\x00K\x01s.", "entries of what is no dictionary"),
        (b"\x80\x04K\x01K\x02\x93.", "calls what is no name"),
        (b"\x80\x02].", "found a list"),
        (b"\x80\x02K\x01K\x02.", "makes no sense"),
        (b"\x80\x02h\x05.", "makes no sense"),
        (b"\x80\x02u.", "makes no sense"),
        (b"garbage", "makes no sense"),
        (b"", "makes no sense"),
    ],
)
def test_programs_that_no_cifar_file_is(tmp_path, program, match):
    path = tmp_path / "x"
    path.write_bytes(program)
    with pytest.raises(DataError, match=match):
        read_pickle(path)


def doubled(times: int) -> bytes:
    """A tuple of the tuple before, twice: as many numbers as 2 to the power of `times`, in a few bytes each."""
    return b"K\x01q\x00" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(1, times))


@pytest.mark.parametrize(
    ("before", "after", "match"),
    [
        (b"}", b"K\x01s.", "under keys that are no text"),
        (b"}(", b"K\x01u.", "under keys that are no text"),
        (b"c_codecs\nencode\n", b"X\x06\x00\x00\x00latin1\x86R.", "with arguments of its own"),
        (b"X\x05\x00\x00\x00numpy", b"\x93.", "calls what is no name"),
        (
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01",
            b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNK\x00K\x00K\x00tb\x89U\x01atb.",
            "whose shape is no tuple of whole numbers",
        ),
        (b"", b".", "found a tuple"),
    ],
)
def test_values_that_would_take_for_ever_to_write_out(tmp_path, before, after, match):
    """Wherever a value is hashed, turned into text or put into a message, a bomb of shared tuples is refused first."""
    path = tmp_path / "x"
    path.write_bytes(b"\x80\x04" + before + doubled(64) + after)
    with pytest.raises(DataError, match=match):
        read_pickle(path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_truncated_batches(tmp_path, part):
    content = python2(BATCHES["test_batch"])
    path = tmp_path / "x"
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(DataError, match="breaks off or makes no sense"):
        read_pickle(path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({b"data": np.zeros((4, 100), np.uint8)}, r"data of shape \(4, 100\), expected \(M, 3072\) bytes"),
        ({b"data": b"abc"}, "no array under 'data'"),
        ({b"labels": [1, 2]}, "2 labels, expected 4"),
        ({b"labels": [1, 2, 3, 12]}, "label 12 at position 3, expected 0 to 9"),
        ({b"labels": b"1234"}, "no list of whole numbers under 'labels'"),
        ({b"labels": [1, 2, 3, 2**80]}, "no list of whole numbers under 'labels'"),
    ],
)
def test_batches_that_do_not_fit(tmp_path, change, match):
    lay_out(tmp_path)
    content = pickle.dumps({**BATCHES["test_batch"], **change}, protocol=4)
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match=match):
        data.load("cifar10", data_dir=tmp_path)


@pytest.mark.parametrize("array", [np.zeros((2, 2), np.float32), np.asfortranarray(np.zeros((2, 3), np.uint8))])
def test_other_arrays_than_bytes_in_order(tmp_path, array):
    path = tmp_path / "x"
    path.write_bytes(pickle.dumps({"data": array}, protocol=4))
    with pytest.raises(DataError, match="other numbers than bytes in row-major order"):
        read_pickle(path)


def test_the_instructions_are_few():
    from gconv.data.pickles import _OPCODES

    assert set(_OPCODES) < {opcode.name for opcode in pickletools.opcodes}
    assert not {"INST", "OBJ", "NEWOBJ_EX", "EXT1", "PERSID", "BINPERSID", "NEXT_BUFFER"} & set(_OPCODES)


def test_downloads(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served = tmp_path / "served"
    lay_out(served)
    archive = served / CIFAR10.archive
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(served / "cifar-10-batches-py", "cifar-10-batches-py")
        stray = tarfile.TarInfo("../stray")
        stray.size = 1
        tar.addfile(stray, io.BytesIO(b"x"))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=served)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        target = tmp_path / "data"
        with pytest.raises(DataError, match="could not be fetched"):
            load_cifar(target, download=True, base_url=url)
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        check(load_cifar(target, download=True, base_url=url, sha256=digest))
        server.shutdown()
    assert not (tmp_path / "stray").exists()
    check(load_cifar(target, download=True, base_url="http://127.0.0.1:1/"))  # what is there is not fetched again


def test_the_real_files(data_dir):
    """CIFAR-10 as users have it, where it is unpacked."""
    if not (data_dir / "cifar-10-batches-py" / "test_batch").is_file():
        pytest.skip("no cifar-10-batches-py there")
    content = read_pickle(data_dir / "cifar-10-batches-py" / "test_batch")
    assert content["data"].shape == (10_000, 3072)
    assert torch.tensor(content["labels"]).bincount().tolist() == [1_000] * 10

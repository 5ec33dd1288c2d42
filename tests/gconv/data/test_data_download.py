"""Downloads, from a server in this process: the right file is kept, and nothing else."""

import gzip
import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from torch import Tensor

from gconv.data import DataError, ImageData, MissingDataError
from gconv.data.download import fetch
from gconv.data.mnist import MNIST, load_mnist

SHA256 = MNIST.sha256


@dataclass
class Server:
    """What stands behind a base URL: its files with their checksums, and what was asked of it."""

    folder: Path
    url: str = ""
    requested: list[str] = field(default_factory=list)
    cut: dict[str, int] = field(default_factory=dict)  # bytes after which a file's connections break off
    ranges: bool = True  # whether it knows them
    asked: list[str | None] = field(default_factory=list)  # the Range of each request

    @property
    def sha256(self) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self.folder.iterdir()}


class Handler(SimpleHTTPRequestHandler):
    def __init__(self, *arguments, server_state: Server, **keywords):
        self.state = server_state
        super().__init__(*arguments, **keywords)

    def do_GET(self) -> None:
        name = self.path.removeprefix("/mnist/")
        self.state.requested.append(name)
        self.path = f"/{name}"
        wanted = self.headers["Range"]
        self.state.asked.append(wanted)
        path = self.state.folder / name
        if not path.is_file() or (name not in self.state.cut and wanted is None):
            return super().do_GET()
        content = path.read_bytes()
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.state.ranges else 0
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if wanted and self.state.ranges else 200)
        if wanted and self.state.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + self.state.cut.get(name, len(content))])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the tests' output is for the tests."""


@pytest.fixture
def server(tmp_path: Path, mnist_tensors: dict[str, Tensor], idx_bytes, monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    for name, values in mnist_tensors.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(values)))
    state = Server(folder)
    handler = partial(Handler, server_state=state, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        state.url = f"http://127.0.0.1:{http.server_address[1]}/mnist/"
        thread = threading.Thread(target=partial(http.serve_forever, poll_interval=0.01), daemon=True)
        thread.start()
        yield state
        http.shutdown()
        thread.join()


def load_from(server: Server, data_dir: Path, **changed: str) -> ImageData:
    return load_mnist(data_dir, download=True, base_url=server.url, sha256=server.sha256 | changed)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_fetches_what_is_missing_and_reads_it(server: Server, tmp_path: Path):
    data_dir = tmp_path / "data"
    mnist = load_from(server, data_dir)
    assert mnist.train_labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert mnist.test_images.shape == (10, 1, 28, 28)
    assert sorted(server.requested) == sorted(SHA256)
    assert files(data_dir / "MNIST" / "raw") == sorted(SHA256)


def test_does_not_fetch_twice(server: Server, tmp_path: Path):
    load_from(server, tmp_path / "data")
    server.requested.clear()
    load_from(server, tmp_path / "data")
    assert server.requested == []


def test_what_is_there_is_kept_whatever_its_checksum(server: Server, write_mnist, tmp_path: Path):
    """Files of the user's own may be compressed by another program, or not at all."""
    folder = write_mnist(compressed=False) / "MNIST" / "raw"
    (folder / "t10k-labels-idx1-ubyte").unlink()
    load_from(server, tmp_path)
    assert server.requested == ["t10k-labels-idx1-ubyte.gz"]


def test_nothing_is_fetched_unasked(server: Server, tmp_path: Path):
    with pytest.raises(MissingDataError, match=f"by hand from {server.url}"):
        load_mnist(tmp_path / "data", base_url=server.url, sha256=server.sha256)
    assert server.requested == []
    assert not (tmp_path / "data").exists()


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path):
    wrong = "0" * 64
    with pytest.raises(DataError) as caught:
        load_from(server, tmp_path / "data", **{"train-images-idx3-ubyte.gz": wrong})
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{server.url}train-images-idx3-ubyte.gz could not be fetched")
    assert f"expected {wrong}" in message
    assert f"got {server.sha256['train-images-idx3-ubyte.gz']}" in message
    assert message.endswith(f"put it by hand as {tmp_path / 'data/MNIST/raw/train-images-idx3-ubyte.gz'}")
    assert files(tmp_path / "data" / "MNIST" / "raw") == []


def test_the_files_before_a_failure_are_kept(server: Server, tmp_path: Path):
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz could not be fetched"):
        load_from(server, tmp_path / "data", **{"t10k-images-idx3-ubyte.gz": "0" * 64})
    expected = ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
    assert files(tmp_path / "data" / "MNIST" / "raw") == expected


def fetch_images(base_url: str, folder: Path) -> str:
    """The message of a fetch that must fail and leave no file."""
    with pytest.raises(DataError) as caught:
        fetch("train-images-idx3-ubyte.gz", folder=folder, base_url=base_url, sha256="0" * 64)
    assert files(folder) == []
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{base_url}train-images-idx3-ubyte.gz could not be fetched (")
    assert message.endswith(f"try again, or put it by hand as {folder / 'train-images-idx3-ubyte.gz'}")
    return message


NAME = "train-images-idx3-ubyte.gz"


def fetched(server: Server, folder: Path) -> bytes:
    return fetch(NAME, folder=folder, base_url=server.url, sha256=server.sha256[NAME]).read_bytes()


def test_a_connection_that_breaks_off_is_taken_up_again(server: Server, tmp_path: Path):
    content = (server.folder / NAME).read_bytes()
    server.cut[NAME] = third = len(content) // 3 + 1
    assert fetched(server, tmp_path / "raw") == content
    assert server.asked == [None, f"bytes={third}-", f"bytes={2 * third}-"]
    assert files(tmp_path / "raw") == [NAME]


def test_what_has_come_is_kept_for_the_next_call(server: Server, tmp_path: Path):
    content = (server.folder / NAME).read_bytes()
    server.cut[NAME] = 10
    with pytest.raises(DataError, match=r"40 bytes are kept in train-images.*\.part, the next try goes on from there"):
        fetched(server, tmp_path)
    assert (tmp_path / f"{NAME}.part").read_bytes() == content[:40]
    server.cut.clear()
    server.asked.clear()
    assert fetched(server, tmp_path) == content
    assert server.asked == ["bytes=40-"]
    assert not (tmp_path / f"{NAME}.part").exists()


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path):
    server.ranges = False
    (tmp_path / f"{NAME}.part").write_bytes((server.folder / NAME).read_bytes()[:100])
    assert fetched(server, tmp_path) == (server.folder / NAME).read_bytes()
    assert server.asked == ["bytes=100-"]


def test_the_beginning_of_another_file_is_thrown_away(server: Server, tmp_path: Path):
    (tmp_path / f"{NAME}.part").write_bytes(b"something else")
    assert fetched(server, tmp_path) == (server.folder / NAME).read_bytes()
    assert server.asked == ["bytes=14-", None]


def test_a_part_that_is_whole_needs_only_its_checksum(server: Server, tmp_path: Path):
    content = (server.folder / NAME).read_bytes()
    (tmp_path / f"{NAME}.part").write_bytes(content)
    assert fetched(server, tmp_path) == content
    (tmp_path / f"{NAME}.part").write_bytes(content + b"and more")
    (tmp_path / NAME).unlink()
    assert fetched(server, tmp_path) == content


def test_a_connection_that_brings_nothing_is_told(server: Server, tmp_path: Path):
    server.cut[NAME] = 0
    message = fetch_images(server.url, tmp_path / "raw")
    assert "the connection broke off after 0 of" in message
    assert server.requested == [NAME]


def test_the_full_disk_is_named(server: Server):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(DataError, match="could not be fetched"):
        fetch(NAME, folder=full, base_url=server.url, sha256="0" * 64)


def test_a_file_the_server_lacks(server: Server, tmp_path: Path):
    (server.folder / "train-images-idx3-ubyte.gz").unlink()
    assert "404" in fetch_images(server.url, tmp_path / "raw")


def test_an_unreachable_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as taken:  # bound but not listening, so every connection is refused
        taken.bind(("127.0.0.1", 0))
        message = fetch_images(f"http://127.0.0.1:{taken.getsockname()[1]}/mnist/", tmp_path / "raw")
    assert "URLError" in message


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(DataError, match="could not be fetched"):
        fetch("train-images-idx3-ubyte.gz", folder=blocked / "raw", base_url=server.url, sha256="0" * 64)
    assert server.requested == []


def test_a_base_url_needs_no_trailing_slash(server: Server, tmp_path: Path):
    name = "t10k-labels-idx1-ubyte.gz"
    path = fetch(name, folder=tmp_path, base_url=server.url.rstrip("/"), sha256=server.sha256[name])
    assert path == tmp_path / name
    assert path.read_bytes() == (server.folder / name).read_bytes()

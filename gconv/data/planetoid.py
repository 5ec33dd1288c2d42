"""Citation graphs in the layout of Planetoid, with the public split: Cora, CiteSeer, PubMed.

`DIR/Cora/raw` or `DIR/planetoid/Cora/raw` holds eight files `ind.cora.*`: features of the labelled training nodes
(`x`), of all nodes but those of the test (`allx`) and of the test (`tx`), one-hot labels of the same (`y`, `ally`,
`ty`), the neighbours (`graph`), and where the test's rows belong (`test.index`, text). All others are pickles, and are
read without running what is in them (`gconv.data.pickles`).

Edges go both ways, once, without loops: Cora has 2,708 nodes, 10,556 edges, 1,433 features and 7 classes. Of the public
split 20 nodes a class train, the 500 after them validate, the 1,000 of `test.index` test. Nodes that no file describes
(CiteSeer has 15) have no features, and class 0.
Reference: Yang, Cohen and Salakhutdinov, Revisiting semi-supervised learning with graph embeddings (2016).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gconv.data.errors import DataError, MissingDataError
from gconv.data.pickles import Held, Kind, read_value
from gconv.domains import Graph
from grid_cnn.names import guess

NAMES = ("Cora", "CiteSeer", "PubMed")
_VALIDATION = 500


_CALLS: dict[tuple[str, str], Callable[[], Any]] = {
    ("collections", "defaultdict"): dict,
    ("__builtin__", "list"): list,
    ("scipy.sparse.csr", "csr_matrix"): Held,
    ("scipy.sparse._csr", "csr_matrix"): Held,  # as newer versions of scipy write it
}
PLANETOID = Kind("Planetoid", frozenset({"i4", "i8", "f4", "f8"}), _CALLS)


@dataclass(frozen=True)
class CitationGraph:
    """A graph, what its nodes hold, and the public split.

    Args:
        name: of the data set. graph: its edges, both ways.
        features: of the nodes, `(N, F)`, as a sparse CSR tensor. labels: their classes, `(N,)`, whole numbers.
        train, val, test: the nodes of the split.
    """

    name: str
    graph: Graph
    features: Tensor
    labels: Tensor
    train: Tensor
    val: Tensor
    test: Tensor

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return int(self.labels.max()) + 1

    def row_normalized(self) -> Tensor:
        """The features with every row divided by its sum, sparse as well; empty rows stay empty."""
        crow, columns, values = self.features.crow_indices(), self.features.col_indices(), self.features.values()
        own = torch.repeat_interleave(torch.arange(len(crow) - 1), crow.diff())
        sums = values.new_zeros(len(crow) - 1).index_add(0, own, values)
        return _csr(crow, columns, values / torch.where(sums == 0, 1, sums)[own], self.features.shape)

    def masked_labels(self, nodes: Tensor) -> Tensor:
        """The labels of these nodes, and -100 elsewhere, which `cross_entropy` leaves out."""
        return torch.full_like(self.labels, -100).index_copy(0, nodes, self.labels[nodes])

    def __repr__(self) -> str:
        parts = f"{len(self.labels):,} nodes, {self.graph.num_edges:,} edges, {self.features.shape[1]:,} features"
        split = f"{len(self.train)} + {len(self.val)} + {len(self.test)} nodes of the public split"
        return f"CitationGraph({self.name!r}: {parts}, {self.num_classes} classes, {split})"


def load_planetoid(name: str, data_dir: str | Path) -> CitationGraph:
    """Read a citation graph.

    Args:
        name: one of `NAMES`. data_dir: the folder with `NAME/raw` or `planetoid/NAME/raw` in it.

    Raises:
        ValueError: for an unknown name. MissingDataError: if a file is not there.
        DataError: if files are damaged, do not fit each other, or are something else.
    """
    if name not in NAMES:
        by_lower = {known.lower(): known for known in NAMES}
        meant = guess(name.lower(), by_lower, 1, shown=lambda near: repr(by_lower[near]))
        hint = f"; {meant}" if meant else ""
        raise ValueError(f"unknown citation graph {name!r}{hint} (there are: {', '.join(NAMES)})")
    folder = _folder(name, Path(data_dir).expanduser())
    stem = f"ind.{name.lower()}"
    trained, known, tested = (_matrix(folder / f"{stem}.{part}") for part in ("x", "allx", "tx"))
    known_labels, tested_labels = (_labels(folder / f"{stem}.{part}") for part in ("ally", "ty"))
    for part, features, labels in (("all", known, known_labels), ("t", tested, tested_labels)):
        if features.shape[0] != len(labels):
            raise DataError(f"{folder}: {part}x has {features.shape[0]} rows, {part}y {len(labels)}; copy both again")
    places = _places(folder / f"{stem}.test.index", known.shape[0], tested.shape[0])
    lists = read_value(folder / f"{stem}.graph", PLANETOID)
    nodes = max(int(places.max()), max(lists, default=0) if isinstance(lists, dict) else 0) + 1
    features = known.new_zeros(nodes, known.shape[1])
    labels = torch.zeros(nodes, dtype=torch.long)
    features[: known.shape[0]], labels[: known.shape[0]] = known, known_labels
    features[places], labels[places] = tested, tested_labels
    first = trained.shape[0]
    return CitationGraph(
        name,
        _graph(folder / f"{stem}.graph", lists, nodes),
        _sparse(features),
        labels,
        torch.arange(first),
        torch.arange(first, first + _VALIDATION),
        places.sort().values,
    )


def _folder(name: str, data_dir: Path) -> Path:
    folders = [data_dir / name / "raw", data_dir / "planetoid" / name / "raw"]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        raise MissingDataError(f"no {name} in {folders[0]} or {folders[1]}; say with --data-dir where {name} is")
    parts = ("x", "allx", "tx", "y", "ally", "ty", "graph", "test.index")
    missing = [part for part in parts if not (folder / f"ind.{name.lower()}.{part}").is_file()]
    if missing:
        files = ", ".join(f"ind.{name.lower()}.{part}" for part in missing)
        raise MissingDataError(f"{folder} has no {files}; copy all eight files there")
    return folder


def _matrix(path: Path) -> Tensor:
    """The dense matrix of a scipy CSR matrix."""
    found = read_value(path, PLANETOID)
    wanted = ("indptr", "indices", "data", "_shape")
    if not isinstance(found, Held) or any(name not in found.state for name in wanted):
        raise DataError(f"{path}: expected a scipy CSR matrix, found {type(found).__name__}; copy the file again")
    offsets, columns, values, shape = (found.state[name] for name in wanted)
    try:
        return _csr(offsets, columns, values.float(), shape).to_dense()
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: its parts make no CSR matrix ({reason}); copy it again") from error


def _sparse(features: Tensor) -> Tensor:
    """Dense features as a sparse CSR tensor."""
    rows, columns = features.nonzero().T
    offsets = torch.bincount(rows, minlength=len(features)).cumsum(0)
    return _csr(torch.cat([offsets.new_zeros(1), offsets]), columns, features[rows, columns], features.shape)


def _csr(offsets: Tensor, columns: Tensor, values: Tensor, shape: Sequence[int]) -> Tensor:
    """A sparse CSR tensor, checked, without torch's notice that its kind is new."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return torch.sparse_csr_tensor(offsets, columns, values, tuple(shape), check_invariants=True)


def _labels(path: Path) -> Tensor:
    """The classes of one-hot rows; rows of zeros count as class 0."""
    found = read_value(path, PLANETOID)
    if not isinstance(found, Tensor) or found.dim() != 2:
        raise DataError(f"{path}: expected an array of one-hot rows, found {type(found).__name__}; copy the file again")
    return found.argmax(1)


def _places(path: Path, first: int, count: int) -> Tensor:
    """The nodes of the test's rows."""
    try:
        places = torch.tensor([int(line) for line in path.read_text().split()], dtype=torch.long)
    except (ValueError, UnicodeError) as error:
        raise DataError(f"{path}: expected a number a line ({error}); copy the file again") from error
    if len(places) != count or len(places.unique()) != count or int(places.min()) < first:
        raise DataError(f"{path}: does not name {count} different nodes from {first} on, one for each row of tx")
    return places


def _graph(path: Path, lists: Any, nodes: int) -> Graph:
    if not isinstance(lists, dict) or not lists:
        raise DataError(f"{path}: expected a dictionary of neighbours, found {type(lists).__name__}; copy it again")
    pairs = torch.tensor([(node, other) for node, others in lists.items() for other in others]).T
    if int(pairs.max()) >= nodes:
        raise DataError(f"{path}: names node {int(pairs.max())}, of {nodes}; copy the file again")
    both = torch.cat([pairs, pairs.flip(0)], 1)
    keys = torch.unique(both[0] * nodes + both[1])
    edges = torch.stack([keys // nodes, keys % nodes])
    return Graph(edges[:, edges[0] != edges[1]], nodes)

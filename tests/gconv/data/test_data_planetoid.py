"""Citation graphs: Cora as published where its files are, small files of the same layout, bad files."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from gconv.data import DataError, MissingDataError, load_planetoid
from gconv.data.pickles import read_value
from gconv.data.planetoid import PLANETOID


def test_cora_is_read(data_dir):
    if not (data_dir / "planetoid/Cora/raw").is_dir() and not (data_dir / "Cora/raw").is_dir():
        pytest.skip(f"no Cora under {data_dir}")
    data = load_planetoid("Cora", data_dir)
    graph, features = data.graph, data.features
    assert (graph.num_nodes, graph.num_edges) == (2708, 10_556)
    assert features.shape == (2708, 1433)
    assert features.values().unique().tolist() == [1.0]
    assert features.values().numel() == 49_216
    source, target = graph.edge_index
    assert not bool((source == target).any())
    matrix = coo_matrix((torch.ones(10_556).numpy(), (source.numpy(), target.numpy())), shape=(2708, 2708)).tocsr()
    assert (matrix != matrix.T).nnz == 0
    count, parts = connected_components(matrix)
    assert count == 78
    assert int(torch.bincount(torch.from_numpy(parts)).max()) == 2485
    assert data.num_classes == 7
    assert data.labels.bincount().tolist() == [351, 217, 418, 818, 426, 298, 180]
    assert data.labels[data.train].bincount().tolist() == [20] * 7
    assert (data.train.tolist(), data.val.tolist()) == (list(range(140)), list(range(140, 640)))
    assert data.test.tolist() == list(range(1708, 2708))
    same = (data.labels[source] == data.labels[target]).float().mean()  # neighbours mostly share their class
    assert 0.80 < float(same) < 0.82
    assert repr(data).startswith("CitationGraph('Cora': 2,708 nodes, 10,556 edges, 1,433 features, 7 classes")


def planetoid(folder: Path, *, order=(5, 3, 6)):
    """Seven nodes in Planetoid's layout: two train, four are known before the test, whose rows stand in any order."""
    raw = folder / "Cora" / "raw"
    raw.mkdir(parents=True)
    known = 3
    tested = len(order)
    features = np.arange(1, 1 + 2 * (known + tested), dtype=np.float32).reshape(-1, 2)
    onehot = np.eye(3, dtype=np.int32)[[0, 1, 2, 0, 1, 2, 0][: known + tested]]
    lists = {0: [1, 2, 2], 1: [0], 3: [4, 3], 5: [6]}
    for name, value in {
        "x": csr_matrix(features[:2]),
        "y": onehot[:2],
        "allx": csr_matrix(features[:known]),
        "ally": onehot[:known],
        "tx": csr_matrix(features[known:]),
        "ty": onehot[known:],
        "graph": lists,
    }.items():
        (raw / f"ind.cora.{name}").write_bytes(pickle.dumps(value, protocol=2))
    (raw / "ind.cora.test.index").write_text("".join(f"{place}\n" for place in order))
    return raw


def test_test_rows_go_to_their_nodes_and_gaps_stay_empty(tmp_path):
    """Node 4 is described nowhere, as fifteen of CiteSeer's are."""
    planetoid(tmp_path)
    data = load_planetoid("Cora", tmp_path)
    dense = data.features.to_dense()
    assert dense.tolist() == [[1, 2], [3, 4], [5, 6], [9, 10], [0, 0], [7, 8], [11, 12]]
    assert data.labels.tolist() == [0, 1, 2, 1, 0, 0, 2]
    assert data.test.tolist() == [3, 5, 6]
    assert data.graph.edge_index.tolist() == [[0, 0, 1, 2, 3, 4, 5, 6], [1, 2, 0, 0, 4, 3, 6, 5]]
    rows = data.row_normalized().to_dense()
    torch.testing.assert_close(rows.sum(1), torch.tensor([1.0, 1, 1, 1, 0, 1, 1]))
    torch.testing.assert_close(rows[0], torch.tensor([1 / 3, 2 / 3]))
    assert data.masked_labels(data.train).tolist() == [0, 1, -100, -100, -100, -100, -100]


def test_what_is_missing_or_misspelt_is_named(tmp_path):
    with pytest.raises(MissingDataError, match="--data-dir"):
        load_planetoid("Cora", tmp_path)
    with pytest.raises(ValueError, match="unknown citation graph 'citeser'; did you mean 'CiteSeer'"):
        load_planetoid("citeser", tmp_path)
    raw = planetoid(tmp_path)
    (raw / "ind.cora.ty").unlink()
    with pytest.raises(MissingDataError, match=r"has no ind\.cora\.ty; copy all eight files"):
        load_planetoid("Cora", tmp_path)


def test_damaged_files_are_named(tmp_path):
    def refused(name, content, match):
        raw = tmp_path / name.replace(".", "_") / match[:3]
        folder = planetoid(raw)
        (folder / f"ind.cora.{name}").write_bytes(content)
        with pytest.raises(DataError, match=match):
            load_planetoid("Cora", raw)

    refused("graph", pickle.dumps({0: [1, 300]}, protocol=2)[:-6], "breaks off")
    refused("graph", pickle.dumps([1, 2], protocol=2), "a dictionary of neighbours, found list")
    refused("tx", pickle.dumps({}, protocol=2), "a scipy CSR matrix, found dict")
    refused("ty", pickle.dumps(csr_matrix(np.eye(3, dtype=np.float32)), protocol=2), "one-hot rows, found Held")
    refused("ally", pickle.dumps(np.eye(5, dtype=np.int32), protocol=2), "allx has 3 rows, ally 5")
    refused("test.index", b"5\n5\n6\n", "does not name 3 different nodes from 3 on")
    refused("test.index", b"five", "expected a number a line")
    bad = csr_matrix(np.eye(3, 2, dtype=np.float32))
    bad.indices[0] = 7
    refused("tx", pickle.dumps(bad, protocol=2), "its parts make no CSR matrix")


def test_nothing_in_a_file_is_run(tmp_path):
    path = tmp_path / "file"
    values = {0: [1, 300, 70_000], 1: [], 2: [0]}
    path.write_bytes(pickle.dumps(values, protocol=2))
    assert read_value(path, PLANETOID) == values

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    for protocol in (0, 2, 4):
        path.write_bytes(pickle.dumps(Hostile(), protocol=protocol))
        with pytest.raises(DataError, match="nothing in it was run"):
            read_value(path, PLANETOID)
    path.write_bytes(pickle.dumps(np.zeros(3, dtype=np.int16), protocol=2))
    with pytest.raises(DataError, match="other numbers than f4, f8, i4, i8"):
        read_value(path, PLANETOID)
    path.write_bytes(pickle.dumps(np.zeros(3, dtype=">f4"), protocol=2))
    with pytest.raises(DataError, match="other numbers"):
        read_value(path, PLANETOID)
    assert not (tmp_path / "made").exists()

"""Layers against PyG on Cora's graph: with 64 dense features, and with its own 1,433, which are sparse.

    gconv bench layers_cora --data-dir DIR        # DIR/Cora/raw/ind.cora.*

One signal on 2,708 nodes and 10,556 edges, to 64 channels, float32, forward and backward: by the signal and the
parameters where the features are dense; by the parameters alone where they are Cora's own, since those are data. Ours
takes them as a sparse CSR tensor; PyG takes them dense, or sparse where its layer can.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.contest import rows_of
from benchmarks.harness import Options, Table
from benchmarks.rows import ROWS, SINGLE
from benchmarks.showing import layers, with_settings
from benchmarks.single import SPARSE_WAYS, WAYS, degrees, measured, measured_sparse, of_one_signal
from gconv import Graph
from gconv.data import load_planetoid

TITLE = "Layers on Cora's graph"
REPEATED = "{rounds} rounds"


def run(options: Options) -> dict[str, Any]:
    """All rows, on dense and on sparse features."""
    data = load_planetoid("Cora", options.data)
    bare, features = data.graph, data.features
    edge_index, nodes = bare.edge_index, bare.num_nodes
    coordinates = degrees(edge_index, nodes)
    width = 16 if options.quick else 64

    def make() -> Graph:
        return Graph(edge_index, nodes, edge_attr=coordinates)

    options.say(f"{width} dense features")
    dense = rows_of(SINGLE, options, lambda name: measured(ROWS[name], make, width, options))
    options.say(f"{features.shape[1]} sparse features")
    graph = make()
    sparse = rows_of(SINGLE, options, lambda name: measured_sparse(ROWS[name], graph, features, width, options))
    size = {"nodes": nodes, "edges": edge_index.shape[1], "features": features.shape[1], "width": width}
    return {**size, "entries": features.values().numel(), "dense": dense, "sparse": sparse}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """A table a kind of features."""
    size = f"Cora: {found['nodes']:,} nodes, {found['edges']:,} edges"
    own = f"its own {found['features']:,} sparse features ({found['entries']:,} entries) → {found['width']} channels"
    shown = [
        layers(f"{size}; {found['width']} dense → {found['width']} channels", found["dense"], WAYS, of_one_signal),
        layers(f"{size}; {own}", found["sparse"], SPARSE_WAYS, of_one_signal),
    ]
    return with_settings(shown, found["dense"]["rows"] + found["sparse"]["rows"])

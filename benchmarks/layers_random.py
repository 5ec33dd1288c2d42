"""Layers against PyG on a large random graph: 100,000 nodes, 1,600,000 edges, one signal of 64 channels.

    gconv bench layers_random

Float32, forward and backward by the signal and the parameters. Undirected edges, drawn at random: there is no order of
nodes to profit from. Beside it what the plan costs: a graph's own making, and what its first step takes longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.contest import rows_of
from benchmarks.harness import Options, Table
from benchmarks.rows import ROWS, SINGLE
from benchmarks.showing import layers, with_settings
from benchmarks.single import WAYS, degrees, measured, of_one_signal, random_edges
from gconv import Graph

TITLE = "Layers on a large random graph"
REPEATED = "{rounds} rounds"


def run(options: Options) -> dict[str, Any]:
    """All rows."""
    nodes, edges, width = (1_000, 16_000, 8) if options.quick else (100_000, 1_600_000, 64)
    edge_index = random_edges(nodes, edges)
    coordinates = degrees(edge_index, nodes)

    def make() -> Graph:
        return Graph(edge_index, nodes, edge_attr=coordinates)

    part = rows_of(SINGLE, options, lambda name: measured(ROWS[name], make, width, options))
    return {"nodes": nodes, "edges": edges, "width": width, "part": part}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """One table."""
    size = f"{found['nodes']:,} nodes, {found['edges']:,} edges, {found['width']} → {found['width']} channels"
    return with_settings([layers(f"Random graph: {size}", found["part"], WAYS, of_one_signal)], found["part"]["rows"])

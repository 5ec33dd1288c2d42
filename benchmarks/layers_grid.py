"""Layers against PyG and against their floor, on the MNIST grid: many signals on one shared graph.

    gconv bench layers_grid [--quick] [--row NAME] [--compiled]

784 nodes with 8 neighbours, a batch of 64 signals, 32 → 32 and 64 → 64 channels, float32, forward and backward by the
signals and all parameters. PyG runs in each of its ways: 64 copies of the graph as one block-diagonal graph; static
`(B, N, C)`, where its layer takes that; its edges as a sparse CSR matrix; one signal at a time in a loop, which stays
in cache. The floor is the module's `floor`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.contenders import step_of
from benchmarks.contest import BLOCK, CSR, ONE_BY_ONE, STATIC, batch_ways, contest, prove, rows_of
from benchmarks.edges import Edges
from benchmarks.floor import floor_step
from benchmarks.harness import Options, Table
from benchmarks.row import MEDIAN, Row, twins
from benchmarks.rows import GRID, ROWS
from benchmarks.showing import layers, with_settings
from gconv import Graph, grid_graph

TITLE = "Layers on a shared grid"
REPEATED = "{rounds} rounds"
WAYS = (BLOCK, STATIC, CSR, ONE_BY_ONE)


def domain(row: Row, side: int) -> Graph:
    """The grid's graph; for a general row its edges alone, with pseudo-coordinates that all differ, or with types.

    >>> domain(ROWS["GCN"], 4)
    Graph(4×4 grid, num_nodes=16, num_edges=84)
    >>> domain(ROWS["MoNet 25, general graph"], 4)
    Graph(num_nodes=16, num_edges=84)
    """
    graph = grid_graph((side, side), neighbors=8)
    if row.types:
        assert graph.edge_attr is not None
        types = graph.edge_attr.unique(dim=0, return_inverse=True)[1]
        return Graph(graph.edge_index, graph.num_nodes, edge_attr=types)
    if not row.general:
        return graph
    assert graph.edge_attr is not None
    noise = torch.randn(graph.edge_attr.shape, generator=torch.Generator().manual_seed(0))
    return Graph(graph.edge_index, graph.num_nodes, edge_attr=graph.edge_attr + 0.1 * noise)


def measured(row: Row, width: int, batch: int, side: int, options: Options) -> dict[str, Any]:
    """One row at one width."""
    torch.manual_seed(0)
    ours, theirs = twins(row, width, width)
    graph = domain(row, side)
    x, gradient = torch.randn(2, batch, graph.num_nodes, width).unbind()
    prove(row, ours, theirs, graph, row.edges(Edges.of(graph)), x[:2])
    compiled = None
    if options.compiled and row.target.compiled is not None:
        traced = copy.deepcopy(ours)
        traced.compile(fullgraph=True)  # in place: its parameters keep their names
        compiled = step_of(traced, [x], [gradient], (graph,))
    found = contest(
        step_of(ours, [x], [gradient], (graph,)),
        batch_ways(row, theirs, row.edges(Edges.of(graph)), x, gradient),
        batch,
        options,
        floor_step(row.products(width, width), x, graph.num_edges, row.heads),
        compiled,
        row.kinks,
    )
    return {"width": width, "settings": row.settings, **found}


def run(options: Options) -> dict[str, Any]:
    """All rows at all widths."""
    side, batch, widths = (8, 4, (8,)) if options.quick else (28, 64, (32, 64))
    tables = []
    for width in widths:
        options.say(f"{width} → {width} channels")

        def one(name: str, width: int = width) -> dict[str, Any]:
            return measured(ROWS[name], width, batch, side, options)

        tables.append({"width": width, **rows_of(GRID, options, one)})
    return {"side": side, "batch": batch, "tables": tables}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """A table a width."""
    side, batch = found["side"], found["batch"]
    shown = [
        layers(
            f"{side}×{side} grid, 8 neighbours, {batch} signals, {part['width']} → {part['width']} channels",
            part,
            WAYS,
            lambda row: row.target,
            MEDIAN,
        )
        for part in found["tables"]
    ]
    return with_settings(shown, [row for part in found["tables"] for row in part["rows"]])

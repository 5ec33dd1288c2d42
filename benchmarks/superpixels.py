"""A batch of different graphs, seen once: 128 graphs of the size of superpixels, as in a loader that shuffles.

    gconv bench superpixels

75 nodes a graph, each with its 8 nearest neighbours at random positions; one disjoint union of 128, 32 → 32 channels,
float32, forward and backward by the signal and the parameters. Every step meets an `edge_index` that it has not seen,
so that ours includes its plan: reading, checking and sorting the edges. Beside it the same step where the plan stands,
as in the second layer of a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from benchmarks.contenders import Result, Step, bit_equal, disagreement, step_of
from benchmarks.contest import DisagreementError, arguments, rows_of
from benchmarks.edges import Edges, as_given
from benchmarks.expected import Judged
from benchmarks.harness import Options, Table, ratio, timed
from benchmarks.row import twins
from benchmarks.rows import ROWS
from benchmarks.showing import notes, repeatable, time_text, with_settings
from benchmarks.single import degrees
from gconv import Graph
from gconv.training.report import number_text

TITLE = "Batches of different graphs"
REPEATED = "{rounds} rounds"
NAMES = (
    "GCN", "SAGE", "GIN", "GraphConv", "Cheb 3", "TAG", "SG", "ARMA", "GAT", "GATv2", "Transformer", "FeaSt", "MoNet 3",
)  # fmt: skip
NODES, NEIGHBORS = 75, 8
TARGET = 1.5
FRESH, KNOWN, PYG = "ours", "ours, plan at hand", "PyG"


def nearest(graphs: int, nodes: int, neighbors: int, seed: int = 0) -> Tensor:
    """Edges from each node's nearest to it, in a disjoint union: `(2, graphs · nodes · neighbors)`.

    >>> nearest(2, 3, 1).shape
    torch.Size([2, 6])
    """
    positions = torch.rand(graphs, nodes, 2, generator=torch.Generator().manual_seed(seed))
    distance = torch.cdist(positions, positions)
    distance.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    source = distance.topk(neighbors, largest=False).indices
    first = nodes * torch.arange(graphs)[:, None, None]
    target = torch.arange(nodes)[:, None].expand(graphs, nodes, neighbors)
    return torch.stack([(source + first).flatten(), (target + first).flatten()])


def unseen(layer: Module, x: Tensor, gradient: Tensor, given: tuple[Tensor, ...]) -> Step:
    """A step on edges that the layer has not seen: a copy, made anew each time."""

    def step() -> Result:
        return step_of(layer, [x], [gradient], (given[0].clone(), *given[1:]))()

    return step


def measured(name: str, edge_index: Tensor, nodes: int, width: int, options: Options) -> dict[str, Any]:
    """One row: PyG's layer as it is by default, since nothing that it could be spared is known beforehand.

    Raises:
        DisagreementError: if ours does not give PyG's numbers.
    """
    torch.manual_seed(0)
    row = replace(ROWS[name], pyg={}, edges=as_given)
    ours, theirs = twins(row, width, width)
    graph = Graph(edge_index, nodes, edge_attr=degrees(edge_index, nodes))
    given = arguments(row, Edges.of(graph))
    x, gradient = torch.randn(2, nodes, width).unbind()
    steps = {
        FRESH: unseen(ours, x, gradient, given),
        KNOWN: step_of(ours, [x], [gradient], given),
        PYG: unseen(theirs(), x, gradient, given),
    }
    result = steps[FRESH]()
    fault = disagreement(result, steps[PYG](), row.kinks)
    if fault:
        raise DisagreementError(f"ours differs from PyG: {fault}")
    same = bit_equal(result, steps[FRESH]())
    return {
        "settings": row.settings,
        "bit_equal": same,
        "milliseconds": timed(steps, options),
        "left_out": {},
        "scaled_from": {},
        "once": [],
    }


def run(options: Options) -> dict[str, Any]:
    """All rows."""
    graphs, width = (8, 8) if options.quick else (128, 32)
    edge_index, nodes = nearest(graphs, NODES, NEIGHBORS), graphs * NODES
    part = rows_of(NAMES, options, lambda name: measured(name, edge_index, nodes, width, options))
    return {"graphs": graphs, "nodes": nodes, "edges": edge_index.shape[1], "width": width, "part": part}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """One table."""
    lines, judged = [], []
    for row in found["part"]["rows"]:
        times = row["milliseconds"]
        gain = ratio(times[PYG], times[FRESH])
        verdict = Judged("PyG / ours, plan included", row["name"], gain, TARGET, least=True)
        judged.append(verdict)
        shown = (time_text(times[way]) for way in (FRESH, KNOWN, PYG))
        again = number_text(ratio(times[PYG], times[KNOWN]))
        lines.append((row["name"], *shown, number_text(gain), number_text(TARGET), verdict.met, again))
    headings = (
        "layer", "ours, plan included, ms (quartiles)", "plan at hand", "PyG", "PyG / ours", "at least", "met",
        "PyG / plan at hand",
    )  # fmt: skip
    size = f"{found['graphs']} graphs of {NODES} nodes, {NEIGHBORS} neighbours each"
    title = f"{size}: {found['nodes']:,} nodes, {found['edges']:,} edges, {found['width']} → {found['width']} channels"
    table = Table(title, headings, tuple(lines), notes(found["part"]), judged=(*judged, repeatable(found["part"])))
    return with_settings([table], found["part"]["rows"])
